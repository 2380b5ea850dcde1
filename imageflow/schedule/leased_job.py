"""Duties: what one of all schedulers does at a time, again and again. A lease of the store says which one."""

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
    """`work` is done every so many seconds, and must be done within `lease_seconds`."""

    name: str
    every: float
    lease_seconds: float
    work: Callable[[], Awaitable[None]]


async def keep(duty: LeasedJob, store: Store, holder: str, stop: asyncio.Event) -> None:
    """Do the duty, whenever `holder` has its lease, until `stop` is set. An absent database makes it wait."""
    while not stop.is_set():
        try:
            if await store.lease(duty.name, holder, duty.lease_seconds):
                await duty.work()
        except (StoreError, BrokerError) as away:
            log.warning("duty waits", duty=duty.name, error=str(away))
        except Exception:
            log.exception("duty failed", duty=duty.name)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), duty.every)
    with contextlib.suppress(StoreError):
        await store.lease(duty.name, holder, 0)
