"""Wait until a run has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from imageflow.actions import run_waits
from imageflow.actions.run_waits import Wait
from imageflow.errors import StoreError
from imageflow.model.run import Run
from imageflow.store import Store

POLL_SECONDS = 0.2
AWAY_SECONDS = 60.0
LOOKS_PER_WAIT = 5
"""Every fifth look, so once a second, also finds out what the run waits for."""

Progress = Callable[[Run, Wait | None], None]


class Watch:
    """Looks at a run again and again, and tells how far it is and what it waits for."""

    def __init__(self, store: Store, run_id: str, progress: Progress | None = None) -> None:
        self._store = store
        self._run_id = run_id
        self._progress = progress
        self._looks = 0
        self._waits: Wait | None = None

    async def look(self) -> Run:
        """The run as it is now, told. Raises StoreError."""
        run = await self._store.run(self._run_id)
        if self._progress is not None:
            if self._looks % LOOKS_PER_WAIT == 0 or run.ended:
                self._waits = await run_waits.look(self._store, run)
            self._looks += 1
            self._progress(run, self._waits)
        return run


async def until_ended(store: Store, run_id: str, progress: Progress | None = None) -> Run:
    """Poll until the run has ended, and return it. Raises StoreError once the database was away for a minute."""
    away = 0.0
    watch = Watch(store, run_id, progress)
    while True:
        try:
            run = await watch.look()
        except StoreError:
            away += POLL_SECONDS
            if away > AWAY_SECONDS:
                raise
        else:
            away = 0.0
            if run.ended:
                return run
        await asyncio.sleep(POLL_SECONDS)
