"""The distributed broker: RabbitMQ 3.10 or later, quorum queues.

    exchange imageflow (direct) ──queue's name──> work queue ──delivery limit──> imageflow ──> imageflow.parked
    exchange imageflow.delay.<s> (fanout) ──> queue imageflow.delay.<s>, TTL <s> ──expired──> imageflow ──> work queue

A message in the ladder keeps the routing key it was published with, the name of its own queue: so one ladder serves
all queues, and since each step has one TTL nothing waits behind anything longer.

Two connections, because RabbitMQ stops reading from connections that publish too fast, and a consumer's
acknowledgements must not wait behind that. Each is kept by a `_Link`: a loop that connects, waits for the loss, and
connects again. Everything that depends on a connection belongs to its `_Session` and ends with it; nothing is carried
over, so there is no state to repair. Waiting for an answer on a connection that is lost ends at once, by
`_Session.unless_lost`: the library itself leaves some such waits open.

aio-pika opens the connections. Channels are aiormq's, the layer below: those of aio-pika leave an observer on the
connection for each one opened, and its robust ones resume on their own terms.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self, cast

import aio_pika
import aiormq
import aiormq.abc
import pamqp.commands as amqp
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import (
    AMQPError,
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
    ProbableAuthenticationError,
    PublishError,
)
from pamqp.exceptions import PAMQPException
from yarl import URL

from imageflow.broker import DELIVERY_LIMIT, PUBLISH_SECONDS, QUEUE_LIMIT, Depth, Outgoing, parked, retried
from imageflow.errors import BrokerError, QueueFullError
from imageflow.model import retry_ladder
from imageflow.model.messages import OUTBOUND_QUEUE, PARKED_QUEUE
from imageflow.secret import Secret

EXCHANGE = "imageflow"
NO_LIMIT = 2**31 - 1
CONNECT_SECONDS = 10.0
CALL_SECONDS = 10.0
"""Deadline of every single question to RabbitMQ."""

CLOSE_SECONDS = 5.0
HEARTBEAT_SECONDS = 15
WATCH_SECONDS = 15.0
"""How often it is checked that a consumer is one in RabbitMQ's eyes too."""

LOOK_SECONDS = 0.5
BACKOFF_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
RETURNS_LIMIT = 3
DRAIN_BYTES = 64 * 1024

BROKEN = (AMQPError, PAMQPException, OSError, RuntimeError)
"""What the library raises when a connection or a channel is at an end (TimeoutError is an OSError)."""

APP_ID = "imageflow"
"""Marks what we published."""

TOLD_PROPERTIES = ("message_id", "content_type", "content_encoding")
"""Properties of a stranger's message that say what it holds: they become headers, and stay with it from then on."""

BROKERS_OWN_HEADERS = ("x-death", "x-delivery-count", "x-acquired-count")
BROKERS_OWN_PREFIXES = ("x-first-death-", "x-last-death-", "x-opt-")


def delay_name(seconds: int) -> str:
    """The name of a ladder step's exchange, and of its queue."""
    return f"imageflow.delay.{seconds}"


def queue_arguments(queue: str, queue_limit: int = QUEUE_LIMIT) -> dict[str, Any]:
    """The arguments that a queue which is not of the ladder is declared with.

    Without at-least-once a dead-lettered message is lost when the parked queue is not there at that moment;
    at-least-once in turn demands reject-publish. RabbitMQ 4 has a delivery limit of its own, so the parked queue, which
    leads nowhere, sets one that is never reached. Of the outbound queue one gateway at a time takes: what an ERP
    publishes one after the other is accepted in that order.
    """
    common: dict[str, Any] = {"x-queue-type": "quorum", "x-overflow": "reject-publish"}
    if queue == PARKED_QUEUE:
        return common | {"x-delivery-limit": NO_LIMIT}
    if queue == OUTBOUND_QUEUE:
        common |= {"x-single-active-consumer": True}
    return common | {
        "x-dead-letter-exchange": EXCHANGE,
        "x-dead-letter-routing-key": PARKED_QUEUE,
        "x-dead-letter-strategy": "at-least-once",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-max-length": queue_limit,
    }


