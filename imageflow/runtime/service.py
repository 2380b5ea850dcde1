"""A service: consumes its stage's queues, has the stage handle each message, and settles the delivery.

What becomes of a delivery is decided in settlement.py. Nothing that a stage, a message or the broker raises ends the service.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Generic, NamedTuple, Protocol, TypeVar

import structlog

from imageflow.broker import Broker, Delivery, attempts
from imageflow.errors import BrokerError, MessageError, NotFoundError, Postponed, StoreError
from imageflow.model import messages
from imageflow.model.flow import Flow
from imageflow.runtime.kept import KeptJobs
from imageflow.runtime.outbox_publisher import OutboxPublisher
from imageflow.runtime.settlement import (
    AWAY_PAUSE_SECONDS,
    Ack,
    Facts,
    GiveUp,
    Park,
    Requeue,
    Retry,
    Settlement,
    after_giving_up,
    before_handling,
    decide,
    undecodable,
)
from imageflow.store import Store
from imageflow.telemetry import message_headers, metrics, tracing

log = structlog.get_logger()

DISCOVERY_SECONDS = 1.0
SWEEP_SECONDS = 2.0


class Message(Protocol):
    """What a stage handles: something about a flow, and about a run where there is one (else an empty text)."""

    @property
    def run_id(self) -> str: ...

    @property
    def flow(self) -> str: ...


M = TypeVar("M", bound=Message)


class Stage(NamedTuple, Generic[M]):
    """A step of the pipeline.

    `queues` names the queues to consume, given the flows there are; `prefetch` deliveries of each may be unacknowledged.
    `decode` reads a delivery; `handle` returns when everything derived from the message is durable; `give_up` settles
    what the message holds as failed, with a reason. All three may raise MessageError: the delivery is parked then.
    `wind_up` asks the stage to start no new work, because the service stops.
    """

    name: str
    prefetch: int
    queues: Callable[[Sequence[Flow]], list[str]]
    decode: Callable[[Delivery], M]
    handle: Callable[[M], Awaitable[None]]
    give_up: Callable[[M, str], Awaitable[None]]
    wind_up: Callable[[], None] | None = None


def decoder(*kinds: type[M]) -> Callable[[Delivery], M]:
    """Reads a delivery as a message of one of these kinds that is in its own queue. Raises MessageError for anything else."""

    def decode(delivery: Delivery) -> M:
        message = messages.decode(delivery.body)
        if not isinstance(message, kinds) or messages.queue_of(message) != delivery.queue:
            raise MessageError(f"a message {type(message).__name__} does not belong in the queue {delivery.queue}")
        return message

    return decode


class Service(Generic[M]):
    """Runs one stage until it is asked to stop. `jobs` keeps its consumers running and knows what is wrong with them."""

    def __init__(self, stage: Stage[M], store: Store, broker: Broker, jobs: KeptJobs | None = None) -> None:
        self._stage = stage
        self._store = store
        self._broker = broker
        self._jobs = jobs or KeptJobs()
        self._log = log.bind(service=stage.name)
        self._handlers: set[asyncio.Task[None]] = set()
        self._consumers: dict[str, asyncio.Task[None]] = {}
        self._wanted: list[str] | None = None
        """The queues that there were at the start, until each was consumed."""
        self._started = False

    @property
    def problem(self) -> str | None:
        """Why it has not started yet; None once all consumers have run. What is lost later is the broker's to tell."""
        if self._started:
            return None
        if self._wanted is None:
            return f"the service {self._stage.name} has not looked for its queues yet"
        missing = [queue for queue in self._wanted if not self._broker.consuming(queue)]
        if missing:
            return f"the consumer of {missing[0]} is not running yet"
        self._started = True
        return None

    @property
    def name(self) -> str:
        return self._stage.name

    @property
    def in_hand(self) -> int:
        """How many deliveries it handles now."""
        return len(self._handlers)

    async def run(self, stop: asyncio.Event, stop_seconds: float) -> None:
        """Work until `stop` is set; then take no more deliveries and finish those that were taken. After half of
        `stop_seconds` the stage is asked to wind up; after three quarters the rest is requeued.
        """
        self._consumers.clear()  # of a run that failed
        async with asyncio.TaskGroup() as handlers:
            async with asyncio.TaskGroup() as consumers:
                discover = functools.partial(self._discover, consumers, handlers)
                discovery = consumers.create_task(
                    self._jobs.keep(f"the search for queues of {self._stage.name}", discover)
                )
                await stop.wait()
                discovery.cancel()
                for consumer in list(self._consumers.values()):
                    consumer.cancel()
            await self._finish(stop_seconds)

    async def _discover(self, consumers: asyncio.TaskGroup, handlers: asyncio.TaskGroup) -> None:
        """Start a consumer for each queue as flows appear."""
        while True:
            with contextlib.suppress(StoreError):
                queues = self._stage.queues(await self._store.flows())
                self._wanted = queues if self._wanted is None else self._wanted
                for queue in queues:
                    if queue not in self._consumers:
                        consume = self._jobs.keep(
                            f"the consumer of {queue}", functools.partial(self._consume, queue, handlers)
                        )
                        self._consumers[queue] = consumers.create_task(consume, name=queue)
            await asyncio.sleep(DISCOVERY_SECONDS)

    async def _consume(self, queue: str, handlers: asyncio.TaskGroup) -> None:
        async with self._broker.consume(queue, prefetch=self._stage.prefetch) as deliveries:
            async for delivery in deliveries:
                task = handlers.create_task(self._take(delivery))
                self._handlers.add(task)
                task.add_done_callback(self._handlers.discard)

    async def _finish(self, stop_seconds: float) -> None:
        late = await _late(self._handlers, stop_seconds * 0.5)
        if late and self._stage.wind_up is not None:
            self._stage.wind_up()
        late = await _late(late, stop_seconds * 0.25)
        for task in late:
            task.cancel()
        if late:
            self._log.warning("stopped with work in hand", deliveries=len(late), note="they are requeued and repeated")

    # one delivery ----------------------------------------------------------------------------------------------------

    async def _take(self, delivery: Delivery) -> None:
        """Handle a delivery and settle it; on cancellation requeue it."""
        origin = message_headers.of(delivery.headers)
        flow = messages.flow_of(delivery.queue)
        with message_headers.handling(origin), metrics.IN_HAND.handling(self._stage.name, flow, origin.published):
            try:
                outcome, flow = await self._read_safely(delivery, flow)
            except asyncio.CancelledError:
                await _quietly(delivery.requeue())
                raise
            metrics.DELIVERIES.labels(self._stage.name, flow, outcome).inc()

    async def _read_safely(self, delivery: Delivery, flow: str) -> tuple[str, str]:
        """What `_read` returns. An error that gets here, from settling or from telemetry, ends nothing but this try."""
        try:
            return await self._read(delivery, flow)
        except Exception:  # noqa: BLE001 - it must not get out of this task
            self._log.exception("a delivery could not be settled", queue=delivery.queue)
            return await self._put_back(delivery), flow

    async def _read(self, delivery: Delivery, flow: str) -> tuple[str, str]:
        """Returns the outcome, and the flow: that of the queue, or else of the message."""
        try:
            message = self._stage.decode(delivery)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a message, it ends nothing but the message
            return await self._settle(delivery, undecodable(error)), flow
        known = message.flow if message.run_id else flow  # without a run it is a stranger's, who may name any flow
        return await self._traced(delivery, message, known), known

    async def _traced(self, delivery: Delivery, message: M, flow: str) -> str:
        began = time.monotonic()
        with (
            structlog.contextvars.bound_contextvars(**_about(message)),
            tracing.span(self._stage.name, message.run_id, message.flow, delivery.headers, **_details(message)),
        ):
            outcome = await self._settle(delivery, await self._handle(delivery, message))
            tracing.note(outcome=outcome)
        if outcome != Requeue.outcome:  # its pause is no handling
            metrics.HANDLING_SECONDS.labels(self._stage.name, flow).observe(time.monotonic() - began)
        return outcome

    async def _handle(self, delivery: Delivery, message: M) -> Settlement:
        """Have the stage handle the message, or give up on it."""
        facts = Facts(delivery.deliveries, attempts(delivery.headers))
        decision: Settlement | GiveUp | None = before_handling(facts)
        if decision is None:
            error = await _raised(self._stage.handle(message))
            decision = decide(error, facts)
            self._report(delivery, error, decision, facts.failures + 1)
        if isinstance(decision, GiveUp):
            reason = decision.reason
            self._log.error("gave up on a message", queue=delivery.queue, reason=reason)
            error = await _raised(self._stage.give_up(message, reason))
            decision = after_giving_up(error, reason)
            self._report(delivery, error, decision, facts.failures + 1)
        return decision

    def _report(
        self, delivery: Delivery, error: Exception | None, decision: Settlement | GiveUp, failures: int
    ) -> None:
        """Log an error of the stage, as what was decided on it."""
        if error is None or isinstance(error, (Postponed, MessageError, NotFoundError)):
            return
        match decision:
            case Requeue():
                self._log.warning("queue away", queue=delivery.queue, error=str(error))
            case Retry(counts=False):
                what = "database away" if isinstance(error, StoreError) else "queue full"
                self._log.warning(what, error=str(error))
            case _:
                self._log.error("unexpected error", failures=failures, exc_info=error)

    async def _settle(self, delivery: Delivery, how: Settlement) -> str:
        """Settle a delivery; returns the outcome. Where the queue is away, the delivery is requeued."""
        try:
            await self._settled(delivery, how)
        except BrokerError as error:
            self._log.warning("queue away", queue=delivery.queue, error=str(error))
            return await self._put_back(delivery)
        return how.outcome

    async def _put_back(self, delivery: Delivery) -> str:
        """Requeue after a pause. RabbitMQ counts that; after CRASH_LIMIT times the message is given up."""
        how = Requeue(AWAY_PAUSE_SECONDS)
        await self._settled(delivery, how)
        return how.outcome

    async def _settled(self, delivery: Delivery, how: Settlement) -> None:
        match how:
            case Ack():
                await delivery.ack()
            case Retry(delay, counts):
                await delivery.retry(delay, failed=counts)
            case Park(reason):
                self._log.error("message parked", queue=delivery.queue, error=reason)
                await delivery.park(reason)
            case Requeue(after):
                await asyncio.sleep(after)
                await _quietly(delivery.requeue())


