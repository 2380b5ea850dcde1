"""`type: seek`: each page begins after a marker, a value of the last row before it. It ends at an empty page."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from imageflow import pointer
from imageflow.errors import ReadError
from imageflow.model.field_types import Count, Text, json_path
from imageflow.model.pagination.contract import MAX_PAGES, STAYS, Got, Last, More, Pagination, Turn
from imageflow.model.pagination.cursor import Cursor, Marker

_encode = msgspec.json.Encoder().encode


class SeekPagination(Pagination, frozen=True, tag="seek"):
    """Pages by a marker: a value of the last row of the page before."""

    meanings: ClassVar = {"value_path": json_path}
    param: Annotated[Text, Meta(description="The ERP's parameter that takes the marker.", examples=["after_id"])]
    value_path: Annotated[Text, Meta(description="Where the marker is in a row.", examples=["id"])]
    limit_param: Annotated[Text, Meta(description="The ERP's parameter for how many rows a page holds.")] = "limit"
    limit: Annotated[Count, Meta(description="So many rows are asked for in a page.")] = 100
    max_pages: Annotated[
        Count, Meta(description="A read of more pages is taken for one that never ends: it fails.")
    ] = MAX_PAGES

    def parameters(self, cursor: Cursor) -> dict[str, Any]:
        marker = {} if cursor.marker is None else {self.param: cursor.marker}
        return {**marker, self.limit_param: self.limit}

    def turn(self, cursor: Cursor, got: Got) -> Turn:
        cursor, warnings = self._passed_over(cursor, got)
        if not got.rows:
            return Last(warnings, complete=not cursor.lacking)
        marker = pointer.find(got.rows[-1], self.value_path)
        if not isinstance(marker, Marker) or isinstance(marker, bool) or marker == "":
            raise ReadError(
                f"the last row of page {cursor.pages} has {pointer.describe(marker)} at value_path "
                f"{self.value_path!r}: there is no marker to go on from"
            )
        if marker == cursor.marker or cursor.has_seen(_encode(marker)):
            raise ReadError(
                f"the marker of page {cursor.pages} does not advance: {_shown(marker)} came before; does the ERP give "
                f"rows after {self.param}, sorted by {self.value_path}?"
            )
        return More(cursor.then(_encode(marker), marker=marker), warnings)

    def _passed_over(self, cursor: Cursor, got: Got) -> tuple[Cursor, tuple[str, ...]]:
        """Notes, and warns once, where markers do not lead to every row.

        The rows after a marker lack those that share it and were not on its page. So where any two rows share a marker,
        markers are not unique, and wherever one page ended and another began, a row may have been passed over. And where
        numbers go up and down, the last one is not the one to go on from.
        """
        markers = [pointer.find(row, self.value_path) for row in got.rows]
        shared = any(one == other for one, other in pairwise(markers) if isinstance(one, Marker))
        cut = cursor.full or (cursor.pages > 1 and bool(got.rows))
        cursor = cursor.but(shares=cursor.shares or shared, full=cursor.full or len(got.rows) >= self.limit)
        why = "several rows share a marker" if cursor.shares and cut else ""
        numbers = [marker for marker in markers if isinstance(marker, int | float)]
        if markers and len(numbers) == len(markers) and markers[-1] not in (min(numbers), max(numbers)):
            why = f"the rows of page {cursor.pages} are not sorted by it"
        if not why or cursor.lacking:
            return cursor, ()
        where = f"at value_path {self.value_path!r}; it must be unique and in order"
        return cursor.but(lacking=True), (f"rows may have been passed over: {why}, {where}. {STAYS}",)


def _shown(marker: Marker) -> str:
    text = repr(marker)
    return text if len(text) <= 80 else text[:80] + "…"
