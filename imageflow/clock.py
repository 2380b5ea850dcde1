"""The clock: the only module that reads the time."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol


class Clock(Protocol):
    """What time it is. `now` is aware and in UTC; `monotonic` counts seconds for deadlines, and runs on while the process
    is frozen or the machine sleeps."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...


STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux stops CLOCK_MONOTONIC while the machine sleeps, and other processes' leases run on."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.clock_gettime(STEADY)


# instants that people give --------------------------------------------------------------------------------------------

INSTANT = "an ISO date, as in 2026-01-31 or 2026-01-31T14:30+03:00, or so long ago, as in 90m, 24h or 7d"
_AGO = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def instant(text: str, zone: tzinfo | None, now: datetime) -> datetime:
    """What a person gives for an instant: an ISO date, without an offset in the zone (None: this machine's), or so long ago: `90m`,
    `24h`, `7d`. Raises ValueError, which says what it must be.
    """
    try:
        if (ago := re.fullmatch(r"([0-9]{1,6})([smhd])", text)) is not None:
            return now - timedelta(**{_AGO[ago[2]]: int(ago[1])})
        return of_date(text, zone)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"must be {INSTANT}, not {text[:60]!r}") from error


def of_date(text: str, zone: tzinfo | None) -> datetime:
    """An ISO date as an instant; without an offset it is in the zone (None: this machine's), and of two instants that a local time
    can mean it is the earlier. Raises ValueError.
    """
    given = datetime.fromisoformat(text)
    try:
        if given.tzinfo is not None:
            return given.astimezone(UTC)
        return min(given.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    except OverflowError as error:
        raise ValueError(str(error)) from error
