"""Rows that failed: by cause, and those that are still open. Nothing here searches `rows`: see open_failures.py."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Select, and_, exists, func, literal_column, or_, select, text, tuple_
from sqlalchemy import Row as SqlRow

from imageflow.model.row import RowLog
from imageflow.store.batch import Batch, BatchStatement
from imageflow.store.database import Tx
from imageflow.store.row_record import to_log
from imageflow.store.tables import cause_days, causes, flows, open_failures, pages, rows, run_causes, runs
from imageflow.store.text import clean, keyed, to_json
from imageflow.store.transaction import Sql, reads

SHOWN_FAILED: ColumnElement[bool] = literal_column("state IN ('failed', 'retrying')")
"""The row failed, perhaps it is in flight again. The words are those of the index `rows_failed`: a planner proves that it
may use a partial index by comparing them, and proves nothing from parameters.
"""
FAILED = and_(SHOWN_FAILED, rows.c.state == "failed")
OF_CAUSE: ColumnElement[bool] = literal_column("state = 'failed'")
"""The row failed. The words are those of the index `rows_by_cause`."""
NOT_UNCHANGED: ColumnElement[bool] = literal_column("state <> 'unchanged'")
"""The words of the index `rows_by_state`."""
WRITTEN: ColumnElement[bool] = literal_column("state = 'written'")
"""The words of the index `rows_written`."""
NOT_WRITE: ColumnElement[bool] = literal_column("stage <> 'write'")
"""The words of the index `rows_by_stage`."""
SENDABLE = and_(rows.c.stage.in_(("login", "write")), rows.c.product.is_not(None), rows.c.images != "[]")
"""A row that was not written can be sent as it is: it has a product and an image set."""
HAS_PAGE = exists().where(pages.c.run_id == rows.c.run_id, pages.c.page == rows.c.page)
RETRYABLE = or_(SENDABLE, HAS_PAGE)
"""It can be retried: as it is, or from its page."""
IS_OPEN = exists().where(open_failures.c.run_id == rows.c.run_id, open_failures.c.number == rows.c.number)
"""The row's failure is open."""
DAYS_SHOWN = 14
NAMELESS_LOOKED_AT = 5000
_BY_KEY = BatchStatement(
    f"""
    SELECT {", ".join(f"r.{column.name}" for column in rows.columns)} FROM {{wanted}} CROSS JOIN rows AS r
    WHERE r.run_id = wanted.run_id AND r.number = wanted.number
    """,  # noqa: S608 - columns of our own
    Batch("wanted", run_id="text", number="bigint"),
    returns=tuple(rows.columns),
)
_REFUSED = BatchStatement(
    """
    SELECT o.product, COALESCE(r.reason, '') AS reason FROM {named}
    CROSS JOIN open_failures AS o CROSS JOIN rows AS r
    WHERE o.flow = :flow AND o.product = named.product AND r.run_id = o.run_id AND r.number = o.number
        AND r.stage = 'write' AND r.http_status BETWEEN 400 AND 499
    """,
    Batch("named", product="text"),
)


def is_kept(flow: str) -> ColumnElement[bool]:
    """Whether retention keeps an old failed row: it is open, and has a product or is of the last run with rows."""
    run = runs.alias("last_run")
    with_rows = select(run.c.run_id).where(run.c.flow == clean(flow), run.c.total > 0)
    last_run = with_rows.order_by(run.c.created_at.desc(), run.c.run_id.desc()).limit(1).scalar_subquery()
    return and_(IS_OPEN, or_(rows.c.product.is_not(None), rows.c.run_id == last_run))


class ErrorGroup(msgspec.Struct, frozen=True):
    """Failed rows of a run that have one cause. `group` is their fingerprint; `reason` that of row `example_row`;
    `retryable` how many of them can be retried.
    """

    group: str
    stage: str
    http_status: int | None
    reason: str | None
    rows: int
    retryable: int
    example_row: int
    example_product: str | None


class CauseKey(NamedTuple):
    """Where a page of a list of causes ends: how many were open (of closed ones: when it closed), and which one it was."""

    at: int | datetime
    flow: str
    group: str


class Cause(msgspec.Struct, frozen=True):
    """A cause for which products of a flow failed. `rows` of them, in how many `runs`, have not come through since;
    `retryable` can be retried. `since`: when the first of these runs was created, or where none is open, when the first row
    failed. `total` rows ever failed for it, the first at `first_at`, the last at `last_at`; `closed_at`: when the last one
    came through, or was taken into a retry; None: it is open. `days`: how many failed on each of the last 14 days (UTC), today last.

    `run_id`, `row`, `product` and `reason` are of the newest row that is open; of a closed cause there is only the reason.
    """

    flow: str
    group: str
    stage: str
    http_status: int | None
    reason: str | None
    rows: int
    runs: int
    since: datetime
    run_id: str | None
    row: int | None
    product: str | None
    retryable: int
    total: int
    first_at: datetime
    last_at: datetime
    closed_at: datetime | None
    days: tuple[int, ...]

    def key(self) -> CauseKey:
        return CauseKey(self.rows if self.closed_at is None else self.closed_at, self.flow, self.group)


