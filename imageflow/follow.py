"""Starting runs and following them to their end, for the command line and the demo."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

from imageflow.errors import ImageFlowError, StoreError
from imageflow.relay import Relay
from imageflow.run import Run, Trigger, new_run_id, summary
from imageflow.store import Store

POLL_SECONDS = 0.2
AWAY_SECONDS = 60.0


class NotRunnable(ImageFlowError):
    """The flow cannot be run by hand."""

    exit_status = 2


async def start_run(store: Store, relay: Relay, name: str, ids: tuple[str, ...], by: str, now: datetime) -> str:
    """Add a person's run of an inbound flow, and let it begin if none of the flow's is active; its id."""
    flow = await store.flow(name)
    if not flow.definition.inbound:
        raise NotRunnable(f"{name} is an outbound flow: it runs when rows are posted to /api/outbound/{name}")
    run = Run(
        run_id=new_run_id(now),
        flow=flow.name,
        version=flow.version,
        trigger=Trigger("person", by, ids),
        status="queued",
        created_at=now,
    )
    await store.create_run(run)
    await relay.send(await store.release_runs())
    return run.run_id


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


async def summarize(store: Store, run: Run) -> dict[str, Any]:
    """The JSON object for a run, with its flow's watermark."""
    return summary(run, await store.watermark(run.flow))
