"""Everything that happened to one product: the ERP's row, what the flow made of it, each try, what is on Omnitron.

The store has row logs with their tries, the ledger, and the pages for as long as they are kept. It does not have what
lies between page and row: that is run again, in the sandbox, with the version of the flow that the run is pinned to; where
rows of the run were retried, with those versions too, until the row comes out.
`row_origin.py` decides what to run.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from imageflow.errors import ImageFlowError, NotFoundError
from imageflow.inspect import row_origin
from imageflow.inspect.dry_run import DryRun, context_of, dry_run
from imageflow.inspect.row_origin import Document, Places
from imageflow.model.flow import Definition, Omnitron
from imageflow.model.imageset import Image
from imageflow.model.page import ROWS_PER_PAGE_LIMIT, Page
from imageflow.model.row import RowLog
from imageflow.model.run import Run
from imageflow.sandbox.supervisor import Sandbox
from imageflow.store import AuditRecord, LedgerState, Store
from imageflow.text.phrase import Phrase, phrase

ROWS_LIMIT = 20
PAGES_LIMIT = 50
"""Of a run that joins across pages, so many are searched for the product."""
ELEMENTS_LIMIT = 20
VERSIONS_LIMIT = 5
"""So many versions are tried for a row of a run that was retried."""
FROM_PAGE = ("script", "mapping", "rows")
"""The stages between page and row: a row that failed at one of them goes through its page again in a retry."""
NARROW_SECONDS = 10.0
"""The time in which dry runs look for a row's elements."""
SHOWN_CHARS = 300


class Source(msgspec.Struct, frozen=True):
    """A page that a row came from. `elements` of it by their index; `certain`: the row comes out of them alone. `dry`:
    how they go through the flow; of the whole page, where that fails as a whole. `note`: what is not known, and why.
    """

    page: int | None
    elements: dict[int, Any] = {}
    certain: bool = False
    dry: DryRun | None = None
    note: Phrase | None = None


class TracedRow(msgspec.Struct, frozen=True):
    """A row of a run with what led to it. `version` of the flow made it, which is `definition`; after a retry that may be
    another than the run's. `omnitron`: what it was sent by. `run`, `definition` and `version` are
    None where they are gone.
    """

    log: RowLog
    run: Run | None
    definition: Definition | None
    sources: tuple[Source, ...] = ()
    version: int | None = None
    omnitron: Omnitron | None = None


class Sent(msgspec.Struct, frozen=True):
    """A request to Omnitron."""

    method: str
    url: str
    body: dict[str, Any]


class Standing(msgspec.Struct, frozen=True):
    """What is on Omnitron for a product: the ledger's entry, and the log of the row that was written last. `in_flight`
    is the page (run, number) of the row that a writer has in hand now.
    """

    state: LedgerState
    log: RowLog | None
    in_flight: tuple[str, int] | None = None


class Trace(msgspec.Struct, frozen=True):
    """Rows newest first; `more`: there are older ones."""

    product: str
    ledger: tuple[Standing, ...]
    rows: tuple[TracedRow, ...]
    more: bool = False


# gathering ---------------------------------------------------------------------------------------------------------------


async def trace(store: Store, sandbox: Sandbox, product: str, *, limit: int = ROWS_LIMIT) -> Trace:
    """What is known of a product, by SKU or base code; of its `limit` newest rows.

    Raises NotFoundError where nothing is known.
    """
    found = await logs(store, product, limit + 1)
    standing = await standings(store, product, found)
    written = [one.log for one in standing]
    known = {(log.run_id, log.row) for log in found}
    found += [
        log for log in written if log is not None and (log.run_id, log.row) not in known and log.product != product
    ]
    if not found and not any(one.state.tells for one in standing):
        again = f"imageflow run FLOW --ids {shlex.quote(product)}"
        raise NotFoundError(f"nothing is known of a product {product!r}; to ask the ERP of a flow for it: {again}")
    found.sort(key=_age, reverse=True)
    rows = [await _traced(store, sandbox, log) for log in found[:limit]]
    return Trace(product, tuple(standing), tuple(rows), len(found) > limit)


