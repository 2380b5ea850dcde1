"""When to try again. Delays are steps of one ladder, the same for every queue: RabbitMQ keeps one queue per step."""

from __future__ import annotations

LADDER: tuple[int, ...] = (1, 2, 5, 15, 60, 300, 900)
"""Seconds. A message that waits longer climbs again when it comes back."""


def step(delay: float) -> int:
    """The shortest step that waits at least `delay` seconds; the longest one where none does."""
    return next((rung for rung in LADDER if rung >= delay), LADDER[-1])


def delay(attempts: int, retry_after: float | None = None) -> int:
    """Seconds to wait before the next try, after `attempts` failed ones (from 1): 1, 2, 5, 15, 60, 300, 900, 900.

    `retry_after` is what the other side asked for; it only ever lengthens the wait.
    """
    return step(max(LADDER[min(attempts, len(LADDER)) - 1], retry_after or 0.0))
