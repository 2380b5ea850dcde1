"""What every service stands on: the store, the broker, the outbox between them, the clock, the environment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

from imageflow.broker import Broker
from imageflow.broker.connect import connect as connect_broker
from imageflow.clock import Clock, SystemClock
from imageflow.runtime.outbox_publisher import OutboxPublisher
from imageflow.settings import Settings
from imageflow.store import Store
from imageflow.store.connect import open_store


class Substrate(NamedTuple):
    """What every service stands on."""

    settings: Settings
    store: Store
    broker: Broker
    publisher: OutboxPublisher
    clock: Clock
    environ: Mapping[str, str]


@asynccontextmanager
async def open_substrate(settings: Settings, environ: Mapping[str, str], *, consumer: bool) -> AsyncIterator[Substrate]:
    """Store and broker. `consumer`: this process runs services (embedded: it must hold the data directory's lock)."""
    clock = SystemClock()
    async with (
        open_store(settings, clock) as store,
        connect_broker(settings.broker_url, consumer=consumer) as broker,
    ):
        if consumer and settings.embedded:
            await store.gone("*")
        publisher = OutboxPublisher(store, broker)
        try:
            yield Substrate(settings, store, broker, publisher, clock, environ)
        finally:
            await publisher.finish()