async def logs(store: Store, product: str, limit: int, *, exactly: bool = False) -> list[RowLog]:
    """The newest logs of a product, the newest first. Includes open failures that have no product yet, but whose row
    names this one: as a value, or, unless `exactly`, also within a text.
    """
    named = await store.nameless_rows(product)
    found = await store.product_rows(product, limit=limit)
    found += [log for log in named if row_origin.names(log.payload, product, exactly=exactly)]
    return sorted(found, key=_age, reverse=True)[:limit]


def _age(log: RowLog) -> tuple[int, str, int]:
    return log.version, log.run_id, log.row


async def origin(store: Store, sandbox: Sandbox, log: RowLog) -> Source | None:
    """The page that a row came from, with the elements that it was made of; preferably a page where that is certain.
    None: not known.
    """
    sources = (await _traced(store, sandbox, log)).sources
    return next((source for source in sources if source.certain), next(iter(sources), None))


async def standings(store: Store, product: str, logs: Sequence[RowLog]) -> list[Standing]:
    """What is on Omnitron for a product. `logs`: newest logs of it, which tell a base code by what it was written to."""
    found = []
    for state in await _states(store, product, logs):
        log = _placed(await _row(store, state.run_id, state.row), logs)
        found.append(Standing(state, log, await _in_flight(store, state)))
    return found


def _placed(log: RowLog | None, logs: Sequence[RowLog]) -> RowLog | None:
    """The log of the row that put these images where they are, as far as it is kept: the ledger names the last one that found
    them there. Pure.
    """
    if log is None or log.state != "unchanged":
        return log
    same = (one for one in logs if one.state == "written" and one.images == log.images and one.version < log.version)
    return next(same, log)


async def written_since(store: Store, domain: str, run_id: str, products: Collection[str]) -> set[str]:
    """Which of the products that a run wrote another run has written, or found unchanged, since."""
    return await store.written_since(domain, run_id, products) if products else set()


async def overtaken(store: Store, domain: str, versions: Mapping[str, int]) -> set[str]:
    """The products of which the domain has a newer version than `versions` says."""
    return await store.overtaken(domain, versions) if versions else set()


async def _states(store: Store, product: str, logs: Sequence[RowLog]) -> list[LedgerState]:
    """The ledger's entries: of a SKU, and of all SKUs that a base code was written to."""
    omnitrons = [flow.definition.omnitron for flow in await store.flows()]
    written = [log for log in logs if log.state == "written"]
    omnitrons += [found for log in written if (found := await _omnitron(store, log)) is not None]
    states = await store.ledger(product, sorted({one.domain for one in omnitrons}))
    newest = next((log for log in logs if log.key == "base_code" and log.state == "written"), None)
    if newest is not None and newest.product == product and (found := await _omnitron(store, newest)) is not None:
        states += await store.targets(found.domain, newest.run_id, newest.row)
    return list(dict.fromkeys(states))


async def _omnitron(store: Store, log: RowLog) -> Omnitron | None:
    """What the row was sent by; None where its run or its flow's version is gone."""
    try:
        run = await store.run(log.run_id)
        version = sent_by(run, await store.steered(run.run_id), log.settled_at)
        return (await store.flow(run.flow, version)).definition.omnitron
    except NotFoundError:
        return None


async def retries(store: Store, runs: Collection[str]) -> list[AuditRecord]:
    """Who retried rows of these runs, for sent_by."""
    return await store.steered(*runs) if runs else []


async def still_open(store: Store, runs: Collection[str]) -> dict[str, int]:
    """How many failures of each of these runs are open, by run. Runs without an open failure are left out."""
    return await store.open_of(*runs) if runs else {}


def sent_by(run: Run, steered: Sequence[AuditRecord], at: datetime | None) -> int:
    """The version of the flow by which a row that was settled `at` an instant was sent: that of the last retry of its
    run before then, or else the run's. Pure.
    """
    retried = [
        version
        for one in steered
        if one.entry.what == "run.retry" and one.entry.object == f"run {run.run_id}"
        if at is not None and one.at <= at
        if isinstance(version := one.entry.detail.get("version"), int)
    ]
    return retried[-1] if retried else run.version


