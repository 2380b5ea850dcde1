"""What the kept tables of failures must say, told from the logs of all rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import select

from imageflow.store import Store
from imageflow.store.database import Tx
from imageflow.store.tables import causes, failing_flows, open_failures, rows, run_causes, runs


async def assert_kept(store: Store) -> None:
    """The open failures, and all counts of them, are what the rows say."""

    async def read(tx: Tx) -> list[Any]:
        of_rows = select(rows, runs.c.flow).join(runs, runs.c.run_id == rows.c.run_id)
        return [
            await tx.all(one) for one in (of_rows, *map(select, (open_failures, causes, run_causes, failing_flows)))
        ]

    logged, kept, of_causes, of_runs, of_flows = await store._database.transact(read, writing=False)
    is_open = {(row.run_id, row.number): row for row in logged if row.state == "failed" and not overtaken(row, logged)}
    assert {(row.run_id, row.number): (row.flow, row.version, row.fingerprint) for row in kept} == {
        key: (row.flow, row.version, row.fingerprint) for key, row in is_open.items()
    }
    by_cause = Counter((row.flow, row.fingerprint) for row in is_open.values())
    assert {(row.flow, row.fingerprint): row.open for row in of_causes if row.open} == dict(by_cause)
    assert all((row.closed_at is None) == (row.open > 0) and 0 <= row.retryable <= row.open for row in of_causes)
    assert {row.flow: row.open for row in of_flows if row.open} == dict(Counter(row.flow for row in is_open.values()))
    failed = Counter((row.run_id, row.fingerprint) for row in logged if row.state == "failed")
    assert {(row.run_id, row.fingerprint): row.failed for row in of_runs if row.failed} == dict(failed)
    open_of_runs = Counter((row.run_id, row.fingerprint) for row in is_open.values())
    assert {(row.run_id, row.fingerprint): row.open for row in of_runs if row.open} == dict(open_of_runs)
    assert all(0 <= row.retryable <= row.failed for row in of_runs)


def overtaken(row: Any, logged: Any) -> bool:
    """Whether a newer row of the product in the flow closes the failure of this one."""
    return row.product is not None and any(
        newer.product == row.product
        and newer.flow == row.flow
        and newer.version > row.version
        and newer.state != "superseded"
        for newer in logged
    )
