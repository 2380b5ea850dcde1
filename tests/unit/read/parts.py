"""Pagination types for the tests of reads in parts; flow files do not know them."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from imageflow import pointer
from imageflow.model.flow import Definition
from imageflow.model.pagination.contract import MAX_PAGES, Got, Last, More, Pagination, Turn
from imageflow.model.pagination.cursor import Cursor

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class WeekdayPagination(Pagination, frozen=True, tag="weekday"):
    """One page for each day of the week."""

    partitioned: ClassVar = True
    max_pages: int = MAX_PAGES

    def first(self) -> Cursor:
        return Cursor(position=0)

    def parameters(self, cursor: Cursor) -> dict[str, Any]:
        return {"day": DAYS[cursor.position or 0]}

    def turn(self, cursor: Cursor, got: Got) -> Turn:
        following = (cursor.position or 0) + 1
        return More(cursor.but(position=following)) if following < len(DAYS) else Last()


class DayPagesPagination(WeekdayPagination, frozen=True, tag="day_pages"):
    """Any number of pages for each day: an answer names the next one by a token, or by a URL."""

    def turn(self, cursor: Cursor, got: Got) -> Turn:
        token, url = (pointer.find(got.document, name) for name in ("token", "next"))
        if isinstance(token, str):
            return More(cursor.then(token.encode(), token=token), same_part=True)
        if isinstance(url, str):
            return More(cursor.but(url=url), same_part=True)
        return super().turn(cursor.but(token=None, url=None), got)


def paged(definition: Definition, pagination: Pagination) -> Definition:
    """The flow, with a pagination that its file could not name."""
    assert definition.erp is not None
    return msgspec.structs.replace(definition, erp=msgspec.structs.replace(definition.erp, pagination=pagination))
