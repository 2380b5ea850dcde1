"""The loop around a stage, with a broker in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from imageflow.errors import (
    BrokerError,
    ImageFlowError,
    MessageError,
    Postponed,
    QueueFullError,
    StoreError,
)
from imageflow.model import messages
from imageflow.model.messages import PageRead, ReadPage
from imageflow.runtime import service as services
from imageflow.runtime import settlement
from imageflow.runtime.service import Service, Stage, decoder
from imageflow.telemetry.metrics import REGISTRY

QUEUE = messages.READ_QUEUE
BODY = messages.encode(ReadPage("r1", "winter", 1, 1))
NOTHING: Mapping[str, str] = {}


class Delivered:
    """A delivery that notes how it was settled. `wrong` is raised by the first settling call."""

    queue = QUEUE

    def __init__(
        self,
        body: bytes = BODY,
        *,
        deliveries: int = 0,
        failures: int = 0,
        wrong: Exception | None = None,
    ) -> None:
        self.body = body
        self.headers = {"attempts": str(failures)} if failures else NOTHING
        self.deliveries = deliveries
        self.settled: list[tuple[Any, ...]] = []
        self.ended = asyncio.Event()
        self._wrong = wrong

    async def ack(self) -> None:
        self._settle("ack")

    async def retry(self, delay: float, *, failed: bool = True) -> None:
        self._settle("retry", delay, failed)

    async def park(self, reason: str) -> None:
        self._settle("park", reason)

    async def requeue(self) -> None:
        self._settle("requeue")

    def _settle(self, *how: Any) -> None:
        if self._wrong is not None:
            wrong, self._wrong = self._wrong, None
            raise wrong
        self.settled.append(how)
        self.ended.set()


class MemoryBroker:
    """Delivers what is put into it."""

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[Delivered] = asyncio.Queue()

    @asynccontextmanager
    async def consume(self, queue: str, *, prefetch: int) -> AsyncIterator[AsyncIterator[Delivered]]:
        yield self._deliveries()

    async def _deliveries(self) -> AsyncIterator[Delivered]:
        while True:
            yield await self.waiting.get()


class NoFlows:
    async def flows(self) -> list[Any]:
        return []


class Bench:
    """A stage that raises what it is told to, and the service that runs it."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.handled: list[ReadPage] = []
        self.given_up: list[str] = []
        self.wound_up = 0
        self.handle_raises: Exception | None = None
        self.give_up_raises: Exception | None = None
        self.work: Callable[[], Awaitable[None]] | None = None
        self.stop = asyncio.Event()
        self.service: Service[ReadPage] = Service(
            Stage(
                "bench",
                4,
                lambda _: [QUEUE],
                decoder(ReadPage),
                self._handle,
                self._give_up,
                self._wind_up,
            ),
            cast("Any", NoFlows()),
            cast("Any", self.broker),
        )

    async def _handle(self, message: ReadPage) -> None:
        self.handled.append(message)
        if self.work is not None:
            await self.work()
        if self.handle_raises is not None:
            raise self.handle_raises

    async def _give_up(self, message: ReadPage, reason: str) -> None:
        self.given_up.append(reason)
        if self.give_up_raises is not None:
            raise self.give_up_raises

    def _wind_up(self) -> None:
        self.wound_up += 1

    async def settle(self, delivery: Delivered) -> tuple[Any, ...]:
        """How the delivery is settled."""
        await self.broker.waiting.put(delivery)
        async with asyncio.timeout(5):
            await delivery.ended.wait()
        assert len(delivery.settled) == 1
        return delivery.settled[0]


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """A running service; at its end it stops by itself and has not failed."""
    for module in (services, settlement):
        monkeypatch.setattr(module, "AWAY_PAUSE_SECONDS", 0.01)
    bench = Bench()
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.service.run(bench.stop, 0.4))
        yield bench
        bench.stop.set()


def outcomes(outcome: str, flow: str = "winter") -> float:
    labels = {"stage": "bench", "flow": flow, "outcome": outcome}
    return REGISTRY.get_sample_value("imageflow_deliveries_total", labels) or 0.0