def delay_arguments(seconds: int) -> dict[str, Any]:
    """The arguments of a ladder step's queue. No dead-letter routing key: the message keeps its own."""
    return {
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-message-ttl": seconds * 1000,
        "x-dead-letter-exchange": EXCHANGE,
        "x-dead-letter-strategy": "at-least-once",
    }


def text_headers(queue: str, raw: Mapping[str, Any] | None) -> dict[str, str]:
    """A message's own headers as text, without RabbitMQ's: one that is published again with the history of its deaths
    may be taken for a cycle and dropped. A message that RabbitMQ itself parked says why, like one that we parked.
    """
    headers = {name: _text(value) for name, value in (raw or {}).items() if not _brokers_own(name)}
    if queue == PARKED_QUEUE and raw and "x-first-death-reason" in raw:
        headers.setdefault("reason", f"RabbitMQ gave it up: {_text(raw['x-first-death-reason'])}")
        headers.setdefault("queue", _text(raw.get("x-first-death-queue", "")))
        if (when := _died_at(raw)) is not None:
            headers.setdefault("parked_at", when)
    return headers


def told_headers(properties: amqp.Basic.Properties) -> dict[str, str]:
    """What the properties of a stranger's message say of it, as headers. Our own has it in its headers already, and an id
    that the library made up.
    """
    if properties.app_id == APP_ID:
        return {}
    told = {name.replace("_", "-"): getattr(properties, name) for name in TOLD_PROPERTIES}
    return {name: _text(value) for name, value in told.items() if value}


def _died_at(raw: Mapping[str, Any]) -> str | None:
    """When RabbitMQ put a message aside."""
    deaths = raw.get("x-death")
    death = deaths[0] if isinstance(deaths, list) and deaths else None
    when = death.get("time") if isinstance(death, dict) else None
    return when.astimezone(UTC).isoformat(timespec="seconds") if isinstance(when, datetime) else None


def _brokers_own(name: str) -> bool:
    return name in BROKERS_OWN_HEADERS or name.startswith(BROKERS_OWN_PREFIXES)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else str(value)


