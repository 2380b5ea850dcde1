"""The test bench: what a draft of a flow's script and mapping would make of an answer, and what would change on Omnitron.
Nothing is written.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from imageflow.actions import rows
from imageflow.errors import FlowFileError, NotFoundError, Problem, RequestError
from imageflow.flows import file as flow_file
from imageflow.inspect import row_origin
from imageflow.inspect.dry_run import DryRow, DryRun, context_of, dry_run
from imageflow.inspect.row_origin import Document
from imageflow.model.flow import Definition, Flow
from imageflow.model.imageset import digest
from imageflow.sandbox.supervisor import Sandbox
from imageflow.store import Store

SECONDS = 30.0
ELEMENTS = 3
"""Of a page, so many are taken as input where no row is named."""
Effect = Literal["new", "changes", "same", "unknown"]
EFFECTS: tuple[Effect, ...] = get_args(Effect)


class TriedRow(NamedTuple):
    """A row of a try, and what it would change on Omnitron by the ledger; `unknown`: it would not be sent, or is no SKU."""

    row: DryRow
    change: Effect


class Tried(NamedTuple):
    """A try: its steps, and its rows."""

    dry: DryRun
    rows: list[TriedRow]


class Input(NamedTuple):
    """An answer to try: `body` as JSON text, and where it is from: a run and its page, or nowhere."""

    body: str
    run_id: str | None = None
    page: int | None = None
    rows: int = 0


def draft(flow: Flow, script: str | None, mapping: Any) -> dict[str, Any]:
    """The flow's document with another script and mapping; None or empty: without."""
    document = copy.deepcopy(flow.document)
    for name, value in (("script", script), ("mapping", mapping)):
        document.pop(name, None)
        if value:
            document[name] = value
    return document


async def tried(
    store: Store,
    sandbox: Sandbox,
    flow: Flow,
    document: dict[str, Any],
    body: bytes,
    *,
    run_id: str | None = None,
    page: int | None = None,
) -> Tried:
    """Put an answer through a document of the flow. `run_id` and `page` say where it is from: what a mapping finds by `^`.

    Raises FlowFileError where the document is no flow, RequestError where it takes too long, SandboxError.
    """
    definition = await asyncio.to_thread(flow_file.compiled, document)
    if definition.name != flow.name:
        raise FlowFileError([Problem("name", f"must be {flow.name!r}")])
    context: Mapping[str, Any] = {}
    if run_id is not None and page is not None:
        context = context_of(await rows.page(store, run_id, page))
    try:
        async with asyncio.timeout(SECONDS):
            dry = await dry_run(sandbox, definition, body, context)
    except TimeoutError as error:
        raise RequestError(f"the try took longer than {SECONDS:g} seconds: take fewer rows") from error
    return await compared(store, definition, dry)


async def compared(store: Store, definition: Definition, dry: DryRun) -> Tried:
    """A dry run, with what each row would change on Omnitron: `new` is what was never written there, `same` what was written last."""
    products = {row.product for row in dry.rows if row.product is not None and _is_sent(row)}
    known = await store.written_digests(definition.omnitron.domain, products) if products else {}
    return Tried(dry, [TriedRow(row, _effect(row, known)) for row in dry.rows])


def not_compared(dry: DryRun) -> Tried:
    """A dry run of which nothing is known what it would change."""
    return Tried(dry, [TriedRow(row, "unknown") for row in dry.rows])


def _is_sent(row: DryRow) -> bool:
    return row.state == "ready" and row.key == "sku"


def _effect(row: DryRow, known: Mapping[str, str | None]) -> Effect:
    if not _is_sent(row) or row.product is None:
        return "unknown"
    if row.product not in known:
        return "new"
    return "same" if known[row.product] == digest(row.images) else "changes"


async def input_of(store: Store, flow: Flow, run_id: str | None = None, row: int | None = None) -> Input:
    """An answer to try: the elements that a row of a run came from; else the first ones of a run; else those of the flow's
    newest run with a page. Raises NotFoundError where there is no such run or row.
    """
    if run_id is None:
        newest = [run for run in await store.runs(flow.name, limit=20) if run.pages]
        if not newest:
            return Input("")
        run_id = newest[0].run_id
    log = None if row is None else await rows.show(store, run_id, row)
    number = log.page if log is not None and log.page is not None and log.page > 0 else 1
    try:
        page = await rows.page(store, run_id, number)
    except NotFoundError:
        return Input("")  # pages are kept for a while only
    try:
        document = Document(page.body, flow.definition.rows_path)
        places: tuple[int, ...] = tuple(range(min(ELEMENTS, len(document.elements))))
        if log is not None:
            named = row_origin.candidates(document.elements, log.product) if log.product else ()
            same = tuple(n for n, element in enumerate(document.elements) if element == log.payload)
            places = (tuple(named) or same or places)[:ELEMENTS]
        body = document.only(places) if len(document.elements) > len(places) else page.body
        text = msgspec.json.format(body, indent=2).decode()
    except (ValueError, msgspec.MsgspecError):
        return Input("")
    return Input(text, run_id, number, len(document.elements))
