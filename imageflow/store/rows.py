"""Pages become rows: numbering, rows that are held back for the join, and row logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, and_, bindparam, false, func, insert, or_, select, update

from imageflow.errors import NotFoundError
from imageflow.model.row import STATES, RowLog
from imageflow.model.run import Counts, Run
from imageflow.store.database import Tx
from imageflow.store.failures import NOT_UNCHANGED, NOT_WRITE, OF_CAUSE, SHOWN_FAILED, WRITTEN
from imageflow.store.held import HeldRow, hold, seen_elsewhere
from imageflow.store.outbox import Unsent
from imageflow.store.prepared import Fixed
from imageflow.store.row_record import to_log
from imageflow.store.run_progress import advance, change, load, move_if_read, warned
from imageflow.store.settling import settle
from imageflow.store.tables import causes, registered_pages, rows, run_causes, runs
from imageflow.store.text import clean, to_json
from imageflow.store.transaction import Sql, reads, writes

_MINE = and_(registered_pages.c.run_id == bindparam("of_run"), registered_pages.c.page == bindparam("of_page"))
_NUMBERS = Fixed(select(registered_pages.c.numbers).where(_MINE))
_NUMBER = Fixed(
    insert(registered_pages).values(run_id=bindparam("of_run"), page=bindparam("of_page"), numbers=bindparam("numbers"))
)
_NUMBER_MORE = Fixed(update(registered_pages).where(_MINE).values(numbers=bindparam("numbers")))
decode_ranges = msgspec.json.Decoder(list[tuple[int, int]]).decode
"""The numbers of a registered page."""

Ranges = list[tuple[int, int]]
"""Row numbers of a page as (first, how many): as a rule one range."""
MOST_COUNTED = 20_000


class Registered(NamedTuple):
    """The numbers that a page's rows have: the row at index i of the page has `numbers[i]`. They stay the same however
    often the page is registered; 0: the row has a log already, so that it is settled, or is being retried. `refused`: those
    of the page's `parts` that failed, by their index within the page.
    """

    numbers: tuple[int, ...]
    outbox: tuple[Unsent, ...]
    first_time: bool
    refused: tuple[RowLog, ...] = ()


class RowsSql(Sql):
    """The methods of the store about rows."""

    @writes
    async def register_page(
        self,
        tx: Tx,
        run_id: str,
        page: int,
        total: int,
        settled: Sequence[RowLog],
        *,
        held: Sequence[HeldRow] = (),
        broken: bool = False,
        encoded_urls: int = 0,
        parts: Sequence[RowLog] = (),
        warnings: Sequence[str] = (),
    ) -> Registered:
        """The page's transformation gave `total` rows: number them, count them on the run, and log those that are
        settled already (invalid, superseded; their `row` is the index within the page, from 0). `held` are kept for the
        run's join and are not counted in `total`. Pages below 0 are parts of the join. `broken`: the page failed
        as a whole, so it counts as not read: the flow's watermark stays. `encoded_urls`: how many URLs of the page had to
        be percent-encoded. `parts`: rows of the page that are parts of a product, as they fail where another page of the run
        has a part of it; the run warns of the first. `warnings`: what else it warns of.

        Repeating it changes nothing. If a script that is not deterministic gives another number of rows the second
        time, additional rows get additional numbers, and missing ones are logged as failed with that reason. Raises
        NotFoundError for a page that was not stored, and for more rows of a run that has ended.
        """
        run = await load(tx, run_id, lock=True)
        known = await _known_ranges(tx, run_id, page)
        if known is None and page > run.pages:
            raise NotFoundError(f"run {run_id} has no page {page}")
        ranges = grown(known or [], total, run.counts.total)
        if run.ended and ranges != (known or []):
            raise NotFoundError(f"run {run_id} has ended: page {page} gives it no more rows")
        numbers = [number for first, count in ranges for number in range(first, first + count)]
        run = await _store_ranges(tx, run, page, known, ranges)
        if known is None:
            run = await _noted(tx, run, broken=broken, encoded_urls=encoded_urls)
        await move_if_read(tx, run)
        if known is None and held:
            run = await hold(tx, run, held)
        refused = await seen_elsewhere(tx, run_id, page, parts) if parts else ()
        run = await warned(tx, run, [*warnings, *(f"{log.product}: {log.reason}" for log in refused[:1])])
        logs = [_numbered(log, run_id, page, numbers) for log in (*settled, *refused)]
        logs += _missing(run_id, page, numbers[total:])
        logged = frozenset() if known is None else await _logged(tx, run_id, numbers)
        logs = [log for log in logs if log.row not in logged]
        ended = await settle(tx, "", logs) if logs else []
        run = await load(tx, run_id) if logs else run
        outbox = () if ended else (await advance(tx, run))[1]
        unsent = logged.union(numbers[log.row] for log in refused)
        return Registered(tuple(0 if n in unsent else n for n in numbers[:total]), outbox, known is None, refused)

    @reads
    async def rows(
        self,
        tx: Tx,
        run_id: str,
        *,
        state: str | None = None,
        stage: str | None = None,
        product: str | None = None,
        group: str | None = None,
        page: int | None = None,
        after: int = 0,
        limit: int = 1000,
    ) -> list[RowLog]:
        """Row logs of a run by row number; `group` is a fingerprint of failed rows, `page` the page they came of."""
        statement = select(rows).where(rows.c.number > after)
        wanted = _Filter(state, stage, product, group)
        if not await _may_be(tx, run_id, wanted):
            return []
        statement = statement.where(*_of_run(run_id, wanted))
        if page is not None:
            statement = statement.where(within(await _known_ranges(tx, clean(run_id), page) or []))
        return [to_log(row) for row in await tx.all(statement.order_by(rows.c.number).limit(limit))]

    @reads
    async def page_counts(self, tx: Tx, run_id: str, page: int) -> Counts | None:
        """How many rows of a page are settled, by state. None: the page is not known, or has more than MOST_COUNTED rows."""
        ranges = await _known_ranges(tx, clean(run_id), page)
        if ranges is None or (total := sum(count for _, count in ranges)) > MOST_COUNTED:
            return None
        counted = select(rows.c.state, func.count().label("number")).where(
            rows.c.run_id == clean(run_id), within(ranges)
        )
        found = {row.state: row.number for row in await tx.all(counted.group_by(rows.c.state))}
        return Counts(total, **{state: found.get(state, 0) for state in STATES})

    @reads
    async def product_rows(self, tx: Tx, product: str, *, limit: int = 100) -> list[RowLog]:
        """Row logs of a product over all runs, newest first."""
        newest = (
            select(rows).where(rows.c.product == clean(product)).order_by(rows.c.version.desc(), rows.c.run_id.desc())
        )
        return [to_log(row) for row in await tx.all(newest.limit(limit))]

    @reads
    async def written_last(self, tx: Tx, limit: int) -> list[RowLog]:
        """The rows that were written last, over all runs, the last first."""
        written = select(rows).where(WRITTEN, rows.c.settled_at.is_not(None))
        found = [to_log(row) for row in await tx.all(written.order_by(rows.c.settled_at.desc()).limit(limit))]
        # of those of one instant here: sorted by the database, they would all be read, however many there are
        return sorted(found, key=lambda log: (log.settled_at, log.run_id, log.row), reverse=True)


class _Filter(NamedTuple):
    """Which rows of a run are wanted."""

    state: str | None
    stage: str | None
    product: str | None
    group: str | None


def _of_run(run_id: str, wanted: _Filter) -> list[ColumnElement[bool]]:
    """Conditions that lead a planner to the index that has the rows in their order, however few they are in a large run. The
    words that are no parameters are those of the indexes.
    """
    its = rows.c.run_id == clean(run_id)
    conditions: list[ColumnElement[bool]] = []
    if wanted.product is not None:
        # a product has few rows: so not by the run's key
        its = rows.c.run_id.concat("") == clean(run_id)
        conditions.append(rows.c.product == clean(wanted.product))
    if wanted.group is not None:
        conditions += [OF_CAUSE, rows.c.fingerprint == clean(wanted.group)]
    if wanted.stage is not None:
        conditions.append(rows.c.stage == clean(wanted.stage))
        if wanted.stage != "write" and wanted.group is None:
            conditions.append(NOT_WRITE)
    if wanted.state == "failed":
        conditions.append(SHOWN_FAILED)
    elif wanted.state is not None:
        conditions.append(rows.c.state == wanted.state)
        if wanted.state != "unchanged":
            conditions.append(NOT_UNCHANGED)
    return [its, *conditions]


async def _may_be(tx: Tx, run_id: str, wanted: _Filter) -> bool:
    """Whether a run can have such rows, as far as its counts say: where it has none, nothing is searched."""
    if wanted.state in ("written", "unchanged") and wanted.stage not in (None, "write"):
        return False
    if wanted.product is not None or wanted.group is not None or (wanted.state is None and wanted.stage != "write"):
        return True
    run = await tx.first(select(runs).where(runs.c.run_id == clean(run_id)))
    if run is None:
        return False
    if wanted.state in STATES and wanted.state != "failed" and run.finished_at is not None:
        return bool(getattr(run, wanted.state))
    written = run.written or run.unchanged or run.superseded or run.cancelled
    if wanted.stage != "write" or run.finished_at is None or (wanted.state is None and written):
        return True
    same = and_(causes.c.flow == run_causes.c.flow, causes.c.fingerprint == run_causes.c.fingerprint)
    at_write = select(run_causes.c.run_id).join(causes, same).where(causes.c.stage == "write", run_causes.c.failed > 0)
    return await tx.value(at_write.where(run_causes.c.run_id == run.run_id).limit(1)) is not None


def within(ranges: Ranges) -> ColumnElement[bool]:
    """Rows with numbers in these ranges."""
    return or_(false(), *(rows.c.number.between(first, first + count - 1) for first, count in ranges))


def grown(known: Ranges, total: int, highest: int) -> Ranges:
    """Ranges of numbers for at least `total` rows: the known ones, and new ones after `highest` for what is missing."""
    missing = total - sum(count for _, count in known)
    return [*known, (highest + 1, missing)] if missing > 0 else known


async def _known_ranges(tx: Tx, run_id: str, page: int) -> Ranges | None:
    row = await tx.run_one(_NUMBERS.bind(tx, of_run=run_id, of_page=page))
    return None if row is None else decode_ranges(row.numbers)


async def _logged(tx: Tx, run_id: str, numbers: Sequence[int]) -> frozenset[int]:
    if not numbers:
        return frozenset()
    within = rows.c.number.between(min(numbers), max(numbers))
    return frozenset(row.number for row in await tx.all(select(rows.c.number).where(rows.c.run_id == run_id, within)))


async def _store_ranges(tx: Tx, run: Run, page: int, known: Ranges | None, ranges: Ranges) -> Run:
    """Store a page's numbers and count its new rows on the run. A run that had ended goes on if there are any."""
    if known is not None and len(known) == len(ranges):
        return run
    statement = _NUMBER if known is None else _NUMBER_MORE
    await tx.run(statement.bind(tx, of_run=run.run_id, of_page=page, numbers=to_json(ranges)))
    added = sum(count for _, count in ranges) - sum(count for _, count in known or ())
    changes: dict[str, Any] = {"total": run.counts.total + added}
    if known is None and page >= 1:
        changes["pages_done"] = run.pages_done + 1
    if run.ended and added:
        changes |= {"status": "draining", "finished_at": None}
    return await change(tx, run, **changes)


async def _noted(tx: Tx, run: Run, *, broken: bool, encoded_urls: int) -> Run:
    """Count on the run what is known of a new page."""
    changes: dict[str, Any] = {}
    if broken:
        changes |= {"moves_watermark": False, "broken_pages": run.broken_pages + 1}
    if encoded_urls:
        changes["encoded_urls"] = run.encoded_urls + encoded_urls
    return await change(tx, run, **changes) if changes else run


def _numbered(log: RowLog, run_id: str, page: int, numbers: Sequence[int]) -> RowLog:
    """A log whose `row` is an index within the page, with the row's number within the run."""
    number = numbers[log.row]
    return msgspec.structs.replace(log, run_id=run_id, row=number, page=page if log.page is None else log.page)


def _missing(run_id: str, page: int, numbers: Sequence[int]) -> list[RowLog]:
    """Logs of rows that a page had when it was first transformed, and has no more."""
    why = "the row was missing when the page was transformed again: the script is not deterministic"
    return [
        RowLog(run_id=run_id, row=number, product=None, state="failed", stage="script", reason=why, page=page)
        for number in numbers
    ]
