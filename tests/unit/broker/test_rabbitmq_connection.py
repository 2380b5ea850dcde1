"""What the libraries under RabbitMQ's connection raise, in our words; and what connecting again survives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import aiormq.exceptions
import pamqp.exceptions
import pytest
from pamqp.commands import Basic

from imageflow.broker import rabbitmq_connection
from imageflow.broker.rabbitmq_connection import Link, ours, translated, uncancelled, unprepared, unreachable
from imageflow.errors import BrokerError, LostError, MissingError, QueueFullError
from imageflow.secret import Secret
from tests.library_errors import errors_of

REFUSED = {"ChannelAccessRefused", "AuthenticationError", "ProbableAuthenticationError"}
MISSING = {"ChannelNotFoundEntity"}
LOST = {
    *("AMQPError", "AMQPConnectionError", "IncompatibleProtocolError", "ConnectionClosed", "ConnectionSyntaxError"),
    *("ConnectionFrameError", "ConnectionCommandInvalid", "ConnectionChannelError", "ConnectionUnexpectedFrame"),
    *("ConnectionResourceError", "ConnectionNotAllowed", "ConnectionNotImplemented", "ConnectionInternalError"),
    *("AMQPChannelError", "ChannelClosed", "ChannelLockedResource", "ChannelPreconditionFailed"),
    *("DuplicateConsumerTag", "ProtocolSyntaxError", "InvalidFrameError", "MethodNotImplemented", "DeliveryError"),
    *("PublishError", "ChannelInvalidStateError", "MessageProcessError", "QueueEmpty"),
    *("PAMQPException", "UnmarshalingException", "AMQPSoftError", "AMQPHardError", "AMQPContentTooLarge"),
    *("AMQPNoRoute", "AMQPNoConsumers", "AMQPAccessRefused", "AMQPNotFound", "AMQPResourceLocked"),
    *("AMQPPreconditionFailed", "AMQPConnectionForced", "AMQPInvalidPath", "AMQPFrameError", "AMQPSyntaxError"),
    *("AMQPCommandInvalid", "AMQPUnexpectedFrame", "AMQPResourceError", "AMQPNotAllowed", "AMQPNotImplemented"),
    *("AMQPInternalError",),
}
UNUSED = {
    *("NackMessage", "RejectMessage", "MessageProcessingError", "JsonRPCError", "RPCException"),  # aio_pika.patterns
    "PoolInvalidStateError",  # aio_pika.pool
}
"""Of parts that we do not use; if they came all the same, they would be translated like any other."""
OF_THE_SYSTEM: list[Exception] = [
    OSError(111, "Connection refused"),
    ConnectionResetError(),
    BrokenPipeError(),
    TimeoutError(),
    asyncio.IncompleteReadError(b"", 7),
    EOFError(),
    StopAsyncIteration(),  # aiormq's FrameReceiver at the end of its stream
    AttributeError("'FrameReceiver' object has no attribute 'reader'"),  # the same, asked once more
    RuntimeError("<Connection> closed"),
    asyncio.InvalidStateError(),
    ValueError("Channel number too large"),
    KeyError(7),
]


FOUND = {name: kind for package in ("aiormq", "aio_pika", "pamqp") for name, kind in errors_of(package).items()}
FOREIGN: list[type[Exception]] = [
    kind for kind in FOUND.values() if issubclass(kind, Exception) and kind.__name__ not in UNUSED
]


def instance(kind: type[Exception]) -> Exception:
    """An error of that kind, as the library makes it."""
    if issubclass(kind, aiormq.exceptions.PublishError):
        message = cast("Any", type("Message", (), {"delivery": Basic.Return(312, "NO_ROUTE", "", "q")})())
        return kind(message, Basic.Return(312, "NO_ROUTE", "", "q"))
    if issubclass(kind, aiormq.exceptions.DeliveryError):
        return kind(None, Basic.Nack(1))
    if kind is pamqp.exceptions.UnmarshalingException:
        return kind("header", "too short")
    return kind("what was said")


def test_all_classes_are_known() -> None:
    """A new version of a library with a new error fails here: decide what it means, and put it into its set."""
    assert {kind.__name__ for kind in FOUND.values()} == REFUSED | MISSING | LOST | UNUSED


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
async def test_every_error_of_the_libraries_is_translated(kind: type[Exception]) -> None:
    """Each becomes a BrokerError; what is refused is permanent, everything else transient."""
    error = instance(kind)
    with pytest.raises(BrokerError) as caught:
        async with translated():
            raise error
    assert caught.value.__cause__ is error
    assert caught.value.transient == (kind.__name__ not in REFUSED)
    if kind.__name__ in MISSING:
        assert isinstance(caught.value, MissingError)
    elif kind.__name__ in LOST:
        assert isinstance(caught.value, LostError)
    assert unreachable(error, "RabbitMQ at h:5672").transient == caught.value.transient


@pytest.mark.parametrize("error", OF_THE_SYSTEM, ids=repr)
async def test_every_error_of_a_connection_is_translated(error: Exception) -> None:
    """What sockets, streams and the library's own state raise means that the connection is lost."""
    with pytest.raises(LostError) as caught:
        async with translated():
            raise error
    assert str(caught.value).startswith("RabbitMQ: ")
    said = str(caught.value)
    assert type(error).__name__ in said or (str(error) or "no answer") in said


async def test_errors_of_ours_pass() -> None:
    """A full queue stays a full queue."""
    with pytest.raises(QueueFullError):
        async with translated():
            raise QueueFullError


