"""Retry policy of the reader: whether and when to ask again, how to keep a rate limit, when to pause. Pure."""

from __future__ import annotations

from typing import NamedTuple

from imageflow.model.retry_ladder import LADDER

MAX_RETRIES = 6
MAX_SECONDS = 300.0
LONGEST_BACKOFF_SECONDS = 60.0
SHORTEST_SECONDS = 0.1
SHORTEST_RETRY_AFTER_SECONDS = 1.0
IN_PLACE_SECONDS = 5.0
"""The reader sleeps through shorter pauses. For longer ones the broker keeps the message, so that no delivery stays
unacknowledged for long."""

MAX_PAGES_WAITING = 50
MAX_CHUNKS_WAITING = 500


class Again(NamedTuple):
    """Ask again after that many seconds."""

    seconds: float


class Enough(NamedTuple):
    """Do not ask again."""

    why: str


def after_failure(failures: int, lasted: float, retry_after: float | None, chance: float) -> Again | Enough:
    """What to do after the `failures`-th failure in a row (from 1), `lasted` seconds after the first.

    Backoff with full jitter (`chance` is from 0 to 1). `retry_after` only lengthens the wait, to a second at least. At
    most 6 retries, and none that would begin later than 5 minutes after the first failure.
    """
    if failures > MAX_RETRIES:
        return Enough(f"tried {failures} times in {lasted:.0f} s")
    seconds = max(SHORTEST_SECONDS, chance * min(LONGEST_BACKOFF_SECONDS, 2.0**failures))
    if retry_after is not None:
        seconds = max(seconds, retry_after, SHORTEST_RETRY_AFTER_SECONDS)
    if lasted + seconds > MAX_SECONDS:
        asked = f"; it asks for {retry_after:.0f} s more" if retry_after is not None else ""
        return Enough(f"tried {failures} times in {lasted:.0f} s{asked}")
    return Again(seconds)


def wait_for_rate(rate: float | None, last_asked: float, now: float) -> float:
    """Seconds until the next request is allowed at `rate` per second. Instants are Unix time."""
    if rate is None:
        return 0.0
    gap = 1.0 / rate
    return min(gap, max(0.0, last_asked + gap - now))


def rung(seconds: float) -> float:
    """The longest delay of the broker's ladder that is not longer than `seconds`. The reader waits for the rest."""
    return float(next((step for step in reversed(LADDER) if step <= seconds), LADDER[0]))


def crowded(pages_waiting: int, chunks_waiting: int) -> str | None:
    """Why the reader pauses, given how much waits for the stages after it; None if it may go on."""
    if pages_waiting > MAX_PAGES_WAITING:
        return f"{pages_waiting} pages wait to be transformed"
    if chunks_waiting > MAX_CHUNKS_WAITING:
        return f"{chunks_waiting} messages wait to be written"
    return None
