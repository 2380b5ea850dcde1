"""Rows that are older than what was asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imageflow.read.staleness import date_of, warnings
from tests.unit.read.flows import NOW, flow, run

SINCE = NOW - timedelta(minutes=5)
OLD = (NOW - timedelta(days=300)).isoformat()
NEW = NOW.isoformat()
KEYED = {"modified_date_key": "modified"}


def told(rows: list[Any], **fields: Any) -> tuple[str, ...]:
    return warnings(flow(**KEYED | fields), run(since=SINCE), rows)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "ModifiedAt"),
        ({}, "updated_at"),
        ({}, "lastChanged"),
        ({}, "GuncellemeTarihi"),
        ({}, "DegisimTarihi"),
        ({"modified_date_key": "stamp__gte"}, "stamp"),
        ({"modified_date_key": "filter[Tarih]"}, "x_updated"),
        ({"modified_date_key": "since_date"}, "change_date"),
    ],
)
def test_an_erp_that_ignores_the_watermark(fields: dict[str, Any], field: str):
    """Most rows that say when they changed are older: the warning names the parameter and the rows' field."""
    key = fields.get("modified_date_key", "modified")
    (text,) = told([{"sku": number, field: OLD} for number in range(5)] + [{field: NEW}], **fields)
    assert f"the parameter {key!r}" in text
    assert repr(field) in text


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"sku": "A", "updated_at": OLD}],
        [{"updated_at": NEW}] * 5,
        [{"updated_at": OLD}] * 5 + [{"updated_at": NEW}] * 5,
        [{"updated_at": (SINCE - timedelta(hours=25)).isoformat()}] * 5,
        [{"created_at": OLD, "published": OLD}] * 5,
        [{"updated_at": OLD, "images_updated_at": NEW}] * 5,
        [{"updated_at": OLD, "stock": {"modified": NEW}}] * 5,
        [{"updated_at": "never"}, {"updated_at": None}, {"updated_by": "ada"}, {"changes": 17}] * 5,
        ["A", 7, None],
    ],
)
def test_rows_that_may_be_what_was_asked_for(rows: list[Any]):
    """One old row, dates within all timezones, other dates, a newer date beside the old one: no warning."""
    assert told(rows) == ()


def test_runs_that_ask_for_no_date():
    """A first run, a run by identifiers, and a flow without a parameter for the watermark ask for none."""
    rows = [{"updated_at": OLD}] * 5
    assert warnings(flow(**KEYED), run(), rows) == ()
    assert warnings(flow(**KEYED), run(since=SINCE, ids=("A",)), rows) == ()
    assert warnings(flow(), run(since=SINCE), rows) == ()
    placed = flow(endpoint="https://e.example.com/{modified_date}", initial_since="2020-01-01")
    assert "{modified_date} in erp.endpoint_url" in warnings(placed, run(since=SINCE), rows)[0]


@pytest.mark.parametrize(
    ("value", "date"),
    [
        ("2026-01-31T10:00:00+03:00", datetime(2026, 1, 31, 7, tzinfo=UTC)),
        ("2026-01-31T10:00:00Z", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31 10:00:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("31.01.2026 10:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("31.01.2026", datetime(2026, 1, 31, tzinfo=UTC)),
        ("20260131", datetime(2026, 1, 31, tzinfo=UTC)),
        (1769853600, datetime(2026, 1, 31, 10, tzinfo=UTC)),
        (1769853600000, datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("/Date(1769853600000+0300)/", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        (17, None),
        (True, None),
        ("ada", None),
        ("2026-13-45", None),
        ("x" * 100, None),
        (None, None),
        ([], None),
    ],
)
def test_dates(value: Any, date: datetime | None):
    """Dates as ERPs write them."""
    assert date_of(value) == date
