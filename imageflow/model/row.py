"""A row: one product's image set after script and mapping. The unit that is written, logged and retried."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from imageflow.model.bounds import Count, Hex, Instant, Long
from imageflow.model.imageset import Image, digest

State = Literal["written", "unchanged", "superseded", "failed", "cancelled"]
STATES: tuple[State, ...] = ("written", "unchanged", "superseded", "failed", "cancelled")
StageName = Literal["login", "read", "script", "mapping", "rows", "write"]


CANCELLED = "the run was cancelled before the row was sent"
"""The reason of a cancelled row."""
MAX_TRIES = 20
MAX_TRY_CHARS = 200


class Try(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One attempt to write a row, and its result: when (Unix time), Omnitron's status (None: there was no answer) and
    words. `sku`: of a row with a base code, the SKU that was answered so.
    """

    at: Instant
    status: Count | None = None
    reason: str | None = None
    sku: str | None = None


class Row(msgspec.Struct, frozen=True, gc=False):
    """A row on its way to Omnitron.

    `row` is its number within the run, `version` orders it among rows of the same product (see page.row_version).
    `key` says what `product` is: a `sku`, or a `base_code` that stands for all its SKUs. `attempts` counts the attempts
    made so far, of `max_attempts`. `tries` is its history, which a retry by hand does not end. `digest` is that of its
    images, or empty before it is computed.
    """

    row: Long
    version: Long
    product: str
    images: tuple[Image, ...]
    key: Literal["sku", "base_code"] = "sku"
    attempts: Count = 0
    tries: tuple[Try, ...] = ()
    digest: Hex = ""


class RowLog(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """How a row was settled. `payload` is what failed: the image set, or the raw element that gave no image set.

    `tries` is what `history` needs in addition to the log itself. `settled_at` comes from the store. `in_retry`: the row is being
    tried again, and the log is of how it ended before, as far as that is known.
    """

    run_id: str
    row: int
    product: str | None
    state: State
    stage: StageName = "write"
    reason: str | None = None
    http_status: int | None = None
    attempts: int = 0
    images: tuple[Image, ...] = ()
    payload: Any = None
    page: int | None = None
    retryable: bool = False
    version: int = 0
    key: Literal["sku", "base_code"] = "sku"
    tries: tuple[Try, ...] = ()
    settled_at: datetime | None = None
    in_retry: bool = False


def digest_of(row: Row) -> str:
    """The digest of the row's images, computed now if it was not before."""
    return row.digest or digest(row.images)


def tried(tries: Sequence[Try], newest: Try) -> tuple[Try, ...]:
    """The history with one more attempt. Only the newest MAX_TRIES are kept."""
    reason = newest.reason
    if reason is not None and len(reason) > MAX_TRY_CHARS:
        newest = msgspec.structs.replace(newest, reason=reason[: MAX_TRY_CHARS - 1] + "…")
    return (*tries, newest)[-MAX_TRIES:]


def history(log: RowLog) -> tuple[Try, ...]:
    """All attempts of a row. Of a row with a single attempt, the log itself is the history: nothing else is stored."""
    if log.tries or not log.attempts or log.settled_at is None:
        return log.tries
    return tried((), Try(log.settled_at.timestamp(), log.http_status, log.reason))


def when(one: Try) -> datetime:
    return datetime.fromtimestamp(one.at, UTC)


def fingerprint(log: RowLog) -> str:
    """Groups failures by cause: stage, status, and the reason without the parts that vary from row to row."""
    reason = log.reason or ""
    if log.product:
        reason = re.sub(rf"(?<!\w){re.escape(log.product)}(?!\w)", "…", reason)
    reason = re.sub(r"https?://\S+|'[^']*'|\"[^\"]*\"|\b[0-9a-f-]*\d[0-9a-f-]*\b|\d+", "…", reason)
    reason = re.sub(r"…(?:[\s,]*…)*", "…", reason)
    return hashlib.blake2b(f"{log.stage}\0{log.http_status}\0{reason}".encode(), digest_size=8).hexdigest()
