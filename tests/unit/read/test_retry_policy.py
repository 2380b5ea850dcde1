"""Patience: retries are bounded in number and time, and wait as long as they are told to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageflow.model.retry_ladder import LADDER
from imageflow.read import retry_policy
from imageflow.read.retry_policy import Again, Enough


@given(st.lists(st.floats(0, 1), min_size=10, max_size=10), st.one_of(st.none(), st.floats(0, 400)))
def test_at_most_six_times_within_five_minutes(chances: list[float], retry_after: float | None):
    """However the dice fall and whatever is asked for: six retries, five minutes, and then the end."""
    lasted, retries = 0.0, 0
    for failures, chance in enumerate(chances, 1):
        decision = retry_policy.after_failure(failures, lasted, retry_after, chance)
        if isinstance(decision, Enough):
            break
        lasted += decision.seconds
        retries += 1
    assert isinstance(decision, Enough)
    assert retries <= 6
    assert lasted <= 300


@given(st.integers(1, 6), st.floats(0, 200), st.floats(0, 1))
def test_retry_after_is_a_floor(failures: int, asked: float, chance: float):
    """Never sooner than Retry-After, and that is never taken for less than a second."""
    decision = retry_policy.after_failure(failures, 0.0, asked, chance)
    assert isinstance(decision, Again)
    assert decision.seconds >= max(1.0, asked)


@pytest.mark.parametrize(("failures", "longest"), [(1, 2), (2, 4), (3, 8), (4, 16), (5, 32), (6, 60)])
def test_pauses_double(failures: int, longest: float):
    """From two seconds up to a minute; chance takes its share of each, and a tenth of a second is always waited."""
    shares = [retry_policy.after_failure(failures, 0.0, None, chance) for chance in (0.0, 0.5, 1.0)]
    assert shares == [Again(0.1), Again(longest / 2), Again(longest)]


def test_the_sixth_retry_is_the_last():
    """The seventh failure ends it, however short the time was."""
    assert retry_policy.after_failure(6, 1.0, None, 0.0) == Again(0.1)
    assert retry_policy.after_failure(7, 1.0, None, 0.0) == Enough("tried 7 times in 1 s")


@pytest.mark.parametrize(("asked", "waited"), [(0.0, 32.0), (5.0, 32.0), (33.0, 33.0), (250.0, 250.0)])
def test_retry_after_shortens_nothing(asked: float, waited: float):
    """An ERP that asks for less than the pause is due is asked again after the pause."""
    assert retry_policy.after_failure(5, 0.0, asked, 1.0) == Again(waited)


def test_a_wait_that_is_too_long():
    """An ERP that asks for a day is not waited for, and the reason says so."""
    assert retry_policy.after_failure(1, 0.0, 86_400.0, 0.5) == Enough("tried 1 times in 0 s; it asks for 86400 s more")


@given(st.floats(0.01, 100), st.floats(0, 1e9), st.floats(0, 1e9))
def test_a_turn_is_never_further_than_one_gap(rate: float, last: float, now: float):
    """A clock that jumps does not stop a flow for longer than its rate asks for."""
    assert 0 <= retry_policy.wait_for_rate(rate, last, now) <= 1 / rate


def test_turns():
    """Ten a second: a tenth of a second between two; without a rate no wait."""
    assert round(retry_policy.wait_for_rate(10, 100.0, 100.04), 3) == 0.06
    assert retry_policy.wait_for_rate(10, 100.0, 101.0) == 0
    assert retry_policy.wait_for_rate(None, 100.0, 100.0) == 0


@given(st.floats(0, 5000))
def test_rungs_do_not_overshoot(seconds: float):
    """A wait on the broker ends before it is due rather than after, except below its first step."""
    assert retry_policy.rung(seconds) in LADDER
    assert retry_policy.rung(seconds) <= max(seconds, LADDER[0])


@pytest.mark.parametrize(
    ("seconds", "rung"), [(0.5, 1), (1.0, 1), (1.9, 1), (2.0, 2), (59.9, 15), (60.0, 60), (899.0, 300), (5000.0, 900)]
)
def test_a_wait_on_the_broker_is_the_longest_that_fits(seconds: float, rung: float):
    """A message that waits an hour comes by a few times, and not every second."""
    assert retry_policy.rung(seconds) == rung


def test_crowded():
    """The reader holds back when either of the stages after it has enough to do."""
    assert retry_policy.crowded(50, 500) is None
    assert retry_policy.crowded(51, 0) == "51 pages wait to be transformed"
    assert retry_policy.crowded(0, 501) == "501 messages wait to be written"
