"""The scheduler: creates the runs that are due and releases queued ones. Any number may run: each tick makes one run."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime

import structlog

from imageflow.clock import Clock
from imageflow.errors import BrokerError, StoreError
from imageflow.model import cron
from imageflow.model.flow import Flow, Schedule
from imageflow.runtime.outbox_publisher import OutboxPublisher
from imageflow.schedule import firing
from imageflow.store import Store
from imageflow.text.instant import iso

log = structlog.get_logger()

TICK_SECONDS = 0.5
UPSTREAM_RUNS = 20


async def release_only(store: Store, publisher: OutboxPublisher, flow: str, stop: asyncio.Event) -> None:
    """Release the queued runs of one flow until `stop` is set; no schedule fires."""
    while not stop.is_set():
        with contextlib.suppress(StoreError, BrokerError):
            await publisher.send(await store.release_runs(flow))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), TICK_SECONDS)


class Scheduler:
    """Checks all flows twice a second."""

    def __init__(self, store: Store, publisher: OutboxPublisher, clock: Clock) -> None:
        self._store = store
        self._publisher = publisher
        self._clock = clock

    async def run(self, stop: asyncio.Event) -> None:
        """Schedule until `stop` is set. What an outage of database or queue delays is done after it."""
        while not stop.is_set():
            try:
                await self.tick()
            except (StoreError, BrokerError) as error:
                log.warning("scheduler waits", error=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), TICK_SECONDS)

    async def tick(self) -> None:
        """Create the runs that are due now, then release queued ones."""
        for flow in await self._store.flows():
            if flow.definition.enabled and flow.definition.schedule is not None:
                await self._consider(flow, flow.definition.schedule)
        await self.release()

    async def release(self) -> None:
        """Release queued runs, and publish their first messages."""
        await self._publisher.send(await self._store.release_runs())

    async def _consider(self, flow: Flow, schedule: Schedule) -> None:
        now = self._clock.now()
        last = await self._store.last_fire(flow.name)
        if last is None:
            # a new flow: its ticks count from now, for every scheduler
            await self._store.note_fire(flow.name, now)
            return
        if schedule.after is not None:
            fire_time = firing.followed(await self._store.runs(schedule.after, limit=UPSTREAM_RUNS), last)
        else:
            fire_time = cron.due(schedule, flow.definition.timezone, last, last, now)
        if fire_time is not None:
            await self._fire(flow, fire_time, now)

    async def _fire(self, flow: Flow, fire_time: datetime, now: datetime) -> None:
        if not firing.may_fire(flow, await self._store.runs(flow.name, active=True)):
            if await self._store.note_fire(flow.name, fire_time):
                log.info("fire skipped: a run is active", flow=flow.name, fire_time=iso(fire_time))
            return
        run = firing.run_of(flow, fire_time, now)
        if await self._store.create_run(run, fire_time=fire_time):
            log.info("run created", run=run.run_id, flow=flow.name, fire_time=iso(fire_time))
