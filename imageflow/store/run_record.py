"""A run as a record of the table `runs`, and back."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Row as SqlRow

from imageflow.model.row import STATES
from imageflow.model.run import Counts, Run, Trigger
from imageflow.store.tables import runs
from imageflow.store.text import clean, to_json

ACTIVE = runs.c.finished_at.is_(None)
"""The run has not ended. The words are those of the index `runs_active`."""
ENDED = runs.c.finished_at.is_not(None)
"""The run has ended. The words are those of the index `runs_by_end`."""
WAITING = (ACTIVE, runs.c.status == "queued", runs.c.released.is_(False))
"""The run has not begun: another one of its flow may be active."""

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
    runs.c.incomplete,
    runs.c.cancelled_at,
    runs.c.error,
    runs.c.total,
    runs.c.written,
    runs.c.unchanged,
    runs.c.superseded,
    runs.c.failed,
    runs.c.cancelled,
)
"""What `final_status` and the metrics of a run's end need. Settling, the hot path, reads no more: a run's trigger may list
thousands of identifiers."""

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
        "incomplete": run.incomplete,
        "moves_watermark": run.moves_watermark,
        "window": run.window,
        "cancelled_at": run.cancelled_at,
        "error": clean(run.error),
        "error_stage": run.error_stage,
        "total": run.counts.total,
        "warnings": to_json(run.warnings),
        "join_sent": False,
        "encoded_urls": run.encoded_urls,
        "broken_pages": run.broken_pages,
        "waits_for": clean(run.waits_for),
        "again_at": run.again_at,
        "retried_at": run.retried_at,
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
        incomplete=bool(row.incomplete),
        moves_watermark=row.moves_watermark,
        window=bool(row.window),
        cancelled_at=row.cancelled_at,
        error=row.error,
        error_stage=row.error_stage,
        counts=_counts(row),
        warnings=_decode_warnings(row.warnings),
        encoded_urls=row.encoded_urls or 0,
        broken_pages=row.broken_pages or 0,
        waits_for=row.waits_for,
        again_at=row.again_at,
        retried_at=row.retried_at,
    )


def counted_run(row: SqlRow[Any]) -> Run:
    """The fields of a run that COUNTED has; the others are placeholders."""
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
        incomplete=bool(row.incomplete),
        cancelled_at=row.cancelled_at,
        error=row.error,
        counts=_counts(row),
    )


def _counts(row: SqlRow[Any]) -> Counts:
    return Counts(row.total, row.written, row.unchanged, row.superseded, row.failed, row.cancelled)
