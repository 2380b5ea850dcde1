"""How fast somebody may guess passwords. Pure: what failed so far goes in, a wait comes out.

Failures are counted in three ways, by all gateways together: of a name from one address, of an address, and of a name from
wherever. After the free tries there is a wait, which each failure doubles, up to the longest. A count that has not grown for
a quarter of an hour is forgotten.

A guesser from many addresses meets the count of the name. So that nobody can lock out a user by guessing, that wait is
short, and an address from which the user has logged in before does not meet it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

Kind = Literal["pair", "address", "name"]
FORGET_AFTER = timedelta(minutes=15)
FIRST_SECONDS = 15.0


class Failures(NamedTuple):
    """How often a login failed, and when last."""

    times: int
    last_at: datetime


class Pace(NamedTuple):
    """Tries without a wait, and the longest wait in seconds."""

    free: int
    longest: float


PACES: Mapping[Kind, Pace] = {"pair": Pace(10, 300.0), "address": Pace(50, 300.0), "name": Pace(20, 30.0)}
"""Many users may share the address of an office or a proxy, so an address has more tries than one user."""


def wait(failures: Mapping[Kind, Failures], now: datetime, *, familiar: bool) -> float:
    """Seconds until the next try; 0: now. `familiar`: the user has logged in from this address before."""
    return max(
        (_wait(PACES[kind], found, now) for kind, found in failures.items() if not (familiar and kind == "name")),
        default=0.0,
    )


def _wait(pace: Pace, failures: Failures, now: datetime) -> float:
    passed = (now - failures.last_at).total_seconds()
    if failures.times < pace.free or passed >= FORGET_AFTER.total_seconds():
        return 0.0
    doubled = min(failures.times - pace.free, 16)
    return max(0.0, min(FIRST_SECONDS * 2.0**doubled, pace.longest) - passed)