async def _raised(work: Awaitable[None]) -> Exception | None:
    """What the work raised, as a value."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 - whatever a stage raises is decided on, and ends nothing else
        return error
    return None


def _about(message: Message) -> dict[str, str]:
    """What log lines say of a message."""
    return {name: value for name, value in (("run", message.run_id), ("flow", message.flow)) if value}


def _details(message: Message) -> dict[str, int]:
    """What a span says of a message."""
    if isinstance(message, messages.RowsReady):
        return {"rows": len(message.rows)}
    return (
        {"page": message.page}
        if isinstance(message, (messages.ReadPage, messages.PageRead, messages.ReplayPage))
        else {}
    )


async def _late(tasks: Collection[asyncio.Task[None]], seconds: float) -> set[asyncio.Task[None]]:
    """The tasks that are not done after `seconds`."""
    return (await asyncio.wait(tasks, timeout=seconds))[1] if tasks else set()


async def sweep(publisher: OutboxPublisher) -> None:
    """Publish again and again what a crash or an absent broker left in the outbox. Never returns."""
    while True:
        with contextlib.suppress(StoreError, BrokerError):
            await publisher.sweep()
        await asyncio.sleep(SWEEP_SECONDS)


@asynccontextmanager
async def background(jobs: Mapping[str, Callable[[], Awaitable[None]]], kept: KeptJobs) -> AsyncIterator[None]:
    """Run jobs that never end beside the body, by their names, and end them with it."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(kept.keep(name, job), name=name) for name, job in jobs.items()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def _quietly(settling: Awaitable[None]) -> None:
    """Settle a delivery that RabbitMQ may have taken back already: then it is redelivered anyway."""
    with contextlib.suppress(Exception):
        await settling
