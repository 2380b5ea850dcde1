"""Values of NiFi: what is filled in, what stays secret or open, and what periods and schedules become."""

from __future__ import annotations

import pytest

from imageflow.flows.nifi_values import MAX_CHARS, Scope, resolved, schedule, seconds

SCOPE = Scope({"host": "h", "deep": "#{host}x"}, frozenset(("key",)), {"name": "n", "self": "${self}"})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("https://#{host}/${name}", ("https://h/n", False, False)),
        ("#{'deep'}", ("hx", False, False)),
        ("#{key}", ("#{key}", True, False)),
        ("#{unknown}", ("#{unknown}", False, True)),
        ("${unknown}", ("${unknown}", False, True)),
        ("${self}", ("${self}", False, True)),
        ("${now():format('yyyy-MM-dd')}", ("{now:%Y-%m-%d}", False, False)),
        ('${now():format("yyyyMMdd\'T\'HHmm", "UTC")}', ("{now:%Y%m%dT%H%M}", False, False)),
        ("${now():format('EEE')}", ("${now():format('EEE')}", False, True)),
        ("${name:toUpper()}", ("${name:toUpper()}", False, True)),
        ("#{key}/#{unknown}", ("#{key}/#{unknown}", True, False)),
        ("#{key}/${unknown}", ("#{key}/${unknown}", True, True)),
        ("plain", ("plain", False, False)),
    ],
)
def test_values(text: str, value: tuple[str, bool, bool]) -> None:
    """Parameters and attributes are filled in; what is secret or computed is marked."""
    assert resolved(text, SCOPE) == value


@pytest.mark.parametrize(
    ("period", "value"),
    [
        ("5 min", 300),
        ("30 sec", 30),
        ("1 hour", 3600),
        ("2 days", 172_800),
        ("100 ms", 0.1),
        ("x", None),
        ("5 parsecs", None),
        ("1.5 hrs", 5400),
        (" 2 WEEKS ", 1_209_600),
        ("5", None),
        ("-5 sec", None),
        ("5 min 3 sec", None),
    ],
)
def test_periods(period: str, value: float | None) -> None:
    """In the units of NiFi."""
    assert seconds(period) == value


@pytest.mark.parametrize(
    ("strategy", "period", "found", "asks"),
    [
        ("CRON_DRIVEN", "0 0/5 * * * ?", {"cron": "0 0/5 * * * ?"}, True),
        ("CRON_DRIVEN", "* * *", None, True),
        ("TIMER_DRIVEN", "90 sec", {"every": "90s"}, False),
        ("TIMER_DRIVEN", "2 hours", {"every": "2h"}, False),
        ("TIMER_DRIVEN", "15 min", {"every": "15m"}, False),
        ("TIMER_DRIVEN", "0 sec", None, True),
        ("TIMER_DRIVEN", "999 ms", None, True),
        ("TIMER_DRIVEN", "1 sec", {"every": "1s"}, False),
        ("TIMER_DRIVEN", "1500 ms", {"every": "1.5s"}, False),
        ("TIMER_DRIVEN", "3660 sec", {"every": "61m"}, False),
        ("", "1 min", {"every": "1m"}, False),
        ("EVENT_DRIVEN", "", None, True),
        ("EVENT_DRIVEN", "1 min", None, True),
        ("CRON_DRIVEN", "0 0  3 * * ? 2026", {"cron": "0 0 3 * * ? 2026"}, True),
        ("CRON_DRIVEN", "0 3 * * ?", None, True),
    ],
)
def test_schedules(strategy: str, period: str, found: dict[str, str] | None, asks: bool) -> None:
    """As a flow file has them; what is none, or is not certain, is asked."""
    result, question = schedule(strategy, period)
    assert (result, question is not None) == (found, asks)


def test_values_that_grow() -> None:
    """Parameters that double each other end at a bound."""
    bomb = Scope({f"p{n}": f"#{{p{n + 1}}}" * 10 for n in range(50)}, frozenset(), {})
    assert len(resolved("#{p0}", bomb).text) <= MAX_CHARS
