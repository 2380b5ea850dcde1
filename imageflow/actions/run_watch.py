"""Wait until a run has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from imageflow.errors import StoreError
from imageflow.model.run import Run
from imageflow.store import Store

POLL_SECONDS = 0.2
AWAY_SECONDS = 60.0


async def until_ended(store: Store, run_id: str, progress: Callable[[Run], None] | None = None) -> Run:
    """Poll until the run has ended, and return it. Raises StoreError once the database was away for a minute."""
    away = 0.0
    while True:
        try:
            run = await store.run(run_id)
        except StoreError:
            away += POLL_SECONDS
            if away > AWAY_SECONDS:
                raise
        else:
            away = 0.0
            if progress is not None:
                progress(run)
            if run.ended:
                return run
        await asyncio.sleep(POLL_SECONDS)
