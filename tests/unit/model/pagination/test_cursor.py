"""Cursors: what is remembered between pages."""

from __future__ import annotations

import pytest
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


@pytest.mark.parametrize(
    ("steps", "known"),
    [
        (1, [0]),
        (5, [1, 2, 3, 4]),
        (7, [3, 4, 5, 6]),
        (12, [6, 8, 9, 10, 11]),
        (14, [6, 10, 11, 12, 13]),
        (20, [14, 16, 17, 18, 19]),
        (30, [14, 26, 27, 28, 29]),
        (40, [30, 36, 37, 38, 39]),
    ],
)
def test_checkpoint_moves_to_ever_larger_distances(steps: int, known: list[int]):
    """Beside the last few steps a trail knows one checkpoint: step 0, then those that are 2, 4, 8, 16 steps further."""
    trail = Trail()
    for number in range(steps):
        trail = trail.then(str(number))
    assert [number for number in range(steps) if trail.has(str(number))] == known


@given(st.integers(0, 60), st.integers(1, 60))
def test_a_cycle_of_any_length_is_found(lead: int, length: int):
    """Whatever comes before the cycle and however long it is, it is found within a few rounds."""
    trail, steps, mark = Trail(), 0, "0"
    while not trail.has(mark):
        trail, steps = trail.then(mark), steps + 1
        mark = str(steps if steps < lead else lead + (steps - lead) % length)
    assert lead < steps <= 2 * max(lead + 2, length) + length


def test_cursor_stays_small():
    """What is remembered between pages does not grow with their number."""
    definition = erp(type="next", kind="token", param="t")
    cursor = definition.pagination.first()
    for number in range(2000):
        cursor = turn(definition, got(rows(number, 1), next=f"t{number}"), cursor).cursor
    assert len(dump(cursor)) < 1000
