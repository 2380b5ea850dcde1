"""A draft of a flow against what really came: over its last kept pages, beside the version in force. Nothing is written."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from imageflow.actions import bench, rows
from imageflow.errors import NotFoundError
from imageflow.inspect.comparison import Kind, Pair, pairs
from imageflow.inspect.dry_run import DryRun, context_of, dry_run
from imageflow.inspect.row_origin import Document
from imageflow.model.flow import Definition, Flow
from imageflow.model.page import Page
from imageflow.sandbox.supervisor import Sandbox
from imageflow.store import Store

PAGES = 10
MAX_PAGES = 100
SECONDS = 60.0
EXAMPLES = 20
"""Of each kind but `same`, so many rows are shown."""
RUNS = 200
"""How many of the newest runs are searched for pages: most polls bring nothing new."""


class PageKey(NamedTuple):
    """A page of a run."""

    run_id: str
    page: int


class Example(NamedTuple):
    """A row that the two versions make differently, and its page."""

    where: PageKey
    pair: Pair


class Compared(NamedTuple):
    """The result of a comparison. `kinds` has one kind for each row, in the order of the pages; a product that several
    pages have counts once, by the newest of them. `late`: the time ran out before all pages were compared.
    """

    pages: list[PageKey]
    kinds: list[Kind]
    examples: list[Example]
    late: bool
    version: int

    @property
    def counts(self) -> Mapping[Kind, int]:
        """How many rows are of each kind; 0 for those that none is of."""
        return Counter(self.kinds)


async def kept(store: Store, flow: str, limit: int) -> list[PageKey]:
    """The last pages of a flow's runs that are kept and had rows, the newest run's first."""
    found: list[PageKey] = []
    for run in await store.runs(flow, limit=RUNS):
        if run.counts.total:
            found += [PageKey(run.run_id, page) for page in await store.kept_pages(run.run_id, limit - len(found))]
        if len(found) >= limit:
            break
    return found


async def compared(
    store: Store,
    sandbox: Sandbox,
    flow: Flow,
    document: dict[str, Any],
    *,
    pages: int = PAGES,
    seconds: float = SECONDS,
) -> Compared:
    """Put the last kept pages through a document of the flow and through its version in force. Stops after `pages`
    pages, or after `seconds`; returns what was compared by then. Raises FlowFileError where the document is no flow,
    SandboxError.
    """
    draft = await bench.compiled(flow, document)
    done = Compared([], [], [], False, flow.version)
    seen: set[str | bytes] = set()
    try:
        async with asyncio.timeout(seconds):
            async for page in _pages(store, await kept(store, flow.name, min(pages, MAX_PAGES))):
                was, now = await _both(sandbox, flow.definition, draft, page)
                refused = await store.refused(flow.name, bench.ready_products(was) | bench.ready_products(now))
                taken = await _taken(store, draft, bench.ready_skus(now) - bench.ready_skus(was))
                found = pairs(was.rows, now.rows, _elements(flow.definition, page), refused, taken)
                _add(done, PageKey(page.run_id, page.page), _not_yet(seen, found))
    except TimeoutError:
        return done._replace(late=True)
    return done


async def _taken(store: Store, definition: Definition, skus: set[str]) -> set[str]:
    """Which of the SKUs Omnitron has taken from us. A write with an unknown result does not count."""
    known = await store.written_digests(definition.omnitron.domain, skus) if skus else {}
    return {sku for sku, digest in known.items() if digest is not None}


async def _pages(store: Store, keys: list[PageKey]) -> AsyncIterator[Page]:
    for key in keys:
        try:
            yield await rows.page(store, *key)
        except NotFoundError:
            continue  # retention was faster


async def _both(sandbox: Sandbox, was: Definition, now: Definition, page: Page) -> tuple[DryRun, DryRun]:
    """A page through both versions, one after the other: the pages of real runs come first."""
    return await _run(sandbox, was, page), await _run(sandbox, now, page)


async def _run(sandbox: Sandbox, definition: Definition, page: Page) -> DryRun:
    return await dry_run(sandbox, definition, page.body, context_of(page), trace=False)


def _elements(definition: Definition, page: Page) -> list[Any]:
    try:
        return Document(page.body, definition.rows_path).elements
    except ValueError:
        return []


def _not_yet(seen: set[str | bytes], found: Sequence[Pair]) -> list[Pair]:
    """The pairs whose products no newer page had. Adds the products of all pairs to `seen`."""
    new = [pair for pair in found if not (_names(pair) & seen)]
    seen.update(name for pair in found for name in _names(pair))
    return new


def _names(pair: Pair) -> set[str | bytes]:
    """The products of a pair; if its rows name none, their elements as JSON."""
    rows = [row for row in (pair.was, pair.now) if row is not None]
    products: set[str | bytes] = {row.product for row in rows if row.product is not None}
    return products or {msgspec.json.encode(row.payload) for row in rows}


def _add(done: Compared, where: PageKey, found: list[Pair]) -> None:
    done.pages.append(where)
    shown = Counter(example.pair.kind for example in done.examples)
    for pair in found:
        done.kinds.append(pair.kind)
        if pair.kind != "same" and shown[pair.kind] < EXAMPLES:
            shown[pair.kind] += 1
            done.examples.append(Example(where, pair))
