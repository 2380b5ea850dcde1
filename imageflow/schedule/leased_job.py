"""A leased job: periodic work that one scheduler does at a time. A lease in the store says which one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog

from imageflow.errors import BrokerError, StoreError
from imageflow.store import Store

log = structlog.get_logger()


class LeasedJob(NamedTuple):
    """Calls `work` every `every` seconds. One call must end within `lease_seconds`."""

    name: str
    every: float
    lease_seconds: float
    work: Callable[[], Awaitable[None]]


async def repeat(job: LeasedJob, store: Store, holder: str, stop: asyncio.Event) -> None:
    """Do the job whenever `holder` gets its lease, until `stop` is set; then release the lease.

    A failed call is logged, and the next one comes at its time.
    """
    while not stop.is_set():
        try:
            if await store.lease(job.name, holder, job.lease_seconds):
                await job.work()
        except (StoreError, BrokerError) as error:
            log.warning("job waits", job=job.name, error=str(error))
        except Exception:  # one faulty call must not end the job, nor its siblings in the same task group
            log.exception("job failed", job=job.name)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), job.every)
    with contextlib.suppress(StoreError):
        await store.lease(job.name, holder, 0)
