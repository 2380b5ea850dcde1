"""What `offset` and `page` have in common: they count, so they end at a total or at a short page.

What no answer shows stays unseen: a row that leaves a page which was read already makes the rows after it move up by
one, and the total stays the same if another row is added.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from imageflow import pointer
from imageflow.errors import ReadError
from imageflow.model.envelope import whole_number
from imageflow.model.field_types import Count, Text, json_path
from imageflow.model.pagination.contract import MAX_PAGES, STAYS, Got, Last, More, Pagination, Turn
from imageflow.model.pagination.cursor import Cursor, digest

CAP_HINT = "does it cap how far one can page?"
_MOVED = "rows may have moved between pages (seek or next pagination is safe from that)"

_encode = msgspec.json.Encoder().encode


class CountedPages(Pagination, frozen=True, kw_only=True):
    """Pages that are asked for by a number that grows."""

    meanings: ClassVar = {"total_path": json_path}
    limit_param: Annotated[Text, Meta(description="The ERP's parameter for how many rows a page holds.")] = "limit"
    limit: Annotated[Count, Meta(description="So many rows are asked for in a page.")] = 100
    start: Annotated[Annotated[int, Meta(ge=0)], Meta(description="The number of the first page or row.")] = 0
    total_path: Annotated[
        str | None, Meta(description="Where the answer says how many rows there are in all.", examples=["meta.total"])
    ] = None
    max_pages: Annotated[
        Count, Meta(description="A read of more pages is taken for one that never ends: it fails.")
    ] = MAX_PAGES

    def first(self) -> Cursor:
        return Cursor(position=self.start)

    def advance(self, got: Got) -> int:
        """How far the position of the next page is from this page's."""
        raise NotImplementedError

    def judged(self) -> frozenset[str]:
        return frozenset() if self.total_path is None else frozenset((self.total_path,))

    def count(self, rows: list[Any]) -> int:
        """Without the rows that stand twice in a page of more than `limit`: those took no other row's place."""
        if len(rows) <= self.limit:
            return len(rows)
        return max(self.limit, len({_encode(row) for row in rows}))

    def ends_at(self, rows: list[Any]) -> bool:
        return self.total_path is None and len(rows) < self.limit

    def turn(self, cursor: Cursor, got: Got) -> Turn:
        cursor, warnings = self._totalled(cursor, got)
        cursor, moved = _overlapped(cursor, got)
        warnings = (*warnings, *moved)
        if cursor.total and not cursor.rows:
            raise ReadError(f"the ERP speaks of {cursor.total:,} rows at {self.total_path!r} but gives none")
        if _ends(self.limit, len(got.rows), cursor) and not _goes_on(cursor, got):
            short = cursor.total is not None and cursor.rows < cursor.total
            return Last((*warnings, *_short(cursor)), complete=not short and not cursor.lacking)
        return More(cursor.but(position=(cursor.position or 0) + self.advance(got)), warnings)

    def _totalled(self, cursor: Cursor, got: Got) -> tuple[Cursor, tuple[str, ...]]:
        """The cursor with the total that this answer states (the one before where it states none)."""
        if self.total_path is None:
            return cursor, ()
        total = whole_number(pointer.find(got.document, self.total_path))
        if total is not None:
            return _changed(cursor, total)
        path = self.total_path
        missing = f"the answer has no number at total_path {path!r}: the read ends at a short page instead"
        return cursor, (missing,) if cursor.pages == 1 else ()


def _ends(limit: int, count: int, cursor: Cursor) -> bool:
    """An empty page ends the read; so does reaching the total, or a short page where no total is known.

    A total that is smaller than what came already proves nothing: then full pages go on. They also go on where rows move
    between pages: as many rows as the total need not be all of them.
    """
    if count == 0:
        return True
    if cursor.total is None or cursor.rows > cursor.total:
        return count < limit
    return cursor.rows == cursor.total and (count < limit or not cursor.rows_move)


def _goes_on(cursor: Cursor, got: Got) -> bool:
    """Whether a short page is followed by another one all the same: the answer itself says that more follows. A total
    that the flow names decides alone.
    """
    return bool(got.rows) and cursor.total is None and got.more


def _overlapped(cursor: Cursor, got: Got) -> tuple[Cursor, tuple[str, ...]]:
    """The cursor with this page's last row; a warning where the last row of the page before comes again."""
    marks = [digest(_encode(row)) if row and isinstance(row, dict) else "" for row in got.rows]
    if not marks:
        return cursor, ()
    repeats = cursor.last_row != "" and cursor.last_row in marks and not cursor.rows_move
    cursor = cursor.but(last_row=marks[-1], rows_move=cursor.rows_move or repeats)
    return cursor, (f"page {cursor.pages} repeats rows of the page before: {_MOVED}",) if repeats else ()


def _changed(cursor: Cursor, total: int) -> tuple[Cursor, tuple[str, ...]]:
    """Warns once of a total that grows, and once of one that falls.

    Where it falls, the rows after those that are gone moved up: some may have been passed over.
    """
    known, cursor = cursor.total, cursor.but(total=total)
    if known is None or known == total or cursor.lacking or (total > known and cursor.total_changed):
        return cursor, ()
    text = f"the total changed from {known:,} to {total:,} while page {cursor.pages} was read: {_MOVED}"
    if total > known:
        return cursor.but(total_changed=True), (text,)
    return cursor.but(total_changed=True, rows_move=True, lacking=True), (f"{text}. {STAYS}",)


def _short(cursor: Cursor) -> tuple[str, ...]:
    if cursor.total is not None and cursor.rows < cursor.total:
        return (f"the ERP gave {cursor.rows:,} of {cursor.total:,} rows: {CAP_HINT} {STAYS}",)
    return ()
