"""What offset and page pagination share: totals, short pages, rows that move."""

from __future__ import annotations

from typing import Any

import pytest

from imageflow.errors import ReadError
from imageflow.model.pagination.contract import Last, More
from imageflow.model.pagination.counted import whole_number

from .pages import erp, got, rows, turn


@pytest.mark.parametrize(
    ("count", "total", "ends"),
    [
        (100, None, False),
        (99, None, True),
        (0, None, True),
        (100, 250, False),
        (50, 250, False),
        (100, 100, True),
        (30, 30, True),
        (100, 0, False),
        (30, 0, True),
        (300, 100, False),
        (100, "100", True),
        (100, 100.0, True),
    ],
)
@pytest.mark.parametrize("kind", ["offset", "page"])
def test_counting_ends(kind: str, count: int, total: Any, ends: bool):
    """Offset and page end at a short or empty page, and, where a total is known, when it is reached."""
    path = {} if total is None else {"total_path": "total"}
    beside = {} if total is None else {"total": total}
    assert isinstance(turn(erp(type=kind, **path), got(rows(0, count), **beside)), Last) is ends


def test_changed_total_warns_once():
    """A total that changes while pages are read is a warning, once."""
    definition = erp(type="offset", limit=10, total_path="total")
    first = turn(definition, got(rows(0, 10), total=100))
    second = turn(definition, got(rows(10, 10), total=101), first.cursor)
    third = turn(definition, got(rows(20, 10), total=102), second.cursor)
    assert (first.warnings, third.warnings) == ((), ())
    assert "changed from 100 to 101" in second.warnings[0]


def test_falling_total_leaves_the_read_incomplete():
    """A total that falls: rows moved up, some may have been passed over. It is no stop either until a page is short."""
    definition = erp(type="offset", limit=10, total_path="total")
    first = turn(definition, got(rows(0, 10), total=30))
    second = turn(definition, got(rows(11, 10), total=20), first.cursor)
    assert isinstance(second, More)
    assert "from 30 to 20" in second.warnings[0]
    assert "watermark stays" in second.warnings[0]
    assert turn(definition, got(rows(21, 9), total=29), second.cursor) == Last(complete=False)


@pytest.mark.parametrize("kind", ["offset", "page"])
def test_pages_that_overlap(kind: str):
    """A row that comes again shows that rows moved: it is said once, and the total ends nothing but a short page does."""
    definition = erp(type=kind, limit=10, total_path="total")
    first = turn(definition, got(rows(0, 10), total=30))
    second = turn(definition, got(rows(9, 10), total=30), first.cursor)
    assert "page 2 repeats rows of the page before" in second.warnings[0]
    third = turn(definition, got(rows(18, 10), total=30), second.cursor)
    assert isinstance(third, More)
    assert turn(definition, got(rows(27, 3), total=30), third.cursor) == Last()
    assert third.warnings == ()


def test_ending_short_of_the_total():
    """An empty page before the total is a warning, and the read is not complete: the watermark must not move."""
    definition = erp(type="offset", limit=10, total_path="total")
    first = turn(definition, got(rows(0, 10), total=100))
    last = turn(definition, got([], total=100), first.cursor)
    assert isinstance(last, Last)
    assert not last.complete
    assert "10 of 100" in last.warnings[0]


def test_total_without_rows_is_an_error():
    """An ERP that counts rows and gives none is not an empty success."""
    with pytest.raises(ReadError, match="gives none"):
        turn(erp(type="page", total_path="total"), got([], total=5))


def test_missing_total_warns():
    """Without the total that the flow expects the read goes by short pages, and says so."""
    result = turn(erp(type="offset", total_path="meta.total"), got(rows(0, 3)))
    assert isinstance(result, Last)
    assert "meta.total" in result.warnings[0]


@pytest.mark.parametrize(
    ("value", "number"),
    [(5, 5), ("5", 5), (" 7 ", 7), (5.0, 5), (0, 0), (5.5, None), (-1, None), (True, None), (None, None), ("x", None)],
)
def test_whole_numbers(value: Any, number: int | None):
    """Counts as ERPs write them; what is no count is none."""
    assert whole_number(value) == number
