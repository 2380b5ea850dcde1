"""What a flow's settings did in its last run, card by card, from what the run keeps. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from imageflow.model.run import Run
from imageflow.store import ErrorGroup

_PREFLIGHT = re.compile(r"\bimage_[a-z]+(_[a-z]+)*\b")
"""What preflight finds has a code of this form."""


class Effect(NamedTuple):
    """The last run that had rows, or else the last one. `page_seconds`: from its begin to its end, by page, where no retry came between; `broken`: rows that
    failed before they were sent, by stage; `refused`: by Omnitron; `preflight`: before that, for their images.
    `by_schedule`: how many of the `known` newest runs began by the schedule; `missing`: the newest that looked for missing images.
    """

    run: Run
    seconds: float
    page_seconds: float | None
    broken: dict[str, int]
    refused: int
    preflight: int
    by_schedule: int
    known: int
    missing: Run | None


def last(runs: Sequence[Run]) -> Run | None:
    """The run that an effect is told of, of those that are known, newest first."""
    ended = [run for run in runs if run.ended]
    return next((run for run in ended if run.counts.total), ended[0] if ended else None)


def effect(runs: Sequence[Run], run: Run, errors: Iterable[ErrorGroup], now: datetime) -> Effect:
    """What it did, by the run's counts and the causes of its failures."""
    seconds = run.seconds(now)
    broken: dict[str, int] = {}
    refused = preflight = 0
    for group in errors:
        if group.stage != "write":
            broken[group.stage] = broken.get(group.stage, 0) + group.rows
        elif group.http_status is None and _PREFLIGHT.search(group.reason or ""):
            preflight += group.rows
        else:
            refused += group.rows
    return Effect(
        run,
        seconds,
        seconds / run.pages if run.pages and run.retried_at is None else None,
        broken,
        refused,
        preflight,
        sum(one.trigger.kind == "schedule" for one in runs),
        len(runs),
        next((one for one in runs if one.trigger.kind == "fetch_missing"), None),
    )