async def test_only_a_cancellation_that_was_asked_for_passes() -> None:
    """What waits on a closed channel is woken by a CancelledError: that is a loss. Cancelling the task cancels it."""
    with pytest.raises(LostError):
        async with translated():
            raise asyncio.CancelledError

    async def wait() -> None:
        async with uncancelled():
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_why_there_is_no_connection() -> None:
    """The text names the server and the reason in the system's words."""
    assert str(unreachable(TimeoutError(), "RabbitMQ at h:1")) == "RabbitMQ at h:1 cannot be reached: no answer"
    assert str(unreachable(StopAsyncIteration(), "RabbitMQ at h:1")).endswith(": StopAsyncIteration")
    refused = aiormq.exceptions.ProbableAuthenticationError("ACCESS_REFUSED")
    assert str(unreachable(refused, "h")) == "h cannot be reached: RabbitMQ refuses: ACCESS_REFUSED"
    assert str(ours(OSError())) == "RabbitMQ: OSError"


class FailingConnection:
    """Stands for aio-pika's connection: each attempt raises the next of `errors`, then waits for ever."""

    def __init__(self, errors: list[BaseException]) -> None:
        self.errors = errors
        self.closed = 0

    async def connect(self) -> None:
        if not self.errors:
            await asyncio.Event().wait()
        raise self.errors.pop(0)

    async def close(self) -> None:
        self.closed += 1
        raise OSError("not even open")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[BaseException]], FailingConnection]:
    def use(errors: list[BaseException]) -> FailingConnection:
        connection = FailingConnection(errors)
        monkeypatch.setattr(rabbitmq_connection.aio_pika, "Connection", lambda *_, **__: connection)
        monkeypatch.setattr(rabbitmq_connection, "BACKOFF_SECONDS", (0.0,))
        return connection

    return use


def link(prepare: Callable[..., Awaitable[None]] = unprepared) -> Link:
    return Link(Secret("amqp://user:password@rabbit.example.com/"), "test", prepare, lambda: None)


@pytest.mark.parametrize("error", [*OF_THE_SYSTEM, *map(instance, FOREIGN)], ids=lambda error: type(error).__name__)
async def test_opening_raises_nothing_else(
    failing: Callable[[list[BaseException]], FailingConnection], error: Exception
) -> None:
    """Whatever an attempt to connect raises is a BrokerError that names the server; the attempt's socket is closed."""
    connection = failing([error])
    with pytest.raises(BrokerError, match=r"rabbit\.example\.com:5672 cannot be reached"):
        await link().open()
    assert connection.closed == 1


async def test_no_error_ends_the_reconnecting(failing: Callable[[list[BaseException]], FailingConnection]) -> None:
    """Connecting again goes on through all errors that there are, and only a cancellation ends it."""
    errors: list[BaseException] = [*OF_THE_SYSTEM, *map(instance, FOREIGN), asyncio.CancelledError()]
    count = len(errors)
    connection = failing(errors)
    one = link()
    task = asyncio.create_task(one.maintain())
    async with asyncio.timeout(30):
        while errors:
            await asyncio.sleep(0)
    assert connection.closed == count
    assert not task.done()
    assert one.problem is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_mistake_of_ours_does_not_end_the_reconnecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also an error that is no one's of a connection leaves the loop running, and shows in `problem`."""
    monkeypatch.setattr(rabbitmq_connection, "BACKOFF_SECONDS", (0.0,))
    one, tried = link(), 0

    async def connect() -> Any:
        nonlocal tried
        tried += 1
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(one, "_connect", connect)
    task = asyncio.create_task(one.maintain())
    async with asyncio.timeout(30):
        while tried < 3:
            await asyncio.sleep(0)
    assert not task.done()
    assert "ZeroDivisionError" in (one.problem or "")
    task.cancel()


async def test_waiting_for_a_connection_has_a_deadline() -> None:
    """Without a connection the deadline's error says what is wrong, at once where there has never been one."""
    one = link()
    with pytest.raises(BrokerError, match="not connected to RabbitMQ at rabbit"):
        async with one.session_within(0.01):
            pass


@pytest.mark.parametrize("url", ["amqp://user:sesam@:x/", "amqp://user:sesam@host:port/", "http://user:sesam@host/"])
def test_a_url_that_is_none_is_not_shown(url: str) -> None:
    """A malformed URL is a permanent error that does not quote it."""
    with pytest.raises(BrokerError) as caught:
        Link(Secret(url), "test", unprepared, lambda: None)
    assert "sesam" not in str(caught.value)
    assert not caught.value.transient


class StubbornChannel:
    """A channel that takes the cancellation of the task that closes it for its own, as aiormq does when it gives up a call."""

    def __init__(self) -> None:
        self.closing = asyncio.Event()

    async def close(self) -> None:
        self.closing.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return


@pytest.mark.parametrize("error", [None, RuntimeError("closed"), aiormq.exceptions.ChannelInvalidStateError("closed")])
async def test_a_cancellation_that_the_library_swallows_is_kept(
    error: Exception | None,
) -> None:
    """A process that went down hung on a task whose one cancellation came while it closed a channel."""
    channel = StubbornChannel()

    async def close() -> None:
        await channel.close()
        if error is not None:
            raise error

    async def work() -> None:
        while True:
            await rabbitmq_connection.close_channel(cast("Any", type("Channel", (), {"close": staticmethod(close)})()))

    task = asyncio.create_task(work())
    await channel.closing.wait()
    task.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await task
