"""Cursors: what is remembered between pages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imageflow.model.pagination.cursor import RECENT, Trail, dump

from .pages import erp, got, rows, turn


@given(st.lists(st.text(max_size=3), max_size=40))
def test_trail_knows_its_last_steps(marks: list[str]):
    """The last few steps are always remembered."""
    trail = Trail()
    for mark in marks:
        trail = trail.then(mark)
    assert all(trail.has(mark) for mark in marks[-RECENT:])


def test_cursor_stays_small():
    """What is remembered between pages does not grow with their number."""
    definition = erp(type="next", kind="token", param="t")
    cursor = definition.pagination.first()
    for number in range(2000):
        cursor = turn(definition, got(rows(number, 1), next=f"t{number}"), cursor).cursor
    assert len(dump(cursor)) < 1000