async def _row(store: Store, run_id: str | None, row: int | None) -> RowLog | None:
    if run_id is None or row is None:
        return None
    found = await store.rows(run_id, after=row - 1, limit=1)
    return found[0] if found and found[0].row == row else None


async def _in_flight(store: Store, state: LedgerState) -> tuple[str, int] | None:
    if state.in_flight is None:
        return None
    try:
        page = await store.page_of(state.in_flight // ROWS_PER_PAGE_LIMIT)
    except NotFoundError:
        return None
    return page.run_id, page.page


async def _traced(store: Store, sandbox: Sandbox, log: RowLog) -> TracedRow:
    try:
        run = await store.run(log.run_id)
    except NotFoundError:
        return TracedRow(log, None, None)
    versions = [run.version, *await _retried_with(store, run)]
    if (
        log.state == "failed" and log.stage in FROM_PAGE
    ):  # of two versions that it fails with, the newer one was the last
        versions = [*versions[1:], run.version]
    omnitron = await _omnitron(store, log)
    found: list[TracedRow] = []
    for version in versions:
        with contextlib.suppress(NotFoundError):
            found.append(await _made_by(store, sandbox, log, run, version, omnitron))
            if _is_told(found[-1]):
                return found[-1]
    return next((row for row in found if row.sources), found[0] if found else TracedRow(log, None, None))


async def _made_by(
    store: Store, sandbox: Sandbox, log: RowLog, run: Run, version: int, omnitron: Omnitron | None
) -> TracedRow:
    """The row with what a version of the flow has to do with it. Raises NotFoundError where the version is gone."""
    definition = (await store.flow(run.flow, version)).definition
    sources = [
        await _source(sandbox, definition, log, page) if isinstance(page, Page) else page
        for page in await _pages(store, run, definition, log)
    ]
    return TracedRow(log, run, definition, tuple(source for source in sources if source is not None), version, omnitron)


def _is_told(row: TracedRow) -> bool:
    """Whether the row comes out of its version."""
    return any(source.certain for source in row.sources)


async def _retried_with(store: Store, run: Run) -> list[int]:
    """The versions, besides the run's, that pages of the row's run went through in a retry: the newest one first."""
    last = await store.page_versions(run.run_id)
    if not last:
        return []
    asked = [record.entry.detail.get("version") for record in await store.steered(run.run_id)]
    versions = {*last.values(), *(version for version in asked if isinstance(version, int))} - {run.version}
    return sorted(versions, reverse=True)[:VERSIONS_LIMIT]


async def _pages(store: Store, run: Run, definition: Definition, log: RowLog) -> list[Page | Source]:
    """The pages that a row may come from; a note in place of each page that is gone."""
    if _joined(definition, log):
        numbers = range(1, min(run.pages, PAGES_LIMIT) + 1)
        pages = [await _page(store, run.run_id, number) for number in numbers]
        beyond = phrase("only the first %(most)s of %(pages)s pages are searched", most=PAGES_LIMIT, pages=run.pages)
        return [*pages, *([Source(None, note=beyond)] if run.pages > PAGES_LIMIT else [])]
    if log.page is not None:
        return [await _page(store, run.run_id, log.page)]
    try:
        return [await store.page_of(log.version // ROWS_PER_PAGE_LIMIT)]
    except NotFoundError:
        return [Source(None, note=phrase("the page is not kept any more"))]


async def _page(store: Store, run_id: str, number: int) -> Page | Source:
    try:
        return await store.page(run_id, number)
    except NotFoundError:
        return Source(number, note=phrase("the page is not kept any more"))


async def _source(sandbox: Sandbox, definition: Definition, log: RowLog, page: Page) -> Source | None:
    """What a page has to do with a row; None where that is nothing (of a run that joins across pages)."""
    try:
        document = Document(page.body, definition.rows_path)
        guess = _guess(document, log)
        if not guess and _joined(definition, log) and page.seq != log.version // ROWS_PER_PAGE_LIMIT:
            return None
        found, dry_runs = await _narrowed(sandbox, definition, log, page, document, guess)
    except (ValueError, ImageFlowError) as error:
        return Source(page.page, note=phrase("it cannot be run again: %(error)s", error=str(error)))
    if found is None and _joined(definition, log):
        return None
    return _judged(page, document, guess, found, dry_runs)


async def _narrowed(
    sandbox: Sandbox, definition: Definition, log: RowLog, page: Page, document: Document, guess: Places
) -> tuple[Places | None, dict[Places, DryRun]]:
    """The fewest elements that the row comes out of, and all dry_runs that were made to find them."""
    dry_runs: dict[Places, DryRun] = {}
    images = log.images
    if _joined(definition, log):
        whole = await dry_run(sandbox, definition, page.body, context_of(page))
        images = next((row.images for row in whole.rows if row.product == log.product and row.state == "ready"), ())
    came: list[Places] = []
    steps = row_origin.narrow(len(document.elements), guess)
    until = time.monotonic() + NARROW_SECONDS
    with contextlib.suppress(StopIteration):
        places = next(steps)
        while True:
            body = page.body if len(places) == len(document.elements) else document.only(places)
            dry_runs[places] = await dry_run(sandbox, definition, body, context_of(page))
            if is_it := _came(dry_runs[places], log, images):
                came.append(places)
            if time.monotonic() > until:
                break
            places = steps.send(is_it)
    return (came[-1] if came else None), dry_runs


def _judged(
    page: Page, document: Document, guess: Places, found: Places | None, dry_runs: dict[Places, DryRun]
) -> Source:
    elements = document.elements
    if found is None:
        note = phrase(
            "run again, it does not come to the same: the script is not deterministic, or it has been answered for"
        )
        return Source(page.page, _at(elements, guess), dry=dry_runs.get(guess), note=note)
    if guess and not set(guess) & set(found):
        places = ", ".join(map(str, found[:ELEMENTS_LIMIT]))
        note = phrase("the page fails as a whole, because of what is at %(places)s", places=places)
        return Source(page.page, _at(elements, guess), certain=True, dry=_small(dry_runs[found], found), note=note)
    many = phrase("it takes %(elements)s elements of the page together", elements=len(found))
    note_ = many if len(found) > ELEMENTS_LIMIT else None
    return Source(page.page, _at(elements, found), certain=True, dry=_small(dry_runs[found], found), note=note_)


def _at(elements: Sequence[Any], places: Places) -> dict[int, Any]:
    return {place: elements[place] for place in places[:ELEMENTS_LIMIT]}


def _small(dry: DryRun, places: Places) -> DryRun | None:
    """A dry run of few elements; among many, the row could not be found."""
    return dry if len(places) <= ELEMENTS_LIMIT else None


def _joined(definition: Definition, log: RowLog) -> bool:
    """Whether the row was joined across pages."""
    return definition.holds_back != "nothing" and (log.page is None or log.page < 0)


def _guess(document: Document, log: RowLog) -> Places:
    """Where the row may come from: a failure that names no product has its element as payload."""
    if log.product is None:
        return tuple(place for place, element in enumerate(document.elements) if element == log.payload)[:1]
    return row_origin.candidates(document.elements, log.product)


def _came(dry: DryRun, log: RowLog, images: tuple[Image, ...]) -> bool:
    """Whether a dry run's rows hold this row as its log has it, with these images."""
    mine = [row for row in dry.rows if log.product is None or row.product == log.product]
    if log.stage in FROM_PAGE and log.state == "failed":
        return any(row.state == "failed" and row.reason == log.reason for row in mine)
    state = "superseded" if log.page is not None else "ready"
    return any(row.state == state and row.key == log.key and row.images == images for row in mine)


# what was sent -----------------------------------------------------------------------------------------------------------


def sent(row: TracedRow) -> Sent | None:
    """The request that wrote the row, if it was sent at all."""
    log, omnitron = row.log, row.omnitron
    if not log.attempts or omnitron is None:
        return None
    url = omnitron.domain + omnitron.images_path
    return Sent("POST", url, {"product_sku": sku_of(log), "images": list(log.images)})


def sku_of(log: RowLog) -> str | None:
    """The row's SKU; None where its product is a base code, or not known."""
    return log.product if log.key == "sku" else None
