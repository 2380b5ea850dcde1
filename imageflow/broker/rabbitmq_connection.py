"""Connections to RabbitMQ: opened, watched, and opened again after each loss. Translates what aiormq raises.

Everything that depends on a connection belongs to its `Session` and ends with it; nothing is carried over, so there is no
state to repair. A wait for an answer on a connection that is lost ends at once, by `Session.unless_lost`: the library
itself leaves some such waits open.

aio-pika opens the connections. Channels are aiormq's, the layer below: those of aio-pika leave an observer on the
connection for each one opened, and its robust ones resume on their own terms.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import aio_pika
import aiormq
import aiormq.abc
import structlog
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import (
    AuthenticationError,
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    ProbableAuthenticationError,
)
from yarl import URL

from imageflow.cancellation import cancellation_kept
from imageflow.errors import BrokerError, ImageFlowError, LostError, MissingError
from imageflow.secret import Secret

CONNECT_SECONDS = 10.0
CALL_SECONDS = 10.0
"""Deadline of every single question to RabbitMQ."""

CLOSE_SECONDS = 5.0
HEARTBEAT_SECONDS = 15
LOOK_SECONDS = 0.5
BACKOFF_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

MANAGEMENT_PORTS = {"amqp": ("http", 15672), "amqps": ("https", 15671)}
"""Where the management API usually is, by the scheme of the queue's URL."""

REFUSALS = (ChannelAccessRefused, AuthenticationError, ProbableAuthenticationError)
"""What comes again however often one asks: the user or the password is wrong, or may not do it."""

T = TypeVar("T")
Question = Callable[[aiormq.abc.AbstractChannel], Awaitable[T]]
"""Something to ask RabbitMQ on a channel."""

log = structlog.get_logger()


def backoff(tries: int) -> float:
    """Seconds to wait after so many tries that failed."""
    return BACKOFF_SECONDS[min(tries, len(BACKOFF_SECONDS) - 1)]


def reason_of(error: Exception) -> str:
    """What an error of the library says, for people."""
    return "no answer" if isinstance(error, TimeoutError) else str(error) or type(error).__name__


def text_of(value: Any) -> str:
    """A value of AMQP as text. Bytes are taken as UTF-8; what is not valid is replaced."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else str(value)


def ours(error: Exception) -> BrokerError:
    """An error of the library in our words: LostError wherever trying again may help."""
    said = reason_of(error)
    if isinstance(error, ChannelNotFoundEntity):
        return MissingError(f"RabbitMQ: {said}")
    if isinstance(error, REFUSALS):
        return BrokerError(f"RabbitMQ refuses: {said}", transient=False)
    return LostError(f"RabbitMQ: {said}")


def unreachable(error: Exception, where: str) -> BrokerError:
    """Why no connection could be opened."""
    refused = isinstance(error, REFUSALS)
    reason = f"RabbitMQ refuses: {reason_of(error)}" if refused else reason_of(error)
    return BrokerError(f"{where} cannot be reached: {reason}", transient=not refused)


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Turns what the library raises into a BrokerError; errors of ours pass."""
    try:
        with cancellation_kept():
            async with uncancelled():
                yield
    except ImageFlowError:
        raise
    except (
        Exception
    ) as error:  # at the end of a connection it may be anything, StopAsyncIteration and AttributeError too
        raise ours(error) from error


