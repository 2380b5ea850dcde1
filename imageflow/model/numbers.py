"""Numbers out of JSON that are to be whole."""

from __future__ import annotations

EXACT_BELOW = 2**53
"""Up to here a float holds each whole number. A larger one may have lost digits when it was read."""


def whole(value: float) -> int | None:
    """A number as an integer, if it is one and none of its digits can be lost."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < EXACT_BELOW else None
    return value
