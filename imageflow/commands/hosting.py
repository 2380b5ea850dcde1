"""The embedded default without an `up`: a command runs the services itself until what it waits for has ended."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import click

from imageflow import bootstrap
from imageflow.model.run import FINAL, Run
from imageflow.runtime.process import ended_by, stop_on_signals
from imageflow.runtime.substrate import Substrate, open_substrate
from imageflow.settings import Settings
from imageflow.store.data_dir import DataDirBusy, data_dir_lock


@asynccontextmanager
async def open_working(settings: Settings, *, alone: bool) -> AsyncIterator[tuple[Substrate, bool]]:
    """The substrate, and whether this process is to run the services itself: embedded, and no other process does."""
    if settings.embedded and alone:
        try:
            with data_dir_lock(settings):
                async with open_substrate(settings, os.environ, consumer=True) as substrate:
                    yield substrate, True
                    return
        except DataDirBusy:
            click.echo(f"handing over to the process that runs on {settings.data_dir}", err=True)
    async with open_substrate(settings, os.environ, consumer=False) as substrate:
        yield substrate, False


@asynccontextmanager
async def running_services(substrate: Substrate, *, enabled: bool) -> AsyncIterator[None]:
    """All services but the gateway, in this process, for as long as the body lasts."""
    if not enabled:
        yield
        return
    async with stop_on_signals() as stop, asyncio.TaskGroup() as group:
        services = group.create_task(
            bootstrap.run_services(substrate, ("scheduler", "reader", "transformer", "writer"), stop)
        )
        try:
            async with ended_by(stop):
                yield
        finally:
            stop.set()
            await asyncio.shield(services)


def progress_line() -> Callable[[Run], None] | None:
    """A progress line, where somebody looks at one."""
    if not sys.stderr.isatty():
        return None

    def show_progress(run: Run) -> None:
        end = "\n" if run.status in FINAL else ""
        counts = run.counts
        sys.stderr.write(f"\r\x1b[K{run.status}: {run.pages} pages, {counts.settled} of {counts.total} rows{end}")
        sys.stderr.flush()

    return show_progress