async def test_handled_is_acknowledged(bench: Bench) -> None:
    """The stage gets the decoded message; then the delivery is acknowledged and counted."""
    before = outcomes("done")
    assert await bench.settle(Delivered()) == ("ack",)
    assert bench.handled == [ReadPage("r1", "winter", 1, 1)]
    assert outcomes("done") == before + 1


@pytest.mark.parametrize(
    ("error", "settled"),
    [
        (Postponed(5.0, "later"), ("retry", 5.0, False)),
        (StoreError("away"), ("retry", 0.01, False)),
        (QueueFullError("full"), ("retry", 0.01, False)),
        (BrokerError("away"), ("requeue",)),
        (BrokerError("refused", transient=False), ("retry", 1.0, True)),
        (MessageError("unusable"), ("park", "unusable")),
        (ValueError("a bug"), ("retry", 1.0, True)),
        (ExceptionGroup("several", [StoreError("away")]), ("retry", 1.0, True)),
    ],
    ids=str,
)
async def test_what_handle_raises_is_settled(bench: Bench, error: Exception, settled: tuple[Any, ...]) -> None:
    """Each error of the stage ends the delivery as the table says; the service goes on."""
    bench.handle_raises = error
    assert await bench.settle(Delivered()) == settled
    bench.handle_raises = None
    assert await bench.settle(Delivered()) == ("ack",)


