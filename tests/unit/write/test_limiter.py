"""How much a domain is asked at once."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageflow.write.limiter import AWAY_LIMIT, PROBE_SECONDS, START_LIMIT, WINDOW, Bucket, CircuitBreaker, Limiter

from .sink import CLIENT_RATE, simulate


def test_limit_grows_while_it_is_used_and_answers_are_quick():
    """Good answers at full use raise the limit; idle ones do not."""
    limiter = Limiter(start=4)
    for n in range(100):
        limiter.good(0.05, in_flight=1, now=n / 100)
    assert limiter.limit == 4
    for n in range(100):
        limiter.good(0.05, in_flight=limiter.limit, now=1 + n / 100)
    assert limiter.limit > 50


def test_overload_halves_once_for_all_that_was_under_way():
    """A burst of 429 is one sign, not fifty; a request begun after that is a new one."""
    limiter = Limiter(start=64)
    for _ in range(50):
        limiter.overloaded(begun=0.9, now=1.0)
    assert limiter.limit == 32
    limiter.overloaded(begun=1.1, now=1.2)
    assert limiter.limit == 16


def test_a_burst_of_refusals_says_how_many_are_taken():
    """Of 256 at once 56 are refused: the limit comes back to just below 200, not to just below 256."""
    limiter = Limiter(start=256)
    assert [limiter.overloaded(1.0, 1.1) for _ in range(56)] == [True] + [False] * 55
    for number in range(2000):
        limiter.good(0.05, limiter.limit, 2.0 + number / 1000)
    assert 185 <= limiter.limit <= 200


def test_refusals_of_an_earlier_burst_say_nothing_of_this_one():
    """Late time-outs of requests from before the limit was lowered twice leave the ceiling where it is."""
    limiter = Limiter(start=200)
    assert limiter.overloaded(1.0, 2.0)
    for number in range(200):
        limiter.good(0.05, limiter.limit, 3.0 + number / 1000)
    assert limiter.overloaded(4.0, 5.0)
    ceiling = limiter._ceiling
    assert not any(limiter.overloaded(1.5, 6.0) for _ in range(60))
    assert limiter._ceiling == ceiling
    assert not limiter.overloaded(4.5, 6.0)
    assert limiter._ceiling == ceiling - 1


@pytest.mark.slow
@pytest.mark.parametrize("latency", [0.005, 0.05, 0.3])
@pytest.mark.parametrize("capacity", [4, 20, 200])
def test_finds_what_a_sink_takes(latency, capacity):
    """At least 90% of what the best fixed number would reach, with less than 2% refused, whatever the sink."""
    report = simulate(Limiter(), 20, latency=lambda _: latency, capacity=lambda _: capacity, refuses=True)
    assert report.rate(10, 20) >= 0.9 * min(capacity / latency, CLIENT_RATE)
    assert report.refused_share(5, 20) < 0.02


def test_follows_a_sink_that_slows_and_recovers():
    """Ten times as slow, then as before: the rate follows within seconds, and nothing is held down."""
    report = simulate(
        Limiter(), 30, latency=lambda t: 0.5 if 10 <= t < 20 else 0.05, capacity=lambda _: 100, refuses=True
    )
    assert report.rate(12, 20) >= 0.85 * 200
    assert report.rate(23, 30) >= 0.9 * 2000
    assert report.refused_share(0, 30) < 0.02


@pytest.mark.slow
def test_follows_a_sink_that_shrinks_and_grows():
    """A tenth of the room, then all of it again: few are refused, and the room is found within seconds."""
    report = simulate(
        Limiter(), 35, latency=lambda _: 0.05, capacity=lambda t: 20 if 10 <= t < 20 else 200, refuses=True
    )
    assert report.rate(12, 20) >= 0.9 * 400
    assert report.refused_share(11, 35) < 0.02
    assert report.rate(28, 35) >= 0.9 * 4000


def test_does_not_fill_a_queue_without_end():
    """A sink that lets requests wait in line is used in full, and the line stays short."""
    report = simulate(Limiter(), 60, latency=lambda _: 0.05, capacity=lambda _: 50, refuses=False)
    assert report.rate(10, 60) >= 0.95 * 1000
    assert max(limit for at, limit in report.limits if at > 10) <= 250


@pytest.mark.parametrize("refuses", [True, False])
@pytest.mark.parametrize("spread", [0.3, 0.6, 1.0])
def test_uneven_answers_do_not_hold_it_down(spread, refuses):
    """Single slow answers are no sign of a queue: a healthy server gives them all the time."""
    report = simulate(
        Limiter(), 20, latency=lambda _: 0.05, capacity=lambda _: 50, refuses=refuses, client_rate=4000, spread=spread
    )
    assert report.rate(8, 20) >= 0.85 * 1000
    assert report.refused_share(2, 20) < 0.02


def test_begins_anew_after_an_absence():
    """What was learnt of a sink that was away counts no more: the limit is found anew, quickly, from where it started."""
    limiter = Limiter()
    for n in range(20):
        limiter.overloaded(n, n)
    assert limiter.limit == 1
    limiter.restart()
    assert limiter.limit == START_LIMIT
    for n in range(200):
        limiter.good(0.05, limiter.limit, 30 + n / 1000)
    assert limiter.limit > 150


def test_rising_latency_stops_the_growth():
    """When answers take longer because they queue on the other side, more at once is no use."""
    limiter = Limiter(start=8)
    now = 0.0
    for _ in range(5_000):
        now += 0.001
        limiter.good(0.05 * max(1.0, limiter.limit / 20), limiter.limit, now)
    assert 15 <= limiter.limit <= 60


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 60), st.integers(0, 2000)), max_size=200))
def test_limit_stays_in_bounds(events):
    """Whatever happens, at least one request is allowed and never more than the maximum."""
    limiter = Limiter()
    for n, (good, latency, in_flight) in enumerate(events):
        limiter.good(latency, in_flight, n * 0.7) if good else limiter.overloaded(n * 0.7 - latency, n * 0.7)
        assert 1 <= limiter.limit <= 1024


def test_hold_when_omnitron_is_not_reached():
    """A few connections in a row that fail hold the domain; one good answer ends it."""
    hold = CircuitBreaker()
    for n in range(AWAY_LIMIT):
        assert not hold.held
        hold.bad("p", "refused", n, away=True)
    assert hold.held
    hold.good(AWAY_LIMIT)
    assert not hold.held


def test_one_product_that_always_fails_holds_nobody():
    """500 for one product may be that product's fault."""
    hold = CircuitBreaker()
    for n in range(3 * WINDOW):
        hold.bad("p", "500", n, away=False)
    assert not hold.held


