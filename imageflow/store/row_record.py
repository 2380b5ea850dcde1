"""A row's log as a record of the table `rows`, and back."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import BigInteger, Boolean, Integer, Text
from sqlalchemy import Row as SqlRow

from imageflow.model.imageset import Image
from imageflow.model.row import Row, RowLog, Try, fingerprint
from imageflow.store.open_failures import Logged, retryable
from imageflow.store.tables import rows
from imageflow.store.text import clean, from_json, said, to_json

_KINDS = {Text: "text", BigInteger: "bigint", Integer: "bigint", Boolean: "boolean"}
LOG_COLUMNS = {str(column.name): _KINDS[type(column.type)] for column in rows.columns if column.name != "settled_at"}
"""The columns of a row's log in a batch, with their SQL types there, in the order of the table."""
LOGGED_ALIKE = frozenset(LOG_COLUMNS) - {"number", "product", "images", "version"}
"""Columns that are the same in all rows of a chunk where every row went well."""

RETRYING = "retrying"
"""The state of a failed row that was reopened and is in flight again. It is shown as failed until it is settled."""

decode_images = msgspec.json.Decoder(tuple[Image, ...]).decode
_decode_tries = msgspec.json.Decoder(tuple[Try, ...]).decode


def log_values(log: RowLog) -> tuple[Any, ...]:
    """In the order of LOG_COLUMNS."""
    return (
        log.run_id,
        log.row,
        clean(log.product),
        log.state,
        log.stage,
        said(log.reason),
        log.http_status,
        log.attempts,
        to_json(log.images),
        None if log.payload is None else to_json(log.payload),
        log.page,
        log.retryable,
        log.version,
        log.key,
        fingerprint(_printable(log)) if log.state == "failed" else None,
        to_json(log.tries) if log.tries else None,
    )


def unchanged_values(run_id: str, row: Row) -> tuple[Any, ...]:
    """What `log_values` gives for the log of an unchanged row whose product is its own key; in a fifth of the time."""
    tries = to_json(row.tries) if row.tries else None
    settled = ("unchanged", "write", None, None, row.attempts, to_json(row.images), None, None, False)
    return (run_id, row.row, row.product, *settled, row.version, row.key, None, tries)


def logged(values: tuple[Any, ...]) -> Logged:
    """What `log_values` gave, as far as failures are concerned."""
    log = dict(zip(LOG_COLUMNS, values, strict=True))
    again = retryable(log["stage"], log["product"], log["images"], log["page"])
    kept = {name: log[name] for name in Logged._fields if name not in ("fingerprint", "retryable")}
    return Logged(**kept, fingerprint=log["fingerprint"] or "", retryable=again)


def failed_row(row: SqlRow[Any]) -> tuple[int, str, bool]:
    """Of a record of a failed row: its number, its cause, and whether it can be retried."""
    return row.number, row.fingerprint or "", retryable(row.stage, row.product, row.images, row.page)


def _printable(log: RowLog) -> RowLog:
    reason = said(log.reason)
    return log if reason == log.reason else msgspec.structs.replace(log, reason=reason)


def to_log(row: SqlRow[Any]) -> RowLog:
    return RowLog(
        run_id=row.run_id,
        row=row.number,
        product=row.product,
        state="failed" if row.state == RETRYING else row.state,
        stage=row.stage,
        reason=row.reason,
        http_status=row.http_status,
        attempts=row.attempts,
        images=decode_images(row.images),
        payload=None if row.payload is None else from_json(row.payload),
        page=row.page,
        retryable=bool(row.retryable),
        version=row.version,
        key=row.key,
        tries=() if row.tries is None else _decode_tries(row.tries),
        settled_at=row.settled_at,
        in_retry=row.state == RETRYING,
    )
