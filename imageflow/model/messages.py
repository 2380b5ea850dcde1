"""What passes through the queues, in the order of the pipeline.

    ReadPage ─> reader ─> PageRead ─> transformer ─> RowsReady ─> writer
       ^          │          │ (after the last page of a run that joins across pages: RunRead)
       └──────────┘ the next page

Messages are JSON objects with a `type`. Unknown fields are ignored: an older service may meet a newer one. Numbers are
within what the store takes: a queue may hold what others wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from imageflow.errors import MessageError
from imageflow.model.bounds import Count, Instant, Name
from imageflow.model.page import MAX_SEQ
from imageflow.model.row import Row

READ_QUEUE = "imageflow.read"
OUTBOUND_QUEUE = "imageflow.outbound"
PARKED_QUEUE = "imageflow.parked"
MAX_MESSAGE_BYTES = 1 << 20
MAX_INLINE_BODY_BYTES = 64 * 1024
"""A page's body travels in its message up to this size; a larger one stays in the store and is fetched from there, packed: that
costs less than to pass it through the queue.
"""
TRY_BYTES = 300
"""What a row's try takes in a message, on the large side."""


def transform_queue(flow: str) -> str:
    return f"imageflow.transform.{flow}"


def write_queue(flow: str) -> str:
    return f"imageflow.write.{flow}"


def flow_of(queue: str) -> str:
    """The flow that a queue belongs to; empty where several share it."""
    stage, _, flow = queue.removeprefix("imageflow.").partition(".")
    return flow if stage in ("transform", "write") else ""


class ReadPage(msgspec.Struct, frozen=True, tag="read_page"):
    """Ask the ERP for page `page` (from 1) of a run. The cursor is with the run: what was stored last is the truth.

    After `failures` failed tries, the first at `failing_since`, the next is not before `not_before` (Unix time).
    """

    run_id: Name
    flow: Name
    version: Count
    page: Count
    failures: Count = 0
    failing_since: Instant = 0.0
    not_before: Instant = 0.0


class PageRead(msgspec.Struct, frozen=True, tag="page_read"):
    """A page is stored and wants to be transformed. `body` is its JSON text, or None: then the store has it."""

    run_id: Name
    flow: Name
    version: Count
    page: Count
    seq: Annotated[int, Meta(ge=0, le=MAX_SEQ)]
    body: str | None = None


class RunRead(msgspec.Struct, frozen=True, tag="run_read"):
    """All pages of a run with `group: run` are in: join and send them."""

    run_id: Name
    flow: Name
    version: Count


class ReplayPage(msgspec.Struct, frozen=True, tag="replay_page"):
    """Rows of a page that were not written go through this version of the flow again, from the stored page."""

    run_id: Name
    flow: Name
    version: Count
    page: Count
    seq: Annotated[int, Meta(ge=0, le=MAX_SEQ)]


class RowsReady(msgspec.Struct, frozen=True, tag="rows_ready"):
    """A chunk of rows to write. `rewrite`: they are written already, and are to be written once more, see store/doubts.py."""

    run_id: Name
    flow: Name
    version: Count
    rows: tuple[Row, ...]
    rewrite: bool = False


Message = ReadPage | PageRead | RunRead | ReplayPage | RowsReady

_encode = msgspec.json.Encoder().encode
_decode: Callable[[bytes], Message] = msgspec.json.Decoder(Message).decode


def encode(message: Message) -> bytes:
    return _encode(message)


def decode(body: bytes) -> Message:
    """Raises MessageError that says what is wrong with the bytes."""
    try:
        return _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MessageError(f"not a message of ImageFlow: {error}") from error


def queue_of(message: Message) -> str:
    """The queue that a message belongs in."""
    if isinstance(message, ReadPage):
        return READ_QUEUE
    if isinstance(message, RowsReady):
        return write_queue(message.flow)
    return transform_queue(message.flow)


def chunked(rows: Sequence[Row], size: int = 100, max_bytes: int = 512 * 1024) -> list[tuple[Row, ...]]:
    """Rows in chunks for RowsReady: at most `size` rows and about `max_bytes` of JSON each, at least one row."""
    chunks: list[tuple[Row, ...]] = []
    current: list[Row] = []
    weight = 0
    for row in rows:
        cost = 200 + sum(len(image.url) + 60 for image in row.images) + len(row.tries) * TRY_BYTES
        if current and (len(current) >= size or weight + cost > max_bytes):
            chunks.append(tuple(current))
            current, weight = [], 0
        current.append(row)
        weight += cost
    if current:
        chunks.append(tuple(current))
    return chunks
