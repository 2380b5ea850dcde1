"""A run: one execution of a flow, pinned to one version.

    queued ──> reading ──> draining ──> success | partial | failed | empty | cancelled
       └──────────┴──(login or read failed: what was read is still written)──> draining

Outbound runs have nothing to read: they start in `draining`. A run ends by itself, in the transaction that settles its
last row: that transaction asks `final_status`. A run that a person cancels goes to `draining` at once, until what is in
flight is settled.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

import msgspec

Status = Literal["queued", "reading", "draining", "success", "partial", "failed", "empty", "cancelled"]
TriggerKind = Literal["schedule", "person", "flow", "fetch_missing", "outbound"]
FINAL: frozenset[str] = frozenset(("success", "partial", "failed", "empty", "cancelled"))


def new_run_id(now: datetime) -> str:
    """A run's id: sorts by time, safe in URLs and file names, never guessable: `20261124-034312-9f3c01ab52`."""
    return f"{now.astimezone(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(5)}"


class Trigger(msgspec.Struct, frozen=True):
    """What started a run: `by` is a person, a flow's name, a fire time; `ids` are the identifiers it is limited to."""

    kind: TriggerKind
    by: str = ""
    ids: tuple[str, ...] = ()


class Counts(msgspec.Struct, frozen=True):
    """A run's counts: total = written + unchanged + superseded + failed + cancelled + in flight."""

    total: int = 0
    written: int = 0
    unchanged: int = 0
    superseded: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def settled(self) -> int:
        return self.written + self.unchanged + self.superseded + self.failed + self.cancelled

    @property
    def in_flight(self) -> int:
        return self.total - self.settled


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run as the store keeps it. Instants are aware UTC.

    `pages` counts pages that are durably queued, `pages_done` those whose rows are known. `cursor` (opaque to all but
    the reader) asks for page `pages + 1`. `until` is the watermark's upper bound, fixed before the first page.
    `joining`: rows are held back, and have not all been joined and sent on yet. `incomplete`: the read ended, and
    the ERP has rows that did not come, as far as its answers say. `moves_watermark`: whether the watermark moves to
    `until` once every page is done; None: not decided yet. `window`: it reads between `since` and
    `until`, which a person gave, whatever the watermark is. `cancelled_at`: a person cancelled it. `encoded_urls`: how
    many image URLs had to be percent-encoded. `broken_pages`: how many failed as a whole in script or mapping. `waits_for`: why the
    ERP did not give the next page when it was last asked; it is asked again at `again_at`. `retried_at`: it had ended, and rows of
    it were put through again then.
    """

    run_id: str
    flow: str
    version: int
    trigger: Trigger
    status: Status
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    since: datetime | None = None
    until: datetime | None = None
    cursor: str | None = None
    pages: int = 0
    pages_done: int = 0
    read_complete: bool = False
    joining: bool = False
    incomplete: bool = False
    moves_watermark: bool | None = None
    window: bool = False
    cancelled_at: datetime | None = None
    error: str | None = None
    error_stage: str | None = None
    counts: Counts = Counts()
    warnings: tuple[str, ...] = ()
    encoded_urls: int = 0
    broken_pages: int = 0
    waits_for: str | None = None
    again_at: datetime | None = None
    retried_at: datetime | None = None

    @property
    def began(self) -> datetime:
        """Since when it is at work: it began then or, of one that had ended, rows of it were retried."""
        return self.retried_at or self.started_at or self.created_at

    def seconds(self, now: datetime) -> float:
        """How long it took, or has taken by now."""
        return max(0.0, ((self.finished_at or now) - self.began).total_seconds())

    @property
    def ended(self) -> bool:
        return self.status in FINAL


def warnings_of(run: Run) -> list[str]:
    """All that the run warns of: what was noted, and what was counted."""
    noted = _together(run.warnings)
    if not run.encoded_urls:
        return noted
    many = "1 image URL has" if run.encoded_urls == 1 else f"{run.encoded_urls} image URLs have"
    return [*noted, f"{many} blanks or letters beyond ASCII: sent percent-encoded, as a browser asks for them"]


def _together(warnings: Iterable[str]) -> list[str]:
    """Warnings that say the same of several products (`SKU: text`) as one, with their number and their names."""
    found: dict[str, list[str]] = {}
    for text in warnings:
        found.setdefault(text.partition(": ")[2] or text, []).append(text)
    return [
        texts[0] if len(texts) == 1 else f"{len(texts)} products ({', '.join(_name(one) for one in texts)}): {same}"
        for same, texts in found.items()
    ]


def _name(warning: str) -> str:
    return warning.partition(": ")[0]


def final_status(run: Run) -> Status | None:
    """The status a run ends with, or None while something is still to come.

    `failed`: login or read failed, or every row failed; `partial`: some rows failed, or the read is incomplete; `empty`:
    no rows; `cancelled`: a person cancelled it, and not all of its rows were put through since.
    """
    if not run.read_complete or run.pages_done < run.pages or run.joining or run.counts.in_flight:
        return None
    counts = run.counts
    if run.cancelled_at is not None or counts.cancelled:
        return "cancelled"
    if run.error is not None or (counts.total and counts.failed == counts.total):
        return "failed"
    if counts.failed or run.incomplete:
        return "partial"
    return "success" if counts.total else "empty"
