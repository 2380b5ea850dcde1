"""Following runs to their end, for the command line and the demo."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from imageflow.clock import iso
from imageflow.errors import StoreError
from imageflow.model.run import Counts, Run, summary
from imageflow.store import Store

POLL_SECONDS = 0.2
AWAY_SECONDS = 60.0


async def follow(store: Store, run_id: str, progress: Callable[[Run], None] | None = None) -> Run:
    """Wait until a run has ended. The database may be away for a minute; longer is a StoreError."""
    away = 0.0
    while True:
        try:
            run = await store.run(run_id)
            away = 0.0
        except StoreError:
            away += POLL_SECONDS
            if away > AWAY_SECONDS:
                raise
            await asyncio.sleep(POLL_SECONDS)
            continue
        if progress is not None:
            progress(run)
        if run.ended:
            return run
        await asyncio.sleep(POLL_SECONDS)


async def nothing_missing(store: Store, flow: str, warnings: Sequence[str]) -> dict[str, Any]:
    """The JSON object where fetch missing found nothing to run for: of the same shape, with no run."""
    return {
        "run_id": None,
        "flow": flow,
        "status": "empty",
        "error": None,
        "pages": 0,
        "rows": msgspec.to_builtins(Counts()),
        "watermark": iso(await store.watermark(flow)),
        "warnings": list(warnings),
    }


async def summarize(store: Store, run: Run) -> dict[str, Any]:
    """The JSON object for a run, with its flow's watermark."""
    return summary(run, await store.watermark(run.flow))
