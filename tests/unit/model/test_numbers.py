"""Whole numbers: what is one, and what may have lost digits."""

from __future__ import annotations

import math

import pytest

from imageflow.model.numbers import whole


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (7, 7),
        (7.0, 7),
        (-7.0, -7),
        (1e5, 100_000),
        (8680001234567.0, 8680001234567),
        (2.0**53 - 1, 2**53 - 1),
        (2.0**53, None),
        (-(2.0**53), None),
        (1.2345678901234567e16, None),
        (12.5, None),
        (math.inf, None),
        (math.nan, None),
        (2**53 + 1, 2**53 + 1),
        (123456789012345678901, 123456789012345678901),
    ],
)
def test_whole(value: float, found: int | None) -> None:
    """An integer stays; a float is one only where no digit can be lost."""
    assert whole(value) == found
