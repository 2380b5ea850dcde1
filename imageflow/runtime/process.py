"""How a process that runs services ends: by a signal, and what waits with it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

log = structlog.get_logger()


@asynccontextmanager
async def stop_on_signals() -> AsyncIterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set; a second signal ends the process at once (the broker redelivers)."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def ask() -> None:
        if stop.is_set():
            log.warning("second signal: stopping at once")
            os._exit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(ValueError):
                loop.remove_signal_handler(number)


@asynccontextmanager
async def ended_by(stop: asyncio.Event) -> AsyncIterator[None]:
    """Cancel the body once `stop` is set: what it waits for cannot come any more."""
    body = asyncio.current_task()
    assert body is not None

    async def cancel() -> None:
        await stop.wait()
        body.cancel()

    async with asyncio.TaskGroup() as group:
        watch = group.create_task(cancel())
        try:
            yield
        finally:
            watch.cancel()
