"""Publishes the newest image sets of products that a late write may have come over: see store/doubts.py."""

from __future__ import annotations

import asyncio
import secrets

import structlog

from imageflow.runtime.outbox_publisher import OutboxPublisher
from imageflow.schedule import leased_job
from imageflow.schedule.leased_job import LeasedJob
from imageflow.store import Store
from imageflow.telemetry import metrics

log = structlog.get_logger()

EVERY_SECONDS = 3.0
LEASE_SECONDS = 30.0


class Rewriter:
    """Any number may run: one at a time publishes. `run` does so every few seconds; `write_again` once."""

    def __init__(self, store: Store, publisher: OutboxPublisher) -> None:
        self._store = store
        self._publisher = publisher
        self._holder = secrets.token_hex(8)

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until `stop` is set."""
        job = LeasedJob("rewrites", EVERY_SECONDS, LEASE_SECONDS, self.write_again)
        await leased_job.repeat(job, self._store, self._holder, stop)

    async def write_again(self) -> None:
        """Publish what is due now, a bounded part of it: the rest is due the next time. Raises StoreError, BrokerError."""
        again = await self._store.write_again()
        for flow, products in again.products.items():
            metrics.REWRITES.labels(flow).inc(products)
        if again.products:
            log.info("products in doubt are written again", products=sum(again.products.values()))
        await self._publisher.send(again.outbox)
