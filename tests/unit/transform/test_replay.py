"""What takes the places of rows that were not written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from imageflow.model.imageset import Image
from imageflow.model.messages import ReplayPage
from imageflow.model.page import row_version
from imageflow.model.row import Row, RowLog
from imageflow.model.run import Run, Trigger
from imageflow.store import HeldRow
from imageflow.transform.plan import Plan
from imageflow.transform.replay import NEW, Replacement, failed_again, has_row, replacement, unjoinable

SEQ = 7
MESSAGE = ReplayPage("r", "f", 2, 3, SEQ)
IMAGES = (Image("https://i.example.com/1.jpg"),)


def failed(row: int, payload: Any = None, **fields: Any) -> RowLog:
    """A row that failed before it was written; its version is that of its place in the page."""
    made = {"run_id": "r", "product": None, "state": "failed", "stage": "script", "page": 3}
    return RowLog(row=row, payload=payload, **{**made, "version": row_version(SEQ, row - 1), **fields})


def written(row: int, product: str, **fields: Any) -> RowLog:
    return failed(row, **{"product": product, "state": "written", "stage": "write", **fields})


def ready(*products: str, start: int = 0) -> tuple[tuple[int, Row], ...]:
    return tuple(
        (place, Row(0, row_version(SEQ, place), product, IMAGES)) for place, product in enumerate(products, start)
    )


def again(index: int, payload: Any, **fields: Any) -> RowLog:
    """A row of the plan that fails, or is superseded."""
    return failed(index, payload, **{"version": row_version(SEQ, index), "reason": "new", **fields})


def shown(found: Replacement) -> tuple[dict[str, int], dict[int, tuple[str, str | None]]]:
    """The numbers of the rows to be written, and the state and reason of the others by number."""
    return (
        {row.product: row.row for row in found.rows},
        {log.row: (log.state, log.reason) for log in found.logs},
    )


GONE = ("superseded", "version 2 of the flow gives no row of its own for it")
FAILED = ("failed", "new")


@pytest.mark.parametrize(
    ("plan", "chosen", "others", "rows", "logs"),
    [
        pytest.param(
            Plan(2, ready("A", "B")),
            [failed(5), failed(6)],
            [],
            {"A": 5, "B": 6},
            {},
            id="in order where nothing is known",
        ),
        pytest.param(
            Plan(2, ready("A", "B")),
            [failed(1, {"sku": "B"}), failed(2, {"sku": "A"})],
            [],
            {"A": 2, "B": 1},
            {},
            id="the element names the product",
        ),
        pytest.param(
            Plan(3, ready("A", "B", "C")),
            [failed(2)],
            [written(1, "A"), written(3, "C")],
            {"B": 2},
            {},
            id="others keep theirs",
        ),
        pytest.param(
            Plan(2, ready("A", "B")),
            [failed(1, {"sku": "A"})],
            [failed(2, {"sku": "B"})],
            {"A": 1},
            {},
            id="what was not chosen stays",
        ),
        pytest.param(
            Plan(1, ready("A")),
            [failed(1, {"id": 4, "sku": "A"}), failed(2, ["A"])],
            [],
            {"A": 1},
            {2: GONE},
            id="fewer rows",
        ),
        pytest.param(Plan(3, ready("A", "B", "C")), [failed(1)], [], {"A": 1, "B": NEW, "C": NEW}, {}, id="more rows"),
        pytest.param(
            Plan(2, ready("A", "A")), [failed(1, {"sku": "A"})], [], {"A": NEW}, {}, id="more rows of a product"
        ),
        pytest.param(
            Plan(3, ready("A", "B", "C")), [failed(2)], [failed(1), failed(3)], {"B": 2}, {}, id="alone, by its place"
        ),
        pytest.param(Plan(0), [failed(1), failed(2)], [], {}, {1: GONE, 2: GONE}, id="no rows"),
        pytest.param(
            Plan(2, ready("A", start=4)),
            [failed(1), failed(5)],
            [],
            {"A": 5},
            {1: GONE},
            id="the same place in the page",
        ),
        pytest.param(
            Plan(2, settled=(again(0, "x"), again(1, "y"))),
            [failed(1, "y"), failed(2, "x")],
            [],
            {},
            {1: FAILED, 2: FAILED},
            id="they fail again",
        ),
        pytest.param(
            Plan(2, settled=(again(0, "x"), again(1, "y"))),
            [failed(1, "x")],
            [failed(2, "y")],
            {},
            {1: FAILED},
            id="what was not chosen fails alone",
        ),
        pytest.param(
            Plan(2, ready("B", start=1), (again(0, {"sku": "A"}),)),
            [failed(2, {"sku": "B"})],
            [written(1, "A")],
            {"B": 2},
            {},
            id="what is written does not fail later",
        ),
        pytest.param(
            Plan(1, settled=(again(0, None, product="A", state="superseded"),)),
            [failed(1)],
            [],
            {},
            {1: ("superseded", "new")},
            id="superseded in the page",
        ),
        pytest.param(
            Plan(1, ready("A")),
            [failed(1)],
            [written(2, "A", state="failed")],
            {},
            {1: GONE},
            id="refused rows keep theirs",
        ),
        pytest.param(
            Plan(1, ready("A")),
            [failed(1)],
            [failed(2, product="A", state="cancelled")],
            {},
            {1: GONE},
            id="cancelled rows",
        ),
    ],
)
def test_what_takes_the_places(
    plan: Plan, chosen: list[RowLog], others: list[RowLog], rows: dict[str, int], logs: dict[int, Any]
) -> None:
    """Rows by the product that they name, else by their place, else in order; products that have a row keep it."""
    assert shown(replacement(MESSAGE, plan, chosen, others)) == (rows, logs)


def test_rows_that_are_joined() -> None:
    """Where the page is all of its run, rows that wait for the join are joined; rows that fail keep their own places."""
    held = tuple(HeldRow(product, "sku", row_version(SEQ, place), IMAGES) for place, product in enumerate("BAB"))
    plan = Plan(1, settled=(again(0, "x"),), held=held)
    found = replacement(MESSAGE, plan, [failed(1), failed(2), failed(3, "x")], [])
    rows, logs = shown(found)
    assert (sorted(rows), sorted(rows.values()), logs) == (["A", "B"], [1, 2], {3: FAILED})


def test_a_page_that_is_given_up() -> None:
    """All of its rows fail, with the reason, and keep what they were."""
    found = failed_again(MESSAGE, [failed(1, "x"), failed(2, state="cancelled")], "why")
    assert shown(found) == ({}, {1: ("failed", "why"), 2: ("failed", "why")})
    assert found.logs[0].payload == "x"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pages": 2}, "joined across the pages"),
        ({"pages": 1}, None),
        ({"pages": 1, "broken_pages": 1}, None),
        ({"pages": 1, "incomplete": True}, "the read is incomplete"),
        ({"pages": 1, "error": "502"}, "the read failed"),
    ],
)
def test_rows_that_wait_for_others(fields: dict[str, Any], words: str | None) -> None:
    """They go through alone only where their page is all that the ERP has."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    run = Run(run_id="r", flow="f", version=1, trigger=Trigger("person"), status="partial", created_at=now, **fields)
    reason = unjoinable(run)
    assert reason is None if words is None else words in (reason or "")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"state": "written", "stage": "write"}, True),
        ({"state": "superseded", "stage": "rows"}, True),
        ({"state": "failed", "stage": "login"}, True),
        ({"state": "cancelled", "stage": "write"}, True),
        ({"state": "failed", "stage": "rows"}, False),
        ({"state": "cancelled", "stage": "rows"}, False),
        ({"state": "written", "stage": "write", "product": None}, False),
    ],
)
def test_which_rows_are_not_replaced(fields: dict[str, str | None], expected: bool) -> None:
    """Those that came as far as the writer; not those that failed, or were cancelled, before."""
    assert has_row(failed(1, **{"product": "A", **fields})) is expected
