"""The distributed broker: RabbitMQ.

What is declared there is in rabbitmq_topology, what keeps the connections in rabbitmq_connection. There are two
connections, because RabbitMQ stops reading from connections that publish too fast, and a consumer's acknowledgements must
not wait behind that.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

import aiormq
import aiormq.abc
import pamqp.commands as amqp
import structlog
from aiormq.exceptions import ChannelNotFoundEntity, DeliveryError, PublishError

from imageflow.broker import PUBLISH_SECONDS, QUEUE_LIMIT, Depth, Outgoing, parked, retried
from imageflow.broker.rabbitmq_connection import (
    BACKOFF_SECONDS,
    CALL_SECONDS,
    CLOSE_SECONDS,
    Link,
    Session,
    backoff,
    close_channel,
    text_of,
    translated,
    uncancelled,
    unprepared,
)
from imageflow.broker.rabbitmq_topology import EXCHANGE, Topology, delay_name
from imageflow.errors import BrokerError, LostError, MissingError, QueueFullError
from imageflow.model import retry_ladder
from imageflow.model.messages import OUTBOUND_QUEUE, PARKED_QUEUE
from imageflow.secret import Secret

START_SECONDS = 10.0
"""How long a new consumer may take until it counts as missing."""

WATCH_SECONDS = 15.0
"""How often it is checked that a consumer is one in RabbitMQ's eyes too."""

RETURNS_LIMIT = 3
DRAIN_BYTES = 64 * 1024

APP_ID = "imageflow"
"""Marks what we published."""

KEPT_PROPERTIES = ("message_id", "content_type", "content_encoding")
"""Properties of a stranger's message that say what it holds: they become headers, and stay with it from then on."""

_log = structlog.get_logger()

BROKERS_OWN_HEADERS = ("x-death", "x-delivery-count", "x-acquired-count")
BROKERS_OWN_PREFIXES = ("x-first-death-", "x-last-death-", "x-opt-")


def text_headers(queue: str, raw: Mapping[str, Any] | None) -> dict[str, str]:
    """A message's own headers as text, without RabbitMQ's: one that is published again with the history of its deaths
    may be taken for a cycle and dropped. A message that RabbitMQ itself parked says why, like one that we parked.
    """
    headers = {name: text_of(value) for name, value in (raw or {}).items() if not _brokers_own(name)}
    if queue == PARKED_QUEUE and (death := _last_death(raw)) is not None:
        headers["reason"] = f"RabbitMQ gave it up: {text_of(death.get('reason', ''))}"
        headers["queue"] = text_of(death.get("queue", ""))
        when = death.get("time")
        if isinstance(when, datetime):
            headers["parked_at"] = when.astimezone(UTC).isoformat(timespec="seconds")
    return headers


def property_headers(properties: amqp.Basic.Properties) -> dict[str, str]:
    """What the properties of a stranger's message say of it, as headers. Our own has it in its headers already, and an id
    that the library made up.
    """
    if properties.app_id == APP_ID:
        return {}
    kept = {name.replace("_", "-"): getattr(properties, name) for name in KEPT_PROPERTIES}
    return {name: text_of(value) for name, value in kept.items() if value}


