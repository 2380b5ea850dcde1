"""How causes closed that are closed now: by writing again, by a new version of the flow, or because a later run came. Pure.

The store closes a cause once its last open row is taken into a retry, before anything of it is written. So a cause whose rows are
being tried again has not closed yet, and one that a retry closed did so when the run of the retry ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Literal, NamedTuple

from imageflow.console.causes import Cause
from imageflow.model.run import Run
from imageflow.store import AuditRecord, InRetry
from imageflow.store import Cause as KeptCause

Way = Literal["again", "version", "newer", "newer version"]
"""A retry as it was, a retry by another version, a later run, a later run after a version was saved."""


ENOUGH = 5
"""A share of fewer known cases says nothing about the next one."""


class Closed(NamedTuple):
    """A cause that closed, what it is called, and how it closed; None: that is not known any more."""

    error: KeptCause
    kind: Cause
    way: Way | None


class Retry(NamedTuple):
    """A retry of rows of a run: of so many, at an instant, for these causes."""

    run_id: str
    at: datetime
    rows: int
    who: str
    causes: tuple[str, ...]


class Helped(NamedTuple):
    """What closed causes of one kind most often: `times` of `known`."""

    way: Way
    times: int
    known: int


def closed(
    found: Iterable[tuple[KeptCause, Cause]], changes: Iterable[AuditRecord], since: datetime | None = None
) -> list[Closed]:
    """How each of these closed, by the retries and the saved versions of the audit log. `changes` has none from before `since`."""
    entries = list(changes)
    return [Closed(error, kind, _way(error, entries, since)) for error, kind in found]


def _way(error: KeptCause, entries: list[AuditRecord], since: datetime | None) -> Way | None:
    """A retry takes the last open row and is recorded in one transaction, so at one instant; else newer rows closed the cause."""
    until = error.closed_at or error.last_at
    retry = next((one.entry for one in entries if one.entry.what == "run.retry" and one.at == until), None)
    if retry is not None:
        before = retry.detail.get("versions_before", ())
        return "version" if any(one != retry.detail.get("version") for one in before) else "again"
    if since is not None and error.first_at < since:
        return None
    saved = any(
        one.entry.what in ("flow.save", "flow.rollback") and one.entry.object == f"flow {error.flow}"
        for one in entries
        if error.first_at <= one.at <= until
    )
    return "newer version" if saved else "newer"


def helped(found: Iterable[Closed], kind: str | None = None, *, least: int = 1) -> Helped | None:
    """What helped most often with causes of this name, or with all. None: two ways helped equally often, or how they
    closed is known of fewer than `least` causes.
    """
    ways = Counter(one.way for one in found if one.way is not None and (kind is None or one.kind.name == kind))
    most = ways.most_common(2)
    if not most or ways.total() < least or (len(most) > 1 and most[0][1] == most[1][1]):
        return None
    way, times = most[0]
    return Helped(way, times, ways.total())


def retries(entries: Iterable[AuditRecord]) -> list[Retry]:
    """The retries of the audit log, in its order."""
    return [
        Retry(
            one.entry.object.removeprefix("run "),
            one.at,
            int(one.entry.detail.get("rows", 0)),
            one.entry.who,
            tuple(one.entry.detail.get("causes", ())),
        )
        for one in entries
        if one.entry.what == "run.retry"
    ]


def taken_by(error: KeptCause, known: Iterable[Retry]) -> Iterator[Retry]:
    """The retries that took rows of a cause after the last of them had failed."""
    return (one for one in known if error.group in one.causes and one.at >= error.last_at)


def in_retry(error: KeptCause, known: Iterable[Retry], now: Iterable[InRetry]) -> bool:
    """Whether rows of a cause are being tried again now."""
    runs = {one.run_id for one in now if one.flow == error.flow}
    return any(one.run_id in runs for one in taken_by(error, known))


def closed_at(error: KeptCause, known: Collection[Retry], runs: Mapping[str, Run]) -> datetime | None:
    """When a cause closed; None: rows of it were tried again, and when they came through is not known any more. `runs`: by id."""
    its = [one for one in taken_by(error, known) if error.closed_at is not None and one.at <= error.closed_at]
    last = {one.run_id: one.at for one in sorted(its, key=lambda one: one.at)}
    ends = [_end(runs.get(run_id), at, error.flow) for run_id, at in last.items()]
    if any(end is None for end in ends):
        return None
    return max((end for end in [error.closed_at, *ends] if end is not None), default=None)


def _end(run: Run | None, at: datetime, flow: str) -> datetime | None:
    """When what was retried then had come through: when the run ended, if it was not retried once more after that."""
    if run is None or (run.retried_at is not None and run.retried_at > at):
        return None
    return at if run.flow != flow else run.finished_at
