"""A process that is going down ends."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import Any

import structlog.testing

from imageflow.runtime.process import Watchdog, names_of, stop_on_signals


async def test_the_watchdog_ends_what_does_not_end() -> None:
    """After its time the process ends with status 1, and the log names the tasks that are left and where each waits."""
    ended: list[int] = []
    bitten = threading.Event()

    def end(status: int) -> None:
        ended.append(status)
        bitten.set()

    async def stubborn() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(stubborn(), name="the stubborn one")
    await asyncio.sleep(0)
    watchdog = Watchdog(0.01, end=end)
    with structlog.testing.capture_logs() as logs:
        watchdog.begin()
        watchdog.begin()
        assert await asyncio.to_thread(bitten.wait, 10)
    assert ended == [1]
    [entry] = logs
    assert any(name.startswith("the stubborn one: Event.wait") for name in entry["tasks"])
    task.cancel()


async def test_the_names_of_tasks() -> None:
    """Tasks that have not begun are named too; ended ones are not."""

    async def nothing() -> None: ...

    done: asyncio.Task[Any] = asyncio.create_task(nothing(), name="done")
    await done
    fresh: asyncio.Task[Any] = asyncio.create_task(nothing(), name="fresh")
    found = names_of(asyncio.get_running_loop())
    assert any(name.startswith("fresh: ") for name in found)
    assert not any(name.startswith("done") for name in found)
    await fresh


async def test_a_first_signal_at_the_end_is_the_first() -> None:
    """Where the work has come to its end by itself, one Ctrl-C does not end the process at once."""
    said: list[str] = []
    async with stop_on_signals(lambda: said.append("stopping")) as stop:
        stop.set()
        os.kill(os.getpid(), signal.SIGINT)
        async with asyncio.timeout(5):
            while not said:
                await asyncio.sleep(0.01)
    assert said == ["stopping"]
