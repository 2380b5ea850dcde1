"""The clock: the only module that reads the time."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol, overload


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


@overload
def iso(instant: datetime) -> str: ...
@overload
def iso(instant: datetime | None) -> str | None: ...
def iso(instant: datetime | None) -> str | None:
    """UTC ISO 8601 with `Z` and microseconds, as every output of ImageFlow writes an instant; None stays None."""
    return None if instant is None else instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
