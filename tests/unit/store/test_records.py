"""Rows and runs as records of their tables: the lists of columns and values are in step."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as some

from imageflow.model.imageset import Image
from imageflow.model.row import Row, RowLog, Try, fingerprint
from imageflow.model.run import Counts, Run, Trigger, final_status
from imageflow.store.row_record import LOG_COLUMNS, RETRYING, log_values, to_log, unchanged_values
from imageflow.store.run_record import COUNTED, counted_run, run_values, to_run
from imageflow.store.tables import rows, runs

NOW = datetime(2026, 11, 28, tzinfo=UTC)
IMAGES = (Image("https://cdn.example.com/1.png"), Image("https://cdn.example.com/2.png", 1, "swatch"))
TRIES = (Try(1_700_000_000.0, 503, "HTTP 503"),)
LOG = RowLog(
    run_id="r",
    row=7,
    product="A",
    state="failed",
    stage="write",
    reason="HTTP 400",
    http_status=400,
    attempts=2,
    images=IMAGES,
    payload={"sku": "A"},
    page=3,
    retryable=True,
    version=5,
    key="base_code",
    tries=TRIES,
)
RUN = Run(
    run_id="r",
    flow="winter",
    version=2,
    trigger=Trigger("person", "ada", ("A",)),
    status="draining",
    created_at=NOW,
    started_at=NOW,
    finished_at=NOW,
    since=NOW,
    until=NOW,
    cursor="c",
    pages=2,
    pages_done=1,
    read_complete=True,
    joining=True,
    error="it failed",
    error_stage="read",
    counts=Counts(9, 1, 2, 3, 1),
    warnings=("w",),
)


def record(values: dict[str, Any]) -> Any:
    return SimpleNamespace(**values)


def test_a_log_comes_back_from_its_record() -> None:
    """No field is lost or in the place of another, and the record has every column of the table."""
    values = dict(zip(LOG_COLUMNS, log_values(LOG), strict=True))
    assert {*values, "settled_at"} == {column.name for column in rows.columns}
    assert to_log(record(values | {"settled_at": NOW})) == msgspec.structs.replace(LOG, settled_at=NOW)
    assert values["fingerprint"] == fingerprint(LOG)


def test_a_row_in_flight_again_is_shown_as_failed() -> None:
    """Until it is settled."""
    values = dict(zip(LOG_COLUMNS, log_values(LOG), strict=True))
    assert to_log(record(values | {"state": RETRYING, "settled_at": NOW})).state == "failed"


@given(some.integers(0, 3), some.sampled_from(["sku", "base_code"]), some.sampled_from([(), TRIES]))
def test_the_short_way_for_unchanged_rows(attempts: int, key: Any, tries: tuple[Try, ...]) -> None:
    """It gives the values that the log of an unchanged row has."""
    row = Row(7, 5, "A", IMAGES, key, attempts=attempts, tries=tries)
    log = RowLog(
        run_id="r",
        row=7,
        product="A",
        state="unchanged",
        stage="write",
        attempts=attempts,
        images=IMAGES,
        version=5,
        key=key,
        tries=tries,
    )
    assert unchanged_values("r", row) == log_values(log)


def test_a_run_comes_back_from_its_record() -> None:
    """No field is lost; the record has every column but `released`, which its maker decides."""
    values = run_values(RUN)
    assert {*values, "released"} == {column.name for column in runs.columns}
    assert to_run(record(values)) == RUN


@given(
    some.builds(
        Run,
        run_id=some.just("r"),
        flow=some.just("winter"),
        version=some.just(1),
        trigger=some.just(Trigger("person")),
        status=some.sampled_from(["reading", "draining", "success"]),
        created_at=some.just(NOW),
        pages=some.integers(0, 2),
        pages_done=some.integers(0, 2),
        read_complete=some.booleans(),
        joining=some.booleans(),
        error=some.none() | some.just("it failed"),
        counts=some.builds(Counts, *[some.integers(0, 2)] * 5),
    )
)
def test_the_counted_columns_decide_how_a_run_ends(run: Run) -> None:
    """What settling reads of a run is all that its final status and its metrics depend on."""
    values = run_values(run)
    counted = counted_run(record({column.name: values[column.name] for column in COUNTED}))
    assert final_status(counted) == final_status(run)
    assert (counted.run_id, counted.flow, counted.ended, counted.created_at) == ("r", "winter", run.ended, NOW)
