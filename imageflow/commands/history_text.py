"""A product's history as people read it: one row after the other, newest first, long values shortened."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, tzinfo
from typing import Any

from imageflow.commands.texts import counted, local, printable_text
from imageflow.inspect.dry_run import DryRow
from imageflow.inspect.product_history import Source, Trace, TracedRow, sent
from imageflow.model.imageset import Image
from imageflow.model.row import RowLog, history, when
from imageflow.model.run import Run
from imageflow.pointer import describe
from imageflow.store import LedgerState
from imageflow.store.doubts import PAUSES

SHOWN_CHARS = 300
SHOWN_PRINTS = 5


def report(found: Trace, of: tzinfo = UTC) -> str:
    """The trace for people: one row after the other, newest first, long values shortened."""
    lines = [found.product, *_standing_lines(found, of)]
    for row in found.rows:
        lines += ["", *_row_lines(row, of)]
    if found.more:
        lines += ["", "… and older rows (--limit shows more)"]
    return printable_text("\n".join(lines))


def _standing_lines(found: Trace, of: tzinfo) -> Iterator[str]:
    if not found.ledger:
        yield "  nothing was written to Omnitron"
    for one in found.ledger:
        state = one.state
        where = f"{state.product} on {state.domain}"
        if state.run_id is None:
            yield f"  {where}: nothing was written"
        else:
            since = f"since {local(one.log.settled_at, of)}, {_images(one.log.images)}, " if one.log is not None else ""
            yield f"  {where}: {since}by row {state.row} of run {state.run_id}"
        if state.in_flight is not None:
            page = f" of page {one.in_flight[1]} of run {one.in_flight[0]}" if one.in_flight is not None else ""
            yield f"  {where}: a row{page} is in flight"
        if state.doubt_until is not None:
            yield f"  {where}: {_doubt(state, of)}"


def _doubt(state: LedgerState, of: tzinfo) -> str:
    """What a late write means for a product, and what becomes of it."""
    if state.rewrites < len(PAUSES):
        again = f", {state.rewrites} times so far" if state.rewrites else ""
        until = f"in doubt: a late write may come until {local(state.doubt_until, of)}"
        return f"{until}; a newer set is written again by itself after it{again}"
    return (
        f"in doubt: the newest set was written again {state.rewrites} times without a good answer; the product's next row is"
        " sent whatever it holds: post it again, or `imageflow run FLOW --ids " + state.product + "`"
    )


def _row_lines(row: TracedRow, of: tzinfo) -> Iterator[str]:
    log, run = row.log, row.run
    about = (
        f"{run.flow} {_version(row, run)}, {run.trigger.kind}" if run is not None else "the run is not kept any more"
    )
    yield f"row {log.row} of run {log.run_id} ({about}): {log.state}"
    for source in row.sources:
        yield from _source_lines(source, row)
    if not row.sources and log.payload is not None:
        yield f"  kept    {_short(log.payload)}"
    if (request := sent(row)) is not None:
        yield f"  write   POST {request.url} {log.product}: {_images(log.images)}"
    for one in history(log):
        sku = f" {one.sku}" if one.sku else ""
        yield f"          {local(when(one), of)}{sku} {one.status or 'no answer'}  {one.reason or ''}".rstrip()
    why = f", {log.stage}: {log.reason}" if log.reason else ""
    yield f"  {log.state:10}{local(log.settled_at, of)}{why}".rstrip()


def _version(row: TracedRow, run: Run) -> str:
    if row.version in (None, run.version):
        return f"version {run.version}"
    return f"version {row.version}, in a retry; the run began with version {run.version}"


def _source_lines(source: Source, row: TracedRow) -> Iterator[str]:
    if source.page is not None:
        yield f"  read    page {source.page}, {_elements(source)}"
    for place, element in source.elements.items():
        yield f"          [{place}] {_short(element)}"
    if source.note is not None:
        yield f"          {source.note}"
    for step in source.dry.steps if source.dry is not None else ():
        if step.step in ("script", "mapping"):
            said = f"FAILED: {step.error.reason}" if step.error is not None else _short(step.output)
            yield f"  {step.step:8}{said}"
            yield from (f"          FAILED for element {place}: {one.reason}" for place, one in step.row_errors.items())
            yield from _prints(step.prints, row.log.run_id)
    yield from (f"  rows    {_outcome(tried)}" for tried in _rows_of(source, row.log))


def _prints(text: str, run_id: str) -> Iterator[str]:
    """What a script printed for these elements, its first lines."""
    lines = text.rstrip("\n").split("\n") if text else []
    yield from (f"          printed: {line[:SHOWN_CHARS]}" for line in lines[:SHOWN_PRINTS])
    if len(lines) > SHOWN_PRINTS:
        yield f"          printed: … and {counted(len(lines) - SHOWN_PRINTS, 'line')}: imageflow log {run_id}"


def _rows_of(source: Source, log: RowLog) -> list[DryRow]:
    rows = source.dry.rows if source.dry is not None else ()
    return [row for row in rows if log.product is None or row.product in (None, log.product)]


def _outcome(row: DryRow) -> str:
    return f"{row.product or '-'}: {row.why if row.state == 'failed' else _images(row.images)}"


def _elements(source: Source) -> str:
    if not source.elements:
        return "in which the product is not found"
    return f"{'' if source.certain else 'probably '}{counted(len(source.elements), 'element')}"


def _images(images: Sequence[Image]) -> str:
    return f"{counted(len(images), 'image')} {' '.join(image.url for image in images)}"[:SHOWN_CHARS]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}… ({describe(value)})"
