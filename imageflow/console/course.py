"""The course of a run as a timeline: bars of its steps, holds over them, and instants. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from imageflow.console.plots import Span
from imageflow.model.run import Run
from imageflow.model.run_step import STEPS, Hold, RunStep, StepName

Event = Literal["began", "ended", "now", "done", "held", "read"]


class Moment(NamedTuple):
    """An instant of a timeline: in seconds since it began, what happened then, and when that was."""

    at: float
    event: Event
    instant: datetime


class Course(NamedTuple):
    """When the timeline begins, the steps that have lanes, their bars, and instants, those that matter most first."""

    since: datetime
    steps: list[StepName]
    spans: list[Span]
    moments: list[Moment]


def course(
    run: Run, steps: Sequence[RunStep], holds: Sequence[Hold], left: float | None, now: datetime
) -> Course | None:
    """The timeline of a run; None where no step is known. `left`: seconds until it is done."""
    if not steps:
        return None
    since = min(step.first_at for step in steps)
    until = max([run.finished_at or now, *(step.last_at for step in steps)])

    def at(instant: datetime) -> float:
        return max(0.0, (instant - since).total_seconds())

    spans = [
        Span(one.step, at(one.first_at), at(one.last_at), "done" if _is_done(run, one.step) else "go") for one in steps
    ]
    spans += [Span("write", at(hold.since), at(min(hold.until or until, until)), "wait") for hold in holds]
    moments = [Moment(0.0, "began", since)]
    if run.finished_at is not None:
        moments.append(Moment(at(run.finished_at), "ended", run.finished_at))
    else:
        moments.append(Moment(at(now), "now", now))
        if left is not None:
            moments.append(Moment(at(now) + left, "done", now + timedelta(seconds=left)))
    moments += [Moment(at(hold.since), "held", max(hold.since, since)) for hold in holds]
    moments += [
        Moment(at(one.last_at), "read", one.last_at) for one in steps if one.step == "read" and run.read_complete
    ]
    known = {one.step for one in steps} | ({"write"} if holds else set())
    return Course(since, [name for name in STEPS if name in known], spans, moments)


def _is_done(run: Run, step: StepName) -> bool:
    if run.ended:
        return True
    if step == "transform":
        return run.read_complete and run.pages_done >= run.pages
    return step in ("login", "read") and (step == "login" or run.read_complete)


def share(instant: datetime, since: datetime, until: datetime) -> float:
    """Where an instant is between two others, from 0 to 1."""
    whole = (until - since).total_seconds()
    return min(1.0, max(0.0, (instant - since).total_seconds() / whole)) if whole > 0 else 0.0
