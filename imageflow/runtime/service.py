"""A service: consumes its stage's queues, hands each message to the stage, settles the delivery.

What ends a loan:

    handled                            ack
    Postponed                          comes again after its pause; counts as nothing
    queue or database away             comes again soon; counts as nothing
    an error nobody foresaw            comes again on the ladder; after FAILURE_LIMIT the stage gives up on it
    lent CRASH_LIMIT times in vain     the stage gives up on it: it takes workers down
    MessageError: it cannot be used    parked, with the reason

To give up is to settle what the message holds as failed, with the reason: nothing is lost, every run ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import structlog

from imageflow.broker import Broker, Delivery, attempts
from imageflow.errors import BrokerError, ImageFlowError, MessageError, Postponed, StoreError
from imageflow.model import messages, retry_ladder
from imageflow.model.flow import Flow
from imageflow.runtime.outbox_publisher import OutboxPublisher
from imageflow.store import Store
from imageflow.telemetry import message_headers, metrics, tracing

log = structlog.get_logger()

FAILURE_LIMIT = 6
CRASH_LIMIT = 8
AWAY_PAUSE_SECONDS = 2.0
DISCOVERY_SECONDS = 1.0
SWEEP_SECONDS = 2.0


def decoded(delivery: Delivery) -> Any:
    """A message of our own."""
    return messages.decode(delivery.body)


class Stage(NamedTuple):
    """A step of the pipeline: which queues it takes from (given the flows there are), how many messages of each it may
    have on loan, what it does with one, and what a delivery is read as. `handle` is told whether the message was seen
    before. Who raises MessageError has the delivery parked. `wind_up` asks to come to an end soon, in good order, with what
    is being handled, because the service stops."""

    name: str
    prefetch: int
    queues: Callable[[Sequence[Flow]], list[str]]
    handle: Callable[[Any, bool], Awaitable[None]]
    give_up: Callable[[Any, str], Awaitable[None]]
    decode: Callable[[Delivery], Any] = decoded
    wind_up: Callable[[], None] | None = None


class Service:
    """Runs one stage until it is asked to stop."""

    def __init__(self, stage: Stage, store: Store, broker: Broker) -> None:
        self._stage = stage
        self._store = store
        self._broker = broker
        self._log = log.bind(service=stage.name)
        self._in_hand: set[asyncio.Task[None]] = set()
        self._lanes: dict[str, asyncio.Task[None]] = {}

    async def run(self, stop: asyncio.Event, stop_seconds: float) -> None:
        """Work until `stop` is set; then take nothing more and finish what is in hand. After half of `stop_seconds` the
        stage is asked to wind up, after three quarters the rest is handed back."""
        async with asyncio.TaskGroup() as handlers:
            async with asyncio.TaskGroup() as lanes:
                discovery = lanes.create_task(self._discover(lanes, handlers))
                await stop.wait()
                discovery.cancel()
                for lane in list(self._lanes.values()):
                    lane.cancel()
            await self._finish(stop_seconds)

    async def _discover(self, lanes: asyncio.TaskGroup, handlers: asyncio.TaskGroup) -> None:
        """Start a lane for each queue as flows appear."""
        while True:
            with contextlib.suppress(StoreError):
                for queue in self._stage.queues(await self._store.flows()):
                    if queue not in self._lanes:
                        self._lanes[queue] = lanes.create_task(self._lane(queue, handlers), name=queue)
            await asyncio.sleep(DISCOVERY_SECONDS)

    async def _lane(self, queue: str, handlers: asyncio.TaskGroup) -> None:
        async with self._broker.consume(queue, prefetch=self._stage.prefetch) as deliveries:
            async for delivery in deliveries:
                task = handlers.create_task(self._settle(delivery))
                self._in_hand.add(task)
                task.add_done_callback(self._in_hand.discard)

    async def _finish(self, stop_seconds: float) -> None:
        late = await _late(self._in_hand, stop_seconds * 0.5)
        if late and self._stage.wind_up is not None:
            self._stage.wind_up()
        late = await _late(late, stop_seconds * 0.25)
        for task in late:
            task.cancel()
        if late:
            self._log.warning(
                "stopped with work in hand", deliveries=len(late), note="they are handed back and repeated"
            )

    async def _settle(self, delivery: Delivery) -> None:
        origin = message_headers.of(delivery.headers)
        flow = messages.flow_of(delivery.queue)
        with message_headers.handling(origin), metrics.LOANS.holding(self._stage.name, flow, origin.published):
            await self._settled(delivery)

    async def _settled(self, delivery: Delivery) -> None:
        try:
            outcome, flow = await self._work(delivery)
        except BrokerError as away:
            self._log.warning("queue away", queue=delivery.queue, error=str(away))
            await asyncio.sleep(AWAY_PAUSE_SECONDS)
            await _quietly(delivery.requeue())
            outcome, flow = "handed_back", messages.flow_of(delivery.queue)
        except asyncio.CancelledError:
            await _quietly(delivery.requeue())
            raise
        metrics.DELIVERIES.labels(self._stage.name, flow, outcome).inc()

    async def _work(self, delivery: Delivery) -> tuple[str, str]:
        """What became of the delivery, and the flow it was of."""
        try:
            message = self._stage.decode(delivery)
            return await self._decoded(delivery, message)
        except MessageError as error:
            self._log.error("message parked", queue=delivery.queue, error=str(error))
            await delivery.park(str(error))
            return "parked", messages.flow_of(delivery.queue)

    async def _decoded(self, delivery: Delivery, message: Any) -> tuple[str, str]:
        run, flow = getattr(message, "run_id", None) or "", message.flow or ""
        began = time.monotonic()
        with (
            structlog.contextvars.bound_contextvars(**_about(run, flow)),
            tracing.span(self._stage.name, run, flow, delivery.headers, **_details(message)),
        ):
            outcome = await self._attempt(delivery, message)
            tracing.note(outcome=outcome)
        known = flow if run else messages.flow_of(delivery.queue)  # a stranger's post may name any flow
        metrics.HANDLING_SECONDS.labels(self._stage.name, known).observe(time.monotonic() - began)
        return outcome, known

    async def _attempt(self, delivery: Delivery, message: Any) -> str:
        if delivery.deliveries >= CRASH_LIMIT:
            why = f"it was taken {delivery.deliveries} times and never finished"
            return await self._give_up(delivery, message, why)
        failures = attempts(delivery.headers)
        try:
            await self._stage.handle(message, delivery.deliveries > 0 or failures > 0)
        except Postponed as later:
            await delivery.retry(later.retry_after or 1.0, failed=False)
            return "postponed"
        except StoreError as away:
            self._log.warning("database away", error=str(away))
            await delivery.retry(AWAY_PAUSE_SECONDS, failed=False)
            return "postponed"
        except (BrokerError, MessageError):
            raise
        except Exception as error:
            self._log.exception("unexpected error", failures=failures + 1)
            if failures + 1 >= FAILURE_LIMIT:
                return await self._give_up(delivery, message, f"unexpected error: {type(error).__name__}: {error}")
            await delivery.retry(retry_ladder.delay(failures + 1))
            return "failed"
        await delivery.ack()
        return "done"

    async def _give_up(self, delivery: Delivery, message: Any, reason: str) -> str:
        self._log.error("gave up on a message", queue=delivery.queue, reason=reason)
        try:
            await self._stage.give_up(message, reason)
        except (StoreError, Postponed):
            await delivery.retry(AWAY_PAUSE_SECONDS, failed=False)
            return "postponed"
        except MessageError:
            raise
        except ImageFlowError as error:
            await delivery.park(f"{reason}; and it cannot be settled: {error}")
            return "parked"
        await delivery.ack()
        return "gave_up"


def _about(run: str, flow: str) -> dict[str, str]:
    """What log lines say of a message."""
    return {name: value for name, value in (("run", run), ("flow", flow)) if value}


def _details(message: Any) -> dict[str, int]:
    """What a span says of a message."""
    if isinstance(message, messages.RowsReady):
        return {"rows": len(message.rows)}
    return {"page": message.page} if isinstance(message, (messages.ReadPage, messages.PageRead)) else {}


async def _late(tasks: Collection[asyncio.Task[None]], seconds: float) -> set[asyncio.Task[None]]:
    """Those of the tasks that are not done by then."""
    return (await asyncio.wait(tasks, timeout=seconds))[1] if tasks else set()


async def sweep(publisher: OutboxPublisher) -> None:
    """Publish what a crash or an absent broker left in the outbox, for ever."""
    while True:
        with contextlib.suppress(StoreError, BrokerError):
            await publisher.sweep()
        await asyncio.sleep(SWEEP_SECONDS)


@asynccontextmanager
async def background(jobs: Sequence[Callable[[], Awaitable[None]]]) -> AsyncIterator[None]:
    """Run jobs that never end beside the body, and end them with it."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_job(job)) for job in jobs]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def _job(job: Callable[[], Awaitable[None]]) -> None:
    await job()


async def _quietly(settling: Awaitable[None]) -> None:
    """Settle a delivery whose loan may be over already: then it comes back by itself."""
    with contextlib.suppress(ImageFlowError):
        await settling
