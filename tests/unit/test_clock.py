"""Instants as people give them."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from imageflow.clock import instant, of_date

NOW = datetime(2026, 1, 8, 12, tzinfo=UTC)
ISTANBUL = ZoneInfo("Europe/Istanbul")


def test_times_that_people_ask_for() -> None:
    """So long ago, or an ISO date: in the zone unless it has an offset."""
    assert instant("7d", ISTANBUL, NOW) == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert instant("90m", None, NOW) == datetime(2026, 1, 8, 10, 30, tzinfo=UTC)
    assert instant("2026-01-02", ISTANBUL, NOW) == datetime(2026, 1, 1, 21, tzinfo=UTC)
    assert instant("2026-01-02T00:00:00Z", ISTANBUL, NOW) == datetime(2026, 1, 2, tzinfo=UTC)
    assert instant("2026-01-02", None, NOW) == datetime(2026, 1, 2).astimezone()


@pytest.mark.parametrize(
    "wrong", ["yesterday", "9999999d", "999999d", "-1d", "", "7 d", "٣d", "0001-01-01T00:00+14:00"]
)
def test_what_is_no_instant(wrong: str) -> None:
    """It is refused with an example of each kind."""
    with pytest.raises(
        ValueError, match=r"^must be an ISO date, as in 2026-01-31 or .*, or so long ago, as in 90m, 24h or 7d, not '"
    ):
        instant(wrong, ISTANBUL, NOW)


def test_a_local_time_that_comes_twice() -> None:
    """It means the earlier one."""
    assert of_date("2026-10-25T02:30", ZoneInfo("Europe/Berlin")) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
