"""`type: none`: the first page is all there is."""

from __future__ import annotations

from typing import ClassVar

from imageflow.model.pagination.contract import Got, Last, Pagination, Turn
from imageflow.model.pagination.cursor import Cursor


class NonePagination(Pagination, frozen=True, tag="none"):
    """One page."""

    counts: ClassVar = False

    def turn(self, cursor: Cursor, got: Got) -> Turn:
        return Last()