class OpenRowKey(NamedTuple):
    """Where a page of a list of open rows ends: at this row."""

    version: int
    run_id: str
    row: int


class FailuresSql(Sql):
    """The methods of the store about rows that failed."""

    @reads
    async def errors(self, tx: Tx, run_id: str, limit: int = 100) -> list[ErrorGroup]:
        """The failed rows of a run by cause, the largest groups first."""
        mine = (run_causes.c.run_id == clean(run_id), run_causes.c.failed > 0)
        fingerprint: ColumnElement[str] = run_causes.c.fingerprint
        if tx.postgresql:  # the index of `rows` has the database's collation, and compares by no other one
            fingerprint = fingerprint.collate("default")
        same = (rows.c.run_id == run_causes.c.run_id, OF_CAUSE, rows.c.fingerprint == fingerprint)
        first = select(rows.c.number).where(*same).order_by(rows.c.number).limit(1)
        groups = select(run_causes, first.scalar_subquery().label("first")).where(*mine)
        found = await tx.all(groups.order_by(run_causes.c.failed.desc(), text("first")).limit(limit))
        examples = select(rows).where(rows.c.run_id == clean(run_id), rows.c.number.in_([row.first for row in found]))
        by_number = {row.number: row for row in await tx.all(examples)}
        return [_error_group(row, by_number[row.first]) for row in found if row.first in by_number]

    @reads
    async def causes(
        self,
        tx: Tx,
        flow: str | None = None,
        *,
        group: str | None = None,
        state: Literal["open", "closed"] = "open",
        after: CauseKey | None = None,
        limit: int = 100,
    ) -> list[Cause]:
        """The causes of all flows that are there, or of one: those with open failures, the largest first, or those that have
        closed, the last first; those after `after`.
        """
        is_open = state == "open"
        key: ColumnElement[Any] = causes.c.open if is_open else causes.c.closed_at
        there = and_(flows.c.name == causes.c.flow, flows.c.deleted_at.is_(None))
        statement = _with_runs().join(flows, there)
        statement = statement.where(causes.c.closed_at.is_(None) if is_open else causes.c.closed_at.is_not(None))
        if flow is not None:
            statement = statement.where(causes.c.flow == clean(flow))
        if group is not None:
            statement = statement.where(causes.c.fingerprint == clean(group))
        if after is not None:
            beside = tuple_(causes.c.flow, causes.c.fingerprint) > (clean(after.flow), clean(after.group))
            statement = statement.where(key <= after.at, or_(key < after.at, beside))
        in_order = statement.order_by(key.desc(), causes.c.flow, causes.c.fingerprint).limit(limit)
        return await _whole(tx, await tx.all(in_order))

    @reads
    async def open_rows(
        self, tx: Tx, group: str, flow: str | None = None, *, after: OpenRowKey | None = None, limit: int = 100
    ) -> list[RowLog]:
        """The rows of a cause that are open, over all flows that are there or of one, newest first; those after `after`."""
        key = open_failures
        statement = select(key.c.run_id, key.c.number).where(key.c.fingerprint == clean(group))
        names = [clean(flow)] if flow is not None else await _flows_of(tx, group)
        if after is not None:
            place = tuple_(key.c.version, key.c.run_id, key.c.number) < (after.version, clean(after.run_id), after.row)
            statement = statement.where(place)
        # flow by flow, for each of them is one range of the index
        found = [
            row
            for name in names
            for row in await tx.all(_newest(statement.where(key.c.flow == name), limit).add_columns(key.c.version))
        ]
        found.sort(key=lambda row: (row.version, row.run_id, row.number), reverse=True)
        logs = await _logs(tx, [(row.run_id, row.number) for row in found[:limit]])
        return [to_log(logs[row.run_id, row.number]) for row in found[:limit]]

    @reads
    async def refused(self, tx: Tx, flow: str, products: Collection[str]) -> dict[str, str]:
        """Why Omnitron refused a product, for each of the products whose open failure in the flow is such a refusal."""
        asked = {keyed(product): product for product in products}
        found = await tx.run(_REFUSED.bind(tx, sorted((name,) for name in asked), flow=clean(flow))) if asked else ()
        return {asked[row.product]: row.reason for row in found}

    @reads
    async def nameless_rows(self, tx: Tx, text: str, *, limit: int = 1000) -> list[RowLog]:
        """Open failures without a product whose payload contains `text`, in upper or lower case; newest first. Looks at the
        newest NAMELESS_LOOKED_AT of them.
        """
        written = to_json(clean(text))[1:-1]
        failure = open_failures.c
        newest = (
            select(failure.run_id, failure.number).where(failure.product.is_(None)).order_by(failure.version.desc())
        )
        looked_at = newest.limit(NAMELESS_LOOKED_AT).subquery()
        same = and_(rows.c.run_id == looked_at.c.run_id, rows.c.number == looked_at.c.number)
        found = select(rows).join(looked_at, same).where(rows.c.payload.contains(written, autoescape=True))
        in_order = found.order_by(rows.c.version.desc(), rows.c.run_id.desc(), rows.c.number)
        return [to_log(row) for row in await tx.all(in_order.limit(limit))]


