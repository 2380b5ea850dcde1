"""Pages as an ERP would give them, and the turn from one to the next, for the tests of pagination."""

from __future__ import annotations

from typing import Any

from imageflow.model.pagination.contract import Got
from imageflow.model.pagination.cursor import Cursor
from imageflow.read import paging
from tests.unit.read.flows import flow

URL = "https://erp.example.com/images/"


def got(rows: list[Any], *, link: str = "", url: str = URL, **beside: Any) -> Got:
    return Got({"results": rows, **beside}, rows, link, url)


def erp(**pagination: Any) -> Any:
    return flow(pagination=pagination).erp


def rows(first: int, count: int) -> list[dict[str, int]]:
    return [{"id": number} for number in range(first, first + count)]


def turn(definition: Any, page: Got, cursor: Cursor | None = None) -> Any:
    return paging.turn(definition, cursor or definition.pagination.first(), page)
