"""Which rows of a message the store knows to be in flight: a queue may hold what others wrote, or what is long settled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from imageflow.errors import NotFoundError
from imageflow.store.batch import Batch, BatchStatement
from imageflow.store.database import Tx
from imageflow.store.text import clean
from imageflow.store.transaction import Sql, reads

# A subquery in the select list is never merged into a join: each row is looked up by its key, however large the table. Only what
# is settled comes back, as a rule nothing: for each record that does, SQLite's driver hands its lock over.
_LOOK = BatchStatement(
    """
    SELECT runs.total, runs.finished_at IS NOT NULL AS ended, runs.cancelled_at IS NOT NULL AS cancelled, settled.number
    FROM runs LEFT JOIN (
        SELECT wanted.number,
            (SELECT rows.state FROM rows WHERE rows.run_id = :run_id AND rows.number = wanted.number) AS state
        FROM {wanted}
    ) AS settled ON settled.state NOT IN ('retrying', 'cancelled')
    WHERE runs.run_id = :run_id
    """,
    Batch("wanted", number="bigint"),
)
"""A writer may have rows in hand that have no log, are retried by hand, or are of a run that is cancelled meanwhile."""


class InFlight(NamedTuple):
    """The numbers of the rows that are in flight, and whether a person has cancelled their run."""

    rows: frozenset[int]
    cancelled: bool


class InFlightSql(Sql):
    """The method of the store about rows in flight."""

    @reads
    async def in_flight(self, tx: Tx, run_id: str, numbers: Sequence[int]) -> InFlight:
        """Which of these rows of a run are in flight: registered, and not settled. None of a run that has ended is. Raises
        NotFoundError for a run that does not exist.
        """
        wanted = sorted(set(numbers))
        found = await tx.run(_LOOK.bind(tx, [(number,) for number in wanted], run_id=clean(run_id)))
        if not found:
            raise NotFoundError(f"there is no run {run_id!r}")
        total, ended, cancelled, _ = found[0]
        settled = {row.number for row in found}
        open_rows = () if ended else (number for number in wanted if 0 < number <= total and number not in settled)
        return InFlight(frozenset(open_rows), bool(cancelled))
