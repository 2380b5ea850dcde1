"""A cursor: the state between two pages, stored with the run. Pure.

Repeated pages and markers are found in constant memory. Each is compared with the last few and with one checkpoint,
which moves to ever larger distances (Brent's algorithm). So a cycle of any length is found after a few rounds.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

RECENT = 4

Marker = str | int | float


class Trail(msgspec.Struct, frozen=True, omit_defaults=True):
    """Fingerprints of what came before: the last few, and a checkpoint that is replaced after 1, 2, 4, 8… steps."""

    recent: tuple[str, ...] = ()
    checkpoint: str = ""
    span: int = 1
    steps: int = 0

    def has(self, mark: str) -> bool:
        return mark in self.recent or mark == self.checkpoint

    def then(self, mark: str) -> Trail:
        recent = (*self.recent[1 - RECENT :], mark) if len(self.recent) >= RECENT else (*self.recent, mark)
        if self.steps + 1 < self.span:
            return Trail(recent, self.checkpoint, self.span, self.steps + 1)
        return Trail(recent, mark, self.span * 2, 0)


class Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """Asks for one page, and holds what later pages are compared with.

    Where the page is (each type uses one of them): `position`, an offset or page number; `marker`, the value to seek
    from; `token` or `url`, which the answer before named. `batch`: which part of the run's identifiers is asked for.
    `asked_at` (Unix time) paces requests.

    What came so far: `pages`, `rows`, `total` (the newest that the flow's total_path gave), `totals` (the smallest number
    that answers gave at each place that names a total: rows that are added meanwhile belong to the next run), `last_row`
    (the fingerprint of the last row of the page before). Where the type is `partitioned`, `pages_before` and `rows_before` came
    before the part that is asked for now, and an answer without a page counts as a page; else both are 0.

    What was noticed: `total_changed`; `rows_move`: rows move between pages, so their number proves nothing; `lacking`: rows
    may have been passed over; `shares`: rows of one page share the seek marker; `full`: a page had as many rows as it may;
    `uncounted`: the number of rows of a page is unknown; `ended`: the answer before said that all rows came; `owed`: what
    it said of more, where only that led on; `onward`: the fingerprint of what it named as the next page; `short`: an
    earlier batch of identifiers is incomplete.
    """

    batch: int = 0
    position: int | None = None
    marker: Marker | None = None
    token: str | None = None
    url: str | None = None
    pages: int = 0
    rows: int = 0
    pages_before: int = 0
    rows_before: int = 0
    total: int | None = None
    total_changed: bool = False
    totals: dict[str, int] = {}
    last_row: str = ""
    rows_move: bool = msgspec.field(default=False, name="moving")
    lacking: bool = False
    shares: bool = False
    full: bool = False
    uncounted: bool = False
    ended: bool = False
    owed: str = ""
    onward: str = ""
    short: bool = False
    seen_pages: Trail = Trail()
    seen_markers: Trail = Trail()
    asked_at: float = 0.0

    def but(self, **changes: Any) -> Cursor:
        """The same cursor with some fields changed."""
        return msgspec.structs.replace(self, **changes)

    def of_next_part(self) -> Cursor:
        """The cursor where a part begins: it asks for the same, counts go on, and of what was noticed only rows that lack stay."""
        return Cursor(
            batch=self.batch,
            position=self.position,
            marker=self.marker,
            token=self.token,
            url=self.url,
            pages=self.pages,
            rows=self.rows,
            pages_before=self.pages,
            rows_before=self.rows,
            lacking=self.lacking,
            short=self.short,
            asked_at=self.asked_at,
        )

    def has_seen(self, marker: bytes) -> bool:
        """Whether an earlier page led to this marker, token or URL: then the ERP goes in a circle."""
        return self.seen_markers.has(digest(marker))

    def then(self, marker: bytes, /, **changes: Any) -> Cursor:
        """The cursor of the page that a marker, token or URL leads to."""
        return self.but(seen_markers=self.seen_markers.then(digest(marker)), **changes)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Cursor)


def dump(cursor: Cursor) -> str:
    return _encoder.encode(cursor).decode()


def load(text: str | None) -> Cursor | None:
    return None if text is None else _decoder.decode(text)


def digest(data: bytes) -> str:
    """A fingerprint, to compare pages, rows and markers by."""
    return hashlib.blake2b(data, digest_size=12).hexdigest()
