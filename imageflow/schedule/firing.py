"""What the scheduler decides about one flow: whether it follows a run that ended, and the run that a tick makes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from imageflow.model import cron
from imageflow.model.flow import Flow
from imageflow.model.run import Run, Trigger, new_run_id
from imageflow.text.instant import iso


def followed(upstream: Iterable[Run], last: datetime) -> datetime | None:
    """When the newest successful run of the `after` flow ended, if that was after the last fire. Newest runs first."""
    for run in upstream:
        if run.status in ("success", "partial", "empty") and run.finished_at is not None:
            return run.finished_at if run.finished_at > last else None
    return None


def may_fire(flow: Flow, active: Sequence[Run]) -> bool:
    """Whether a tick makes a run, given the flow's runs that have not ended. Else the tick is skipped."""
    waiting = sum(run.status == "queued" for run in active)
    return cron.overlap(flow.definition.overlap_policy, len(active) - waiting, waiting) != "skip"


def run_of(flow: Flow, fire_time: datetime, now: datetime) -> Run:
    """The run that a tick makes."""
    after = flow.definition.schedule.after if flow.definition.schedule is not None else None
    cause = Trigger("flow", after) if after is not None else Trigger("schedule", iso(fire_time) or "")
    return Run(
        run_id=new_run_id(now), flow=flow.name, version=flow.version, trigger=cause, status="queued", created_at=now
    )
