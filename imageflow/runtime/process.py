"""How a process that runs services ends: by a signal, within a bound, and what waits with it."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from types import FrameType
from typing import Any

import structlog

log = structlog.get_logger()

MARGIN_SECONDS = 10.0
"""What closing connections may take beyond STOP_SECONDS."""
TASKS_NAMED = 20
GC_THRESHOLDS = (50_000, 20, 20)
"""Rows make objects by the thousand and hardly a cycle: Python's own thresholds (700, 10, 10) cost a service a tenth of its
time."""


def collect_seldom() -> None:
    """Have the garbage collector look seldom, and never at what is loaded by now: that stays."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


class Watchdog:
    """Ends the process once it has been going down for `seconds`, whatever its tasks do: one that ignores its cancellation
    must not keep a process that does no work any more. The broker redelivers what it had in hand.

    A thread, because the event loop itself may be what hangs; it goes on while the interpreter ends.
    """

    def __init__(self, seconds: float, *, end: Callable[[int], Any] = os._exit) -> None:
        self._seconds = seconds
        self._end = end
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: threading.Timer | None = None

    def begin(self) -> None:
        """The process is going down; the first call counts. To be called on the event loop."""
        if self._timer is None:
            self._loop = asyncio.get_running_loop()
            self._timer = threading.Timer(self._seconds, self._bite)
            self._timer.daemon = True
            self._timer.start()

    def _bite(self) -> None:
        assert self._loop is not None
        log.error(
            "did not end in time: the process is ended; what it had in hand comes again",
            seconds=self._seconds,
            tasks=names_of(self._loop),
        )
        self._end(1)


def names_of(loop: asyncio.AbstractEventLoop) -> list[str]:
    """The tasks that are not done, with the place in the code where each waits."""
    try:
        tasks = [task for task in asyncio.all_tasks(loop) if not task.done()]
    except RuntimeError:  # the loop works on them all the while
        return ["unknown"]
    return sorted(f"{task.get_name()}: {_place(task)}" for task in tasks)[:TASKS_NAMED]


def _place(task: asyncio.Task[Any]) -> str:
    coroutine: Any = task.get_coro()  # then what it awaits: only a coroutine has `cr_frame`
    frame: FrameType | None = None
    while coroutine is not None and getattr(coroutine, "cr_frame", None) is not None:
        frame, coroutine = coroutine.cr_frame, coroutine.cr_await
    return f"{frame.f_code.co_qualname} line {frame.f_lineno}" if frame is not None else "?"


@asynccontextmanager
async def stop_on_signals(said: Callable[[], None] | None = None) -> AsyncIterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set, which is logged or `said`; a second signal ends the process at once (the broker
    redelivers).
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    asked = False

    def ask() -> None:
        nonlocal asked
        if asked:
            log.warning("second signal: stopping at once")
            os._exit(1)
        asked = True  # not `stop`: what has come to its end sets that itself
        stop.set()
        if said is not None:
            said()
        else:
            log.info("stopping: what is in hand is finished first; a second signal stops at once")

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
