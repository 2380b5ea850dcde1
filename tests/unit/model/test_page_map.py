"""The map of a run: a byte for each page, and its letters."""

import msgspec
import pytest

from imageflow.model import page_map
from imageflow.model.row import STATES
from imageflow.model.run import Counts
from tests.unit.model.test_run_step import RUN


@pytest.mark.parametrize(
    ("counts", "letter"),
    [
        ({}, "."),
        ({"unchanged": 9}, "u"),
        ({"superseded": 2, "unchanged": 9}, "u"),
        ({"written": 1, "unchanged": 499}, "p"),
        ({"written": 8, "unchanged": 2}, "w"),
        ({"written": 99, "failed": 1}, "f"),
        ({"written": 99, "cancelled": 1}, "c"),
        ({"cancelled": 1, "failed": 1}, "f"),
        ({"retrying": 3}, "."),
        ({"written": 0, "unchanged": 1}, "u"),
    ],
)
def test_a_page_is_as_bad_as_its_worst_row(counts, letter):
    """And else tells how much of it was written."""
    tally = page_map.Tally()
    tally.add((2, state, number) for state, number in counts.items())
    packed = tally.packed(2)
    assert len(packed) == 2
    assert page_map.letters(packed) == f".{letter}"
    assert letter in page_map.LETTERS


def test_slices_add_up():
    """Rows of a page may come in several slices; a byte of a newer version is no failure."""
    tally = page_map.Tally()
    tally.add([(1, "written", 5)])
    tally.add([(1, "unchanged", 10)])
    assert tally.packed(1) == bytes([3 << 4 | 5])
    assert page_map.letters(bytes([15 << 4])) == "."
    assert set(STATES) < set(page_map.WORST)


@pytest.mark.parametrize(
    ("changes", "failed", "letters"),
    [
        ({"pages": 4, "pages_done": 3, "counts": Counts(30, written=10)}, (), "wxxn"),
        ({"pages": 4, "pages_done": 3, "counts": Counts(30, written=10, failed=2)}, (2,), "wfxn"),
        ({"pages": 2, "pages_done": 0, "counts": Counts()}, (), "nn"),
        ({"pages": 2, "pages_done": 2, "status": "partial", "counts": Counts(2, written=1, failed=1)}, (2,), "wf"),
        ({"pages": 2, "pages_done": 2, "counts": Counts(4, unchanged=1, superseded=1)}, (), "ux"),
        ({"pages": 2, "pages_done": 2, "counts": Counts(4, written=1, unchanged=1)}, (), "?x"),
        ({"pages": 1, "pages_done": 1, "status": "failed", "counts": Counts(1, failed=1)}, (), "?"),
        ({"pages": 0}, (), ""),
    ],
)
def test_a_run_without_a_map(changes, failed, letters):
    """What is known without looking at its rows."""
    assert page_map.so_far(msgspec.structs.replace(RUN, **changes), failed) == letters
