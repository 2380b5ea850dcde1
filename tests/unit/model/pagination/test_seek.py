"""Pagination by a marker."""

from __future__ import annotations

from typing import Any

import pytest

from imageflow.errors import ReadError
from imageflow.model.pagination.contract import Last

from .pages import erp, got, turn


def test_seek():
    """Seek goes on from the last row's value until an empty page, and sends no marker the first time."""
    definition = erp(type="seek", param="after", value_path="key.id", limit=2)
    assert definition.pagination.parameters(definition.pagination.first()) == {"limit": 2}
    result = turn(definition, got([{"key": {"id": 7}}]))
    assert definition.pagination.parameters(result.cursor) == {"after": 7, "limit": 2}
    assert isinstance(turn(definition, got([]), result.cursor), Last)


def seek(*pages: list[int]) -> tuple[Any, list[str]]:
    """The last turn over pages of rows with these markers and then an empty one, and all warnings."""
    definition, cursor, warnings = erp(type="seek", param="after", value_path="id", limit=3), None, []
    for number, page in enumerate((*pages, [])):
        result = turn(definition, got([{"id": marker, "n": number} for marker in page]), cursor)
        cursor = getattr(result, "cursor", None)
        warnings += result.warnings
    return result, warnings


@pytest.mark.parametrize(
    ("pages", "complaint"),
    [
        (([1, 2, 2], [3]), "several rows share a marker"),
        (([2, 2, 3], [4]), "several rows share a marker"),
        (([1, 2, 3], [4, 4]), "several rows share a marker"),
        (([0, 0, 1],), "several rows share a marker"),
        (([1, 2, 2],), "several rows share"),
        (([2, 2], [3]), "several rows share"),
        (([1, 9, 4], [5]), "the rows of page 1 are not sorted"),
        (([1, 2, 2], [3, 4, 4], [9, 5, 7]), "several rows share a marker"),
    ],
)
def test_seek_that_passes_rows_over(pages: tuple[list[int], ...], complaint: str):
    """Markers that rows share, wherever on a page, or that are unsorted, are said once; the read is not complete."""
    result, warnings = seek(*pages)
    assert isinstance(result, Last)
    assert not result.complete
    assert [complaint in warning for warning in warnings] == [True]


@pytest.mark.parametrize("pages", [([1, 2, 3], [4, 5]), ([2, 2],), ([9, 8, 7], [6])])
def test_seek_that_passes_nothing_over(pages: tuple[list[int], ...]):
    """Markers that rise or fall, and those that are shared where one page holds everything, lead to every row."""
    assert seek(*pages) == (Last(), [])


@pytest.mark.parametrize("value", [None, True, {}, [], ""])
def test_seek_without_marker(value: Any):
    """A last row without a usable marker is an error that names the path."""
    with pytest.raises(ReadError, match="value_path 'id'"):
        turn(erp(type="seek", param="after", value_path="id"), got([{"id": value}]))


def test_seek_that_does_not_advance():
    """The same marker again is an error, though the rows differ."""
    definition = erp(type="seek", param="after", value_path="id")
    first = turn(definition, got([{"id": 5, "n": 1}]))
    with pytest.raises(ReadError, match="does not advance"):
        turn(definition, got([{"id": 5, "n": 2}]), first.cursor)
