"""When to try again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageflow.model.retry_ladder import LADDER, delay, step


def test_the_ladder():
    """The delays that RabbitMQ has a queue for."""
    assert LADDER == (1, 2, 5, 15, 60, 300, 900)


@pytest.mark.parametrize("rung", LADDER)
def test_a_delay_that_is_a_rung_takes_that_rung(rung):
    """A wait of exactly one rung is not lengthened to the next."""
    assert step(float(rung)) == rung


@pytest.mark.parametrize(("seconds", "rung"), [(0, 1), (0.1, 1), (1.001, 2), (2.5, 5), (61, 300), (301, 900)])
def test_a_delay_between_two_rungs_takes_the_longer(seconds, rung):
    """A wait is never shortened."""
    assert step(seconds) == rung


@pytest.mark.parametrize("seconds", [900, 901, 1e9, float("inf")])
def test_no_delay_is_longer_than_the_ladder(seconds):
    """A longer wait takes the last rung, and climbs again when it comes back."""
    assert step(seconds) == 900


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(1, 1), (2, 2), (3, 5), (4, 15), (5, 60), (6, 300), (7, 900), (8, 900), (50, 900)]
)
def test_each_attempt_waits_a_rung_longer(attempts, seconds):
    """The first failure waits for the first rung, and so on up to the last."""
    assert delay(attempts) == seconds


@pytest.mark.parametrize(
    ("attempts", "asked", "seconds"),
    [(1, None, 1), (1, 0.0, 1), (1, 1.0, 1), (1, 3.0, 5), (1, 5.0, 5), (4, 3.0, 15), (1, 100_000.0, 900)],
)
def test_retry_after_lengthens_only(attempts, asked, seconds):
    """Retry-After is honoured where it is longer than the rung, up to the end of the ladder."""
    assert delay(attempts, asked) == seconds


@given(st.integers(1, 100), st.none() | st.floats(0, 1e6))
def test_delays_grow_and_are_bounded(attempts, asked):
    """Whatever is asked for, a delay is a rung, not shorter than the one before, nor than what was asked for."""
    seconds = delay(attempts, asked)
    assert seconds in LADDER
    assert delay(attempts + 1, asked) >= seconds >= delay(attempts)
    assert seconds >= min(asked or 0.0, LADDER[-1])
