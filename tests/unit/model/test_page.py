"""Pages: their rows are ordered over all runs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imageflow.model.page import ROWS_PER_PAGE_LIMIT, row_version

INDEX = st.integers(0, ROWS_PER_PAGE_LIMIT - 1)


@given(st.tuples(st.integers(0, 2**40), INDEX), st.tuples(st.integers(0, 2**40), INDEX))
def test_versions_order_rows(one: tuple[int, int], other: tuple[int, int]):
    """Of two rows the one of the later page, or further down the same page, has the larger version; none share one."""
    assert (row_version(*one) < row_version(*other)) is (one < other)
