"""The numbers that the rows of a page get."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from imageflow.store.rows import grown


@given(some.lists(some.integers(0, 50), max_size=6), some.integers(0, 100))
def test_numbers_of_a_page_only_grow(totals: list[int], highest: int) -> None:
    """Whatever totals a page is registered with, known numbers stay, and new ones come after all others."""
    ranges: list[tuple[int, int]] = []
    numbers: list[int] = []
    for total in totals:
        ranges = grown(ranges, total, highest)
        now = [number for first, count in ranges for number in range(first, first + count)]
        assert now[: len(numbers)] == numbers
        assert len(now) == max(total, len(numbers)) == len(set(now))
        highest = max([highest, *now]) + 3
        numbers = now
