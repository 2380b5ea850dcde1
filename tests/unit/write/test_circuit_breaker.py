"""Whether rows go out to a domain."""

from itertools import pairwise

import pytest

from imageflow.write.circuit_breaker import PROBE_SECONDS, PRODUCTS_LIMIT, UNREACHED_LIMIT, WINDOW, CircuitBreaker


@pytest.fixture
def breaker():
    return CircuitBreaker()


@pytest.fixture
def open_breaker(breaker):
    """Opened at 10 s."""
    for _ in range(UNREACHED_LIMIT):
        breaker.bad("p", "503", 10.0, unreached=True)
    assert breaker.open
    return breaker


def test_opens_when_omnitron_is_not_reached(breaker):
    """A few requests in a row that do not reach Omnitron open the circuit; one good answer closes it."""
    for n in range(UNREACHED_LIMIT):
        assert not breaker.open
        breaker.bad("p", f"refused {n}", n, unreached=True)
    assert breaker.open
    assert breaker.reason == f"refused {UNREACHED_LIMIT - 1}"
    breaker.good(UNREACHED_LIMIT)
    assert not breaker.open


@pytest.mark.parametrize("interruption", ["good", "answered"])
def test_only_failures_in_a_row_open_it(breaker, interruption):
    """A series of unreached requests that any answer interrupts, a 500 included, starts from zero."""
    for n in range(UNREACHED_LIMIT - 1):
        breaker.bad("p", "refused", n, unreached=True)
    if interruption == "good":
        breaker.good(9.0)
    else:
        breaker.bad("p", "500", 9.0, unreached=False)
    for n in range(UNREACHED_LIMIT - 1):
        breaker.bad("p", "refused", 10 + n, unreached=True)
        assert not breaker.open
    breaker.bad("p", "refused", 20.0, unreached=True)
    assert breaker.open


def test_one_product_that_always_fails_opens_nothing(breaker):
    """500 for one product may be that product's fault."""
    for n in range(3 * WINDOW):
        breaker.bad("p", "500", n, unreached=False)
    assert not breaker.open


@pytest.mark.parametrize(("products", "opens"), [(PRODUCTS_LIMIT - 1, False), (PRODUCTS_LIMIT, True)])
def test_most_answers_over_several_products_open_it(breaker, products, opens):
    """500 for several products is Omnitron's fault."""
    for n in range(WINDOW):
        breaker.bad(f"p{n % products}", "500", n, unreached=False)
    assert breaker.open is opens


def test_half_of_the_window_must_be_bad(breaker):
    """Failures of several products count once they are half of the last answers."""
    for n in range(WINDOW // 2 - 1):
        breaker.bad(f"p{n}", "500", n, unreached=False)
    assert not breaker.open
    breaker.bad("q", "500", 30.0, unreached=False)
    assert breaker.open


def test_scattered_failures_do_not_open_it(breaker):
    """One in three failing is retried row by row."""
    for n in range(300):
        if n % 3 == 0:
            breaker.bad(f"p{n}", "503", n, unreached=True)
        else:
            breaker.good(n)
    assert not breaker.open


def test_what_opened_it_is_forgotten_when_it_closes(breaker):
    """After the circuit closes, failures from before do not help to open it again."""
    for n in range(WINDOW):
        breaker.bad(f"p{n}", "500", n, unreached=False)
    breaker.good(30.0)
    for n in range(WINDOW // 2 - 1):
        breaker.bad(f"p{n}", "500", 31.0, unreached=False)
    assert not breaker.open


def test_probes_come_at_growing_pauses(open_breaker):
    """One probe at a time; after each the pause is longer, up to the last step."""
    times = [10 + t / 10 for t in range(600) if open_breaker.take_probe(10 + t / 10)]
    gaps = [b - a for a, b in pairwise(times)]
    assert times[0] == 10 + PROBE_SECONDS[0]
    assert gaps == sorted(gaps)
    assert max(gaps) == pytest.approx(PROBE_SECONDS[-1])


def test_what_was_sent_before_a_change_says_nothing_of_now(breaker):
    """Answers to requests from before the circuit opened or closed are not recorded, and count as an outage."""
    assert not breaker.predates_change(0.0)
    assert not breaker.is_outage(0.0)
    for _ in range(UNREACHED_LIMIT):
        breaker.bad("p", "503", 10.0, unreached=True)
    assert breaker.predates_change(9.9)
    assert not breaker.predates_change(10.5)
    assert breaker.is_outage(10.5)
    breaker.good(20.0)
    assert breaker.is_outage(19.9)
    assert not breaker.is_outage(20.1)


def test_first_failures_are_suspected(breaker):
    """From the first unreached request until the circuit opens, it is not known whether there is an outage."""
    for n in range(UNREACHED_LIMIT):
        assert breaker.suspected == (n > 0)
        breaker.bad("p", "503", 1.0, unreached=True)
    assert not breaker.suspected
    assert breaker.open


def test_a_probe_that_was_not_sent_is_returned(open_breaker):
    """A chunk with nothing to send does not use the probe up."""
    assert open_breaker.take_probe(11.0)
    assert not open_breaker.take_probe(11.1)
    open_breaker.return_probe(11.2)
    assert open_breaker.take_probe(11.2)
    assert not open_breaker.take_probe(11.2 + PROBE_SECONDS[1] - 0.01)
    assert open_breaker.take_probe(11.2 + PROBE_SECONDS[1])


def test_the_next_outage_is_probed_as_the_first_was(open_breaker):
    """The pauses between probes are short again when the circuit opens anew, however long the last outage was."""
    at = 10.0
    for pause in PROBE_SECONDS:
        at += pause
        assert open_breaker.take_probe(at)
    open_breaker.good(at)
    for _ in range(UNREACHED_LIMIT):
        open_breaker.bad("p", "503", 100.0, unreached=True)
    assert open_breaker.take_probe(100.0 + PROBE_SECONDS[0])
    assert open_breaker.take_probe(100.0 + PROBE_SECONDS[0] + PROBE_SECONDS[1])
