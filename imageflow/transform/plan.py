"""What is to be registered and sent on for a page, or for a part of a run's join. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from imageflow.model.flow import Definition
from imageflow.model.imageset import digest
from imageflow.model.messages import PageRead
from imageflow.model.page import ROWS_PER_PAGE_LIMIT, row_version
from imageflow.model.row import Row, RowLog, StageName
from imageflow.runtime.bounded import Recent
from imageflow.sandbox.answer import elements
from imageflow.sandbox.outcome import Broken, FailedRow, Outcome
from imageflow.store import HeldRow
from imageflow.transform.rows import Draft, ImageSet, Joined, Superseded, held_images, to_rows


class Plan(msgspec.Struct, frozen=True):
    """`total` rows have numbers, by their index: those `ready` to be written, and those settled here and now."""

    total: int
    ready: tuple[tuple[int, Row], ...] = ()
    settled: tuple[RowLog, ...] = ()
    held: tuple[HeldRow, ...] = ()

    def numbered(self, numbers: Sequence[int]) -> list[Row]:
        """The rows to write, with the numbers that the store gave (a row without one has been lost: there is none)."""
        known = len(numbers)
        return [msgspec.structs.replace(row, row=numbers[index]) for index, row in self.ready if index < known]


def plan_page(message: PageRead, definition: Definition, body: bytes, outcome: Outcome) -> Plan:
    """What a page's outcome comes to."""
    if isinstance(outcome, Broken):
        return broken_page(message, definition.rows_path, body, outcome.stage, outcome.reason)
    drafts = to_rows(outcome.result, definition)
    if len(drafts) + len(outcome.failed) > ROWS_PER_PAGE_LIMIT:
        reason = f"the page has more than {ROWS_PER_PAGE_LIMIT:,} rows"
        return broken_page(message, definition.rows_path, body, "rows", reason)
    if definition.group == "run":
        return _held_back(message, drafts, outcome.failed)
    logs = [_draft_log(message, index, draft) for index, draft in enumerate(drafts) if not isinstance(draft, ImageSet)]
    failed = [_failed_log(message, len(drafts) + place, row) for place, row in enumerate(outcome.failed)]
    ready = tuple(
        (index, _row(row_version(message.seq, index), draft))
        for index, draft in enumerate(drafts)
        if isinstance(draft, ImageSet)
    )
    return Plan(len(drafts) + len(failed), ready, (*logs, *failed))


def _row(version: int, one: ImageSet | Joined) -> Row:
    """A row that has no number yet. The digest is taken here, where it keeps no writer from writing."""
    return Row(0, version, one.product, one.images, one.key, digest=digest(one.images))


def broken_page(message: PageRead, rows_path: str, body: bytes, stage: StageName, reason: str) -> Plan:
    """A page that failed as a whole: one failed row per element of the answer."""
    found = elements(body, rows_path)[:ROWS_PER_PAGE_LIMIT]
    logs = (_log(message, index, stage=stage, reason=reason, payload=element) for index, element in enumerate(found))
    return Plan(len(found), settled=tuple(logs))


def _held_back(message: PageRead, drafts: Sequence[Draft], failed: Sequence[FailedRow]) -> Plan:
    """Of a run that joins across pages: only what cannot be written is settled, and counted, now."""
    wrong = [draft for draft in drafts if not isinstance(draft, ImageSet)]
    logs = [_draft_log(message, place, draft) for place, draft in enumerate(wrong)]
    logs += [_failed_log(message, len(wrong) + place, row) for place, row in enumerate(failed)]
    held = tuple(
        HeldRow(draft.product, draft.key, row_version(message.seq, index), held_images(draft))
        for index, draft in enumerate(drafts)
        if isinstance(draft, ImageSet)
    )
    return Plan(len(logs), settled=tuple(logs), held=held)


def plan_part(run_id: str, joined: Sequence[Joined], give_up: str | None = None) -> Plan:
    """A part of a run's join; with `give_up`, the reason why none of it is to be written."""
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
                stage="rows",
                reason=reason,
                images=one.images,
                version=one.version,
                key=one.key,
            )
        )
    return Plan(len(joined), tuple(ready), tuple(settled))


def _draft_log(message: PageRead, index: int, draft: Draft) -> RowLog:
    if isinstance(draft, (Superseded, ImageSet)):
        reason = draft.reason if isinstance(draft, Superseded) else None
        log = _log(message, index, stage="rows", reason=reason, payload=None, product=draft.product)
        return msgspec.structs.replace(log, state="superseded", images=draft.images, key=draft.key)
    return _log(message, index, stage="rows", reason=draft.reason, payload=draft.payload, product=draft.product)


def _failed_log(message: PageRead, index: int, row: FailedRow) -> RowLog:
    return _log(message, index, stage="script", reason=row.reason, payload=row.element)


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


class Sightings:
    """Which products were on which page of a run, as far as this process saw it, to find those on two. Bounded."""

    def __init__(self, runs: int = 16, products: int = 200_000) -> None:
        self._products = products
        self._pages: Recent[str, dict[int, int]] = Recent(runs)
        self._warned: Recent[str, bool] = Recent(runs * 64)

    def repeated(self, run_id: str, page: int, products: Sequence[str]) -> bool:
        """Whether one of the products was on another page of the run; said once per run."""
        if run_id in self._warned:
            return False
        seen = self._pages.get(run_id)
        if seen is None:
            seen = self._pages.put(run_id, {})
        if any(seen.get(hash(product), page) != page for product in products):
            self._warned.put(run_id, True)
            self._pages.forget(run_id)
            return True
        if len(seen) + len(products) <= self._products:
            seen.update((hash(product), page) for product in products)
        return False


class Printed:
    """How much of what scripts print goes to the log: of each run so many characters, as far as this process sees it."""

    def __init__(self, chars: int = 1_000_000, runs: int = 256) -> None:
        self._chars = chars
        self._left: Recent[str, int] = Recent(runs)

    def of(self, run_id: str, text: str) -> str:
        """What is to be logged of a page's prints; nothing once the run's share is used up, which is said once."""
        left = self._left.get(run_id, self._chars)
        self._left.put(run_id, left - len(text) if left > 0 else 0)
        if len(text) < left:
            return text
        return text[:left] + "\n... what this run prints from here on is not logged" if left > 0 else ""


WARNING = (
    "some products are on more than one page of this run, and the images of the last page replace those of the others; "
    "if a product's images are meant to be joined across pages, set `group: run`"
)
