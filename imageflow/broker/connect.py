"""From a URL to a broker."""

from __future__ import annotations

from pathlib import Path

from imageflow.broker import Broker
from imageflow.broker.sqlite import SqliteBroker
from imageflow.errors import BrokerError
from imageflow.secret import Secret


def connect(url: Secret, *, consumer: bool = True) -> Broker:
    """The broker at `url`: sqlite:///PATH (sqlite:////PATH is absolute) or amqp(s)://USER:PASSWORD@HOST/VHOST.

    Not connected yet: enter it. Of a SQLite file only one process may be the `consumer`; others publish.
    """
    text = url.reveal()
    if text.startswith("sqlite:///"):
        return SqliteBroker(Path(text.removeprefix("sqlite:///")), consumer=consumer)
    if text.startswith(("amqp://", "amqps://")):
        from imageflow.broker.rabbitmq import RabbitBroker  # noqa: PLC0415 - the embedded broker does without its imports

        return RabbitBroker(url)
    raise BrokerError("a broker's URL starts with sqlite:/// or amqp:// or amqps://")
