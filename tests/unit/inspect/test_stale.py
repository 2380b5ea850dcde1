"""What a version that was rolled back has written, and what the ERP can be asked for then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imageflow.flows import file as flow_file
from imageflow.inspect.stale import Stale, at_least, stale, unsent
from imageflow.model.flow import Flow
from imageflow.model.run import Counts, Run, Trigger
from imageflow.store import AuditEntry, AuditRecord

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
OMNITRON = {"domain_url": "https://b.omnitron.example", "username": "u", "password": {"env": "P"}}
ERP = {"endpoint_url": "https://erp.example.com/"}
BY_SKU = {"query_settings": {"sku": {"key": "sku"}}}
BY_DATE = {"modified_date_key": "since"}


def run(**fields: Any) -> Run:
    made = {"run_id": "r", "flow": "winter", "version": 2, "trigger": Trigger("schedule"), "status": "success"}
    return Run(**{**made, "created_at": NOW, **fields})


def rollback(to: Any, hours: int = 1, flow: str = "winter") -> AuditRecord:
    entry = AuditEntry("ada", "flow.rollback", f"flow {flow}", "here", {"to": to})
    return AuditRecord(1, NOW + timedelta(hours=hours), entry)


def flow(erp: dict[str, Any] | None = BY_SKU, version: int = 3) -> Flow:
    read = {"direction": "outbound"} if erp is None else {"direction": "inbound", "erp": ERP | erp}
    document = {"name": "winter", "omnitron": OMNITRON, **read}
    return Flow(name="winter", version=version, document=document, definition=flow_file.compiled(document))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (rollback(1), True),
        (rollback(2), False),
        (rollback(3), False),
        (rollback(1, hours=-1), False),
        (rollback(1, flow="summer"), False),
        (rollback(None), False),
    ],
)
def test_whether_a_version_was_rolled_back(record: AuditRecord, expected: bool) -> None:
    """To one before it, in its flow, after the run was made."""
    found = stale(run(counts=Counts(5, written=5)), flow(), [rollback(1, flow="other"), record])
    assert found == (Stale(2, 3, 5, "products", counted=False) if expected else None)


@pytest.mark.parametrize(("fields", "version"), [({"counts": Counts()}, 3), ({"status": "draining"}, 3), ({}, 2)])
def test_a_run_that_left_nothing(fields: dict[str, Any], version: int) -> None:
    """It wrote nothing, goes on, or its version is in force."""
    assert stale(run(**{"counts": Counts(5, written=5), **fields}), flow(version=version), [rollback(1)]) is None


@pytest.mark.parametrize(
    ("erp", "fields", "expected"),
    [
        (None, {"counts": Counts(5, written=5)}, "none"),
        (BY_SKU, {"counts": Counts(5, written=5)}, "products"),
        (BY_SKU, {"counts": Counts(5000, written=5000)}, "everything"),
        (BY_SKU | BY_DATE, {"counts": Counts(5000, written=5000), "since": NOW}, "since"),
        (BY_DATE, {"counts": Counts(5, written=5), "since": NOW}, "since"),
        (BY_DATE, {"counts": Counts(5, written=5)}, "everything"),
        ({}, {"counts": Counts(5, written=5), "since": NOW}, "everything"),
    ],
)
def test_what_the_erp_is_asked_for(erp: dict[str, Any] | None, fields: dict[str, Any], expected: str) -> None:
    """For the products where they are few and can be named, else for changes since the run's own begin, if it can."""
    found = stale(run(**fields), flow(erp), [rollback(1)])
    assert found is not None
    assert found.way == expected


@pytest.mark.parametrize(
    ("left", "expected"),
    [(4, Stale(2, 3, 4, "products", counted=True)), (0, None), (None, Stale(2, 3, 5000, "everything", counted=False))],
)
def test_what_later_runs_wrote(left: int | None, expected: Stale | None) -> None:
    """It is counted off, where it was counted; a few that are left can be asked for by name."""
    assert stale(run(counts=Counts(5000, written=5000)), flow(), [rollback(1)], left) == expected


def wrote(number: int, version: int, written: int, **counts: int) -> Run:
    """A run that is older, the higher its number is."""
    at = NOW - timedelta(minutes=number)
    return run(run_id=f"r{number}", version=version, created_at=at, counts=Counts(100, written=written, **counts))


@pytest.mark.parametrize(
    ("runs", "left"),
    [
        ([wrote(1, 2, 5)], {"r1": 5}),
        ([wrote(1, 3, 2), wrote(2, 2, 5)], {"r2": 3}),
        ([wrote(1, 3, 2, unchanged=2, superseded=1), wrote(2, 2, 5)], {}),
        ([wrote(1, 3, 0, failed=5), wrote(2, 2, 5)], {"r2": 5}),
        ([wrote(1, 2, 5), wrote(2, 2, 7)], {"r1": 5, "r2": 2}),
        ([wrote(1, 2, 5), wrote(2, 1, 7)], {"r1": 5}),
        ([wrote(1, 3, 1)], {}),
    ],
)
def test_what_is_left_at_least(runs: list[Run], left: dict[str, int]) -> None:
    """Whatever products newer runs brought, no more than they had rows can be as they should be; and no row was looked at."""
    found = at_least(runs, flow(), [rollback(1)])
    assert {one.run_id: old.products for one, old in found} == left
    assert not any(old.counted for _, old in found)


def test_what_another_version_wrote_of_a_run() -> None:
    """Rows that were retried by the version in force are not as the old one wrote them; those that it retried itself are."""
    entries = [
        AuditEntry("ada", "run.retry", f"run {run_id}", "here", {"version": version, "rows": rows})
        for run_id, version, rows in (("r1", 3, 2), ("r1", 2, 1), ("r2", 3, 4))
    ]
    retries = [AuditRecord(number, NOW, entry) for number, entry in enumerate(entries)]
    ((_, left),) = at_least([settled(1, written=5)], flow(), [rollback(1)], retries)
    assert left.products == 3
    assert at_least([settled(1, written=2)], flow(), [rollback(1)], retries) == []
    ((_, left),) = at_least([settled(1, written=5, unchanged=2)], flow(), [rollback(1)], retries)
    assert left.products == 5


def settled(number: int, **counts: int) -> Run:
    """A run of version 2 with these rows and no others."""
    at = NOW - timedelta(minutes=number)
    return run(run_id=f"r{number}", created_at=at, counts=Counts(sum(counts.values()), **counts))


@pytest.mark.parametrize(
    ("runs", "left"),
    [
        ([settled(1, written=5, cancelled=7)], {"r1": 7}),
        ([settled(1, written=7), settled(2, written=5, cancelled=7)], {"r2": 7}),
        ([settled(1, written=11), settled(2, written=5, cancelled=7)], {"r2": 7}),
        ([settled(1, written=9, unchanged=2, superseded=1), settled(2, written=5, cancelled=7)], {}),
        ([settled(1, written=8), settled(3, unchanged=4), settled(4, written=5, cancelled=7)], {}),
        ([settled(1, failed=20), settled(2, written=5, cancelled=7)], {"r2": 7}),
        ([settled(1, written=3, cancelled=2), settled(2, written=5, cancelled=7)], {"r1": 2, "r2": 7}),
        ([settled(1, written=5)], {}),
    ],
)
def test_what_cancelled_runs_did_not_send(runs: list[Run], left: dict[str, int]) -> None:
    """Until newer runs have brought as many rows as the run had: those that brought fewer may have been of its other rows."""
    assert {one.run_id: rows for one, rows in unsent(runs)} == left
