"""The scheduler: creates the runs that are due and releases queued ones. Any number may run: each tick makes one run."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime

import structlog

from imageflow.clock import Clock, iso
from imageflow.errors import BrokerError, StoreError
from imageflow.model import cron
from imageflow.model.flow import Flow, Schedule
from imageflow.model.run import Run, Trigger, new_run_id
from imageflow.runtime.outbox_publisher import OutboxPublisher
from imageflow.store import Store

log = structlog.get_logger()

TICK_SECONDS = 0.5


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
        fire_time = (
            await self._upstream_end(schedule.after, last)
            if schedule.after is not None
            else cron.due(schedule, flow.definition.timezone, last, last, now)
        )
        if fire_time is not None:
            await self._fire(flow, fire_time, now)

    async def _upstream_end(self, upstream: str, last: datetime) -> datetime | None:
        """When the newest successful run of the `after` flow ended, if that was after the last fire."""
        for run in await self._store.runs(upstream, limit=20):
            if run.status in ("success", "partial", "empty") and run.finished_at is not None:
                return run.finished_at if run.finished_at > last else None
        return None

    async def _fire(self, flow: Flow, fire_time: datetime, now: datetime) -> None:
        active = await self._store.runs(flow.name, active=True)
        waiting = sum(run.status == "queued" for run in active)
        if cron.overlap(flow.definition.overlap_policy, len(active) - waiting, waiting) == "skip":
            if await self._store.note_fire(flow.name, fire_time):
                log.info("fire skipped: a run is active", flow=flow.name, fire_time=iso(fire_time))
            return
        after = flow.definition.schedule.after if flow.definition.schedule is not None else None
        cause = Trigger("flow", after) if after is not None else Trigger("schedule", iso(fire_time) or "")
        run = Run(
            run_id=new_run_id(now), flow=flow.name, version=flow.version, trigger=cause, status="queued", created_at=now
        )
        if await self._store.create_run(run, fire_time=fire_time):
            log.info("run created", run=run.run_id, flow=flow.name, fire_time=iso(fire_time))
