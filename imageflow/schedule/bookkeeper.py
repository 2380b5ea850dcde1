"""Keeps the books that lists are made of: series of what moved, a second look at new failures, and the maps of runs that
ended. See store/series.py, store/open_failures.py and store/page_maps.py.
"""

from __future__ import annotations

import asyncio
import secrets

from imageflow.broker import Broker
from imageflow.model import page_map
from imageflow.schedule import leased_job
from imageflow.schedule.leased_job import LeasedJob
from imageflow.schedule.queue_metrics import queues
from imageflow.store import Store, Unmapped

EVERY_SECONDS = 15.0
LEASE_SECONDS = 60.0
AT_ONCE = 500
SLICE_PAGES = 100
"""The rows of so many pages are counted by one statement."""
MAPPED_ROWS = 1_000_000
"""Once the maps of so many rows are made, the other runs wait for the next time."""


class Bookkeeper:
    """Any number may run: one at a time keeps the books. `run` does so every few seconds; `keep` once."""

    def __init__(self, store: Store, broker: Broker) -> None:
        self._store = store
        self._broker = broker
        self._holder = secrets.token_hex(8)

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the books until `stop` is set."""
        job = LeasedJob("books", EVERY_SECONDS, LEASE_SECONDS, self.keep)
        await leased_job.repeat(job, self._store, self._holder, stop)

    async def keep(self) -> None:
        """Do what is due now, a bounded part of it: the rest is due the next time. Raises StoreError, BrokerError."""
        await self._store.count_series()
        await self._store.check_failures(limit=AT_ONCE)
        depths = {queue: await self._broker.depth(queue) for queue in queues(await self._store.flows())}
        await self._store.sample_queues({queue: (depth.ready, depth.consumers) for queue, depth in depths.items()})
        await self._map_runs()

    async def _map_runs(self) -> None:
        mapped = 0
        for run in await self._store.unmapped_runs():
            if mapped >= MAPPED_ROWS:
                return
            await self._store.save_page_map(run.run_id, run.finished_at, await self._mapped(run))
            mapped += run.rows

    async def _mapped(self, run: Unmapped) -> bytes:
        """The map of a run, from its rows, a slice after the other."""
        tally = page_map.Tally()
        for after in range(0, run.pages, SLICE_PAGES):
            tally.add(await self._store.count_pages(run.run_id, after, SLICE_PAGES))
        return tally.packed(run.pages)
