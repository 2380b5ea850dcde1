"""What has changed between two looks at the store, as topics of the event stream. Pure.

flows       a flow was saved, switched or deleted, or a run of one began or ended
runs        a run is new or went on
run:<id>    that run went on
errors      rows failed, or rows that had failed came through
holds       a domain is held, or is free again
alarms      an alarm opened or closed
system      time to look again: depths and ages change without a trace in the store
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from imageflow.model.run import Run

TOPIC = re.compile(r"flows|runs|errors|holds|alarms|system|run:[A-Za-z0-9-]{1,100}")
SYSTEM_LOOKS = 5
"""Every so many looks the system is due."""


class Look(NamedTuple):
    """What one look at the store found."""

    flows: Collection[tuple[str, int]]
    runs: Mapping[str, Run]
    holds: Collection[tuple[str, str]]
    alarms: Collection[tuple[int, bool]]


def topics(before: Look, now: Look, number: int) -> list[str]:
    """The topics to tell after look `number`."""
    return list(_topics(before, now, number))


def _topics(before: Look, now: Look, number: int) -> Iterator[str]:
    moved = [run for name, run in now.runs.items() if _state(before.runs.get(name)) != _state(run)]
    turned = [run for run in moved if _status(before.runs.get(run.run_id)) != run.status]
    if before.flows != now.flows or turned:
        yield "flows"
    if moved:
        yield "runs"
    yield from (f"run:{run.run_id}" for run in moved)
    if any(_failed(before.runs.get(run.run_id)) != run.counts.failed for run in moved):
        yield "errors"
    if before.holds != now.holds:
        yield "holds"
    if before.alarms != now.alarms:
        yield "alarms"
    if number % SYSTEM_LOOKS == 0:
        yield "system"


def _state(run: Run | None) -> object:
    return run and (run.status, run.pages, run.pages_done, run.counts, run.read_complete, run.cancelled_at)


def _status(run: Run | None) -> str | None:
    return run.status if run is not None else None


def _failed(run: Run | None) -> int:
    return run.counts.failed if run else 0


def wanted(text: str) -> frozenset[str] | None:
    """The topics of `?topics=`; empty: all of them; None: one is none."""
    names = frozenset(name for name in text.split(",") if name)
    return names if all(TOPIC.fullmatch(name) for name in names) else None
