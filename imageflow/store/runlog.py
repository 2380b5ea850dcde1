"""A run as a record of the table `runs`, and how a run moves on: the join of held rows, and its end."""

from __future__ import annotations

import functools
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row as SqlRow
from sqlalchemy import select, update

from imageflow.errors import NotFoundError
from imageflow.model import messages
from imageflow.model.row import STATES
from imageflow.model.run import Counts, Run, Trigger, final_status
from imageflow.store import Unsent
from imageflow.store.database import Tx
from imageflow.store.tables import held_rows, outbox, runs, watermarks
from imageflow.store.text import clean, to_json
from imageflow.telemetry import metrics

COUNTED = (
    runs.c.run_id,
    runs.c.flow,
    runs.c.version,
    runs.c.status,
    runs.c.created_at,
    runs.c.pages,
    runs.c.pages_done,
    runs.c.read_complete,
    runs.c.joining,
    runs.c.error,
    runs.c.total,
    runs.c.written,
    runs.c.unchanged,
    runs.c.superseded,
    runs.c.failed,
)
"""What `final_status` looks at: the hot path reads no more (a trigger may list thousands of identifiers)."""

_decode_trigger = msgspec.json.Decoder(Trigger).decode
_decode_warnings = msgspec.json.Decoder(tuple[str, ...]).decode
_UNKNOWN = Trigger("person")


def run_values(run: Run) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "flow": run.flow,
        "version": run.version,
        "triggered": to_json(run.trigger),
        "status": run.status,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "since": run.since,
        "until": run.until,
        "cursor": clean(run.cursor),
        "pages": run.pages,
        "pages_done": run.pages_done,
        "read_complete": run.read_complete,
        "joining": run.joining,
        "error": clean(run.error),
        "error_stage": run.error_stage,
        "total": run.counts.total,
        "warnings": to_json(run.warnings),
        "join_sent": False,
        **{state: getattr(run.counts, state) for state in STATES},
    }


def to_run(row: SqlRow[Any]) -> Run:
    return Run(
        run_id=row.run_id,
        flow=row.flow,
        version=row.version,
        trigger=_decode_trigger(row.triggered),
        status=row.status,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        since=row.since,
        until=row.until,
        cursor=row.cursor,
        pages=row.pages,
        pages_done=row.pages_done,
        read_complete=row.read_complete,
        joining=row.joining,
        error=row.error,
        error_stage=row.error_stage,
        counts=_counts(row),
        warnings=_decode_warnings(row.warnings),
    )


def counted_run(row: SqlRow[Any]) -> Run:
    """As much of a run as COUNTED tells; the rest is made up."""
    return Run(
        run_id=row.run_id,
        flow=row.flow,
        version=row.version,
        trigger=_UNKNOWN,
        status=row.status,
        created_at=row.created_at,
        pages=row.pages,
        pages_done=row.pages_done,
        read_complete=row.read_complete,
        joining=row.joining,
        error=row.error,
        counts=_counts(row),
    )


def _counts(row: SqlRow[Any]) -> Counts:
    return Counts(row.total, row.written, row.unchanged, row.superseded, row.failed)


async def load(tx: Tx, run_id: str, *, lock: bool = False) -> Run:
    """The run, if wanted locked until the transaction ends. Raises NotFoundError."""
    statement = select(runs).where(runs.c.run_id == clean(run_id))
    row = await tx.first(statement.with_for_update() if lock else statement)
    if row is None:
        raise NotFoundError(f"there is no run {run_id!r}")
    return to_run(row)


async def change(tx: Tx, run: Run, **values: Any) -> Run:
    """Change a locked run; fields of the table have the names of the struct's, but for counts and warnings."""
    row = await tx.first(update(runs).where(runs.c.run_id == run.run_id).values(**values).returning(runs))
    assert row is not None, "the run is locked"
    return to_run(row)


async def finish(tx: Tx, run: Run) -> Run | None:
    """End a run that is locked and has nothing more to come; the ended run, None where it did not end now."""
    status = final_status(run)
    if status is None or run.ended:
        return None
    seconds = (tx.now - run.created_at).total_seconds()
    tx.committed.append(functools.partial(metrics.run_ended, run.flow, status, seconds))
    return await change(tx, run, status=status, finished_at=tx.now)


async def advance(tx: Tx, run: Run) -> tuple[Run, tuple[Unsent, ...]]:
    """Take a locked run as far as it goes: once everything is read and registered, held rows are to be joined (their
    message comes once), else the run may end.
    """
    if run.ended or not run.read_complete or run.pages_done < run.pages:
        return run, ()
    if not run.joining:
        return await finish(tx, run) or run, ()
    if await tx.value(select(held_rows.c.id).where(held_rows.c.run_id == run.run_id).limit(1)) is None:
        joined = await change(tx, run, joining=False)
        return await finish(tx, joined) or joined, ()
    first = update(runs).where(runs.c.run_id == run.run_id, runs.c.join_sent.is_(False)).values(join_sent=True)
    if not await tx.count(first):
        return run, ()
    return run, (await post(tx, messages.RunRead(run.run_id, run.flow, run.version)),)


async def post(
    tx: Tx, message: messages.ReadPage | messages.PageRead | messages.RunRead | messages.RowsReady
) -> Unsent:
    """Put a message in the outbox."""
    queue, body = messages.queue_of(message), messages.encode(message)
    statement = tx.insert(outbox).values(queue=queue, body=body, run_id=message.run_id, stored_at=tx.now)
    return Unsent(await tx.value(statement.returning(outbox.c.id)), queue, body)


async def move_watermark(tx: Tx, flow: str, until: datetime) -> None:
    """Forward only."""
    statement = tx.insert(watermarks).values(flow=flow, since=until)
    later = watermarks.c.since < statement.excluded.since
    await tx.execute(statement.on_conflict_do_update(index_elements=["flow"], set_={"since": until}, where=later))
