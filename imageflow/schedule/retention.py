"""Deletes what is older than the retention, in small batches, so that no other write waits for long."""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from imageflow.clock import Clock
from imageflow.schedule import leased_job
from imageflow.schedule.leased_job import LeasedJob
from imageflow.store import OldRun, Store

log = structlog.get_logger()

EVERY_SECONDS = 3600.0
LEASE_SECONDS = 120.0
BATCH = 1000
PAGES_KEPT = 3
"""Pages whose rows failed and are open are kept for so many times the retention, so that they can be retried."""
PAUSE_SECONDS = 0.05
"""Between two batches, for other writes."""


class Retention:
    """Any number may run: one at a time deletes. `run` does so every hour; `delete_old` once."""

    def __init__(self, store: Store, clock: Clock, days: int, *, pause: float = PAUSE_SECONDS) -> None:
        self._store = store
        self._clock = clock
        self._days = days
        self._pause = pause
        self._holder = secrets.token_hex(8)
        self._stop = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Delete every hour, until `stop` is set."""
        self._stop = stop
        await leased_job.repeat(
            LeasedJob("retention", EVERY_SECONDS, LEASE_SECONDS, self.delete_old), self._store, self._holder, stop
        )

    async def delete_old(self) -> None:
        """Delete all that is old enough now. Ends early if it has to stop or loses the lease."""
        before = self._clock.now() - timedelta(days=self._days)
        runs = await self._delete_runs(before)
        rest = await self._batches(lambda: self._store.forget_rest(before, limit=BATCH))
        if runs or rest:
            log.info("old records deleted", records_of_runs=runs, others=rest, before=before.isoformat())

    async def _delete_runs(self, before: datetime) -> int:
        deleted = 0
        after: OldRun | None = None
        while (found := await self._store.old_runs(before, after=after)) and await self._may_go_on():
            for run in found:
                deleted += await self._delete_run(run, before)
            after = found[-1]
        return deleted

    async def _delete_run(self, run: OldRun, before: datetime) -> int:
        pages_before = before - (PAGES_KEPT - 1) * timedelta(days=self._days)
        forget = functools.partial(self._store.forget_run, run.run_id, before, pages_before=pages_before, limit=BATCH)
        return await self._batches(forget)

    async def _batches(self, forget: Callable[[], Awaitable[int]]) -> int:
        """Call `forget` until it deletes nothing. Returns how much it deleted."""
        deleted = 0
        while await self._may_go_on() and (count := await forget()):
            deleted += count
            await asyncio.sleep(self._pause)
        return deleted

    async def _may_go_on(self) -> bool:
        return not self._stop.is_set() and await self._store.lease("retention", self._holder, LEASE_SECONDS)
