"""What moved over time, in steps of five minutes: rows that settled, by flow, and what waited in queues. Pure."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from imageflow.model.run import Counts

STEP = timedelta(minutes=5)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COUNTED = ("written", "unchanged", "superseded", "failed", "cancelled")


class Point(msgspec.Struct, frozen=True):
    """How many rows of a flow settled, by their state, from `at` on until the next point."""

    at: datetime
    written: int = 0
    unchanged: int = 0
    superseded: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def rows(self) -> int:
        """All rows that settled."""
        return self.written + self.unchanged + self.superseded + self.failed + self.cancelled

    def plus(self, other: Point) -> Point:
        """Both at the time of this one."""
        return Point(self.at, *(getattr(self, name) + getattr(other, name) for name in COUNTED))


class Seen(msgspec.Struct, frozen=True):
    """A run as the bookkeeper finds it: its counts, and when it ended, if it did."""

    run_id: str
    flow: str
    counts: Counts
    finished_at: datetime | None


def total(points: Iterable[Point]) -> Point:
    """All points together, at the time of the first; there is at least one."""
    return functools.reduce(Point.plus, points)


def step_of(instant: datetime, step: timedelta = STEP) -> datetime:
    """The beginning of the step that an instant is in; steps are counted from 1970 in UTC."""
    return _EPOCH + (instant - _EPOCH) // step * step


def moved(runs: Iterable[Seen], known: Mapping[str, Counts], now: datetime) -> dict[tuple[str, datetime], Point]:
    """By flow and step, by how much counts have grown since they were `known`: where a run has ended, in the step of its end. A
    count that shrank, because rows are retried, counts nothing.
    """
    found: dict[tuple[str, datetime], Point] = {}
    for run in runs:
        before = known.get(run.run_id, Counts())
        grown = {name: max(0, getattr(run.counts, name) - getattr(before, name)) for name in COUNTED}
        if not any(grown.values()):
            continue
        key = (run.flow, step_of(min(now, run.finished_at or now)))
        found[key] = found.get(key, Point(key[1])).plus(Point(key[1], **grown))
    return found


def grouped(points: Sequence[Point], step: timedelta, since: datetime, until: datetime) -> list[Point]:
    """A point for each step from the one of `since` to the one of `until`, also where nothing moved."""
    sums: dict[datetime, Point] = {}
    for point in points:
        at = step_of(point.at, step)
        sums[at] = sums.get(at, Point(at)).plus(point)
    first, last = step_of(since, step), step_of(until, step)
    return [sums.get(at, Point(at)) for at in (first + place * step for place in range((last - first) // step + 1))]
