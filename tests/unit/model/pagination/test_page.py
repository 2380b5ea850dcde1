"""Pagination by page numbers."""

from __future__ import annotations

from .pages import erp, got, rows, turn


def test_page_advances_by_one():
    """Pages are counted from `start`."""
    definition = erp(type="page", page_param="p", limit_param="size", limit=7, start=0)
    assert definition.pagination.parameters(definition.pagination.first()) == {"p": 0, "size": 7}
    result = turn(definition, got(rows(0, 7)))
    assert definition.pagination.parameters(result.cursor) == {"p": 1, "size": 7}
