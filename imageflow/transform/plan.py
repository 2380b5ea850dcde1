"""What to register and to send on for a page, or for a part of a run's join. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from imageflow.model.flow import Definition
from imageflow.model.imageset import digest
from imageflow.model.messages import PageRead
from imageflow.model.page import ROWS_PER_PAGE_LIMIT, row_version
from imageflow.model.row import CANCELLED, Row, RowLog, StageName
from imageflow.model.run import Run
from imageflow.runtime.bounded import Recent
from imageflow.sandbox.answer import elements
from imageflow.sandbox.outcome import Broken, FailedRow, Outcome
from imageflow.store import HeldRow
from imageflow.transform.joining import Joined, held_row, lacking
from imageflow.transform.rows import Draft, ImageSet, Superseded, awaited, to_rows


class Plan(msgspec.Struct, frozen=True):
    """A page has `total` rows, each with its index: rows `ready` to be written, and rows that are settled now. `held`: rows
    that wait for the run's join; they have no index. `broken`: the page failed as a whole, so it counts as not read.
    `encoded_urls`: how many URLs of its rows had to be percent-encoded. `parts`: how rows that are ready fail, where another
    page of the run has rows of the same product. `displaced`: a product of which a later row of the page replaces an earlier
    one, and has none of its images.
    """

    total: int
    ready: tuple[tuple[int, Row], ...] = ()
    settled: tuple[RowLog, ...] = ()
    held: tuple[HeldRow, ...] = ()
    broken: bool = False
    encoded_urls: int = 0
    parts: tuple[RowLog, ...] = ()
    displaced: str | None = None

    def numbered(self, numbers: Sequence[int]) -> list[Row]:
        """The rows to write, with the numbers that the store gave. A row without a number is left out: the script gave fewer rows
        when the page was registered, or the row has a log.
        """
        known = len(numbers)
        with_number = ((index, row) for index, row in self.ready if index < known and numbers[index])
        return [msgspec.structs.replace(row, row=numbers[index]) for index, row in with_number]


def plan_page(message: PageRead, definition: Definition, body: bytes, outcome: Outcome) -> Plan:
    """The plan of a page, by its outcome."""
    if isinstance(outcome, Broken):
        return broken_page(message, definition.rows_path, body, outcome.stage, outcome.reason)
    drafts = to_rows(outcome.result, definition)
    if len(drafts) + len(outcome.failed) > ROWS_PER_PAGE_LIMIT:
        reason = f"the page has more than {ROWS_PER_PAGE_LIMIT:,} rows"
        return broken_page(message, definition.rows_path, body, "rows", reason)
    held: list[HeldRow] = []
    counted: list[tuple[int, Draft]] = []
    for index, draft in enumerate(drafts):
        version = row_version(message.seq, index)
        if isinstance(draft, ImageSet) and draft.waits(definition):
            held.append(held_row(draft, version))
        else:
            counted.append((version, draft))
    logs = [_draft_log(message, i, draft) for i, (_, draft) in enumerate(counted) if not isinstance(draft, ImageSet)]
    logs += [_failed_log(message, len(counted) + i, row, definition) for i, row in enumerate(outcome.failed)]
    sets = [(index, version, draft) for index, (version, draft) in enumerate(counted) if isinstance(draft, ImageSet)]
    parts = [_part_log(message, index, draft) for index, _, draft in sets if draft.flat and definition.inbound]
    return Plan(
        len(counted) + len(outcome.failed),
        tuple((index, _row(version, draft)) for index, version, draft in sets),
        tuple(logs),
        tuple(held),
        encoded_urls=sum(draft.encoded for draft in drafts if isinstance(draft, ImageSet)),
        parts=tuple(parts),
        displaced=_displaced(drafts) if definition.inbound else None,  # other posts may share an outbound page
    )


def _displaced(drafts: Sequence[Draft]) -> str | None:
    return next((draft.product for draft in drafts if isinstance(draft, Superseded) and draft.displaced), None)


def _row(version: int, one: ImageSet | Joined) -> Row:
    """A row without a number yet. The digest is computed here: it costs time that a writer does not have."""
    return Row(0, version, one.product, one.images, one.key, digest=digest(one.images))


def broken_page(message: PageRead, rows_path: str, body: bytes, stage: StageName, reason: str) -> Plan:
    """A page that failed as a whole: one failed row per element of the answer."""
    found = elements(body, rows_path)[:ROWS_PER_PAGE_LIMIT]
    logs = (_log(message, index, stage=stage, reason=reason, payload=element) for index, element in enumerate(found))
    return Plan(len(found), settled=tuple(logs), broken=True)


def cancelled_page(message: PageRead, rows_path: str, body: bytes) -> Plan:
    """A page of a run that was cancelled before it was transformed: one cancelled row per element of the answer."""
    plan = broken_page(message, rows_path, body, "rows", CANCELLED)
    return _cancelled(plan)


def _cancelled(plan: Plan) -> Plan:
    return Plan(plan.total, settled=tuple(msgspec.structs.replace(log, state="cancelled") for log in plan.settled))


def plan_part(run_id: str, joined: Sequence[Joined], give_up: str | None = None, *, stage: StageName = "rows") -> Plan:
    """The plan of a part of a run's join. `give_up`: the reason why none of its rows is to be written, and `stage` is where
    that came about.
    """
    ready: list[tuple[int, Row]] = []
    settled: list[RowLog] = []
    for index, one in enumerate(joined):
        reason = give_up or one.reason
        if reason is None:
            ready.append((index, _row(one.version, one)))
            continue
        settled.append(
            RowLog(
                run_id=run_id,
                row=index,
                product=one.product,
                state="failed",
                stage=stage,
                reason=reason,
                images=one.images,
                version=one.version,
                key=one.key,
            )
        )
    return Plan(len(joined), tuple(ready), tuple(settled))


def unwritten_part(run: Run, joined: Sequence[Joined]) -> Plan | None:
    """The plan of a part of a join that is not to be written: the run is cancelled, or rows may be missing. Else None."""
    if run.cancelled_at is not None:
        return _cancelled(plan_part(run.run_id, joined, CANCELLED))
    missing = lacking(run)
    return None if missing is None else plan_part(run.run_id, joined, missing, stage="read")


def _draft_log(message: PageRead, index: int, draft: Draft) -> RowLog:
    if isinstance(draft, (Superseded, ImageSet)):
        reason = draft.reason if isinstance(draft, Superseded) else None
        log = _log(message, index, stage="rows", reason=reason, payload=None, product=draft.product)
        return msgspec.structs.replace(log, state="superseded", images=draft.images, key=draft.key)
    return _log(message, index, stage="rows", reason=draft.reason, payload=draft.payload, product=draft.product)


def _part_log(message: PageRead, index: int, draft: ImageSet) -> RowLog:
    """How a row fails where another page has rows of its product: it would take their images away."""
    log = _log(message, index, stage="rows", reason=CONTINUED, payload=None, product=draft.product)
    return msgspec.structs.replace(log, images=draft.images, key=draft.key)


def _failed_log(message: PageRead, index: int, row: FailedRow, definition: Definition) -> RowLog:
    """Where rows are joined, the product counts: without this row it must not be written."""
    product = awaited(row.element, definition)
    return _log(message, index, stage="script", reason=row.reason, payload=row.element, product=product)


def _log(
    message: PageRead, index: int, *, stage: StageName, reason: str | None, payload: Any, product: str | None = None
) -> RowLog:
    return RowLog(
        run_id=message.run_id,
        row=index,
        product=product,
        state="failed",
        stage=stage,
        reason=reason,
        payload=payload,
        page=message.page,
        version=row_version(message.seq, index),
    )


def first_stage(definition: Definition) -> StageName:
    """The stage that a page of the flow meets first: it is blamed where a page is given up."""
    return "script" if definition.script else "mapping" if definition.mapping else "rows"


def given_up(
    message: PageRead, numbers: Sequence[int], settled: set[int], stage: StageName, reason: str
) -> list[RowLog]:
    """The failures of the rows of a page that have a number and are not settled."""
    return [
        RowLog(
            run_id=message.run_id,
            row=number,
            product=None,
            state="failed",
            stage=stage,
            reason=reason,
            page=message.page,
        )
        for number in numbers
        if number not in settled
    ]


class Sightings:
    """On which page of a run this process saw a product, to find products on two pages. Bounded."""

    def __init__(self, runs: int = 16, products: int = 50_000) -> None:
        self._products = products
        self._pages: Recent[str, dict[int, int]] = Recent(runs)
        self._repeated: Recent[str, bool] = Recent(runs * 64)

    def repeated(self, run_id: str, page: int, products: Sequence[str]) -> bool:
        """Whether one of the products was on another page of the run, or one of an earlier page was."""
        if run_id in self._repeated:
            return True
        seen = self._pages.get(run_id)
        if seen is None:
            seen = self._pages.put(run_id, {})
        hashes = list(map(hash, products))
        if not seen.keys().isdisjoint(hashes) and any(seen.get(one, page) != page for one in hashes):
            self._repeated.put(run_id, True)
            self._pages.forget(run_id)
            return True
        if len(seen) + len(products) <= self._products:
            seen.update(dict.fromkeys(hashes, page))
        return False


class Printed:
    """Limits what scripts print to the run's log: each run has `chars` characters in this process."""

    def __init__(self, chars: int = 1_000_000, runs: int = 256) -> None:
        self._chars = chars
        self._left: Recent[str, int] = Recent(runs)

    def of(self, run_id: str, text: str) -> str:
        """The part of a page's prints to log. Once the run's share is used up, the log says so once, and then nothing."""
        left = self._left.get(run_id, self._chars)
        self._left.put(run_id, left - len(text) if left > 0 else 0)
        if len(text) < left:
            return text
        return text[:left] + "\n... what this run prints from here on is not kept" if left > 0 else ""


WARNING = (
    "some products are on more than one page of this run, and the images of the last page replace those of the others; "
    "if a product's images are meant to be joined across pages, set `group: run`"
)
REPLACED = (
    "several rows of a page are image sets of this product, and only the images of the last are written; if each row of the ERP is "
    'one image, let the script or mapping return `{"sku", "url"}` instead of `images`, or set `group: run`: then they are joined'
)
CONTINUED = (
    "not written: another page of this run has rows of the same product, and with `group: page` these would replace their "
    "images; leave `group` out, or set `group: run`: then rows are joined across pages"
)
