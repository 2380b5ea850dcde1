"""Retention: old records are deleted in batches, so that each call is a short transaction.

The ledger, watermarks, flows, users and the audit log are never touched, nor any record of an active run.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Integer,
    Table,
    and_,
    delete,
    exists,
    func,
    literal_column,
    not_,
    or_,
    select,
    tuple_,
)

from imageflow.model.run import Run
from imageflow.store.database import Tx
from imageflow.store.failures import RETRYABLE, SENDABLE, is_kept
from imageflow.store.open_failures import taken
from imageflow.store.posts import KEY_LIFE
from imageflow.store.row_record import failed_row
from imageflow.store.run_record import to_run
from imageflow.store.tables import (
    alarms,
    cause_days,
    causes,
    fires,
    flow_minutes,
    held_rows,
    notices,
    outbox,
    owners,
    page_maps,
    pages,
    past_holds,
    post_keys,
    queue_minutes,
    registered_pages,
    rows,
    run_causes,
    run_steps,
    runs,
    seen_products,
    services,
    tokens,
)
from imageflow.store.transaction import Sql, reads, writes

OWNER_LIFE = timedelta(days=1)
"""Leases of writers are kept for this long after they ended."""


class OldRun(NamedTuple):
    """A run that ended long ago. `forget_run` decides what is kept of it."""

    created_at: datetime
    run_id: str


class RetentionSql(Sql):
    """The methods of the store about retention."""

    @reads
    async def old_runs(
        self, tx: Tx, before: datetime, *, after: OldRun | None = None, limit: int = 100
    ) -> list[OldRun]:
        """Runs that ended before `before`, by creation, those after `after`."""
        statement = select(runs.c.created_at, runs.c.run_id).where(runs.c.created_at < before, _ended(before))
        if after is not None:
            same = and_(runs.c.created_at == after.created_at, runs.c.run_id > after.run_id)
            statement = statement.where(or_(runs.c.created_at > after.created_at, same))
        found = await tx.all(statement.order_by(runs.c.created_at, runs.c.run_id).limit(limit))
        return [OldRun(row.created_at, row.run_id) for row in found]

    @writes
    async def forget_run(
        self, tx: Tx, run_id: str, before: datetime, *, pages_before: datetime | None = None, limit: int = 1000
    ) -> int:
        # The same lock as in `reopen`: a retry comes before the deletion, or after it and finds nothing.
        """Delete up to `limit` records of a run that ended before `before`: first pages, then rows, at last the run itself.
        Returns how many; 0: nothing is left to delete. Leaves an active run alone.

        Failed rows that are open (see `failures.is_kept`) and can be retried stay, and so do their run and their pages; pages
        only of a run that ended after `pages_before`.
        """
        old = await tx.first(select(runs).where(runs.c.run_id == run_id, _ended(before)).with_for_update())
        if old is None:
            return 0
        deleted = await _forget_parts(tx, to_run(old), pages_before or before, limit)
        if deleted or await tx.value(select(rows.c.number).where(rows.c.run_id == run_id).limit(1)) is not None:
            return deleted
        for table in (registered_pages, held_rows, seen_products, outbox, run_causes, run_steps, page_maps):
            await tx.execute(delete(table).where(table.c.run_id == run_id))
        return await tx.count(delete(runs).where(runs.c.run_id == run_id))

    @writes
    async def forget_rest(self, tx: Tx, before: datetime, *, limit: int = 1000) -> int:
        """Delete up to `limit` of each: ticks, closed alarms and closed causes from before `before`, steps of series, holds, and
        expired idempotency keys, tokens, services and leases of writers. Returns how many. The newest tick of each schedule stays.
        """
        newest = select(func.max(fires.c.fire_time).label("newest"), fires.c.flow).group_by(fires.c.flow).subquery()
        old_alarms = await tx.all(select(alarms.c.id).where(alarms.c.closed_at < before).limit(limit))
        await tx.execute(delete(notices).where(notices.c.alarm.in_([row.id for row in old_alarms])))
        superseded = select(newest.c.newest).where(newest.c.flow == fires.c.flow).scalar_subquery()
        return sum(
            [
                await _forget(tx, alarms, alarms.c.id.in_([row.id for row in old_alarms]), limit),
                await _forget(tx, fires, and_(fires.c.fire_time < before, fires.c.fire_time < superseded), limit),
                await _forget(tx, post_keys, post_keys.c.posted_at <= tx.now - KEY_LIFE, limit),
                await _forget(tx, tokens, tokens.c.expires_at <= tx.now, limit),
                await _forget(tx, causes, causes.c.closed_at < before, limit),
                await _forget(tx, cause_days, cause_days.c.day < before, limit),
                await _forget(tx, flow_minutes, flow_minutes.c.minute < before, limit),
                await _forget(tx, queue_minutes, queue_minutes.c.minute < before, limit),
                await _forget(tx, past_holds, past_holds.c.until < before, limit),
                await _forget(tx, services, services.c.alive_until <= tx.now - OWNER_LIFE, limit),
                await _forget(tx, owners, owners.c.alive_until <= tx.now - OWNER_LIFE, limit),
            ]
        )


def _ended(before: datetime) -> ColumnElement[bool]:
    return runs.c.finished_at < before


async def _forget_parts(tx: Tx, run: Run, pages_before: datetime, limit: int) -> int:
    """Delete pages, a few at a time because they are large, then rows."""
    unneeded = pages.c.run_id == run.run_id
    if run.finished_at is not None and run.finished_at >= pages_before:
        mine = and_(rows.c.run_id == pages.c.run_id, rows.c.page == pages.c.page)
        unneeded = and_(unneeded, ~exists().where(mine, is_kept(run.flow), ~SENDABLE))
    count = await _forget(tx, pages, unneeded, max(1, limit // 100))
    if count:
        return count
    unneeded = and_(rows.c.run_id == run.run_id, not_(and_(is_kept(run.flow), RETRYABLE)))
    chosen = await tx.all(select(rows).where(unneeded).limit(limit).with_for_update(skip_locked=True, of=rows))
    await taken(tx, run.flow, run.run_id, [failed_row(row) for row in chosen if row.state == "failed"])
    numbers = [row.number for row in chosen]
    return await tx.count(delete(rows).where(rows.c.run_id == run.run_id, rows.c.number.in_(numbers)))


async def _forget(tx: Tx, table: Table, where: ColumnElement[bool], limit: int) -> int:
    """Delete up to `limit` records. SKIP LOCKED leaves those that another transaction has in use for the next call."""
    if not tx.postgresql:  # which would read the whole table to find a key of several columns in a list
        rowid: ColumnElement[int] = literal_column("rowid", Integer())
        return await tx.count(
            delete(table).where(rowid.in_(select(rowid).select_from(table).where(where).limit(limit)))
        )
    key = list(table.primary_key.columns)
    chosen: Sequence[tuple[object, ...]] = [
        tuple(row)
        for row in await tx.all(select(*key).where(where).limit(limit).with_for_update(skip_locked=True, of=table))
    ]
    if not chosen:
        return 0
    if len(key) == 1:
        return await tx.count(delete(table).where(key[0].in_([value for (value,) in chosen])))
    return await tx.count(delete(table).where(tuple_(*key).in_(chosen)))
