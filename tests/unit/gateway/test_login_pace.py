"""How long a login has to wait, by what failed before."""

from datetime import UTC, datetime, timedelta

import pytest

from imageflow.gateway.login_pace import FORGET_AFTER, PACES, Failures, wait

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def failed(times, seconds_ago=0.0):
    return Failures(times, NOW - timedelta(seconds=seconds_ago))


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [
        ({}, 0),
        ({"pair": failed(9)}, 0),
        ({"pair": failed(10)}, 15),
        ({"pair": failed(10, 15)}, 0),
        ({"pair": failed(13)}, 120),
        ({"pair": failed(13, 3)}, 117),
        ({"pair": failed(10_000)}, 300),
        ({"pair": failed(10_000, 299)}, 1),
        ({"pair": failed(10_000, FORGET_AFTER.total_seconds())}, 0),
        ({"address": failed(49)}, 0),
        ({"address": failed(51)}, 30),
        ({"address": failed(1_000)}, 300),
        ({"name": failed(19)}, 0),
        ({"name": failed(20)}, 15),
        ({"name": failed(1_000_000)}, 30),
        ({"pair": failed(11), "address": failed(52), "name": failed(20)}, 60),
    ],
)
def test_wait(failures, seconds):
    """After the free tries each failure doubles the wait; the longest of the three waits counts."""
    assert wait(failures, NOW, familiar=False) == seconds


def test_a_familiar_address():
    """Where a user has logged in before, guesses from elsewhere do not count; those from there do."""
    assert wait({"name": failed(1_000)}, NOW, familiar=True) == 0
    assert wait({"name": failed(1_000), "pair": failed(12)}, NOW, familiar=True) == 60


def test_nobody_is_locked_out():
    """A stranger's guesses keep a user waiting for half a minute at most."""
    assert PACES["name"].longest <= 30
