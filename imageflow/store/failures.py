"""Rows that failed: by cause, and those that are still open."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Boolean, ColumnElement, and_, case, exists, func, literal_column, or_, select, text
from sqlalchemy import Row as SqlRow

from imageflow.model.row import RowLog
from imageflow.store.database import Tx
from imageflow.store.row_record import to_log
from imageflow.store.tables import pages, rows, runs
from imageflow.store.text import clean, to_json
from imageflow.store.transaction import Sql, reads

SHOWN_FAILED: ColumnElement[bool] = literal_column("state IN ('failed', 'retrying')", Boolean())
"""The row failed, perhaps it is in flight again. The words are those of the index `rows_failed`: a planner proves that it
may use a partial index by comparing them, and proves nothing from parameters.
"""
FAILED = and_(SHOWN_FAILED, rows.c.state == "failed")
SENDABLE = and_(rows.c.stage.in_(("login", "write")), rows.c.product.is_not(None), rows.c.images != "[]")
"""A row that was not written can be sent as it is: it has a product and an image set."""
HAS_PAGE = exists().where(pages.c.run_id == rows.c.run_id, pages.c.page == rows.c.page)
RETRYABLE = or_(SENDABLE, HAS_PAGE)
"""It can be retried: as it is, or from its page."""


def is_open(flow: str) -> ColumnElement[bool]:
    """Whether a row of the flow failed and the failure is still open.

    A newer row of the product in the flow closes it; if that one failed too, it is the open one. A superseded row closes
    nothing, for it was not written. A failure without a product stays open until it is retried, or too old to be kept.
    """
    return and_(FAILED, or_(rows.c.product.is_(None), ~_overtaken(flow)))


def is_kept(flow: str) -> ColumnElement[bool]:
    """Whether retention keeps a failed row that is old: it is open, and if it has no product, of the last run with rows."""
    run = runs.alias("last_run")
    with_rows = select(run.c.run_id).where(run.c.flow == clean(flow), run.c.total > 0)
    last_run = with_rows.order_by(run.c.created_at.desc(), run.c.run_id.desc()).limit(1).scalar_subquery()
    return and_(is_open(flow), or_(rows.c.product.is_not(None), rows.c.run_id == last_run))


def _overtaken(flow: str) -> ColumnElement[bool]:
    newer, its_run = rows.alias("newer"), runs.alias("newer_run")
    return exists().where(
        newer.c.product == rows.c.product,
        newer.c.version > rows.c.version,
        newer.c.state != "superseded",
        its_run.c.run_id == newer.c.run_id,
        its_run.c.flow == clean(flow),
    )


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


class OpenError(msgspec.Struct, frozen=True):
    """A cause for which products of a flow have failed and have not come through since: in how many `rows` of how many
    `runs`, the first of which was created at `since`; `retryable` how many can be retried. `run_id`, `row`, `product` and `reason`
    are of the newest.
    """

    group: str
    stage: str
    http_status: int | None
    reason: str | None
    rows: int
    runs: int
    since: datetime
    run_id: str
    row: int
    product: str | None
    retryable: int


class FailuresSql(Sql):
    """The methods of the store about rows that failed."""

    @reads
    async def errors(self, tx: Tx, run_id: str, limit: int = 100) -> list[ErrorGroup]:
        """The failed rows of a run by cause, the largest groups first."""
        mine = (rows.c.run_id == clean(run_id), FAILED)
        again = case((RETRYABLE, 1), else_=0)
        numbers = (
            func.count().label("rows"),
            func.sum(again).label("retryable"),
            func.min(rows.c.number).label("first"),
        )
        groups = select(rows.c.fingerprint, *numbers).where(*mine).group_by(rows.c.fingerprint)
        found = await tx.all(groups.order_by(text("rows DESC"), text("first")).limit(limit))
        examples = select(rows).where(rows.c.run_id == clean(run_id), rows.c.number.in_([row.first for row in found]))
        by_number = {row.number: row for row in await tx.all(examples)}
        return [_error_group(row, by_number[row.first]) for row in found]

    @reads
    async def open_errors(self, tx: Tx, flow: str, limit: int = 100) -> list[OpenError]:
        """The failures of a flow that are still open (see `is_open`), over all runs by cause, the largest first."""
        mine = (rows.c.run_id == runs.c.run_id, runs.c.flow == clean(flow), is_open(flow))
        numbers = (
            func.count().label("rows"),
            func.count(rows.c.run_id.distinct()).label("runs"),
            func.min(runs.c.created_at).label("since"),
            func.sum(case((RETRYABLE, 1), else_=0)).label("retryable"),
        )
        groups = select(rows.c.fingerprint, *numbers).where(*mine).group_by(rows.c.fingerprint)
        found = await tx.all(groups.order_by(text("rows DESC"), text("since"), rows.c.fingerprint).limit(limit))
        opened = []
        for group in found:
            newest = select(rows).where(*mine, rows.c.fingerprint == group.fingerprint)
            in_order = newest.order_by(runs.c.created_at.desc(), rows.c.version.desc(), rows.c.number)
            example = await tx.first(in_order.limit(1))
            assert example is not None, "it was counted in this transaction's snapshot"
            opened.append(_open_error(group, example))
        return opened

    @reads
    async def nameless_rows(self, tx: Tx, text: str, *, limit: int = 1000) -> list[RowLog]:
        """Failed rows without a product whose payload contains `text`, in upper or lower case; newest first."""
        written = to_json(clean(text))[1:-1]
        holds = rows.c.payload.contains(written, autoescape=True)
        found = select(rows).where(SHOWN_FAILED, rows.c.product.is_(None), holds)
        newest = found.order_by(rows.c.version.desc(), rows.c.run_id.desc(), rows.c.number)
        return [to_log(row) for row in await tx.all(newest.limit(limit))]


def _open_error(group: SqlRow[Any], example: SqlRow[Any]) -> OpenError:
    return OpenError(
        group=group.fingerprint or "",
        stage=example.stage,
        http_status=example.http_status,
        reason=example.reason,
        rows=group.rows,
        runs=group.runs,
        since=group.since,
        run_id=example.run_id,
        row=example.number,
        product=example.product,
        retryable=group.retryable,
    )


def _error_group(group: SqlRow[Any], example: SqlRow[Any]) -> ErrorGroup:
    return ErrorGroup(
        group=group.fingerprint or "",
        stage=example.stage,
        http_status=example.http_status,
        reason=example.reason,
        rows=group.rows,
        retryable=group.retryable,
        example_row=group.first,
        example_product=example.product,
    )
