"""Runs that a person cancelled: they read no more, and what is not in flight ends `cancelled`.

The rows that a writer has claimed are left to it: it settles what is in flight, and finds the run cancelled before it sends
or publishes another one. All others are settled here, wherever their messages are. A row that was in flight after all is
logged again as what came of it (settling.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Row as SqlRow
from sqlalchemy import Select, and_, delete, func, select

from imageflow.model.page import ROWS_PER_PAGE_LIMIT
from imageflow.model.row import CANCELLED, RowLog
from imageflow.model.run import Run
from imageflow.store.audit import AuditEntry, record
from imageflow.store.batch import Batch, BatchStatement
from imageflow.store.database import Tx
from imageflow.store.doubts import NOW, OWNER_LIVES
from imageflow.store.row_record import RETRYING, to_log
from imageflow.store.rows import decode_ranges
from imageflow.store.run_progress import advance, change, load
from imageflow.store.settling import settle
from imageflow.store.tables import held_rows, pages, registered_pages, rows
from imageflow.store.transaction import Sql, reads, writes

_CANCELLED = BatchStatement(
    "SELECT runs.run_id FROM runs WHERE runs.run_id IN (SELECT run_id FROM {wanted}) AND runs.cancelled_at IS NOT NULL",
    Batch("wanted", run_id="text"),
)
_HELD_AT_ONCE = 5000
_CLAIMED = BatchStatement(
    f"SELECT l.claim_version AS version FROM ledger AS l WHERE l.claim_token IS NOT NULL AND {OWNER_LIVES}",  # noqa: S608 - SQL of our own
    typed=[NOW],
)


class CancelsSql(Sql):
    """The methods of the store about runs that are cancelled."""

    @reads
    async def cancelled(self, tx: Tx, run_ids: Sequence[str]) -> frozenset[str]:
        """Which of these runs a person has cancelled."""
        return frozenset(row.run_id for row in await tx.run(_CANCELLED.bind(tx, [(one,) for one in run_ids])))

    @writes
    async def cancel_run(self, tx: Tx, run_id: str, *, audit: AuditEntry | None = None) -> Run:
        """End the read of a run that has not ended, and what is held back for its join. The run ends once its rows are
        settled: `cancel_rows` does that. A run that has ended, or is cancelled, is returned as it is.
        """
        run = await load(tx, run_id, lock=True)
        if run.ended or run.cancelled_at is not None:
            return run
        await record(tx, audit, status=run.status, pages=run.pages)
        cut = {} if run.read_complete else {"read_complete": True, "incomplete": True, "moves_watermark": False}
        run = await change(tx, run, cancelled_at=tx.now, status="draining", **cut)
        if run.joining:
            await _cancel_held(tx, run)
            await change(tx, run, joining=False)
        run, _ = await advance(tx, await load(tx, run_id))
        return run

    @writes
    async def cancel_rows(self, tx: Tx, run_id: str, *, after: int = 0, limit: int = 10_000) -> int | None:
        """Settle the unsettled ones of the next `limit` row numbers after `after`, but for those that a living writer has
        claimed. Returns the last number that was looked at, None at the end.
        """
        run = await load(tx, run_id)
        if run.cancelled_at is None or after >= run.counts.total:
            return None
        last = min(after + limit, run.counts.total)
        mine = (rows.c.run_id == run_id, rows.c.number > after, rows.c.number <= last)
        logged = {row.number for row in await tx.all(select(rows.c.number).where(*mine))}
        retried = [to_log(row) for row in await tx.all(select(rows).where(*mine, rows.c.state == RETRYING))]
        claimed = await _claimed(tx)
        logs = [_again(log) for log in retried if log.version not in claimed]
        for page in await tx.all(_pages_of(run_id)):
            unlogged = [one for one in _between(decode_ranges(page.numbers), after, last) if one[1] not in logged]
            logs += [_log(run, page, *one) for one in unlogged if _version(page.seq, one[0]) not in claimed]
        if logs:
            await settle(tx, "", logs)
        return last if last < run.counts.total else None


def _pages_of(run_id: str) -> Select[Any]:
    same = and_(pages.c.run_id == registered_pages.c.run_id, pages.c.page == registered_pages.c.page)
    columns = (registered_pages.c.page, registered_pages.c.numbers, pages.c.seq)
    return select(*columns).join(pages, same, isouter=True).where(registered_pages.c.run_id == run_id)


def _between(ranges: Sequence[tuple[int, int]], after: int, last: int) -> list[tuple[int, int]]:
    """Places within the page, and row numbers, of those numbers of a page that are above `after` and up to `last`."""
    found = []
    place = 0
    for first, count in ranges:
        begin, end = max(first, after + 1), min(first + count - 1, last)
        found += [(place + number - first, number) for number in range(begin, end + 1)]
        place += count
    return found


def _version(seq: int | None, place: int) -> int:
    return -1 if seq is None else seq * ROWS_PER_PAGE_LIMIT + place


def _log(run: Run, page: SqlRow[Any], place: int, number: int) -> RowLog:
    """The log of a row that has none. Its product is not known here: a retry finds it in the page."""
    known = page.page if page.page > 0 else 1 if run.pages == 1 else None
    return RowLog(
        run_id=run.run_id,
        row=number,
        product=None,
        state="cancelled",
        stage="rows",
        reason=CANCELLED,
        page=known,
        version=max(0, _version(page.seq, place)),
    )


def _again(log: RowLog) -> RowLog:
    """The log of a row that was being retried: it keeps what it was."""
    return msgspec.structs.replace(log, state="cancelled", reason=CANCELLED, http_status=None)


async def _claimed(tx: Tx) -> frozenset[int]:
    """The versions of the rows that living writers have claimed. Reads the whole ledger: nobody cancels often."""
    return frozenset(row.version for row in await tx.run(_CLAIMED.bind(tx, now=tx.now)))


async def _cancel_held(tx: Tx, run: Run) -> None:
    """The products that wait for the join become rows, each of them cancelled."""
    mine = held_rows.c.run_id == run.run_id
    products = (held_rows.c.product, func.max(held_rows.c.version).label("version"))
    found = await tx.all(select(*products).where(mine).group_by(held_rows.c.product).order_by(held_rows.c.product))
    await change(tx, run, total=run.counts.total + len(found))
    page = 1 if run.pages == 1 else None
    for first in range(0, len(found), _HELD_AT_ONCE):
        numbered = enumerate(found[first : first + _HELD_AT_ONCE], run.counts.total + first + 1)
        await settle(
            tx,
            "",
            [
                RowLog(
                    run_id=run.run_id,
                    row=number,
                    product=held.product,
                    state="cancelled",
                    stage="rows",
                    reason=CANCELLED,
                    page=page,
                    version=held.version,
                )
                for number, held in numbered
            ],
        )
    await tx.execute(delete(held_rows).where(mine))
