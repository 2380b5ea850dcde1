"""A look at RabbitMQ: over AMQP what every client may see, over the management API the rest. Changes nothing.

Over AMQP a queue's settings cannot be asked for, but they can be declared anew: RabbitMQ refuses unless they are equal.
That is done only with queues that exist, so none is made.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import aio_pika
import aiormq
import aiormq.abc
import msgspec
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed
from yarl import URL

from imageflow.broker.rabbitmq_connection import MANAGEMENT_PORTS, close_channel, close_connection, reason_of, text_of
from imageflow.broker.rabbitmq_topology import EXCHANGE
from imageflow.doctor.checks import NEEDED_FEATURES
from imageflow.doctor.facts import Queue, Rabbit
from imageflow.errors import ImageFlowError, TransportError
from imageflow.http.client import Answer, Transport
from imageflow.secret import Secret

CONNECT_SECONDS = 10.0
ASK_SECONDS = 5.0
BLOCKED_SECONDS = 3.0


class _UnseenError(ImageFlowError):
    """The management API cannot be asked."""


async def visit(url: Secret, wanted: Mapping[str, Mapping[str, Any]], management: str | None) -> Rabbit:
    """Look at the broker at `url` and at the queues `wanted` (with their arguments). `management`: where its management
    API is; by default at the usual port of the same host. Whatever cannot be had is said in the answer.
    """
    try:
        target = URL(url.reveal())
        where = f"RabbitMQ at {target.host}:{target.port or (5671 if target.scheme == 'amqps' else 5672)}"
    except ValueError:
        return Rabbit("RabbitMQ", error="its URL is not a valid one")
    seen = Rabbit(where, vhost=target.path[1:] or "/", user=target.user or "guest")
    seen = await _over_amqp(seen, target, wanted)
    if seen.error is not None:
        return seen
    try:
        return await _over_management(seen, target, management)
    except (_UnseenError, TransportError) as error:
        return msgspec.structs.replace(seen, unseen=str(error))


# AMQP --------------------------------------------------------------------------------------------------------------------


async def _over_amqp(seen: Rabbit, target: URL, wanted: Mapping[str, Mapping[str, Any]]) -> Rabbit:
    connection = aio_pika.Connection(target, client_properties={"connection_name": "imageflow doctor"})
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await connection.connect()
        assert connection.transport is not None
        amqp = connection.transport.connection
        assert isinstance(amqp, aiormq.Connection)
        properties = amqp.server_properties
        queues = [await _queue(amqp, name, arguments) for name, arguments in wanted.items()]
        return msgspec.structs.replace(
            seen,
            product=text_of(properties.get("product", b"RabbitMQ")),
            version=version(text_of(properties.get("version", b""))),
            queues=tuple(queues),
            blocked=await _blocked(amqp),
        )
    except Exception as error:  # noqa: BLE001 - see rabbitmq_connection.translated: it may be anything
        return msgspec.structs.replace(seen, error=reason_of(error))
    finally:
        await close_connection(connection)


def version(text: str) -> tuple[int, ...]:
    """`3.10.8` and `4.1.0-rc.1` as numbers; what is none ends them."""
    numbers: list[int] = []
    for part in text.split("."):
        digits = part.partition("-")[0].partition("+")[0]
        if not digits.isdigit():
            break
        numbers.append(int(digits))
    return tuple(numbers)


async def _queue(amqp: aiormq.abc.AbstractConnection, name: str, arguments: Mapping[str, Any]) -> Queue:
    try:
        state = await _declare(amqp, name, passive=True)
    except ChannelNotFoundEntity:
        return Queue(name, exists=False)
    refused = None
    try:
        await _declare(amqp, name, arguments=dict(arguments))
    except ChannelPreconditionFailed as error:
        refused = str(error)
    except ChannelAccessRefused:
        pass  # a service's account may declare its own queues alone: what the others are like, others see
    return Queue(name, messages=state.message_count or 0, consumers=state.consumer_count or 0, refused=refused)


async def _declare(amqp: aiormq.abc.AbstractConnection, name: str, **options: Any) -> Any:
    """On a channel of its own: a refusal closes it."""
    async with asyncio.timeout(ASK_SECONDS):
        channel = await amqp.channel()
        try:
            return await channel.queue_declare(name, durable=True, **options)
        finally:
            await close_channel(channel)


async def _blocked(amqp: aiormq.abc.AbstractConnection) -> bool:
    """Whether RabbitMQ takes messages: it says so only to who publishes, so one is published that leads nowhere."""
    channel = await amqp.channel(publisher_confirms=True)
    try:
        async with asyncio.timeout(BLOCKED_SECONDS):
            await channel.basic_publish(b"", exchange=EXCHANGE, routing_key="imageflow.doctor.nowhere")
    except TimeoutError:
        return True
    except ChannelNotFoundEntity:
        pass  # no service has been here yet
    return False


# the management API ------------------------------------------------------------------------------------------------------


async def _over_management(seen: Rabbit, target: URL, management: str | None) -> Rabbit:
    async with Transport(connections=2) as transport:
        api = _Api(transport, management or _usual(target), target)
        vhost = quote(seen.vhost, safe="")
        asked = time.time()
        overview = await api.get("overview")
        answered = time.time()
        nodes = await api.get("nodes")
        queues = {queue["name"]: queue for queue in await api.get(f"queues/{vhost}") if isinstance(queue, dict)}
        features = await api.get("feature-flags", closed=[])
        limits = await api.get(f"vhost-limits/{vhost}", closed=[])
    return msgspec.structs.replace(
        seen,
        product=str(_at(overview, "product_name") or seen.product),
        version=version(str(_at(overview, "product_version") or _at(overview, "rabbitmq_version"))) or seen.version,
        queues=tuple(with_details(queue, queues.get(queue.name)) for queue in seen.queues),
        alarms=tuple(alarms(nodes)),
        partitions=tuple(f"{node['name']} does not see {', '.join(node['partitions'])}" for node in _cut_off(nodes)),
        features_off=tuple(features_off(features)),
        limits={name: value for item in limits for name, value in item.get("value", {}).items()},
        unseen=f"{api.base} does not show {' and '.join(api.closed)} to this user (403)" if api.closed else None,
        skew=_skew(api.date, (asked + answered) / 2),
    )


class _Api:
    """The management API. `date` is the clock that its first answer showed, `closed` what this user may not see."""

    def __init__(self, transport: Transport, base: str, target: URL) -> None:
        self._transport = transport
        self.base = base.rstrip("/")
        credentials = f"{target.user or 'guest'}:{target.password or 'guest'}"
        self._headers = {"Authorization": "Basic " + base64.b64encode(credentials.encode()).decode()}
        self.date: str | None = None
        self.closed: list[str] = []

    async def get(self, path: str, *, closed: Any = None) -> Any:
        """What there is at `path`; `closed` where this user may not see that. Raises TransportError, _UnseenError."""
        answer: Answer = await self._transport.request(
            "GET", f"{self.base}/api/{path}", headers=self._headers, timeout=ASK_SECONDS
        )
        if answer.status in (401, 403) and closed is not None:
            self.closed.append(path.partition("/")[0])
            return closed
        if not answer.ok:
            raise _UnseenError(f"the management API at {self.base} answers {answer.status} to {path}")
        self.date = self.date or answer.headers.get("date")
        try:
            return msgspec.json.decode(answer.body)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise _UnseenError(f"what answers at {self.base} is no management API") from error


def _usual(target: URL) -> str:
    scheme, port = MANAGEMENT_PORTS[target.scheme]
    host = f"[{target.host}]" if target.host and ":" in target.host else target.host
    return f"{scheme}://{host}:{port}"


def _at(document: Any, key: str) -> Any:
    return document.get(key) if isinstance(document, dict) else None


def with_details(queue: Queue, details: Mapping[str, Any] | None) -> Queue:
    """A queue with what the management API says of it. RabbitMQ writes an empty object as an empty list."""
    if details is None:
        return queue
    policies = [details.get("policy"), f"operator:{name}" if (name := details.get("operator_policy")) else None]
    arguments = details.get("arguments")
    return msgspec.structs.replace(
        queue,
        kind=details.get("type"),
        durable=details.get("durable"),
        arguments=arguments if isinstance(arguments, dict) else {},
        policy=policy if isinstance(policy := details.get("effective_policy_definition"), dict) else {},
        policies=tuple(name for name in policies if name),
    )


def alarms(nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """The alarms of all nodes, and nodes that do not run."""
    found = [f"node {node['name']} does not run" for node in nodes if node.get("running") is False]
    for node in nodes:
        if node.get("mem_alarm"):
            found.append(f"memory on {node['name']}: {node.get('mem_used')} of {node.get('mem_limit')} bytes are used")
        if node.get("disk_free_alarm"):
            found.append(f"disk on {node['name']}: {node.get('disk_free')} bytes are free")
    return found


def _cut_off(nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [node for node in nodes if node.get("partitions")]


def features_off(flags: Sequence[Mapping[str, Any]]) -> list[str]:
    """The feature flags that we need and that are known and off: a newer RabbitMQ no longer lists the old ones."""
    return [flag["name"] for flag in flags if flag.get("name") in NEEDED_FEATURES and flag.get("state") == "disabled"]


def _skew(date: str | None, ours: float) -> float | None:
    """How far the clock in a Date header is ahead of ours; it leaves out the fraction of the second."""
    try:
        return None if date is None else parsedate_to_datetime(date).timestamp() + 0.5 - ours
    except ValueError:
        return None
