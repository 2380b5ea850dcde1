"""Keeps what the steps of this process note of runs: once a second, while there is something, in one transaction."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import datetime

from imageflow.clock import Clock
from imageflow.errors import Postponed, StoreError
from imageflow.model.run_step import Notes, StepName
from imageflow.store import Store

EVERY_SECONDS = 1.0
AT_ONCE = 500
"""So many steps are kept by one transaction."""


class StepKeeper:
    """What reader, transformer and writer of a process note. `run` must run beside them; `keep` keeps the rest at the end."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._notes = Notes()

    @contextlib.contextmanager
    def at_work(self, run_id: str, step: StepName, rows: int = 0) -> Iterator[None]:
        """A step handles a delivery with so many rows of a run (empty: of none). What it puts off is a wait, what fails is work."""
        began = self._clock.now()
        try:
            with self.put_off(run_id, step):
                yield
        except Postponed:
            raise
        except BaseException:
            self._worked(run_id, step, began, 0)
            raise
        self._worked(run_id, step, began, rows)

    @contextlib.contextmanager
    def put_off(self, run_id: str, step: StepName) -> Iterator[None]:
        """If work of a step is put off, it is noted as a wait."""
        try:
            yield
        except Postponed as put_off:
            if run_id:
                self._notes.waits(run_id, step, self._clock.now(), put_off.retry_after)
            raise

    def count(self, run_id: str, step: StepName, rows: int) -> None:
        """A step has worked on so many rows more."""
        self._worked(run_id, step, self._clock.now(), rows)

    def _worked(self, run_id: str, step: StepName, began: datetime, rows: int) -> None:
        if run_id:
            self._notes.worked(run_id, step, began, self._clock.now(), rows)

    async def run(self) -> None:
        """Keep the notes until cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await self.keep()

    async def keep(self) -> None:
        """Keep the notes once; while the database is away they wait here."""
        noted = self._notes.take(self._clock.now())
        for first in range(0, len(noted), AT_ONCE):
            try:
                await self._store.keep_steps(noted[first : first + AT_ONCE])
            except StoreError:
                self._notes.give_back(noted[first:])
                return
