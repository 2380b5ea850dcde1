"""RunHandlers, steps and rows in the Integrator's numbers."""

from datetime import UTC, datetime

import pytest

from imageflow.gateway.logs import Query, asked, envelope, line_log, main_log, sub_logs
from imageflow.gateway.problem_details import Refusal
from imageflow.model.row import RowLog
from imageflow.model.run import Run, Trigger
from tests.unit.gateway.test_post_body import definition

NOW = datetime(2026, 1, 1, tzinfo=UTC)
INBOUND = definition(direction="inbound", erp={"endpoint_url": "https://erp.example.com/"}, script="x = 1")


def run(status, **fields):
    return Run(
        run_id="r",
        flow="f",
        version=1,
        trigger=Trigger("schedule", by="12:00"),
        status=status,
        created_at=NOW,
        **fields,
    )


@pytest.mark.parametrize(
    ("status", "state", "number"),
    [
        ("queued", 1, 1),
        ("reading", 2, 1),
        ("draining", 2, 1),
        ("success", 3, 2),
        ("partial", 3, 3),
        ("failed", 3, 3),
        ("empty", 3, 4),
    ],
)
def test_main_logs(status, state, number):
    """Every status of a run has its state and status number; what the schedule starts is triggered by System."""
    log = main_log(run(status))
    assert (log["state"], log["status"], log["triggered_by"], log["is_triggered"]) == (state, number, "System", False)
    assert (log["created"], log["finished"]) == ("1767225600000", None)


def steps(of):
    return [(log["name"], log["state"], log["status"]) for log in sub_logs(of, INBOUND)]


def test_steps_follow_the_run():
    """A step is finished when the run is past it; the one that failed says why."""
    assert steps(run("queued")) == [("login", 1, 1), ("read", 1, 1), ("script", 1, 1), ("write", 1, 1)]
    assert steps(run("reading", pages=2)) == [("login", 3, 2), ("read", 2, 1), ("script", 2, 1), ("write", 2, 1)]
    draining = run("draining", pages=2, pages_done=2, read_complete=True)
    assert steps(draining) == [("login", 3, 2), ("read", 3, 2), ("script", 3, 2), ("write", 2, 1)]
    failed = run("failed", pages=2, pages_done=2, read_complete=True, error="404", error_stage="read")
    assert steps(failed) == [("login", 3, 2), ("read", 3, 3), ("script", 3, 2), ("write", 3, 3)]
    assert [log["message"] for log in sub_logs(failed, INBOUND)] == ["", "404", "", ""]


def test_envelope():
    """Pages know their neighbours; a page without results is 404."""
    first = envelope(Query(1, 2, 1, None, None), 3, [{}, {}])
    assert (first["previous"], first["next"]) == (None, 2)
    last = envelope(Query(1, 2, 2, None, None), 3, [{}])
    assert (last["previous"], last["next"]) == (1, None)
    with pytest.raises(Refusal) as refusal:
        envelope(Query(1, 2, 3, None, None), 3, [])
    assert refusal.value.status == 404


def test_a_query_has_defaults():
    """Without parameters: the newest 25 main logs; a run is named by either of its parameters."""
    assert asked({}) == Query(1, 25, 1, None, None)
    full = asked({"log_type": "3", "limit": "100", "page": "4", "flowId": "f", "original_filename_uuid": "r"})
    assert full == Query(3, 100, 4, "f", "r")
    assert full.start == 300
    assert asked({"filename_uuid": "r"}).run_id == "r"


@pytest.mark.parametrize("query", [{"limit": "101"}, {"limit": "0"}, {"page": "-1"}, {"log_type": "4"}, {"page": "x"}])
def test_a_wrong_number_is_refused(query):
    """The refusal names the parameter and what it may be."""
    with pytest.raises(Refusal) as refusal:
        asked(query)
    assert refusal.value.status == 400
    assert str(refusal.value).startswith(f"{next(iter(query))} must be a number from 1 to ")


def test_a_line_log_is_a_row():
    """It names run, row and product, and is finished."""
    log = line_log(RowLog(run_id="r", row=7, product="SKU", state="written"), "f")
    assert (log["id"], log["flow_id"], log["log_type"], log["identifier"]) == ("r-7", "f", 3, "SKU")