def _last_death(raw: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """How RabbitMQ put a message aside last: it writes that in front of whatever stands there. `x-first-death-*` may be the
    publisher's: RabbitMQ leaves what it finds.
    """
    deaths = (raw or {}).get("x-death")
    death = deaths[0] if isinstance(deaths, list) and deaths else None
    return death if isinstance(death, dict) else None


def _brokers_own(name: str) -> bool:
    return name in BROKERS_OWN_HEADERS or name.startswith(BROKERS_OWN_PREFIXES)


class RabbitBroker:
    """A broker over RabbitMQ. Short absences of the server pass unnoticed: publishing waits for its return within
    `publish_seconds`, and consumers resume.
    """

    def __init__(
        self, url: Secret, *, queue_limit: int = QUEUE_LIMIT, publish_seconds: float = PUBLISH_SECONDS
    ) -> None:
        self._publish_seconds = publish_seconds
        topology = Topology(queue_limit)
        self._publishing = Link(url, "imageflow publish", topology.declare_shared, self._wake)
        self._consuming = Link(url, "imageflow consume", unprepared, self._wake)
        self._publisher = _Publisher(self._publishing, topology, publish_seconds)
        self._parts = _Parts(self._consuming, topology, self._publisher, _Channels())
        self._consumers: set[_Consumer] = set()
        self._stack = contextlib.AsyncExitStack()
        self._group: asyncio.TaskGroup | None = None
        self._maintaining: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        try:
            for link in (self._publishing, self._consuming):
                await link.open()
        except BaseException:
            await self._close_links()
            raise
        self._group = await self._stack.enter_async_context(asyncio.TaskGroup())
        self._maintaining = [self._group.create_task(link.maintain()) for link in (self._publishing, self._consuming)]
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            for consumer in list(self._consumers):
                await consumer.stop()
        finally:
            self._group = None
            try:
                for task in self._maintaining:
                    await _end(task)
                await self._stack.aclose()
            finally:
                await self._parts.channels.close()
                await self._close_links()

    async def _close_links(self) -> None:
        for link in (self._consuming, self._publishing):
            await link.close()

    async def publish(self, *messages: Outgoing) -> None:
        await self._publisher.publish(messages)

    @asynccontextmanager
    async def consume(self, queue: str, *, prefetch: int) -> AsyncIterator[AsyncIterator[_Delivery]]:
        if self._group is None:
            raise BrokerError("the connection to RabbitMQ is closed")
        consumer = _Consumer(self._parts, queue, prefetch)
        consumer.start(self._group)
        self._consumers.add(consumer)
        try:
            yield consumer
        finally:
            try:
                await consumer.stop()
            finally:
                self._consumers.discard(consumer)

    @asynccontextmanager
    async def browse(self, queue: str) -> AsyncIterator[AsyncIterator[_Delivery]]:
        """On a channel of its own, whose end requeues what was not settled."""
        async with self._publishing.session_within(self._publish_seconds) as session:
            channel = _Channel(queue, await session.channel())
        try:
            async with contextlib.aclosing(self._look_through(channel)) as found:
                yield found
        finally:
            await channel.close()

    async def _look_through(self, channel: _Channel) -> AsyncGenerator[_Delivery, None]:
        while (message := await channel.get()) is not None:
            yield _Delivery(self._publisher, channel, message)

    async def depth(self, queue: str) -> Depth:
        try:
            async with self._publishing.session_within(self._publish_seconds) as session:
                return await _depth(session, queue)
        except MissingError:
            return Depth(0, 0)

    def consuming(self, queue: str) -> bool:
        return any(consumer.queue == queue and consumer.running for consumer in self._consumers)

    @property
    def healthy(self) -> str | None:
        if self._group is None:
            return "the connection to RabbitMQ is closed"
        links = [link.problem for link in (self._publishing, self._consuming)]
        problems = [*links, *(consumer.problem for consumer in self._consumers)]
        return next((problem for problem in problems if problem), None)

    def _wake(self) -> None:
        for consumer in self._consumers:
            consumer.wake()


# --- publishing


class _Parcel(NamedTuple):
    """A message with its address. `exchange` is that of its queue, or a step of the ladder."""

    queue: str
    exchange: str
    body: bytes
    headers: Mapping[str, str]


async def _depth(session: Session, queue: str) -> Depth:
    """Raises MissingError where there is no such queue."""

    async def look(channel: aiormq.abc.AbstractChannel) -> amqp.Queue.DeclareOk:
        return await channel.queue_declare(queue, passive=True)

    state = await session.ask(look)
    return Depth(state.message_count or 0, state.consumer_count or 0)


def _parcel(message: Outgoing) -> _Parcel:
    exchange = delay_name(retry_ladder.step(message.delay)) if message.delay > 0 else EXCHANGE
    return _Parcel(message.queue, exchange, message.body, message.headers)


class _Publisher:
    """Publishes within a deadline."""

    def __init__(self, link: Link, topology: Topology, seconds: float) -> None:
        self._link = link
        self._topology = topology
        self._seconds = seconds

    @property
    def usable(self) -> bool:
        """Whether RabbitMQ takes messages now."""
        return self._link.problem is None

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish and wait for all confirms, anew after a loss, within the deadline."""
        sending = _Sending(self._topology, [_parcel(message) for message in messages])
        with self._link.deadline(self._seconds, lambda: sending.trouble):
            async with asyncio.timeout(self._seconds):
                while sending.pending:
                    try:
                        async with self._link.session() as session:
                            await sending.attempt(session)
                    except LostError as lost:
                        sending.trouble = str(lost)
                        await asyncio.sleep(BACKOFF_SECONDS[0])


class _Sending:
    """What is to be published and not confirmed yet."""

    def __init__(self, topology: Topology, parcels: Sequence[_Parcel]) -> None:
        self._topology = topology
        self.pending = list(parcels)
        self.trouble: str | None = None
        self._returns = 0

    async def attempt(self, session: Session) -> None:
        """Send what is pending, wait for the confirms, and keep in `pending` what was not confirmed.

        Raises LostError, QueueFullError, or BrokerError where trying again does not help.
        """
        outcomes: list[Exception | None] = [LostError() for _ in self.pending]
        try:
            await self._declare(session)
            channel = await session.publisher()
            if len(self.pending) == 1:
                await _send(channel, self.pending[0], outcomes, 0)
            else:
                async with asyncio.TaskGroup() as group:
                    for position, parcel in enumerate(self.pending):
                        group.create_task(_send(channel, parcel, outcomes, position))
        finally:
            sent, self.pending = self.pending, []
            self.pending = [parcel for parcel, outcome in zip(sent, outcomes, strict=True) if outcome is not None]
        await self._judge(session, [outcome for outcome in outcomes if outcome is not None])

    async def _declare(self, session: Session) -> None:
        try:
            await self._topology.declare_used(session, {parcel.queue for parcel in self.pending})
        except MissingError as error:  # an exchange was deleted under us
            session.shared_declared = False
            raise LostError(str(error)) from error

    async def _judge(self, session: Session, failures: Sequence[Exception]) -> None:
        if any(isinstance(failure, PublishError) for failure in failures):
            self._returned(session)
        if any(isinstance(failure, DeliveryError) and not isinstance(failure, PublishError) for failure in failures):
            await self._refused(session)
        for failure in failures:
            if not isinstance(failure, PublishError):
                session.shared_declared = False  # the channel is gone, maybe because an exchange is
                raise LostError(str(failure) or None)

    async def _refused(self, session: Session) -> None:
        """RabbitMQ confirms negatively for a full queue, and for a quorum queue that has no leader for a moment, as after it
        was made. The number of messages tells which: a queue that was full takes more again at 80 % of its limit, so one
        that is not half full has room.
        """
        queues = sorted({parcel.queue for parcel in self.pending})
        for queue in queues:
            if 2 * (await _depth(session, queue)).ready >= self._topology.queue_limit:
                raise QueueFullError(f"RabbitMQ takes no more for {queue} for now")
        raise LostError(f"RabbitMQ refused a message for {', '.join(queues)}, though there is room")

    def _returned(self, session: Session) -> None:
        """RabbitMQ found no queue for a message: whatever we declared is not there any more."""
        self._returns += 1
        self.trouble = "RabbitMQ returned the message: it has no queue for it"
        session.shared_declared = False
        session.declared.difference_update(parcel.queue for parcel in self.pending)
        if self._returns > RETURNS_LIMIT:
            raise BrokerError(f"{self.trouble}, though it was declared {RETURNS_LIMIT} times")


async def _send(channel: aiormq.Channel, parcel: _Parcel, outcomes: list[Exception | None], position: int) -> None:
    """Publish one message and wait for its confirm; its outcome goes into `outcomes`."""
    properties = amqp.Basic.Properties(delivery_mode=2, app_id=APP_ID, headers=dict(parcel.headers))
    try:
        async with uncancelled():
            await channel.basic_publish(
                parcel.body,
                exchange=parcel.exchange,
                routing_key=parcel.queue,
                properties=properties,
                mandatory=True,
                wait=len(parcel.body) > DRAIN_BYTES,
            )
    except Exception as error:  # noqa: BLE001 - one failure must not end the wait of the others
        outcomes[position] = error
    else:
        outcomes[position] = None


# --- consuming


class _Channel:
    """A channel with deliveries that are not acknowledged yet. Settling through a channel that is gone does nothing:
    RabbitMQ has requeued its deliveries.
    """

    def __init__(self, queue: str, channel: aiormq.abc.AbstractChannel) -> None:
        self.queue = queue
        self.unacknowledged = 0
        self.ended = asyncio.Event()
        """Set when the channel is at its end, or has to be closed."""
        self._cancelled = False
        self._channel = channel
        channel.closing.add_done_callback(lambda _: self.ended.set())

    @property
    def gone(self) -> bool:
        return self._channel.is_closed

    @property
    def outlives_its_consumer(self) -> bool:
        """Whether the consumer is cancelled and deliveries that were taken are still to be settled."""
        return self._cancelled and self.unacknowledged > 0

    async def consume(self, prefetch: int, deliver: Callable[[aiormq.abc.DeliveredMessage], None]) -> str:
        """Begin to consume; returns the consumer's tag. What arrives after `cancel` is requeued."""

        async def on_message(message: aiormq.abc.DeliveredMessage) -> None:
            self.unacknowledged += 1
            if self._cancelled:
                await self.requeue(message.delivery_tag or 0)
            else:
                deliver(message)

        self._channel.on_consumer_cancel_callbacks.add(lambda _: self.ended.set())
        async with asyncio.timeout(CALL_SECONDS):
            await self._channel.basic_qos(prefetch_count=prefetch)
            started = await self._channel.basic_consume(self.queue, on_message)
        return started.consumer_tag or ""

    async def cancel(self, tag: str) -> None:
        """Receive nothing more; the channel stays open until the last delivery is settled."""
        async with asyncio.timeout(CLOSE_SECONDS):
            await self._channel.basic_cancel(tag)
        self._cancelled = True

    async def get(self) -> aiormq.abc.DeliveredMessage | None:
        """The next message, without a consumer; None where there is none, or no such queue."""
        async with translated():
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    message = await self._channel.basic_get(self.queue, no_ack=False)
            except ChannelNotFoundEntity:
                return None
        if not isinstance(message.delivery, amqp.Basic.GetOk):
            return None
        self.unacknowledged += 1
        return message

    async def ack(self, tag: int) -> None:
        await self._settle(self._channel.basic_ack(tag, wait=False))

    async def requeue(self, tag: int) -> None:
        await self._settle(self._channel.basic_nack(tag, requeue=True, wait=False))

    async def _settle(self, settling: Awaitable[None]) -> None:
        try:
            async with translated(), asyncio.timeout(CLOSE_SECONDS):
                await settling
        except BrokerError:
            self.ended.set()  # if the channel lives, it must not: the delivery would stay unacknowledged
        self.unacknowledged -= 1
        if self._cancelled and not self.unacknowledged:
            await self.close()

    async def close(self) -> None:
        await close_channel(self._channel)


class _Channels:
    """The channels of all consumers, for as long as they have deliveries to settle."""

    def __init__(self) -> None:
        self._open: set[_Channel] = set()

    def add(self, channel: _Channel) -> None:
        self._open = {other for other in self._open if not other.gone} | {channel}

    async def drop(self, channel: _Channel) -> None:
        """The channel's consumer has ended."""
        if not channel.outlives_its_consumer:
            self._open.discard(channel)
            await channel.close()

    def unacknowledged(self, queue: str) -> int:
        """How many deliveries of the queue this process holds."""
        return sum(channel.unacknowledged for channel in self._open if channel.queue == queue)

    async def close(self) -> None:
        """One by one: closing a channel waits for what was acknowledged through it, closing the connection does not."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                for channel in self._open:
                    await channel.close()


class _Delivery:
    """A delivery from RabbitMQ."""

    def __init__(self, publisher: _Publisher, channel: _Channel, message: aiormq.abc.DeliveredMessage) -> None:
        properties = message.header.properties
        raw = properties.headers
        self._publisher = publisher
        self._channel = channel
        self._tag = message.delivery_tag or 0
        self._settled = False
        self.queue = channel.queue
        self.body = message.body
        self.headers: Mapping[str, str] = property_headers(properties) | text_headers(channel.queue, raw)
        self.deliveries = delivery_count(message)

    async def ack(self) -> None:
        async with self._settling() as proceed:
            if proceed:
                await self._channel.ack(self._tag)

    async def requeue(self) -> None:
        async with self._settling() as proceed:
            if proceed:
                await self._channel.requeue(self._tag)

    async def retry(self, delay: float, *, failed: bool = True) -> None:
        headers = retried(self.headers, failed=failed)
        await self._replace(Outgoing(self.queue, self.body, max(delay, retry_ladder.LADDER[0]), headers))

    async def park(self, reason: str) -> None:
        headers = parked(self.headers, self.queue, reason, time.time())
        await self._replace(Outgoing(PARKED_QUEUE, self.body, headers=headers))

    async def _replace(self, message: Outgoing) -> None:
        """Publish `message`, then acknowledge. A delivery that RabbitMQ has requeued is not published: it is there."""
        async with self._settling() as proceed:
            if not proceed or self._channel.gone:
                return
            try:
                await self._publisher.publish([message])
            except BrokerError:
                if not self._channel.gone:
                    raise
            await self._channel.ack(self._tag)

    @asynccontextmanager
    async def _settling(self) -> AsyncIterator[bool]:
        """Whether to settle: only once, unless it failed or was cancelled."""
        if self._settled:
            yield False
            return
        self._settled = True
        try:
            yield True
        except BaseException:
            self._settled = False
            raise


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel a task until it ends: the library under it may take one cancellation for its own."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CLOSE_SECONDS)


def delivery_count(message: aiormq.abc.DeliveredMessage) -> int:
    """How often a quorum queue delivered a message before. It writes the header only when it delivers again: what stands
    there the first time is the publisher's.
    """
    if not getattr(message.delivery, "redelivered", False):
        return 0
    count = (message.header.properties.headers or {}).get("x-delivery-count")
    return count if isinstance(count, int) else 0


class _Parts(NamedTuple):
    """What a consumer needs of its broker."""

    link: Link
    topology: Topology
    publisher: _Publisher
    channels: _Channels


class _Consumer:
    """Consumes a queue through losses and cancellations: the iterator of its deliveries."""

    def __init__(self, parts: _Parts, queue: str, prefetch: int) -> None:
        self._parts = parts
        self.queue = queue
        self._prefetch = prefetch
        self._fetched: deque[_Delivery] = deque()
        self._news = asyncio.Event()
        self._stopped = False
        self._ended: asyncio.Event | None = None
        self._received = 0
        self._task: asyncio.Task[None] | None = None
        self._problem: str | None = None
        self._begun = time.monotonic()
        self.running = False

    @property
    def problem(self) -> str | None:
        """Why it does not run. One that has only just begun has none."""
        if self._problem is None and not self.running and time.monotonic() - self._begun > START_SECONDS:
            return f"the consumer of {self.queue} is not running yet"
        return self._problem

    def start(self, group: asyncio.TaskGroup) -> None:
        self._task = group.create_task(self._run(), name=f"consume {self.queue}")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _Delivery:
        # Nothing is taken while publishing is impossible: its handler could only requeue it, again and again, until the
        # delivery limit parks it.
        while not (self._fetched and self._parts.publisher.usable):
            if self._stopped:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._fetched.popleft()

    def wake(self) -> None:
        self._news.set()

    async def stop(self) -> None:
        """Take nothing more and requeue what was not taken. Bounded in time."""
        self._stopped = True
        self.wake()
        task, self._task = self._task, None
        if task is None:
            return
        if self._ended is not None:
            self._ended.set()
            await asyncio.wait({task}, timeout=CLOSE_SECONDS)
        await _end(task)

    async def _run(self) -> None:
        tries = 0
        while not self._stopped:
            try:
                async with self._parts.link.session() as session:
                    await self._subscribe(session)
                    tries = 0
            except BrokerError as error:
                self._problem = f"the consumer of {self.queue} is not running: {error}"
            except Exception as error:  # noqa: BLE001 - nothing else would consume the queue again
                _log.exception("unexpected error of a consumer", queue=self.queue)
                self._problem = f"the consumer of {self.queue} is not running: {type(error).__name__}: {error}"
            if not self._stopped:
                await asyncio.sleep(backoff(tries))
                tries += 1

    async def _subscribe(self, session: Session) -> None:
        """Consume until the subscription ends, for whatever reason."""
        await self._parts.topology.declare(session, self.queue)
        channel = _Channel(self.queue, await session.channel())
        self._parts.channels.add(channel)
        try:
            self._ended = channel.ended
            tag = await channel.consume(self._prefetch, lambda message: self._deliver(channel, message))
            self._problem = None
            self.running = True
            await self._watch(session, channel.ended)
            if self._stopped and not channel.gone:
                await self._cancel(channel, tag)
        finally:
            self.running = False
            self._ended = None
            self._fetched.clear()
            await self._parts.channels.drop(channel)

    def _deliver(self, channel: _Channel, message: aiormq.abc.DeliveredMessage) -> None:
        self._received += 1
        self._fetched.append(_Delivery(self._parts.publisher, channel, message))
        self.wake()

    async def _watch(self, session: Session, ended: asyncio.Event) -> None:
        """Returns when the subscription has ended, or when RabbitMQ knows of none."""
        while not (ended.is_set() or self._stopped):
            received = self._received
            try:
                async with asyncio.timeout(WATCH_SECONDS):
                    await ended.wait()
            except TimeoutError:
                if await self._is_dead(session, idle=received == self._received):
                    break
        if not self._stopped:
            self._problem = f"the consumer of {self.queue} was ended by RabbitMQ and starts again"

    async def _is_dead(self, session: Session, *, idle: bool) -> bool:
        """Whether RabbitMQ has no consumer on the queue, or holds messages and gives us none though we have none."""

        async def look(channel: aiormq.abc.AbstractChannel) -> amqp.Queue.DeclareOk:
            return await channel.queue_declare(self.queue, passive=True)

        try:
            state = await session.ask(look)
        except LostError as error:
            self._problem = f"the queue {self.queue} does not answer: {error}"
            return False
        self._problem = None
        if not state.consumer_count:
            return True
        if self.queue == OUTBOUND_QUEUE:
            return False  # the queue's one active consumer may be another
        return idle and bool(state.message_count) and not self._parts.channels.unacknowledged(self.queue)

    async def _cancel(self, channel: _Channel, tag: str) -> None:
        """Stop the flow and requeue what was not taken."""
        await channel.cancel(tag)
        fetched = list(self._fetched)
        self._fetched.clear()
        for delivery in fetched:
            await delivery.requeue()
