"""The metrics that only store and broker know: queues and their consumers, runs, watermarks, alarms, the outbox.

Every scheduler sets them, so that any of them can be scraped. They agree, but for the moment at which they looked.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

import structlog

from imageflow.broker import Broker, Depth
from imageflow.clock import Clock
from imageflow.errors import BrokerError, StoreError
from imageflow.model import messages
from imageflow.model.flow import Flow
from imageflow.store import Store
from imageflow.telemetry import metrics

log = structlog.get_logger()

LOOK_SECONDS = 5.0
ACTIVE_RUNS = 1000
ALARMS = 1000
OVERDUE_SECONDS = 60.0

Place = tuple[str, str]
"""A stage and a flow: the labels of a queue."""

PARKED: Place = ("parked", "")


def queues(flows: Sequence[Flow]) -> dict[str, Place]:
    """All queues with their labels. A queue that all flows share has no flow."""
    shared = {
        messages.READ_QUEUE: ("reader", ""),
        messages.OUTBOUND_QUEUE: ("gateway", ""),
        messages.PARKED_QUEUE: PARKED,
    }
    transform = {messages.transform_queue(flow.name): ("transformer", flow.name) for flow in flows}
    write = {messages.write_queue(flow.name): ("writer", flow.name) for flow in flows}
    return shared | transform | write


def unconsumed(depths: Mapping[Place, Depth], before: Mapping[Place, float], now: float) -> dict[Place, float]:
    """The queues with messages and without a consumer, and since when (Unix time). Dead letters have no consumer."""
    alone = [place for place, depth in depths.items() if depth.ready and not depth.consumers and place != PARKED]
    return {place: before.get(place, now) for place in alone}


class QueueMetrics:
    """Sets the metrics every few seconds. During an outage of store or broker they keep their values, LAST_LOOK too."""

    def __init__(self, store: Store, broker: Broker, clock: Clock) -> None:
        self._store = store
        self._broker = broker
        self._clock = clock
        self._unconsumed: dict[Place, float] = {}

    async def run(self) -> None:
        """Set the metrics until cancelled."""
        while True:
            try:
                await self.look()
            except (StoreError, BrokerError) as error:
                log.warning("queue metrics wait", error=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Set all metrics of this module. Raises StoreError and BrokerError."""
        flows = await self._store.flows()
        await self._look_at_queues(flows)
        await self._look_at_runs()
        await self._look_at_watermarks(flows)
        alarms = await self._store.alarms(is_open=True, limit=ALARMS)
        metrics.ALARMS_OPEN.clear()
        for alarm in alarms:
            metrics.ALARMS_OPEN.labels(alarm.flow, alarm.kind).set(1)
        metrics.OUTBOX_OVERDUE.set(len(await self._store.unsent(OVERDUE_SECONDS)))
        metrics.LAST_LOOK.set(self._clock.now().timestamp())

    async def _look_at_queues(self, flows: Sequence[Flow]) -> None:
        depths = {place: await self._broker.depth(queue) for queue, place in queues(flows).items()}
        for place, depth in depths.items():
            metrics.QUEUE_MESSAGES.labels(*place).set(depth.ready)
            metrics.QUEUE_CONSUMERS.labels(*place).set(depth.consumers)
        self._unconsumed = unconsumed(depths, self._unconsumed, self._clock.now().timestamp())
        metrics.IN_HAND.unconsumed(self._unconsumed)

    async def _look_at_runs(self) -> None:
        """Of the newest ACTIVE_RUNS active runs."""
        active = await self._store.runs(active=True, limit=ACTIVE_RUNS)
        metrics.RUNS_ACTIVE.clear()
        metrics.OLDEST_RUN.clear()
        for (flow, status), count in Counter((run.flow, run.status) for run in active).items():
            metrics.RUNS_ACTIVE.labels(flow, status).set(count)
        for run in active:  # newest first: the oldest stays
            metrics.OLDEST_RUN.labels(run.flow).set(run.created_at.timestamp())

    async def _look_at_watermarks(self, flows: Sequence[Flow]) -> None:
        for flow in flows:
            if flow.definition.inbound and (since := await self._store.watermark(flow.name)) is not None:
                metrics.WATERMARK.labels(flow.name).set(since.timestamp())
