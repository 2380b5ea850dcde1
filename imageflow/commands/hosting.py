"""Following runs. With the embedded default, the process that follows runs their services itself once no other one does."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import tzinfo
from typing import TextIO

from imageflow import bootstrap
from imageflow.actions.run_waits import Wait
from imageflow.actions.run_watch import POLL_SECONDS, Progress, Watch, until_ended
from imageflow.commands.rows import zone_of
from imageflow.commands.shell import note
from imageflow.commands.texts import progress_text
from imageflow.commands.volume import is_quiet
from imageflow.errors import StoreError
from imageflow.model.run import Run
from imageflow.runtime.process import collect_seldom, ended_by, stop_on_signals
from imageflow.runtime.substrate import Substrate, open_substrate
from imageflow.settings import Settings
from imageflow.store import Store
from imageflow.store.data_dir import DataDirBusy, data_dir_lock
from imageflow.text.phrase import Phrase

SERVICES = ("reader", "transformer", "writer")
"""What a run needs. No scheduler: nothing is fired that nobody asked for."""


async def follow(settings: Settings, store: Store, flow: str, run_ids: Sequence[str]) -> None:
    """Return when the runs of a flow have ended. Embedded: this process runs the services of this flow, as soon as no other
    process holds the data directory; if that one ends before the runs, however it ends, this one takes over.
    """
    with progress_line(await zone_of(store, flow)) as show:
        if not settings.embedded:
            await _until_ended(store, run_ids, show)
            return
        told = False
        watches = [Watch(store, run_id, show) for run_id in run_ids]
        while True:
            try:
                with data_dir_lock(settings):
                    await _host(settings, flow, run_ids, show)
                    return
            except DataDirBusy:
                if not told:
                    note(f"handing over to the process that runs on {settings.data_dir}")
                told = True
            if await _have_ended(watches):
                return
            await asyncio.sleep(POLL_SECONDS)


async def _host(settings: Settings, flow: str, run_ids: Sequence[str], show: Progress) -> None:
    goes_on = f"`imageflow resume {' '.join(run_ids)} --wait`, or the next `imageflow up`"
    async with open_substrate(settings, os.environ, consumer=True) as substrate:
        try:
            async with _services(substrate, flow, said(settings, goes_on)):
                collect_seldom()
                await _until_ended(substrate.store, run_ids, show)
        except asyncio.CancelledError:  # what was in hand has been finished since, and that may have been all
            if not await _have_ended([Watch(substrate.store, run_id, show) for run_id in run_ids]):
                raise
            if (task := asyncio.current_task()) is not None:
                task.uncancel()


async def _until_ended(store: Store, run_ids: Sequence[str], show: Progress) -> None:
    for run_id in run_ids:
        await until_ended(store, run_id, show)


async def _have_ended(watches: Sequence[Watch]) -> bool:
    try:
        for watch in watches:
            if not (await watch.look()).ended:
                return False
    except StoreError:
        return False
    return True


@asynccontextmanager
async def _services(substrate: Substrate, flow: str, stopping: Callable[[], None]) -> AsyncIterator[None]:
    """The services of one flow, in this process, for as long as the body lasts."""
    async with stop_on_signals(stopping) as stop, asyncio.TaskGroup() as group:
        services = group.create_task(bootstrap.run_services(substrate, SERVICES, stop, only=flow))
        try:
            async with ended_by(stop):
                yield
        finally:
            stop.set()
            await asyncio.shield(services)


def said(settings: Settings, goes_on: str) -> Callable[[], None]:
    """Says what the first Ctrl-C does. `goes_on`: the command with which what is left goes on."""
    return lambda: note(
        f"stopping: what is in hand is finished first, in up to {settings.stop_seconds:g} s; Ctrl-C again stops at once. "
        f"Nothing is lost: what is left goes on with {goes_on}"
    )


@contextmanager
def progress_line(of: tzinfo) -> Iterator[Progress]:
    """Shows how far a run is and what it waits for. A terminal gets one line that is kept up to date, below logs and
    other texts; elsewhere a note says what the run waits for, whenever that changes. `of`: the time zone of its flow.
    """
    if not sys.stderr.isatty() or is_quiet() or os.environ.get("TERM") == "dumb":
        yield _said_once(of)
        return
    from rich.console import Console  # noqa: PLC0415 - only where somebody looks
    from rich.live import Live  # noqa: PLC0415 - the same
    from rich.text import Text  # noqa: PLC0415 - the same

    console = Console(stderr=True, soft_wrap=True)  # commands in texts above it can be copied whole
    live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
    with live, logs_to(sys.stderr):
        live.console.show_cursor()  # a second Ctrl-C would leave it hidden
        yield lambda run, waits: live.update(
            Text(progress_text(run, waits, of), no_wrap=True, overflow="ellipsis"), refresh=True
        )


def _said_once(of: tzinfo) -> Progress:
    """Says what a run waits for, whenever that is something else."""
    known: Phrase | str | None = None

    def show(run: Run, waits: Wait | None) -> None:
        nonlocal known
        if waits is not None and waits.why != known:
            note(progress_text(run, waits, of))
        known = None if waits is None else waits.why  # what comes again is said again

    return show


@contextmanager
def logs_to(stream: TextIO) -> Iterator[None]:
    """Logs go to another stream meanwhile."""
    handlers = [one for one in logging.getLogger().handlers if isinstance(one, logging.StreamHandler)]
    before = [one.setStream(stream) for one in handlers]
    try:
        yield
    finally:
        for one, known in zip(handlers, before, strict=True):
            if known is not None:
                one.setStream(known)
