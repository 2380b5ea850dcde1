"""What becomes of a delivery, as a table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageflow.errors import (
    BrokerError,
    ImageFlowError,
    LoginError,
    MessageError,
    NotFoundError,
    Postponed,
    QueueFullError,
    ReadError,
    StoreError,
    TransportError,
)
from imageflow.model import retry_ladder
from imageflow.runtime.settlement import (
    AWAY_PAUSE_SECONDS,
    CRASH_LIMIT,
    FAILURE_LIMIT,
    Ack,
    Facts,
    GiveUp,
    Park,
    Requeue,
    Retry,
    after_giving_up,
    before_handling,
    decide,
    undecodable,
)

FIRST = Facts(0, 0)
LAST = Facts(0, FAILURE_LIMIT - 1)
SOON = Retry(AWAY_PAUSE_SECONDS, counts=False)

FORESEEN = [
    (Postponed(7.0, "the flow's rate_limit"), Retry(7.0, counts=False)),
    (StoreError("away"), SOON),
    (QueueFullError("full"), SOON),
    (BrokerError("away"), Requeue(AWAY_PAUSE_SECONDS)),
    (MessageError("not a message"), Park("not a message")),
]
UNFORESEEN = [
    BrokerError("RabbitMQ refuses", transient=False),
    StoreError("the schema is another", transient=False),
    LoginError("no"),
    ReadError("no", transient=True),
    TransportError("reset"),
    ImageFlowError("what"),
    ValueError("a bug"),
    TimeoutError(),
    ExceptionGroup("several", [ValueError("a bug")]),
]


def named(error: Exception) -> str:
    return f"{type(error).__name__}-{error}"


def test_what_is_handled_is_acknowledged() -> None:
    """Without an error the delivery is acknowledged."""
    assert decide(None, FIRST) == Ack()


@pytest.mark.parametrize("facts", [FIRST, LAST, Facts(CRASH_LIMIT - 1, 0)])
@pytest.mark.parametrize(("error", "expected"), FORESEEN)
def test_foreseen_errors_cost_no_attempt(error: Exception, expected: object, facts: Facts) -> None:
    """Each foreseen error has its settlement, however often the message failed before."""
    assert decide(error, facts) == expected


@pytest.mark.parametrize("error", UNFORESEEN, ids=named)
def test_other_errors_count(error: Exception) -> None:
    """Any other error is retried on the ladder: one rung further with each failure, and the last one gives up."""
    for failures in range(FAILURE_LIMIT - 1):
        delay = float(retry_ladder.delay(failures + 1))
        assert decide(error, Facts(0, failures)) == Retry(delay, counts=True)
    given_up = decide(error, LAST)
    assert isinstance(given_up, GiveUp)
    assert given_up.reason == f"unexpected error: {type(error).__name__}: {error}"


@pytest.mark.parametrize("facts", [FIRST, LAST])
def test_what_is_not_there_is_given_up_at_once(facts: Facts) -> None:
    """A run, a page or a flow's version that a message speaks of is stored before the message: waiting does not help."""
    assert decide(NotFoundError("there is no run 'x'"), facts) == GiveUp("there is no run 'x'")


def test_a_permanent_queue_error_is_not_taken_for_an_absence() -> None:
    """What RabbitMQ refuses for good is not tried again as if the queue were away (`transient` steers)."""
    assert isinstance(decide(BrokerError("refused", transient=False), FIRST), Retry)
    assert isinstance(decide(BrokerError("lost"), FIRST), Requeue)


@pytest.mark.parametrize(("deliveries", "gives_up"), [(0, False), (CRASH_LIMIT - 1, False), (CRASH_LIMIT, True)])
def test_what_takes_workers_down_is_not_handled_again(deliveries: int, gives_up: bool) -> None:
    """After CRASH_LIMIT deliveries without an end the stage gives up before it handles the message."""
    decision = before_handling(Facts(deliveries, 0))
    assert (decision is not None) == gives_up
    assert decision is None or f"{CRASH_LIMIT} times" in decision.reason


def test_giving_up_ends_the_delivery() -> None:
    """When all rows are marked failed the delivery is acknowledged, and metrics tell it from a handled one."""
    assert after_giving_up(None, "why").outcome == "gave_up"
    assert decide(None, FIRST).outcome == "done"  # type: ignore[union-attr]


@pytest.mark.parametrize(("error", "expected"), FORESEEN)
def test_giving_up_is_tried_again(error: Exception, expected: object) -> None:
    """While store or queue are away, giving up waits, too."""
    assert after_giving_up(error, "why") == expected


@pytest.mark.parametrize("error", UNFORESEEN, ids=named)
def test_what_cannot_be_given_up_is_parked(error: Exception) -> None:
    """Any other error of give_up parks the message, with both reasons."""
    assert after_giving_up(error, "why") == Park(f"why; and it cannot be settled: {error}")


def test_what_cannot_be_read_is_parked() -> None:
    """A decoder's error parks; a bug in it says that it is one."""
    assert undecodable(MessageError("not JSON")) == Park("not JSON")
    assert undecodable(KeyError("flow")) == Park("unexpected error: KeyError: 'flow'")


@pytest.mark.parametrize(
    ("settlement", "outcome"),
    [
        (Ack(), "done"),
        (Ack("gave_up"), "gave_up"),
        (Retry(1.0, counts=False), "postponed"),
        (Retry(1.0, counts=True), "failed"),
        (Park("why"), "parked"),
        (Requeue(2.0), "handed_back"),
    ],
)
def test_outcomes_have_the_names_that_metrics_show(settlement: Ack | Retry | Park | Requeue, outcome: str) -> None:
    """Dashboards and alerts select by these names."""
    assert settlement.outcome == outcome


@given(
    st.sampled_from([None, *UNFORESEEN, *(error for error, _ in FORESEEN)]),
    st.integers(0, CRASH_LIMIT - 1),
    st.integers(0, 100),
)
def test_every_error_has_a_decision(error: Exception | None, deliveries: int, failures: int) -> None:
    """Whatever was raised: a settlement with a delay that is bounded, or the end after FAILURE_LIMIT failures."""
    match decide(error, Facts(deliveries, failures)):
        case Retry(delay, counts):
            assert 0 < delay <= retry_ladder.LADDER[-1]
            assert not counts or failures + 1 < FAILURE_LIMIT
        case GiveUp():
            assert failures + 1 >= FAILURE_LIMIT
