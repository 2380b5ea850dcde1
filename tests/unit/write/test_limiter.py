"""How many requests are in flight to a domain at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageflow.write.limiter import START_LIMIT, Limiter, TokenBucket
from tests.unit.write.sink import CLIENT_RATE, simulate


def test_limit_grows_while_it_is_used_and_answers_are_quick():
    """Good answers at full use raise the limit; idle ones do not."""
    limiter = Limiter(start=4)
    for n in range(100):
        limiter.good(0.05, in_flight=1, now=n / 100)
    assert limiter.limit == 4
    for n in range(100):
        limiter.good(0.05, in_flight=limiter.limit, now=1 + n / 100)
    assert limiter.limit > 50


def test_overload_halves_once_for_all_in_flight():
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
    """Late time-outs of requests from before the limit was lowered twice leave the observed limit where it is."""
    limiter = Limiter(start=200)
    assert limiter.overloaded(1.0, 2.0)
    for number in range(200):
        limiter.good(0.05, limiter.limit, 3.0 + number / 1000)
    assert limiter.overloaded(4.0, 5.0)
    observed = limiter._observed
    assert not any(limiter.overloaded(1.5, 6.0) for _ in range(60))
    assert limiter._observed == observed
    assert not limiter.overloaded(4.5, 6.0)
    assert limiter._observed == observed - 1


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


def test_does_not_fill_an_unbounded_queue():
    """A sink that queues requests is used in full, and its queue stays short."""
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


def test_starts_anew_after_an_outage():
    """What was learnt before an outage is forgotten: the limit is found anew, quickly, from where it started."""
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


@given(st.floats(0.1, 1000), st.lists(st.floats(0, 2), min_size=1, max_size=200))
def test_bucket_never_exceeds_its_rate(rate, gaps):
    """Over any stretch of time no more than the rate plus one burst passes, and the wait that it names is enough."""
    now, bucket, uses = 0.0, TokenBucket(rate, 0.0), []
    for gap in gaps:
        now += gap
        wait = bucket.take(now)
        if wait:
            now += wait
            assert bucket.take(now) == 0
        uses.append(now)
    span = max(uses) - min(uses)
    assert len(uses) <= span * rate + max(1.0, rate / 10) + 1.001


@pytest.mark.parametrize(("rate", "burst"), [(0.5, 1), (5.0, 1), (100.0, 10)])
def test_an_idle_bucket_saves_up_one_burst(rate, burst):
    """After a long pause, too, no more than a tenth of a second's worth goes out at once, and one at least."""
    bucket = TokenBucket(rate, 0.0)
    assert [bucket.take(3600.0) == 0 for _ in range(burst + 1)] == [True] * burst + [False]


def test_a_sink_that_is_slower_for_good_is_used_in_full():
    """The baseline of before expires: what was slow is normal then, and the limit does not sink on."""
    report = simulate(Limiter(), 60, latency=lambda t: 0.3 if t >= 10 else 0.05, capacity=lambda _: 100, refuses=True)
    assert report.rate(40, 60) >= 0.9 * 100 / 0.3
