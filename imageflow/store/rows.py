"""Pages become rows: numbering, held rows, row logs, and failed rows that are taken back into flight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Exists,
    and_,
    case,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
    text,
)
from sqlalchemy import Row as SqlRow

from imageflow.model.messages import RowsReady, chunked
from imageflow.model.row import Row, RowLog, history
from imageflow.model.run import Run
from imageflow.store import AuditEntry, ErrorGroup, HeldRow, OpenError, Registered, Unsent
from imageflow.store.audit import note
from imageflow.store.batch import Batch, BatchStatement
from imageflow.store.database import Tx
from imageflow.store.ledger import settle
from imageflow.store.rowlog import to_log
from imageflow.store.runlog import advance, change, load, post
from imageflow.store.tables import held_rows, registered_pages, rows, runs
from imageflow.store.text import clean, keyed, to_json
from imageflow.store.transaction import Sql, reads, writes

_HELD = Batch("held", product="text", version="bigint", document="text")
_HOLD = BatchStatement(
    """
    INSERT INTO held_rows (run_id, product, version, document)
    SELECT :run_id, held.product, held.version, held.document FROM {held} WHERE true
    """,
    _HELD,
)
_NUMBERS = Batch("numbers", number="bigint")
_REOPEN = BatchStatement(
    """
    UPDATE rows SET state = 'retrying' WHERE run_id = :run_id AND number IN (SELECT number FROM {numbers})
    """,
    _NUMBERS,
)
_FAILED: ColumnElement[bool] = literal_column("state IN ('failed', 'retrying')", Boolean())
"""In these very words, so that the partial index is used."""

REOPENABLE = (rows.c.stage.in_(("login", "write")), rows.c.product.is_not(None), rows.c.images != "[]")
"""What can be written again, of the failed rows."""

_decode_held = msgspec.json.Decoder(HeldRow).decode
_decode_ranges = msgspec.json.Decoder(list[tuple[int, int]]).decode

Ranges = list[tuple[int, int]]
"""Row numbers of a page as (first, how many): as a rule one range."""


class RowsSql(Sql):
    """The methods of the store about rows."""

    @writes
    async def register_page(
        self,
        tx: Tx,
        run_id: str,
        page: int,
        total: int,
        settled: Sequence[RowLog],
        *,
        held: Sequence[HeldRow] = (),
    ) -> Registered:
        run = await load(tx, run_id, lock=True)
        known = await _known_ranges(tx, run_id, page)
        ranges = grown(known or [], total, run.counts.total)
        numbers = [number for first, count in ranges for number in range(first, first + count)]
        await _store_ranges(tx, run, page, known, ranges)
        if known is None and held:
            await _hold(tx, run_id, held)
        logs = [_numbered(log, run_id, page, numbers) for log in settled] + _missing(run_id, page, numbers[total:])
        ended = await settle(tx, "", logs) if logs else []
        _, outbox = (None, ()) if ended else await advance(tx, await load(tx, run_id))
        return Registered(tuple(numbers[:total]), outbox, known is None)

    @reads
    async def held_rows(self, tx: Tx, run_id: str, after: str | None, products: int) -> list[HeldRow]:
        mine = held_rows.c.run_id == run_id
        following = select(held_rows.c.product).where(mine).distinct().order_by(held_rows.c.product).limit(products)
        if after is not None:
            following = following.where(held_rows.c.product > keyed(after))
        chosen = [row.product for row in await tx.all(following)]
        if not chosen:
            return []
        statement = select(held_rows.c.document).where(
            mine, held_rows.c.product >= chosen[0], held_rows.c.product <= chosen[-1]
        )
        in_order = statement.order_by(held_rows.c.product, held_rows.c.version, held_rows.c.id)
        return [_decode_held(row.document) for row in await tx.all(in_order)]

    @writes
    async def end_join(self, tx: Tx, run_id: str) -> None:
        run = await load(tx, run_id, lock=True)
        await tx.execute(delete(held_rows).where(held_rows.c.run_id == run_id))
        if run.joining:
            await advance(tx, await change(tx, run, joining=False))

    @reads
    async def rows(
        self,
        tx: Tx,
        run_id: str,
        *,
        state: str | None = None,
        stage: str | None = None,
        product: str | None = None,
        group: str | None = None,
        after: int = 0,
        limit: int = 1000,
    ) -> list[RowLog]:
        statement = select(rows).where(rows.c.run_id == clean(run_id), rows.c.number > after)
        if state is not None:
            statement = statement.where(_FAILED if state == "failed" else rows.c.state == state)
        if group is not None:
            statement = statement.where(_FAILED, rows.c.state == "failed", rows.c.fingerprint == clean(group))
        if stage is not None:
            statement = statement.where(rows.c.stage == clean(stage))
        if product is not None:
            statement = statement.where(rows.c.product == clean(product))
        return [to_log(row) for row in await tx.all(statement.order_by(rows.c.number).limit(limit))]

    @reads
    async def errors(self, tx: Tx, run_id: str, limit: int = 100) -> list[ErrorGroup]:
        mine = (rows.c.run_id == clean(run_id), _FAILED, rows.c.state == "failed")
        again = case((and_(*REOPENABLE), 1), else_=0)
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
        is_open = or_(and_(rows.c.product.is_not(None), ~_newer(flow)), _nameless_and_last(flow))
        mine = (rows.c.run_id == runs.c.run_id, runs.c.flow == clean(flow), _FAILED, rows.c.state == "failed", is_open)
        numbers = (
            func.count().label("rows"),
            func.count(rows.c.run_id.distinct()).label("runs"),
            func.min(runs.c.created_at).label("since"),
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
    async def product_rows(self, tx: Tx, product: str, *, limit: int = 100) -> list[RowLog]:
        newest = (
            select(rows).where(rows.c.product == clean(product)).order_by(rows.c.version.desc(), rows.c.run_id.desc())
        )
        return [to_log(row) for row in await tx.all(newest.limit(limit))]

    @reads
    async def nameless_rows(self, tx: Tx, text: str, *, limit: int = 1000) -> list[RowLog]:
        written = to_json(clean(text))[1:-1]
        holds = rows.c.payload.contains(written, autoescape=True)
        found = select(rows).where(_FAILED, rows.c.product.is_(None), holds)
        newest = found.order_by(rows.c.version.desc(), rows.c.run_id.desc(), rows.c.number)
        return [to_log(row) for row in await tx.all(newest.limit(limit))]

    @writes
    async def reopen(
        self,
        tx: Tx,
        run_id: str,
        *,
        row: int | None = None,
        group: str | None = None,
        limit: int = 10_000,
        audit: AuditEntry | None = None,
    ) -> tuple[int, list[Unsent]]:
        run = await load(tx, run_id, lock=True)
        statement = select(rows).where(rows.c.run_id == run.run_id, _FAILED, rows.c.state == "failed", *REOPENABLE)
        if row is not None:
            statement = statement.where(rows.c.number == row)
        if group is not None:
            statement = statement.where(rows.c.fingerprint == group)
        failed = await tx.all(statement.order_by(rows.c.number).limit(limit).with_for_update())
        if not failed:
            return 0, []
        await note(tx, audit, rows=len(failed))
        numbers = [(found.number,) for found in failed]
        await tx.execute(*_REOPEN.bind(tx, numbers, run_id=run.run_id))
        draining = {"status": "draining", "finished_at": None} if run.read_complete else {}
        await change(tx, run, failed=runs.c.failed - len(failed), **draining)
        again = [
            Row(log.row, log.version, found.product, log.images, log.key, tries=history(log))
            for found, log in ((found, to_log(found)) for found in failed)
        ]
        messages = [RowsReady(run.run_id, run.flow, run.version, chunk) for chunk in chunked(again)]
        return len(failed), [await post(tx, message) for message in messages]


def _newer(flow: str) -> Exists:
    """Whether a newer row of the product was settled in a run of the flow."""
    newer, run = rows.alias("newer"), runs.alias("newer_run")
    later = (newer.c.product == rows.c.product, newer.c.version > rows.c.version, newer.c.state != "superseded")
    return exists().where(*later, run.c.run_id == newer.c.run_id, run.c.flow == clean(flow))


def _nameless_and_last(flow: str) -> ColumnElement[bool]:
    """Whether a row of no product is of the flow's newest run that has rows."""
    run = runs.alias("last_run")
    with_rows = select(run.c.run_id).where(run.c.flow == clean(flow), run.c.total > 0)
    newest = with_rows.order_by(run.c.created_at.desc(), run.c.run_id.desc()).limit(1).scalar_subquery()
    return and_(rows.c.product.is_(None), rows.c.run_id == newest)


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