@asynccontextmanager
async def uncancelled() -> AsyncIterator[None]:
    """Turns a CancelledError into a LostError where the task was not cancelled: that is how what waits on a channel learns
    that the channel was closed.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise LostError from error


async def close_channel(channel: aiormq.abc.AbstractChannel) -> None:
    with contextlib.suppress(BrokerError):
        async with translated(), asyncio.timeout(CLOSE_SECONDS):
            await channel.close()


async def close_connection(connection: AbstractConnection) -> None:
    # Whatever closing raises, we have done with the connection. One that is not closed closes itself when it is collected,
    # in whatever thread that happens.
    with contextlib.suppress(Exception):
        async with asyncio.timeout(CLOSE_SECONDS):
            with cancellation_kept():
                await connection.close()


class Session:
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
        """Ends what runs inside with LostError as soon as the connection is lost; translates errors."""
        async with translated(), asyncio.timeout(0 if self.lost.is_set() else None) as waiting:
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
        """A new channel."""
        async with asyncio.timeout(CALL_SECONDS):
            return await self._amqp.channel(publisher_confirms=confirms, on_return_raises=True)

    async def publisher(self) -> aiormq.Channel:
        """The channel that publishes; another when that one was closed."""
        async with self._opening:
            if self._publisher is None or self._publisher.is_closed:
                self._publisher = cast(aiormq.Channel, await self.channel(confirms=True))
            return self._publisher

    async def ask(self, question: Question[T]) -> T:
        """The answer to a question that is put on a channel of its own: a refusal closes it. Raises BrokerError."""
        async with self.unless_lost():
            channel = await self.channel()
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    return await question(channel)
            finally:
                await close_channel(channel)

    async def close(self) -> None:
        await close_connection(self._connection)


async def unprepared(_: Session) -> None:
    """Prepares nothing on a new connection."""


class Link:
    """Keeps a connection open: `open` it first, then run `maintain`. `prepare` runs on each new connection; `changed` is
    called when `problem` changes.
    """

    def __init__(
        self,
        url: Secret,
        name: str,
        prepare: Callable[[Session], Awaitable[None]],
        changed: Callable[[], None],
    ) -> None:
        self._url, self._where = _target(url)
        self._name = name
        self._prepare = prepare
        self._changed = changed
        self._session: Session | None = None
        self._up = asyncio.Event()
        self._closed = True
        self._down_since = time.monotonic()
        self.problem: str | None = f"not connected to {self._where}"

    async def open(self) -> None:
        """Connect, or raise BrokerError."""
        session = await self._connect()
        self._session = session
        self._closed = False
        self._up.set()
        self._set_problem(None)

    async def maintain(self) -> None:
        """Connect again after each loss. Ends only by cancellation."""
        while True:
            if self._session is not None:
                await self._watch(self._session)
                await self._drop()
            await self._reconnect()

    async def _watch(self, session: Session) -> None:
        """Returns when the connection is lost."""
        while not session.lost.is_set():
            try:
                blocked = await session.blocked()
            except Exception:  # noqa: BLE001 - a connection that cannot say whether it is blocked is at its end
                return
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
            except Exception as error:  # no error may end the loop: nothing else brings the connection back
                log.exception("unexpected error while connecting to RabbitMQ")
                self._set_problem(f"{self._where} cannot be reached: {type(error).__name__}: {error}")
            if self._session is None:
                await asyncio.sleep(backoff(tries) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                tries += 1

    def _set_problem(self, problem: str | None) -> None:
        changed = problem != self.problem
        self.problem = problem
        if changed:
            self._changed()

    async def _connect(self) -> Session:
        connection = aio_pika.Connection(self._url, client_properties={"connection_name": self._name})
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                with cancellation_kept():
                    async with uncancelled():
                        await connection.connect()
        except Exception as error:  # see `translated`
            await close_connection(connection)
            raise unreachable(error, self._where) from error
        except BaseException:
            await close_connection(connection)
            raise
        session = Session(connection)
        try:
            await self._prepare(session)
        except BaseException:
            await session.close()
            raise
        return session

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """The connection, as soon as there is one; what runs inside ends with LostError when it is lost."""
        while self._session is None or self._session.lost.is_set():
            self._up.clear()
            await self._up.wait()
        async with self._session.unless_lost():
            yield self._session

    @asynccontextmanager
    async def session_within(self, seconds: float) -> AsyncIterator[Session]:
        """The same, with a deadline for everything inside. Raises BrokerError."""
        with self.deadline(seconds):
            async with asyncio.timeout(seconds), self.session() as session:
                yield session

    @contextlib.contextmanager
    def deadline(self, seconds: float, trouble: Callable[[], str | None] = lambda: None) -> Iterator[None]:
        """Around an asyncio.timeout: its TimeoutError becomes a BrokerError that says what is wrong with the connection, or
        else `trouble`.

        Once RabbitMQ has been away for longer than the deadline, it raises at once: waiting is of no use.
        """
        if self._session is None and (self._closed or time.monotonic() - self._down_since > seconds):
            raise BrokerError(self.problem)
        try:
            yield
        except TimeoutError as error:
            why = self.problem or trouble()
            raise BrokerError(f"no answer in {seconds:g} s from {self._where}" + (f": {why}" if why else "")) from error

    async def close(self) -> None:
        session, self._session = self._session, None
        self._closed = True
        self._up.clear()
        self._set_problem("the connection to RabbitMQ is closed")
        if session is not None:
            await session.close()


def _target(url: Secret) -> tuple[URL, str]:
    """The URL with our heartbeat where it sets none, and the server's address, which may be shown."""
    invalid = BrokerError("the URL of RabbitMQ is not a valid one", transient=False)
    try:
        parsed = URL(url.reveal())
        where = f"RabbitMQ at {parsed.host}:{parsed.port or (5671 if parsed.scheme == 'amqps' else 5672)}"
    except ValueError:
        raise invalid from None  # the error quotes the URL, password and all
    if parsed.scheme not in ("amqp", "amqps") or not parsed.host:
        raise invalid
    return (parsed if "heartbeat" in parsed.query else parsed.update_query(heartbeat=HEARTBEAT_SECONDS)), where
