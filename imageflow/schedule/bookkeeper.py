"""Keeps the books that lists are made of: looks at new failures once more. See store/open_failures.py."""

from __future__ import annotations

import asyncio
import secrets

from imageflow.schedule import leased_job
from imageflow.schedule.leased_job import LeasedJob
from imageflow.store import Store

EVERY_SECONDS = 15.0
LEASE_SECONDS = 60.0
AT_ONCE = 500


class Bookkeeper:
    """Any number may run: one at a time keeps the books. `run` does so every few seconds; `keep` once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._holder = secrets.token_hex(8)

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the books until `stop` is set."""
        job = LeasedJob("books", EVERY_SECONDS, LEASE_SECONDS, self.keep)
        await leased_job.repeat(job, self._store, self._holder, stop)

    async def keep(self) -> None:
        """Do what is due now, a bounded part of it: the rest is due the next time. Raises StoreError."""
        await self._store.check_failures(limit=AT_ONCE)
