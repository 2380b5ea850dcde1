"""What follows from samples."""

import pytest

from tests.benchmarks.samples import Pace, Sample, back_at, pace, rate, rates, table


def test_pace_is_of_the_steady_part():
    """The start and the end, where a process warms up and runs dry, do not count."""
    samples = [Sample(0, 0), Sample(5, 10, cpu=1.0), Sample(6, 90, cpu=1.8), Sample(60, 100, cpu=9.0)]
    assert pace(samples, 100) == Pace(80.0, pytest.approx(0.01))


def test_a_pace_needs_samples_apart():
    """Rows that were all done between two samples tell nothing."""
    with pytest.raises(ValueError, match="more rows"):
        pace([Sample(0, 0), Sample(1, 100)], 100)


def test_rate_between_instants():
    """Counts grow evenly between samples and stand still beyond them."""
    samples = [Sample(0, 0), Sample(2, 20), Sample(3, 20)]
    assert rate(samples, 0, 1) == 10
    assert rate(samples, 1, 3) == 5
    assert rates(samples, 1.0) == [(0.5, 10), (1.5, 10), (2.5, 0)]


def test_back_at_is_when_the_rate_lasts_for_a_window():
    """The first instant from which a whole window is as quick as wanted."""
    samples = [Sample(t, max(0, t - 10) * 100) for t in range(20)]
    assert back_at(samples, 5, 95) == 10
    assert back_at(samples, 5, 101) is None


def test_table_is_aligned():
    """Names to the left, figures to the right, a rule under the head."""
    assert table(("what", "rate"), [("a", "10/s"), ("longer", "5/s")]).splitlines() == [
        "what    rate",
        "------  ----",
        "a       10/s",
        "longer   5/s",
    ]
