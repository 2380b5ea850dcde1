"""Pagination by offset."""

from __future__ import annotations

from imageflow.model.pagination.contract import Last

from .pages import erp, got, rows, turn


def test_offset_advances_by_what_came():
    """Where the ERP ignores or caps the limit, the next offset counts the rows that came."""
    definition = erp(type="offset", limit=100, total_path="total", start=1)
    result = turn(definition, got(rows(0, 10), total=1000))
    assert definition.pagination.parameters(result.cursor) == {"offset": 11, "limit": 100}


def test_rows_that_stand_twice_in_a_page():
    """A page with more rows than were asked for, one of them twice: the next offset passes over no other row."""
    definition = erp(type="offset", limit=10, total_path="total")
    result = turn(definition, got([*rows(0, 10), *rows(9, 1)], total=20))
    assert definition.pagination.parameters(result.cursor)["offset"] == 10
    assert turn(definition, got(rows(10, 10), total=20), result.cursor) == Last()


def test_equal_rows_are_the_erps_business():
    """Equal rows in a page of the right size are counted like all others."""
    definition = erp(type="offset", limit=10, total_path="total")
    result = turn(definition, got([{"id": 1}] * 10, total=30))
    assert definition.pagination.parameters(result.cursor)["offset"] == 10
