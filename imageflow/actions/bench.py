"""The test bench: what a draft of a flow's script and mapping would make of an answer, what would change on Omnitron, and what
would be sent. Nothing is written.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from imageflow.actions import rows
from imageflow.actions.actor import Actor
from imageflow.actions.runs import NotRunnable
from imageflow.errors import FlowFileError, NotFoundError, Problem, RequestError
from imageflow.flows import file as flow_file
from imageflow.inspect import product_history
from imageflow.inspect.dry_run import DryRow, DryRun, context_of, dry_run
from imageflow.inspect.live import FOUND, Live
from imageflow.inspect.product_history import Sent
from imageflow.inspect.row_origin import Document, Places
from imageflow.model.flow import Definition, Flow
from imageflow.model.imageset import digest
from imageflow.model.row import RowLog
from imageflow.sandbox.supervisor import Sandbox
from imageflow.store import Store
from imageflow.text.masking import mask

SECONDS = 30.0
ELEMENTS = 3
"""Of a page, so many are taken as input where no row is named."""
Effect = Literal["new", "changes", "same", "unknown"]
EFFECTS: tuple[Effect, ...] = get_args(Effect)


class TriedRow(NamedTuple):
    """A row of a try, and what it would change on Omnitron by the ledger; `unknown`: it would not be sent, or is no SKU. `refused`:
    why Omnitron refused the product when it was last sent, if it did.
    """

    row: DryRow
    change: Effect
    refused: str | None = None


class Tried(NamedTuple):
    """A try: its steps, and its rows."""

    dry: DryRun
    rows: list[TriedRow]


class Write(NamedTuple):
    """A row of a try, and the request that would be sent for it; None: none. `change`: see TriedRow. A row whose product is a base
    code is sent for each of its SKUs, which only Omnitron knows: its request names none.
    """

    row: DryRow
    change: Effect
    request: Sent | None


class Input(NamedTuple):
    """An answer to try: `body` as JSON text, and where it is from: a run and its page, or nowhere. `warnings`: what a run would warn
    of when it got this page. `row`: it is what this row of the run came from.
    """

    body: str
    run_id: str | None = None
    page: int | None = None
    rows: int = 0
    warnings: tuple[str, ...] = ()
    row: int | None = None


def draft(flow: Flow, script: str | None, mapping: Any) -> dict[str, Any]:
    """The flow's document with this script and mapping in place of its own. None or empty: it has none."""
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
    definition = await compiled(flow, document)
    context: Mapping[str, Any] = {}
    if run_id is not None and page is not None:
        context = context_of(await rows.page(store, run_id, page))
    try:
        async with asyncio.timeout(SECONDS):
            dry = await dry_run(sandbox, definition, body, context)
    except TimeoutError as error:
        raise RequestError(f"the try took longer than {SECONDS:g} seconds: take fewer rows") from error
    return await compared(store, definition, dry)


async def compiled(flow: Flow, document: dict[str, Any]) -> Definition:
    """A document of the flow, checked. Raises FlowFileError."""
    definition = await asyncio.to_thread(flow_file.compiled, document)
    if definition.name != flow.name:
        raise FlowFileError([Problem("name", f"must be {flow.name!r}")])
    return definition


async def compared(store: Store, definition: Definition, dry: DryRun) -> Tried:
    """A dry run, with what each row would change on Omnitron: `new` is what was never written there, `same` what was written last;
    and which products Omnitron has refused.
    """
    products = ready_skus(dry)
    known = await store.written_digests(definition.omnitron.domain, products) if products else {}
    ready = ready_products(dry)
    refused = await store.refused(definition.name, ready) if ready else {}
    return Tried(
        dry,
        [
            TriedRow(row, _effect(row, known), refused.get(row.product or "") if row.state == "ready" else None)
            for row in dry.rows
        ],
    )


def ready_products(dry: DryRun) -> set[str]:
    """The products, by SKU or base code, that a dry run would send."""
    return {row.product for row in dry.rows if row.product is not None and row.state == "ready"}


def ready_skus(dry: DryRun) -> set[str]:
    """The SKUs that a dry run would send: without base codes, whose SKUs only Omnitron knows."""
    return {row.product for row in dry.rows if row.product is not None and _is_sent(row)}


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


