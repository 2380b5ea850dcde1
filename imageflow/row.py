"""A row: one product's image set after script and mapping. The unit that is written, logged and retried."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Literal

import msgspec

from imageflow.imageset import Image

State = Literal["written", "unchanged", "superseded", "failed"]
STATES: tuple[State, ...] = ("written", "unchanged", "superseded", "failed")
StageName = Literal["login", "read", "script", "mapping", "rows", "write"]


class Row(msgspec.Struct, frozen=True):
    """A row on its way to Omnitron.

    `row` is its number within the run, `version` orders it among rows of the same product (see page.row_version).
    `key` says what `product` is: a `sku`, or a `base_code` that stands for all its SKUs. `attempts` counts the tries
    made so far: the one budget that a row has.
    """

    row: int
    version: int
    product: str
    images: tuple[Image, ...]
    key: Literal["sku", "base_code"] = "sku"
    attempts: int = 0
    first_error: str | None = None


class RowLog(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a row. `payload` is what failed: the image set, or the raw element that gave no image set."""

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


def fingerprint(log: RowLog) -> str:
    """Groups failures by cause: stage, status, and the reason without what varies from row to row."""
    reason = re.sub(r"https?://\S+|'[^']*'|\"[^\"]*\"|\d+", "…", log.reason or "")
    return hashlib.blake2b(f"{log.stage}\0{log.http_status}\0{reason}".encode(), digest_size=8).hexdigest()


def shown(log: RowLog) -> dict[str, Any]:
    """The JSON object that `rows --json` and the API show for a row."""
    return {
        "run_id": log.run_id,
        "row": log.row,
        "product": log.product,
        "state": log.state,
        "stage": log.stage,
        "reason": log.reason,
        "http_status": log.http_status,
        "attempts": log.attempts,
        "images": msgspec.to_builtins(log.images),
    }