@pytest.mark.parametrize("delivery", [{"failures": 5}, {"deliveries": 8}], ids=str)
async def test_the_stage_gives_up(bench: Bench, delivery: Mapping[str, int]) -> None:
    """After the last failure, and after too many deliveries without an end, the stage settles the rows as failed."""
    bench.handle_raises = ValueError("a bug")
    before = outcomes("gave_up")
    assert await bench.settle(Delivered(**delivery)) == ("ack",)
    assert len(bench.given_up) == 1
    assert len(bench.handled) == (1 if "failures" in delivery else 0)
    assert outcomes("gave_up") == before + 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Postponed(5.0, "later"), "retry"),
        (StoreError("away"), "retry"),
        (QueueFullError("full"), "retry"),
        (BrokerError("away"), "requeue"),
        (BrokerError("refused", transient=False), "park"),
        (MessageError("unusable"), "park"),
        (ImageFlowError("no"), "park"),
        (ValueError("a bug"), "park"),
        (AttributeError("of a message that is another"), "park"),
        (ExceptionGroup("several", [ValueError("a bug")]), "park"),
        (StopAsyncIteration(), "park"),
        (TimeoutError(), "park"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("delivery", [{"failures": 5}, {"deliveries": 8}], ids=str)
async def test_what_give_up_raises_parks_or_retries(
    bench: Bench, error: Exception, kind: str, delivery: Mapping[str, int]
) -> None:
    """No error of give_up ends the service: the message is tried again, or parked with the reason."""
    bench.handle_raises = ValueError("a bug")
    bench.give_up_raises = error
    settled = await bench.settle(Delivered(**delivery))
    assert settled[0] == kind
    bench.handle_raises = bench.give_up_raises = None
    assert await bench.settle(Delivered()) == ("ack",)


async def test_a_failing_give_up_does_not_hinder_the_stop() -> None:
    """A process that is asked to stop after giving up has failed stops at once."""
    bench = Bench()
    bench.handle_raises = bench.give_up_raises = ValueError("a bug")
    running = asyncio.create_task(bench.service.run(bench.stop, 5.0))
    assert (await bench.settle(Delivered(failures=5)))[0] == "park"
    bench.stop.set()
    async with asyncio.timeout(1):
        await running


@pytest.mark.parametrize("body", [b"", b"not JSON", messages.encode(PageRead("r", "f", 1, 1, 1))], ids=repr)
async def test_what_cannot_be_read_is_parked(bench: Bench, body: bytes) -> None:
    """Bytes that are no message, and a message of another stage, are parked; the stage never sees them."""
    before = outcomes("parked", "")
    settled = await bench.settle(Delivered(body))
    assert settled[0] == "park"
    assert not bench.handled
    assert outcomes("parked", "") == before + 1


@pytest.mark.parametrize("error", [None, StoreError("away"), ValueError("a bug"), MessageError("unusable")], ids=str)
async def test_a_queue_that_is_away_requeues(bench: Bench, error: Exception | None) -> None:
    """Where settling itself finds the queue away, the delivery goes back into its queue, uncounted."""
    bench.handle_raises = error
    before = outcomes("handed_back")
    assert await bench.settle(Delivered(wrong=BrokerError("away"))) == ("requeue",)
    assert outcomes("handed_back") == before + 1


@pytest.mark.parametrize(
    "wrong", [UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no"), KeyError("x"), StopAsyncIteration()]
)
async def test_a_delivery_that_cannot_be_settled_goes_back(bench: Bench, wrong: Exception) -> None:
    """Whatever settling raises, it ends nothing but the delivery, which is put back."""
    assert await bench.settle(Delivered(wrong=wrong)) == ("requeue",)
    assert await bench.settle(Delivered()) == ("ack",)


async def test_nothing_that_the_store_raises_ends_the_service(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of flows that cannot be read is asked for again, and meanwhile consumers go on."""
    monkeypatch.setattr(services, "DISCOVERY_SECONDS", 0.0)
    asked = asyncio.Event()

    async def flows() -> list[Any]:
        asked.set()
        raise ValueError("a flow of a version to come")

    assert await bench.settle(Delivered()) == ("ack",)
    monkeypatch.setattr(bench.service._store, "flows", flows)
    async with asyncio.timeout(5):
        await asked.wait()
    assert await bench.settle(Delivered()) == ("ack",)


async def test_a_message_in_another_queue_does_not_belong() -> None:
    """A message of the right type for another flow, or another stage, is refused too."""
    delivery = Delivered()
    delivery.queue = "imageflow.write.winter"
    with pytest.raises(MessageError, match=r"does not belong in the queue imageflow\.write\.winter"):
        decoder(ReadPage)(cast("Any", delivery))


async def test_stopping_finishes_what_was_taken(bench: Bench) -> None:
    """What is being handled when the service is asked to stop is finished; nothing more is taken."""
    started, release = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        await release.wait()

    bench.work = work
    first, second = Delivered(), Delivered()
    await bench.broker.waiting.put(first)
    await started.wait()
    bench.stop.set()
    await asyncio.sleep(0.01)
    await bench.broker.waiting.put(second)
    release.set()
    async with asyncio.timeout(5):
        await first.ended.wait()
    assert first.settled == [("ack",)]
    assert not second.settled
    assert not bench.wound_up


async def test_stopping_winds_up_then_requeues(bench: Bench) -> None:
    """After half of the time the stage is asked to wind up; after three quarters the rest is requeued."""
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    bench.work = work
    delivery = Delivered()
    await bench.broker.waiting.put(delivery)
    await started.wait()
    began = time.monotonic()
    bench.stop.set()
    async with asyncio.timeout(5):
        await delivery.ended.wait()
    assert delivery.settled == [("requeue",)]
    assert bench.wound_up == 1
    assert 0.25 < time.monotonic() - began < 2


async def test_requeueing_at_the_stop_may_fail() -> None:
    """A delivery that cannot be requeued any more is redelivered anyway: that is no error."""
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    bench = Bench()
    bench.work = work
    running = asyncio.create_task(bench.service.run(bench.stop, 0.1))
    await bench.broker.waiting.put(Delivered(wrong=BrokerError("closed")))
    await started.wait()
    bench.stop.set()
    async with asyncio.timeout(1):
        await running


async def test_a_service_that_runs_again_consumes_again() -> None:
    """After a run that ended, consumers are started anew: those of before are gone."""
    bench = Bench()
    for _ in range(2):
        stop = asyncio.Event()
        running = asyncio.create_task(bench.service.run(stop, 0.4))
        assert await bench.settle(Delivered()) == ("ack",)
        stop.set()
        await running