def writes(flow: Flow, tried: Tried) -> list[Write]:
    """The request that would be sent for each row of a try. None where the row fails, is superseded, or is on Omnitron
    with these images already, unless the flow writes unchanged rows too.
    """
    omnitron = flow.definition.omnitron
    skips = flow.definition.write.skip_unchanged
    found = []
    for row, change, _ in tried.rows:
        sent = row.state == "ready" and not (skips and change == "same")
        sku = row.product if row.key == "sku" else None
        body = {"product_sku": sku, "images": list(row.images)}
        found.append(Write(row, change, Sent("POST", omnitron.domain + omnitron.images_path, body) if sent else None))
    return found


async def asked(store: Store, live: Live, flow: Flow, actor: Actor, page: int = 1, elements: int = ELEMENTS) -> Input:
    """Ask the flow's ERP for a page now, with the flow's own login, as the first run would; return its first elements,
    without secrets. The audit log records that the ERP was asked. Raises NotRunnable for an outbound flow, and where
    asking fails.
    """
    if not flow.definition.inbound:
        raise NotRunnable(f"{flow.name} is an outbound flow: no ERP is asked for its rows")
    await store.record(actor.entry("erp.ask", f"flow {flow.name}", page=page))
    try:
        async with asyncio.timeout(SECONDS):
            found = await live.page(flow.definition, page)
    except FOUND as error:
        raise NotRunnable(mask(str(error))) from error
    except TimeoutError as error:
        raise NotRunnable(f"the ERP gave no answer within {SECONDS:g} seconds") from error
    taken = await asyncio.to_thread(_first, flow.definition, found.body, elements)
    return taken._replace(warnings=found.warnings)


def _first(definition: Definition, body: bytes, count: int) -> Input:
    document = Document(body, definition.rows_path)
    several = len(document.elements)
    if several > count:
        body = document.only(tuple(range(count)))
    shown = msgspec.json.encode(_masked(msgspec.json.decode(body)))
    return Input(msgspec.json.format(shown, indent=2).decode(), rows=several)


def _masked(value: Any) -> Any:
    """A document without secrets: an ERP may repeat what it was sent."""
    match value:
        case str():
            return mask(value)
        case list():
            return [_masked(item) for item in value]
        case dict():
            return {mask(name): _masked(item) for name, item in value.items()}
        case bool() | None:
            return value
    text = str(value)
    masked = mask(text)
    return value if masked == text else masked


async def input_of(
    store: Store,
    sandbox: Sandbox,
    flow: Flow,
    run_id: str | None = None,
    row: int | None = None,
    page: int | None = None,
) -> Input:
    """An answer to try: the elements that a row of a run came from; else the first ones of a page of a run; else those of the
    flow's newest run with rows. Raises NotFoundError where there is no such run or row.
    """
    if run_id is not None and row is not None:
        return await _of_row(store, sandbox, flow, await rows.show(store, run_id, row))
    if run_id is None:
        found = await store.runs(flow.name, limit=20)
        newest = [run for run in found if run.counts.total] or [run for run in found if run.pages]
        if not newest:
            return Input("")
        run_id = newest[0].run_id
    return await _of_page(store, flow, run_id, page or 1)


async def _of_row(store: Store, sandbox: Sandbox, flow: Flow, log: RowLog) -> Input:
    source = await product_history.origin(store, sandbox, log)
    if source is None or source.page is None:
        return Input("")
    made = await _of_page(store, flow, log.run_id, source.page, tuple(source.elements))
    return made._replace(row=log.row if source.elements and made.body else None)


async def _of_page(store: Store, flow: Flow, run_id: str, page: int, wanted: Places = ()) -> Input:
    """These elements of a page; the first ones where none is wanted."""
    try:
        kept = await rows.page(store, run_id, page)
        document = Document(kept.body, flow.definition.rows_path)
        many = len(document.elements)
        places = tuple(n for n in wanted if n < many) or tuple(range(min(ELEMENTS, many)))
        body = document.only(places) if many > len(places) else kept.body
        text = msgspec.json.format(body, indent=2).decode()
    except (NotFoundError, ValueError, msgspec.MsgspecError):  # pages are kept for a while only
        return Input("")
    return Input(text, run_id, page, many)