def grown(known: Ranges, total: int, highest: int) -> Ranges:
    """Ranges of numbers for at least `total` rows: the known ones, and new ones after `highest` for what is missing."""
    missing = total - sum(count for _, count in known)
    return [*known, (highest + 1, missing)] if missing > 0 else known


async def _known_ranges(tx: Tx, run_id: str, page: int) -> Ranges | None:
    mine = (registered_pages.c.run_id == run_id, registered_pages.c.page == page)
    text = await tx.value(select(registered_pages.c.numbers).where(*mine))
    return None if text is None else _decode_ranges(text)


async def _store_ranges(tx: Tx, run: Run, page: int, known: Ranges | None, ranges: Ranges) -> None:
    """Store a page's numbers and count its new rows on the run. A run that had ended goes on if there are any."""
    if known is not None and len(known) == len(ranges):
        return
    values = {"numbers": to_json(ranges)}
    statement = tx.insert(registered_pages).values(run_id=run.run_id, page=page, **values)
    await tx.execute(statement.on_conflict_do_update(index_elements=["run_id", "page"], set_=values))
    added = sum(count for _, count in ranges) - sum(count for _, count in known or ())
    changes: dict[str, Any] = {"total": run.counts.total + added}
    if known is None and page >= 1:
        changes["pages_done"] = run.pages_done + 1
    if run.ended and added:
        changes |= {"status": "draining", "finished_at": None}
    await change(tx, run, **changes)


async def _hold(tx: Tx, run_id: str, held: Sequence[HeldRow]) -> None:
    batch = [(keyed(row.product), row.version, to_json(row)) for row in held]
    await tx.execute(*_HOLD.bind(tx, batch, run_id=run_id))


def _numbered(log: RowLog, run_id: str, page: int, numbers: Sequence[int]) -> RowLog:
    """A log whose `row` is an index within the page, with the row's number within the run."""
    number = numbers[log.row]
    return msgspec.structs.replace(log, run_id=run_id, row=number, page=page if log.page is None else log.page)


def _missing(run_id: str, page: int, numbers: Sequence[int]) -> list[RowLog]:
    """Logs of rows that a page had when it was first transformed, and has no more."""
    why = "the row was missing when the page was transformed again: the script is not deterministic"
    return [
        RowLog(run_id=run_id, row=number, product=None, state="failed", stage="script", reason=why, page=page)
        for number in numbers
    ]
