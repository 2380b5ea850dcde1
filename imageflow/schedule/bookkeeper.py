"""Keeps the books that lists are made of: series of what moved, and a second look at new failures. See store/series.py and
store/open_failures.py.
"""

from __future__ import annotations

import asyncio
import secrets

from imageflow.broker import Broker
from imageflow.schedule import leased_job
from imageflow.schedule.leased_job import LeasedJob
from imageflow.schedule.queue_metrics import queues
from imageflow.store import Store

EVERY_SECONDS = 15.0
LEASE_SECONDS = 60.0
AT_ONCE = 500


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
