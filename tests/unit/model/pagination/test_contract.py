"""What a pagination type has when it says nothing else."""

from __future__ import annotations

import pytest

from imageflow.model.pagination.contract import MAX_PAGES, Got, Pagination
from imageflow.model.pagination.cursor import Cursor


def test_defaults():
    """No parameters, every row counts, no foreign host, no end but the largest number of pages."""
    plain = Pagination()
    assert (plain.first(), plain.parameters(Cursor()), plain.hosts(), plain.judged()) == (Cursor(), {}, (), frozenset())
    assert (plain.count([1, 1]), plain.most_pages()) == (2, MAX_PAGES)


def test_every_type_gives_its_turn():
    """There is no default for what ends a read."""
    with pytest.raises(NotImplementedError):
        Pagination().turn(Cursor(), Got([], [], "", ""))