def test_most_products_failing_hold():
    """500 for most products is Omnitron's fault."""
    hold = CircuitBreaker()
    for n in range(WINDOW):
        hold.bad(f"p{n}", "500", n, away=False)
    assert hold.held


def test_scattered_failures_do_not_hold():
    """One in three failing is retried row by row."""
    hold = CircuitBreaker()
    for n in range(300):
        if n % 3 == 0:
            hold.bad(f"p{n}", "503", n, away=True)
        else:
            hold.good(n)
    assert not hold.held


def test_probes_come_at_growing_pauses():
    """One probe at a time; each failed one makes the pause longer, up to the last step."""
    hold = CircuitBreaker()
    for _ in range(AWAY_LIMIT):
        hold.bad("p", "refused", 0.0, away=True)
    times = [t / 10 for t in range(600) if hold.may_probe(t / 10)]
    gaps = [b - a for a, b in pairwise(times)]
    assert times[0] == PROBE_SECONDS[0]
    assert gaps == sorted(gaps)
    assert max(gaps) == PROBE_SECONDS[-1]


def test_what_was_sent_before_a_change_says_nothing_of_now():
    """Answers to requests from before the hold began or ended are outdated; what failed of them costs no attempt."""
    hold = CircuitBreaker()
    assert not hold.outdated(0.0)
    for _ in range(AWAY_LIMIT):
        hold.bad("p", "503", 10.0, away=True)
    assert hold.outdated(9.9)
    assert not hold.outdated(10.5)
    assert hold.spares(10.5)
    hold.good(20.0)
    assert hold.spares(19.9)
    assert not hold.spares(20.1)


def test_first_failures_are_suspected():
    """Between the first failure and the decision, nobody knows whose fault it is."""
    hold = CircuitBreaker()
    for n in range(AWAY_LIMIT):
        assert hold.suspected == (n > 0)
        hold.bad("p", "503", 1.0, away=True)
    assert not hold.suspected
    assert hold.held


def test_a_probe_that_was_not_sent_is_to_be_had_again():
    """A chunk with nothing to send must not use the probe up."""
    hold = CircuitBreaker()
    for _ in range(AWAY_LIMIT):
        hold.bad("p", "503", 0.0, away=True)
    assert hold.may_probe(1.0)
    assert not hold.may_probe(1.1)
    hold.not_probed(1.2)
    assert hold.may_probe(1.2)


@given(st.floats(0.1, 1000), st.lists(st.floats(0, 2), min_size=1, max_size=200))
def test_bucket_never_exceeds_its_rate(rate, gaps):
    """Over any stretch, no more than the rate plus one burst goes through, and who waits as told gets a token."""
    now, bucket, uses = 0.0, Bucket(rate, 0.0), []
    for gap in gaps:
        now += gap
        wait = bucket.take(now)
        if wait:
            now += wait
            assert bucket.take(now) == 0
        uses.append(now)
    span = max(uses) - min(uses)
    assert len(uses) <= span * rate + max(1.0, rate / 10) + 1.001
