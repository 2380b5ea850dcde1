"""How causes closed that are closed now: by writing again, by a new version of the flow, or because a later run came. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Literal, NamedTuple

from imageflow.console.causes import Cause
from imageflow.store import AuditRecord
from imageflow.store import Cause as KeptCause

Way = Literal["again", "version", "newer", "newer version"]
"""A retry as it was, a retry by another version, a later run, a later run after a version was saved."""


class Closed(NamedTuple):
    """A cause that closed, what it is called, and how it closed; None: that is not known any more."""

    error: KeptCause
    kind: Cause
    way: Way | None


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


def helped(found: Iterable[Closed], kind: str | None = None) -> Helped | None:
    """What helped most often with causes of this name, or with all; None: nothing more often than all else."""
    ways = Counter(one.way for one in found if one.way is not None and (kind is None or one.kind.name == kind))
    most = ways.most_common(2)
    if not most or (len(most) > 1 and most[0][1] == most[1][1]):
        return None
    way, times = most[0]
    return Helped(way, times, ways.total())
