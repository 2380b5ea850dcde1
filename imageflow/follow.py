"""Starting runs and following them to their end, for the command line and the demo."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from imageflow.clock import iso
from imageflow.errors import ImageFlowError, StoreError
from imageflow.flow import Flow
from imageflow.relay import Relay
from imageflow.run import Counts, Run, Trigger, new_run_id, summary
from imageflow.store import Store

POLL_SECONDS = 0.2
AWAY_SECONDS = 60.0


class NotRunnable(ImageFlowError):
    """The flow cannot be run by hand."""

    exit_status = 2


async def start_run(store: Store, relay: Relay, name: str, ids: tuple[str, ...], by: str, now: datetime) -> str:
    """Add a person's run of an inbound flow, and let it begin if none of the flow's is active; its id."""
    flow = inbound(await store.flow(name))
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


def inbound(flow: Flow) -> Flow:
    """The flow itself. Raises NotRunnable for an outbound one."""
    if not flow.definition.inbound:
        raise NotRunnable(f"{flow.name} is an outbound flow: it runs when rows are posted to /api/outbound/{flow.name}")
    return flow


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
