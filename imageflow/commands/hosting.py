"""Following runs. With the embedded default, the process that follows runs their services itself once no other one does."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import click

from imageflow import bootstrap
from imageflow.actions.run_watch import POLL_SECONDS, until_ended
from imageflow.errors import StoreError
from imageflow.model.run import FINAL, Run
from imageflow.runtime.process import ended_by, stop_on_signals
from imageflow.runtime.substrate import Substrate, open_substrate
from imageflow.settings import Settings
from imageflow.store import Store
from imageflow.store.data_dir import DataDirBusy, data_dir_lock

SERVICES = ("reader", "transformer", "writer")
"""What a run needs. No scheduler: nothing is fired that nobody asked for."""


async def follow(settings: Settings, store: Store, flow: str, run_ids: Sequence[str]) -> None:
    """Return when the runs of a flow have ended. Embedded: this process runs the services of this flow, as soon as no other
    process holds the data directory; if that one ends before the runs, however it ends, this one takes over.
    """
    if not settings.embedded:
        await _until_ended(store, run_ids)
        return
    told = False
    while True:
        try:
            with data_dir_lock(settings):
                await _host(settings, flow, run_ids)
                return
        except DataDirBusy:
            if not told:
                click.echo(f"handing over to the process that runs on {settings.data_dir}", err=True)
            told = True
        if await _have_ended(store, run_ids):
            return
        await asyncio.sleep(POLL_SECONDS)


def is_free(settings: Settings) -> bool:
    """Whether this process will run the services itself."""
    if not settings.embedded:
        return False
    try:
        with data_dir_lock(settings):
            return True
    except DataDirBusy:
        return False


async def _host(settings: Settings, flow: str, run_ids: Sequence[str]) -> None:
    async with open_substrate(settings, os.environ, consumer=True) as substrate, _services(substrate, flow):
        await _until_ended(substrate.store, run_ids)


async def _until_ended(store: Store, run_ids: Sequence[str]) -> None:
    for run_id in run_ids:
        await until_ended(store, run_id, progress_line())


async def _have_ended(store: Store, run_ids: Sequence[str]) -> bool:
    try:
        return all([(await store.run(run_id)).ended for run_id in run_ids])
    except StoreError:
        return False


@asynccontextmanager
async def _services(substrate: Substrate, flow: str) -> AsyncIterator[None]:
    """The services of one flow, in this process, for as long as the body lasts."""
    async with stop_on_signals() as stop, asyncio.TaskGroup() as group:
        services = group.create_task(bootstrap.run_services(substrate, SERVICES, stop, only=flow))
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
