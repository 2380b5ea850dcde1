"""How causes closed that are closed now: by writing again, by a new version of the flow, or because newer rows came. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple

from imageflow.console.causes import Cause
from imageflow.store import AuditRecord
from imageflow.store import Cause as KeptCause

Way = Literal["again", "version", "newer"]


class Closed(NamedTuple):
    """A cause that closed, what it is called, and how it closed."""

    error: KeptCause
    kind: Cause
    way: Way


class Helped(NamedTuple):
    """What closed causes of one kind most often: `times` of `known`."""

    way: Way
    times: int
    known: int


def closed(found: Iterable[tuple[KeptCause, Cause]], changes: Iterable[AuditRecord]) -> list[Closed]:
    """How each of these closed, by the retries and the saved versions of the audit log while it was open."""
    entries = list(changes)
    return [Closed(error, kind, _way(error, kind, entries)) for error, kind in found]


def _way(error: KeptCause, kind: Cause, entries: Iterable[AuditRecord]) -> Way:
    until = error.closed_at or error.last_at
    ways: set[Way] = set()
    for record in entries:
        if not error.first_at <= record.at <= until:
            continue
        entry = record.entry
        if entry.what == "run.retry" and error.group in (entry.detail.get("group"), *entry.detail.get("causes", ())):
            ways.add("again")
        elif entry.what in ("flow.save", "flow.rollback") and entry.object == f"flow {error.flow}":
            ways.add("version")
    if "version" in ways and (kind.who == "flow" or "again" not in ways):
        return "version"
    return "again" if "again" in ways else "newer"


def helped(found: Iterable[Closed], kind: str | None = None) -> Helped | None:
    """What helped most often with causes of this name, or with all; None: none of them closed."""
    ways = Counter(one.way for one in found if kind is None or one.kind.name == kind)
    if not ways:
        return None
    way, times = ways.most_common(1)[0]
    return Helped(way, times, ways.total())