async def _flows_of(tx: Tx, group: str) -> list[str]:
    """The flows in which a cause is open."""
    there = select(causes.c.flow).join(flows, and_(flows.c.name == causes.c.flow, flows.c.deleted_at.is_(None)))
    found = there.where(causes.c.fingerprint == clean(group), causes.c.closed_at.is_(None))
    return [row.flow for row in await tx.all(found)]


def _newest(statement: Select[Any], limit: int) -> Select[Any]:
    """The newest first, of open failures."""
    key = open_failures.c
    return statement.order_by(key.version.desc(), key.run_id.desc(), key.number.desc()).limit(limit)


async def _logs(tx: Tx, wanted: Sequence[tuple[str, int]]) -> dict[tuple[str, int], SqlRow[Any]]:
    """The records of rows, by run and number."""
    found = await tx.run(_BY_KEY.bind(tx, sorted(wanted))) if wanted else ()
    return {(row.run_id, row.number): row for row in found}


async def _whole(tx: Tx, found: Sequence[SqlRow[Any]]) -> list[Cause]:
    """Causes with their runs, their newest open rows and their days."""
    today = tx.now.replace(hour=0, minute=0, second=0, microsecond=0)
    first_day = today - timedelta(days=DAYS_SHOWN - 1)
    keys = [(row.flow, row.fingerprint) for row in found]
    mine = tuple_(cause_days.c.flow, cause_days.c.fingerprint).in_(keys)
    days = await tx.all(select(cause_days).where(mine, cause_days.c.day >= first_day)) if keys else ()
    by_day = {(row.flow, row.fingerprint, (row.day - first_day).days): row.rows for row in days}
    logs = await _logs(tx, [(row.newest_run, row.newest) for row in found if row.newest is not None])
    return [
        _cause(
            row,
            logs.get((row.newest_run, row.newest)),
            tuple(by_day.get((row.flow, row.fingerprint, day), 0) for day in range(DAYS_SHOWN)),
        )
        for row in found
    ]


def _with_runs() -> Select[Any]:
    """Causes, each with its runs and its newest row, as far as they are open: looked up by index, cause by cause."""
    its = (run_causes.c.flow == causes.c.flow, run_causes.c.fingerprint == causes.c.fingerprint)
    its_runs = select(func.count()).where(*its, run_causes.c.open > text("0")).scalar_subquery()
    since = select(func.min(run_causes.c.created_at)).where(*its, run_causes.c.open > text("0")).scalar_subquery()
    failure = open_failures.c
    one = (failure.flow == causes.c.flow, failure.fingerprint == causes.c.fingerprint)
    newest = [_newest(select(column).where(*one), 1).scalar_subquery() for column in (failure.run_id, failure.number)]
    return select(
        causes,
        its_runs.label("runs"),
        since.label("since"),
        newest[0].label("newest_run"),
        newest[1].label("newest"),
    )


def _cause(row: SqlRow[Any], example: SqlRow[Any] | None, days: tuple[int, ...]) -> Cause:
    words = row if example is None else example
    return Cause(
        flow=row.flow,
        group=row.fingerprint,
        stage=words.stage,
        http_status=words.http_status,
        reason=words.reason,
        rows=row.open,
        runs=row.runs,
        since=row.since or row.first_at,
        run_id=None if example is None else example.run_id,
        row=None if example is None else example.number,
        product=None if example is None else example.product,
        retryable=row.retryable,
        total=row.total,
        first_at=row.first_at,
        last_at=row.last_at,
        closed_at=row.closed_at,
        days=days,
    )


def _error_group(group: SqlRow[Any], example: SqlRow[Any]) -> ErrorGroup:
    return ErrorGroup(
        group=group.fingerprint,
        stage=example.stage,
        http_status=example.http_status,
        reason=example.reason,
        rows=group.failed,
        retryable=group.retryable,
        example_row=group.first,
        example_product=example.product,
    )