class RabbitBroker:
    """A broker over RabbitMQ. Short absences of the server pass unnoticed: publishing waits for its return within
    `publish_seconds`, and consumers resume.
    """

    def __init__(
        self, url: Secret, *, queue_limit: int = QUEUE_LIMIT, publish_seconds: float = PUBLISH_SECONDS
    ) -> None:
        self._publish_seconds = publish_seconds
        self._topology = _Topology(queue_limit)
        self._publishing = _Link(url, "imageflow publish", self._topology.declare_shared, self._wake)
        self._consuming = _Link(url, "imageflow consume", _nothing, self._wake)
        self._consumers: set[_Consumer] = set()
        self._leases: set[_Lease] = set()
        self._stack = contextlib.AsyncExitStack()
        self._group: asyncio.TaskGroup | None = None
        self._keepers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        try:
            for link in (self._publishing, self._consuming):
                await link.open()
        except BaseException:
            await self._close_links()
            raise
        self._group = await self._stack.enter_async_context(asyncio.TaskGroup())
        self._keepers = [self._group.create_task(link.keep()) for link in (self._publishing, self._consuming)]
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            for consumer in list(self._consumers):
                await consumer.stop()
        finally:
            for keeper in self._keepers:
                keeper.cancel()
            self._group = None
            try:
                await self._stack.aclose()
            finally:
                await self._close_leases()
                await self._close_links()

    async def _close_leases(self) -> None:
        """Channel by channel: closing one waits for what was acknowledged through it, closing the connection does not."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                for lease in self._leases:
                    await lease.close()

    async def _close_links(self) -> None:
        for link in (self._consuming, self._publishing):
            await link.close()

    async def publish(self, *messages: Outgoing) -> None:
        await self._publish([_parcel(message) for message in messages])

    @asynccontextmanager
    async def consume(self, queue: str, *, prefetch: int) -> AsyncIterator[AsyncIterator[_Delivery]]:
        if self._group is None:
            raise BrokerError("the connection to RabbitMQ is closed")
        consumer = _Consumer(self, queue, prefetch)
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
        """On a channel of its own, whose end hands back what was not settled."""
        with self._publishing.deadline(self._publish_seconds):
            async with asyncio.timeout(self._publish_seconds), self._publishing.session() as session:
                channel = await session.channel()
        lease = _Lease(queue, channel, asyncio.Event())
        try:
            async with contextlib.aclosing(self._look_through(channel, lease)) as found:
                yield found
        finally:
            await lease.close()

    async def _look_through(
        self, channel: aiormq.abc.AbstractChannel, lease: _Lease
    ) -> AsyncGenerator[_Delivery, None]:
        async with _translated():
            while True:
                try:
                    async with asyncio.timeout(CALL_SECONDS):
                        message = await channel.basic_get(lease.queue, no_ack=False)
                except ChannelNotFoundEntity:
                    return
                if not isinstance(message.delivery, amqp.Basic.GetOk):
                    return
                lease.loans += 1
                yield _Delivery(self, lease, message)

    async def depth(self, queue: str) -> Depth:
        """What is ready, of all consumers; what is on loan, of this process only: AMQP does not tell more."""
        unacked = sum(lease.loans for lease in self._leases if lease.queue == queue and not lease.gone)
        try:
            state = await self._ask(lambda channel: channel.queue_declare(queue, passive=True))
        except _MissingError:
            return Depth(0, unacked, 0)
        return Depth(state.message_count or 0, unacked, state.consumer_count or 0)

    async def purge(self, queue: str) -> int:
        try:
            done = await self._ask(lambda channel: channel.queue_purge(queue))
        except _MissingError:
            return 0
        return done.message_count or 0

    @property
    def healthy(self) -> str | None:
        if self._group is None:
            return "the connection to RabbitMQ is closed"
        links = [link.problem for link in (self._publishing, self._consuming)]
        problems = [*links, *(consumer.problem for consumer in self._consumers)]
        return next((problem for problem in problems if problem), None)

    async def _ask(self, question: Callable[[aiormq.abc.AbstractChannel], Any]) -> Any:
        """Ask RabbitMQ something on a channel of its own: a refusal closes the channel."""
        with self._publishing.deadline(self._publish_seconds):
            async with asyncio.timeout(self._publish_seconds), self._publishing.session() as session:
                return await session.ask(question)

    async def _publish(self, parcels: Sequence[_Parcel]) -> None:
        """Publish and wait for all confirms, anew after a loss, within the deadline."""
        sending = _Sending(self._topology, parcels)
        with self._publishing.deadline(self._publish_seconds, sending):
            async with asyncio.timeout(self._publish_seconds):
                while sending.pending:
                    try:
                        async with self._publishing.session() as session:
                            await sending.attempt(session)
                    except _LostError as lost:
                        sending.trouble = str(lost)
                        await asyncio.sleep(BACKOFF_SECONDS[0])

    def _wake(self) -> None:
        for consumer in self._consumers:
            consumer.wake()


class _LostError(BrokerError):
    """The connection to RabbitMQ, or a channel of it, was lost."""


class _MissingError(BrokerError):
    """RabbitMQ has no such queue."""


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    """Turns what aiormq raises into _LostError, where trying again helps, or another BrokerError, where it does not."""
    try:
        yield
    except ChannelNotFoundEntity as error:
        raise _MissingError(f"RabbitMQ: {error}") from error
    except (ChannelAccessRefused, ProbableAuthenticationError) as error:
        raise BrokerError(f"RabbitMQ refuses: {error}", transient=False) from error
    except BROKEN as error:
        raise _LostError(f"RabbitMQ: {str(error) or type(error).__name__}") from error
    except asyncio.CancelledError as error:
        # What waits on a channel that is closed is woken with a CancelledError, though nobody cancelled the task.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise _LostError from error


# --- connections


class _Session:
    """One connection, from its opening to its loss, and what was declared on it."""

    def __init__(self, connection: AbstractConnection) -> None:
        assert connection.transport is not None
        self._connection = connection
        self._amqp = connection.transport.connection
        self.lost = asyncio.Event()
        self.declared: set[str] = set()
        self.shared_declared = False
        self._publisher: aiormq.Channel | None = None
        self._opening = asyncio.Lock()
        self._waiting: set[asyncio.Timeout] = set()
        self._amqp.closing.add_done_callback(lambda _: self._on_lost())

    def _on_lost(self) -> None:
        self.lost.set()
        now = asyncio.get_running_loop().time()
        for waiting in self._waiting:
            waiting.reschedule(now)

    @asynccontextmanager
    async def unless_lost(self) -> AsyncIterator[None]:
        """Ends what runs inside with _LostError as soon as the connection is lost; translates errors."""
        async with _translated(), asyncio.timeout(0 if self.lost.is_set() else None) as waiting:
            self._waiting.add(waiting)
            try:
                yield
            finally:
                self._waiting.discard(waiting)

    async def blocked(self) -> bool:
        """Whether RabbitMQ takes no messages for now (it is short of memory or disk)."""
        try:
            async with asyncio.timeout(0):
                await self._amqp.ready()
        except TimeoutError:
            return True
        return False

    async def channel(self, *, confirms: bool = False) -> aiormq.abc.AbstractChannel:
        async with asyncio.timeout(CALL_SECONDS):
            return await self._amqp.channel(publisher_confirms=confirms, on_return_raises=True)

    async def publisher(self) -> aiormq.Channel:
        """The channel that publishes; another when that one was closed."""
        async with self._opening:
            if self._publisher is None or self._publisher.is_closed:
                self._publisher = cast(aiormq.Channel, await self.channel(confirms=True))
            return self._publisher

    async def ask(self, question: Callable[[aiormq.abc.AbstractChannel], Any]) -> Any:
        """The answer to a question that is put on a channel of its own. Raises BrokerError."""
        async with self.unless_lost():
            channel = await self.channel()
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    return await question(channel)
            finally:
                await _close(channel)

    async def close(self) -> None:
        with contextlib.suppress(*BROKEN):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._connection.close()


async def _close(channel: aiormq.abc.AbstractChannel) -> None:
    with contextlib.suppress(BrokerError):
        async with _translated(), asyncio.timeout(CLOSE_SECONDS):
            await channel.close()


async def _nothing(_: _Session) -> None:
    """A connection that needs no preparation."""


class _Link:
    """Keeps a connection: `open` it first, then `keep` it."""

    def __init__(self, url: Secret, name: str, prepare: Callable[[_Session], Any], changed: Callable[[], None]) -> None:
        self._url, self._where = _target(url)
        self._name = name
        self._prepare = prepare
        self._changed = changed
        self._session: _Session | None = None
        self._up = asyncio.Event()
        self._closed = True
        self._down_since = time.monotonic()
        self.problem: str | None = f"not connected to {self._where}"

    @property
    def usable(self) -> bool:
        return self.problem is None

    async def open(self) -> None:
        """Connect, or raise BrokerError."""
        session = await self._connect()
        self._session = session
        self._closed = False
        self._up.set()
        self._set_problem(None)

    async def keep(self) -> None:
        """Connect again after each loss, for ever."""
        while True:
            if self._session is not None:
                await self._watch(self._session)
                await self._drop()
            await self._reconnect()

    async def _watch(self, session: _Session) -> None:
        while not session.lost.is_set():
            blocked = await session.blocked()
            self._set_problem(f"{self._where} takes no messages: it is short of memory or disk" if blocked else None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await session.lost.wait()

    async def _drop(self) -> None:
        session, self._session = self._session, None
        self._up.clear()
        self._down_since = time.monotonic()
        self._set_problem(f"the connection to {self._where} was lost")
        if session is not None:
            await session.close()

    async def _reconnect(self) -> None:
        tries = 0
        while self._session is None:
            try:
                await self.open()
            except BrokerError as error:
                self._set_problem(str(error))
                pause = BACKOFF_SECONDS[min(tries, len(BACKOFF_SECONDS) - 1)]
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                tries += 1

    def _set_problem(self, problem: str | None) -> None:
        changed = problem != self.problem
        self.problem = problem
        if changed:
            self._changed()

    async def _connect(self) -> _Session:
        # One that is not closed closes itself when it is collected, in whatever thread that happens.
        connection = aio_pika.Connection(self._url, client_properties={"connection_name": self._name})
        try:
            async with _translated(), asyncio.timeout(CONNECT_SECONDS):
                await connection.connect()
        except BrokerError as error:
            await connection.close()
            raise self._unreachable(error) from error.__cause__
        except BaseException:
            await connection.close()
            raise
        session = _Session(connection)
        try:
            await self._prepare(session)
        except BaseException:
            await session.close()
            raise
        return session

    def _unreachable(self, error: BrokerError) -> BrokerError:
        cause = error.__cause__
        reason = "no answer" if isinstance(cause, TimeoutError) else str(error).removeprefix("RabbitMQ: ")
        return BrokerError(f"{self._where} cannot be reached: {reason}", transient=error.transient)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[_Session]:
        """The connection, as soon as there is one; what runs inside ends with _LostError when it is lost."""
        while self._session is None or self._session.lost.is_set():
            self._up.clear()
            await self._up.wait()
        async with self._session.unless_lost():
            yield self._session

    @contextlib.contextmanager
    def deadline(self, seconds: float, sending: _Sending | None = None) -> Iterator[None]:
        """Around an asyncio.timeout: its TimeoutError becomes a BrokerError that says what is the matter.

        Whoever comes when RabbitMQ has been away for longer than the deadline need not wait: it raises at once.
        """
        if self._session is None and (self._closed or time.monotonic() - self._down_since > seconds):
            raise BrokerError(self.problem)
        try:
            yield
        except TimeoutError as error:
            why = self.problem or (sending.trouble if sending is not None else None)
            raise BrokerError(f"no answer in {seconds:g} s from {self._where}" + (f": {why}" if why else "")) from error

    async def close(self) -> None:
        session, self._session = self._session, None
        self._closed = True
        self._up.clear()
        self._set_problem("the connection to RabbitMQ is closed")
        if session is not None:
            await session.close()


def _target(url: Secret) -> tuple[URL, str]:
    """The URL with our heartbeat where it sets none, and what may be said of it in public."""
    try:
        parsed = URL(url.reveal())
        where = f"RabbitMQ at {parsed.host}:{parsed.port or (5671 if parsed.scheme == 'amqps' else 5672)}"
    except ValueError:
        raise BrokerError(
            "the URL of RabbitMQ is not a valid one", transient=False
        ) from None  # the error quotes it, password and all
    if parsed.scheme not in ("amqp", "amqps") or not parsed.host:
        raise BrokerError("the URL of RabbitMQ is not a valid one", transient=False)
    return (parsed if "heartbeat" in parsed.query else parsed.update_query(heartbeat=HEARTBEAT_SECONDS)), where


# --- topology


class _Topology:
    """Declares exchanges and queues, once per session."""

    def __init__(self, queue_limit: int) -> None:
        self._queue_limit = queue_limit

    async def declare_shared(self, session: _Session) -> None:
        """The exchanges, the parked queue and the ladder."""
        await session.ask(lambda channel: channel.exchange_declare(EXCHANGE, exchange_type="direct", durable=True))
        await self._declare(session, PARKED_QUEUE, queue_arguments(PARKED_QUEUE), EXCHANGE)
        for seconds in retry_ladder.LADDER:
            await self._declare_step(session, delay_name(seconds), delay_arguments(seconds))
        session.shared_declared = True

    async def _declare_step(self, session: _Session, name: str, arguments: dict[str, Any]) -> None:
        await session.ask(lambda channel: channel.exchange_declare(name, exchange_type="fanout", durable=True))
        await self._declare(session, name, arguments, name)

    async def declare(self, session: _Session, queue: str) -> None:
        """A queue, by its name. Raises BrokerError, which says what to do when it exists with other arguments."""
        if not session.shared_declared:
            await session.ask(lambda channel: channel.exchange_declare(EXCHANGE, exchange_type="direct", durable=True))
        await self._declare(session, queue, queue_arguments(queue, self._queue_limit), EXCHANGE)

    async def declare_used(self, session: _Session, queues: Iterable[str]) -> None:
        """What is needed to publish to these queues and was not declared on this connection yet."""
        if not session.shared_declared:
            await self.declare_shared(session)
        for queue in set(queues) - session.declared:
            await self.declare(session, queue)
            session.declared.add(queue)

    async def _declare(self, session: _Session, queue: str, arguments: dict[str, Any], exchange: str) -> None:
        async def both(channel: aiormq.abc.AbstractChannel) -> None:
            try:
                await channel.queue_declare(queue, durable=True, arguments=arguments)
            except ChannelPreconditionFailed as error:
                raise BrokerError(
                    f"the queue {queue} exists with other settings than ImageFlow needs ({error}); let it run empty, "
                    f"delete it, and it is made anew; or use another virtual host",
                    transient=False,
                ) from error
            await channel.queue_bind(queue, exchange, routing_key=queue)
            if (
                queue == OUTBOUND_QUEUE
            ):  # also by an exchange that leads nowhere else: an ERP may be allowed this one alone
                await channel.exchange_declare(queue, exchange_type="fanout", durable=True)
                await channel.queue_bind(queue, queue)

        await session.ask(both)


# --- publishing


class _Parcel(NamedTuple):
    """A message with its address. `exchange` is that of its queue, or a step of the ladder."""

    queue: str
    exchange: str
    body: bytes
    headers: Mapping[str, str]


def _parcel(message: Outgoing) -> _Parcel:
    exchange = delay_name(retry_ladder.step(message.delay)) if message.delay > 0 else EXCHANGE
    return _Parcel(message.queue, exchange, message.body, message.headers)


class _Sending:
    """What is to be published and not confirmed yet."""

    def __init__(self, topology: _Topology, parcels: Sequence[_Parcel]) -> None:
        self._topology = topology
        self.pending = list(parcels)
        self.trouble: str | None = None
        self._returns = 0

    async def attempt(self, session: _Session) -> None:
        """Send what is pending, wait for the confirms, and keep in `pending` what was not confirmed.

        Raises _LostError, QueueFullError, or BrokerError where trying again does not help.
        """
        outcomes: list[Exception | None] = [_LostError() for _ in self.pending]
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
        self._judge(session, [outcome for outcome in outcomes if outcome is not None])

    async def _declare(self, session: _Session) -> None:
        try:
            await self._topology.declare_used(session, {parcel.queue for parcel in self.pending})
        except _MissingError as error:  # an exchange was deleted under us
            session.shared_declared = False
            raise _LostError(str(error)) from error

    def _judge(self, session: _Session, failures: Sequence[Exception]) -> None:
        if any(isinstance(failure, PublishError) for failure in failures):
            self._returned(session)
        for failure in failures:
            if isinstance(failure, DeliveryError) and not isinstance(failure, PublishError):
                queues = ", ".join(sorted({parcel.queue for parcel in self.pending}))
                raise QueueFullError(f"RabbitMQ takes no more for {queues} for now")
        for failure in failures:
            if not isinstance(failure, PublishError):
                session.shared_declared = False  # the channel is gone, maybe because an exchange is
                raise _LostError(str(failure) or None)

    def _returned(self, session: _Session) -> None:
        """RabbitMQ found no queue for a message: whatever we declared is not there any more."""
        self._returns += 1
        self.trouble = "RabbitMQ returned the message: it has no queue for it"
        session.shared_declared = False
        session.declared.difference_update(parcel.queue for parcel in self.pending)
        if self._returns > RETURNS_LIMIT:
            raise BrokerError(f"{self.trouble}, though it was declared {RETURNS_LIMIT} times")


async def _send(channel: aiormq.Channel, parcel: _Parcel, outcomes: list[Exception | None], position: int) -> None:
    """Publish one message and wait for its confirm; what came of it goes into `outcomes`, so that one failure does not
    end the wait of the others.
    """
    properties = amqp.Basic.Properties(delivery_mode=2, app_id=APP_ID, headers=dict(parcel.headers))
    try:
        async with _uncancelled():
            await channel.basic_publish(
                parcel.body,
                exchange=parcel.exchange,
                routing_key=parcel.queue,
                properties=properties,
                mandatory=True,
                wait=len(parcel.body) > DRAIN_BYTES,
            )
    except (*BROKEN, BrokerError) as error:
        outcomes[position] = error
    else:
        outcomes[position] = None


@asynccontextmanager
async def _uncancelled() -> AsyncIterator[None]:
    """A CancelledError that nobody asked for, of a channel that is closed, becomes a _LostError."""
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise _LostError from error


# --- consuming


class _Lease:
    """A channel and what is on loan through it. Settling through a channel that is gone does nothing: RabbitMQ has
    taken back what was on loan.
    """

    def __init__(self, queue: str, channel: aiormq.abc.AbstractChannel, ended: asyncio.Event) -> None:
        self.queue = queue
        self.loans = 0
        self.retired = False
        self._channel = channel
        self._ended = ended

    @property
    def gone(self) -> bool:
        return self._channel.is_closed

    async def ack(self, tag: int) -> None:
        await self._settle(self._channel.basic_ack(tag, wait=False))

    async def requeue(self, tag: int) -> None:
        await self._settle(self._channel.basic_nack(tag, requeue=True, wait=False))

    async def _settle(self, settling: Any) -> None:
        try:
            async with _translated(), asyncio.timeout(CLOSE_SECONDS):
                await settling
        except BrokerError:
            self._ended.set()  # if the channel lives, it must not: the loan would never end
        self.loans -= 1
        if self.retired and not self.loans:
            await self.close()

    async def close(self) -> None:
        await _close(self._channel)


class _Delivery:
    """A message on loan from RabbitMQ."""

    def __init__(self, broker: RabbitBroker, lease: _Lease, message: aiormq.abc.DeliveredMessage) -> None:
        properties = message.header.properties
        raw = properties.headers
        self._broker = broker
        self._lease = lease
        self._tag = message.delivery_tag or 0
        self._settled = False
        self.queue = lease.queue
        self.body = message.body
        self.headers: Mapping[str, str] = told_headers(properties) | text_headers(lease.queue, raw)
        self.deliveries = _count((raw or {}).get("x-delivery-count"))

    async def ack(self) -> None:
        async with self._settling() as proceed:
            if proceed:
                await self._lease.ack(self._tag)

    async def requeue(self) -> None:
        async with self._settling() as proceed:
            if proceed:
                await self._lease.requeue(self._tag)

    async def retry(self, delay: float, *, failed: bool = True) -> None:
        headers = retried(self.headers, failed=failed)
        await self._replace(Outgoing(self.queue, self.body, max(delay, retry_ladder.LADDER[0]), headers))

    async def park(self, reason: str) -> None:
        headers = parked(self.headers, self.queue, reason, time.time())
        await self._replace(Outgoing(PARKED_QUEUE, self.body, headers=headers))

    async def _replace(self, message: Outgoing) -> None:
        """Publish `message`, then end the loan. A message that RabbitMQ has taken back is not published: it is there."""
        async with self._settling() as proceed:
            if not proceed or self._lease.gone:
                return
            try:
                await self._broker._publish([_parcel(message)])
            except BrokerError:
                if not self._lease.gone:
                    raise
            await self._lease.ack(self._tag)

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


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0


class _Consumer:
    """Consumes a queue through whatever happens to it: the iterator of its deliveries."""

    def __init__(self, broker: RabbitBroker, queue: str, prefetch: int) -> None:
        self._broker = broker
        self._queue = queue
        self._prefetch = prefetch
        self._fetched: deque[_Delivery] = deque()
        self._news = asyncio.Event()
        self._stopped = False
        self._ended: asyncio.Event | None = None
        self._received = 0
        self._task: asyncio.Task[None] | None = None
        self.problem: str | None = f"the consumer of {queue} is not running yet"

    def start(self, group: asyncio.TaskGroup) -> None:
        self._task = group.create_task(self._run(), name=f"consume {self._queue}")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _Delivery:
        # Nothing is taken while publishing is impossible: its handler could only give it back, again and again, until
        # the delivery limit parks it.
        while not (self._fetched and self._broker._publishing.usable):
            if self._stopped:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._fetched.popleft()

    def wake(self) -> None:
        self._news.set()

    async def stop(self) -> None:
        """Take nothing more and hand back what was not taken. Bounded in time."""
        self._stopped = True
        self.wake()
        task, self._task = self._task, None
        if task is None:
            return
        if self._ended is not None:
            self._ended.set()
            await asyncio.wait({task}, timeout=CLOSE_SECONDS)
        task.cancel()
        await asyncio.wait({task})

    async def _run(self) -> None:
        tries = 0
        while not self._stopped:
            try:
                async with self._broker._consuming.session() as session:
                    await self._subscribe(session)
                    tries = 0
            except BrokerError as error:
                self.problem = f"the consumer of {self._queue} is not running: {error}"
            if not self._stopped:
                await asyncio.sleep(BACKOFF_SECONDS[min(tries, len(BACKOFF_SECONDS) - 1)])
                tries += 1

    async def _subscribe(self, session: _Session) -> None:
        """Consume until the subscription ends, for whatever reason."""
        await self._broker._topology.declare(session, self._queue)
        channel = await session.channel()
        ended = asyncio.Event()
        lease = _Lease(self._queue, channel, ended)
        self._broker._leases = {other for other in self._broker._leases if not other.gone} | {lease}
        channel.closing.add_done_callback(lambda _: ended.set())
        channel.on_consumer_cancel_callbacks.add(lambda _: ended.set())
        try:
            self._ended = ended
            tag = await self._begin(channel, lease)
            await self._watch(session, ended)
            if self._stopped and not lease.gone:
                await self._retire(channel, lease, tag)
        finally:
            self._ended = None
            self._fetched.clear()
            if not (lease.retired and lease.loans):
                self._broker._leases.discard(lease)
                await lease.close()

    async def _begin(self, channel: aiormq.abc.AbstractChannel, lease: _Lease) -> str:
        async def on_message(message: aiormq.abc.DeliveredMessage) -> None:
            lease.loans += 1
            self._received += 1
            delivery = _Delivery(self._broker, lease, message)
            if lease.retired:
                await delivery.requeue()
                return
            self._fetched.append(delivery)
            self.wake()

        async with asyncio.timeout(CALL_SECONDS):
            await channel.basic_qos(prefetch_count=self._prefetch)
            started = await channel.basic_consume(self._queue, on_message)
        self.problem = None
        return started.consumer_tag or ""

    async def _watch(self, session: _Session, ended: asyncio.Event) -> None:
        """Returns when the subscription has ended, or when RabbitMQ knows of none."""
        while not ended.is_set():
            received = self._received
            try:
                async with asyncio.timeout(WATCH_SECONDS):
                    await ended.wait()
            except TimeoutError:
                if await self._is_dead(session, idle=received == self._received):
                    break
        if not self._stopped:
            self.problem = f"the consumer of {self._queue} was ended by RabbitMQ and starts again"

    async def _is_dead(self, session: _Session, *, idle: bool) -> bool:
        """Whether RabbitMQ has no consumer on the queue, or holds messages and gives us none though we have none."""
        try:
            state = await session.ask(lambda channel: channel.queue_declare(self._queue, passive=True))
        except _LostError as error:
            self.problem = f"the queue {self._queue} does not answer: {error}"
            return False
        self.problem = None
        has_none = not any(lease.loans for lease in self._broker._leases if lease.queue == self._queue)
        if self._queue == OUTBOUND_QUEUE:
            idle = False  # the queue's one active consumer may be another
        return not state.consumer_count or (idle and has_none and bool(state.message_count))

    async def _retire(self, channel: aiormq.abc.AbstractChannel, lease: _Lease, tag: str) -> None:
        """Stop the flow, hand back what nobody took; the channel stays for what was taken."""
        async with asyncio.timeout(CLOSE_SECONDS):
            await channel.basic_cancel(tag)
        fetched = list(self._fetched)
        self._fetched.clear()
        for delivery in fetched:
            await delivery.requeue()
        lease.retired = True
