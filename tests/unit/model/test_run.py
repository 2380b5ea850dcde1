"""Runs: when they end, and as what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageflow.model.run import FINAL, Counts, Run, Trigger, final_status, new_run_id, warnings_of

NOW = datetime(2026, 11, 24, 3, 43, 12, tzinfo=UTC)


def run(**fields: Any) -> Run:
    values = {
        "run_id": "r1",
        "flow": "winter",
        "version": 1,
        "trigger": Trigger("person", "ada"),
        "status": "draining",
        "created_at": NOW,
        "read_complete": True,
    }
    return Run(**values | fields)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, 60),
        ({"started_at": NOW + timedelta(seconds=20)}, 40),
        ({"finished_at": NOW + timedelta(seconds=5)}, 5),
        ({"retried_at": NOW + timedelta(seconds=50)}, 10),
        ({"retried_at": NOW + timedelta(days=1), "finished_at": NOW + timedelta(days=1, seconds=2)}, 2),
        ({"started_at": NOW + timedelta(days=1)}, 0),
    ],
)
def test_how_long_a_run_takes(fields: dict[str, Any], seconds: float):
    """From its begin, not from when it was asked for; the pause before a retry does not count."""
    assert run(**fields).seconds(NOW + timedelta(seconds=60)) == seconds


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, "empty"),
        ({"counts": Counts(total=2, written=1, unchanged=1)}, "success"),
        ({"counts": Counts(total=2, superseded=2)}, "success"),
        ({"counts": Counts(total=2, written=1, failed=1)}, "partial"),
        ({"counts": Counts(total=2, failed=2)}, "failed"),
        ({"incomplete": True}, "partial"),
        ({"incomplete": True, "counts": Counts(total=2, written=2)}, "partial"),
        ({"incomplete": True, "counts": Counts(total=2, failed=2)}, "failed"),
        ({"incomplete": True, "error": "the ERP answered 500"}, "failed"),
        ({"counts": Counts(total=2, written=1, cancelled=1)}, "cancelled"),
        ({"counts": Counts(total=2, failed=2), "cancelled_at": NOW}, "cancelled"),
        ({"cancelled_at": NOW}, "cancelled"),
        ({"error": "the ERP answered 500"}, "failed"),
        ({"error": "the ERP answered 500", "counts": Counts(total=2, written=2)}, "failed"),
    ],
)
def test_how_a_run_ends(fields: dict[str, Any], status: str):
    """A failed read fails the run whatever was written; else the rows decide, and whether all of them came."""
    assert final_status(run(**fields)) == status


@pytest.mark.parametrize(
    "fields",
    [
        {"read_complete": False},
        {"pages": 3, "pages_done": 2},
        {"joining": True},
        {"counts": Counts(total=3, written=1, failed=1)},
        {"read_complete": False, "error": "the ERP answered 500"},
        {"cancelled_at": NOW, "counts": Counts(total=3, written=1, cancelled=1)},
        {"cancelled_at": NOW, "pages": 3, "pages_done": 2},
    ],
)
def test_what_keeps_a_run_open(fields: dict[str, Any]):
    """Pages that may come, pages whose rows are not known, rows that are joined or in flight."""
    assert final_status(run(**fields)) is None


@given(st.lists(st.integers(0, 50), min_size=5, max_size=5), st.integers(0, 3))
def test_counts_add_up(states: list[int], in_flight: int):
    """Every row is settled in one way or in flight; a run ends exactly when none is in flight."""
    total = sum(states) + in_flight
    counts = Counts(total, *states)
    assert (counts.settled, counts.in_flight) == (total - in_flight, in_flight)
    status = final_status(run(counts=counts))
    assert (status is None) is (in_flight > 0)
    assert status is None or run(status=status).ended


def test_run_ids_sort_by_time():
    """An id begins with its instant in UTC, and no two are the same."""
    later = (NOW + timedelta(seconds=1)).astimezone(timezone(timedelta(hours=3)))
    assert new_run_id(NOW).startswith("20261124-034312-")
    assert new_run_id(NOW) < new_run_id(later)
    assert new_run_id(NOW) != new_run_id(NOW)


def test_what_has_ended():
    """Only final states have ended."""
    assert [run(status=status).ended for status in ("queued", "reading", "draining")] == [False] * 3
    assert all(run(status=status).ended for status in FINAL)


@pytest.mark.parametrize(
    ("count", "said"), [(0, []), (1, ["1 image URL has blanks"]), (5, ["5 image URLs have blanks"])]
)
def test_encoded_urls_are_one_warning(count: int, said: list[str]) -> None:
    """What was noted comes first, then how many URLs had to be encoded."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    noted = Run(
        run_id="r",
        flow="f",
        version=1,
        trigger=Trigger("person"),
        status="success",
        created_at=now,
        warnings=("noted",),
        encoded_urls=count,
    )
    first, *others = warnings_of(noted)
    assert first == "noted"
    assert [text[: len(start)] for text, start in zip(others, said, strict=True)] == said


def test_warnings_that_say_the_same_of_products() -> None:
    """Once, with their number and the products; others stay as they are."""
    noted = run(warnings=("A: on two pages: so", "slow", "B-1: on two pages: so", "C: else"))
    assert warnings_of(noted) == ["2 products (A, B-1): on two pages: so", "slow", "C: else"]


def test_a_retried_run_is_at_work_since_its_retry():
    """Not since it was first started."""
    retried = run(started_at=NOW + timedelta(seconds=1), retried_at=NOW + timedelta(seconds=50))
    assert retried.began == NOW + timedelta(seconds=50)
