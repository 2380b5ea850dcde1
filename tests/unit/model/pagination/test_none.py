"""Pagination none: one page."""

from __future__ import annotations

from imageflow.model.pagination.contract import Last

from .pages import erp, got, rows, turn


def test_none_ends_after_one_page():
    """`none` never asks twice, whatever the answer says."""
    assert isinstance(turn(erp(type="none"), got(rows(0, 5), next="more")), Last)
