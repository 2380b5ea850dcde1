"""How long to wait before the next attempt. All delays are rungs of one ladder, since RabbitMQ needs a queue per delay."""

from __future__ import annotations

LADDER: tuple[int, ...] = (1, 2, 5, 15, 60, 300, 900)
"""In seconds. A message that must wait longer than the last rung is delayed again when it comes back."""


def step(delay: float) -> int:
    """The shortest rung of at least `delay` seconds, or the last rung."""
    return next((rung for rung in LADDER if rung >= delay), LADDER[-1])


def delay(attempts: int, retry_after: float | None = None) -> int:
    """Seconds to wait after `attempts` failed attempts (from 1): 1, 2, 5, 15, 60, 300, 900, 900, and so on.

    `retry_after`, in seconds, is what the other side asked for. It lengthens the wait and never shortens it.
    """
    return step(max(LADDER[min(attempts, len(LADDER)) - 1], retry_after or 0.0))
