"""Which account may do what on RabbitMQ: one for each service, one for ERPs, one for monitoring. The only place that says so.

RabbitMQ asks for `configure` to declare, `write` to publish to an exchange and to bind a queue, `read` to consume a queue
and to bind to an exchange; each is a pattern over the names of queues and exchanges alike. So:

- A service consumes and declares its own queues, and publishes through the exchanges that lead to the queues of all. It
  cannot read what is meant for others, and cannot publish to the default exchange.
- What all share is there before any service: it stands in the definitions, with the accounts.
- An ERP publishes to `imageflow.outbound`, and does nothing else.
- Monitoring sees numbers in the management API, and no message.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from imageflow.broker.rabbitmq_topology import EXCHANGE, delay_arguments, delay_name, queue_arguments
from imageflow.model import retry_ladder
from imageflow.model.messages import OUTBOUND_QUEUE, PARKED_QUEUE, READ_QUEUE, transform_queue, write_queue

NOTHING = "^$"
ERP, MONITOR = "erp", "monitor"


class Rights(NamedTuple):
    """Patterns over names, as RabbitMQ has them."""

    configure: str = NOTHING
    write: str = NOTHING
    read: str = NOTHING


def _names(*patterns: str) -> str:
    return f"^({'|'.join(patterns)})$"


def _of_flows(queue: str) -> str:
    return re.escape(queue) + ".+"


_EXCHANGE, _OUTBOUND, _PARKED = (re.escape(name) for name in (EXCHANGE, OUTBOUND_QUEUE, PARKED_QUEUE))
_DELAY = re.escape(EXCHANGE) + r"\.delay\.[0-9]+"


def _service(*queues: str, reads: Sequence[str] = ()) -> Rights:
    """Of a service that consumes these queues. It binds them, too, to what it reads of exchanges."""
    if not queues:
        return Rights(write=_names(_EXCHANGE, _DELAY))
    return Rights(_names(*queues), _names(_EXCHANGE, _DELAY, *queues), _names(_EXCHANGE, *queues, *reads))


RIGHTS: Mapping[str, Rights] = {
    "scheduler": _service(),
    "reader": _service(re.escape(READ_QUEUE)),
    "transformer": _service(_of_flows(transform_queue(""))),
    "writer": _service(_of_flows(write_queue(""))),
    "gateway": _service(_OUTBOUND, reads=[_PARKED]),
    ERP: Rights(write=_names(_OUTBOUND)),
    MONITOR: Rights(),
}
"""By service, and of the two accounts that are no service's. The gateway sees parked messages, for people who ask it."""


class Account(NamedTuple):
    """A user of RabbitMQ and the service (or ERP, or MONITOR) that it is for."""

    service: str
    user: str
    password: str


def password_hash(password: str, salt: bytes | None = None) -> str:
    """What RabbitMQ keeps of a password."""
    salt = salt or os.urandom(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def definitions(vhost: str, accounts: Sequence[Account]) -> dict[str, Any]:
    """What RabbitMQ imports: the accounts with their rights, and what all of them share. Importing it again is harmless."""
    return {
        "users": [
            {
                "name": account.user,
                "password_hash": password_hash(account.password),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": "monitoring" if account.service == MONITOR else "",
            }
            for account in accounts
        ],
        "vhosts": [{"name": vhost}],
        "permissions": [
            {"user": account.user, "vhost": vhost, **RIGHTS[account.service]._asdict()} for account in accounts
        ],
        "exchanges": [
            _exchange(vhost, EXCHANGE, "direct"),
            _exchange(vhost, OUTBOUND_QUEUE, "fanout"),
            *(_exchange(vhost, delay_name(seconds), "fanout") for seconds in retry_ladder.LADDER),
        ],
        "queues": [
            *(_queue(vhost, name, queue_arguments(name)) for name in (READ_QUEUE, OUTBOUND_QUEUE, PARKED_QUEUE)),
            *(_queue(vhost, delay_name(seconds), delay_arguments(seconds)) for seconds in retry_ladder.LADDER),
        ],
        "bindings": [
            *(_binding(vhost, EXCHANGE, name, name) for name in (READ_QUEUE, OUTBOUND_QUEUE, PARKED_QUEUE)),
            _binding(vhost, OUTBOUND_QUEUE, OUTBOUND_QUEUE, ""),
            *(_binding(vhost, name, name, name) for name in (delay_name(seconds) for seconds in retry_ladder.LADDER)),
        ],
    }


def _exchange(vhost: str, name: str, kind: str) -> dict[str, Any]:
    return {
        "name": name,
        "vhost": vhost,
        "type": kind,
        "durable": True,
        "auto_delete": False,
        "internal": False,
        "arguments": {},
    }


def _queue(vhost: str, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "vhost": vhost, "durable": True, "auto_delete": False, "arguments": dict(arguments)}


def _binding(vhost: str, exchange: str, queue: str, key: str) -> dict[str, Any]:
    return {
        "source": exchange,
        "vhost": vhost,
        "destination": queue,
        "destination_type": "queue",
        "routing_key": key,
        "arguments": {},
    }
