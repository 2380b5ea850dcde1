"""Rows that were not written, back into flight: with their images to the writers, or from their stored page through the flow.

A row that is retried is `retrying` until it is settled again. Where its stage is login or write, a RowsReady is on its way;
at any other stage, a ReplayPage of its page. A row that has an image set goes through its page, too, where the newest version
of the flow makes rows differently: its stage is `rows` then. What becomes of such a row is stored in one transaction, with the
RowsReady of what is to be written: so the message may come any number of times.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, and_, delete, func, or_, select, text, update
from sqlalchemy import Row as SqlRow

from imageflow.model.messages import ReplayPage, RowsReady, chunked
from imageflow.model.page import ROWS_PER_PAGE_LIMIT
from imageflow.model.row import Row, RowLog, history
from imageflow.model.run import Run
from imageflow.store import open_failures
from imageflow.store.audit import AuditEntry, record
from imageflow.store.batch import Batch, BatchStatement
from imageflow.store.database import Tx
from imageflow.store.failures import FAILED, IS_OPEN, NOT_UNCHANGED, SHOWN_FAILED
from imageflow.store.outbox import Unsent, post
from imageflow.store.row_record import RETRYING, failed_row, log_values, to_log
from imageflow.store.rows import decode_ranges
from imageflow.store.run_progress import advance, change, load
from imageflow.store.series import count_from_here
from imageflow.store.settling import log_rows
from imageflow.store.tables import pages, registered_pages, rows, run_causes, run_steps, runs
from imageflow.store.text import clean, to_json
from imageflow.store.transaction import Sql, reads, writes

WRITTEN_AT = ("login", "write")
"""The stages of rows that have an image set to be sent."""
Left = Literal["in flight", "page gone", "joined"]
"""Why a row that was not written cannot be retried: it is being retried; its page is not stored any more; its images were to
be joined with those of other pages."""

CAUSES_NAMED = 50
"""So many causes of what was retried are in the audit log."""
MOST_IN_RETRY = 10_000
"""So many rows of a run that are being tried again are counted one by one."""
IS_CANCELLED = and_(NOT_UNCHANGED, rows.c.state == "cancelled")

_REOPEN = BatchStatement(
    """
    UPDATE rows SET state = 'retrying', stage = taken.stage, page = taken.page FROM {taken}
    WHERE rows.run_id = taken.run_id AND rows.number = taken.number
    """,
    Batch("taken", run_id="text", number="bigint", stage="text", page="bigint"),
)

_IN_RETRY = """
    SELECT found.run_id, found.flow, CASE WHEN found.number < :most THEN found.number ELSE found.in_flight END AS number FROM (
        SELECT runs.run_id, runs.flow, runs.created_at,
            runs.total - runs.written - runs.unchanged - runs.superseded - runs.failed - runs.cancelled AS in_flight, (
            SELECT count(*) FROM (
                SELECT 1 FROM rows WHERE rows.run_id = runs.run_id AND state <> 'unchanged' AND state = 'retrying' LIMIT :most
            ) AS one
        ) AS number FROM runs WHERE runs.finished_at IS NULL AND {which}
    ) AS found WHERE found.number > 0 ORDER BY found.created_at, found.run_id
"""


class Taken(NamedTuple):
    """What one step of a retry did: `rows` are in flight again, and their messages in the outbox; `left`: rows that cannot
    be. `same`: rows that go through the version that they failed with; `old`: rows that are sent as another version made them,
    since their page cannot go through alone. `last`: the number to go on after, None at the end.
    """

    rows: int
    outbox: list[Unsent]
    left: Mapping[Left, int]
    same: int
    old: int
    last: int | None


class InRetry(NamedTuple):
    """A run with rows that are being tried again; where they are many, all of its rows that are in flight count."""

    run_id: str
    flow: str
    rows: int


class Replayed(NamedTuple):
    """A page whose `chosen` rows go through the flow again, and its `others`. `waits`: some of these have no log yet."""

    run: Run
    chosen: tuple[RowLog, ...]
    others: tuple[RowLog, ...]
    waits: bool


class _Stored(NamedTuple):
    """The pages of a run that are stored: their sequence numbers, the versions that they went through last, and the numbers of their
    rows.
    """

    run: Run
    seqs: Mapping[int, int]
    by_seq: Mapping[int, int]
    versions: Mapping[int, int]
    numbers: Mapping[int, Sequence[range]]

    def page_of(self, log: RowLog) -> int | None:
        """The page that a row came from, as far as it can be told; None: it was joined across pages."""
        if log.page is not None and log.page > 0:
            return log.page
        if self.run.pages == 1:
            return 1
        page = self.by_seq.get(log.version // ROWS_PER_PAGE_LIMIT) if log.page is None else None
        return page if page is not None and any(log.row in one for one in self.numbers.get(page, ())) else None

    def version_of(self, log: RowLog) -> int:
        return self.versions.get(self.page_of(log) or 0, self.run.version)


class ReplaysSql(Sql):
    """The methods of the store about rows that are put through again."""

    @writes
    async def reopen(
        self,
        tx: Tx,
        run_id: str,
        version: int | None = None,
        *,
        alike: Container[int] | None = None,
        joins: bool = False,
        row: int | None = None,
        group: str | None = None,
        only_open: bool = False,
        after: int = 0,
        limit: int = 10_000,
        audit: AuditEntry | None = None,
    ) -> Taken:
        """Take rows that failed or were cancelled back into flight: of a run, one row or one error group; with `only_open`,
        those whose failure is open. Those with an image set go to the writers with it, the others through the flow again, page
        by page; all by `version` of the flow (None: the run's). `alike`: the versions that make rows as that one does (None: all):
        what others made goes through its page, too, if it can. `joins`: that version joins rows across pages. Looks at `limit`
        rows above `after`.
        """
        run = await load(tx, run_id, lock=True)
        version = run.version if version is None else version
        mine = and_(rows.c.run_id == run.run_id, rows.c.number > after, *_asked(row, group))
        kinds = [and_(FAILED, IS_OPEN)] if only_open else [FAILED, IS_CANCELLED]
        numbers = await _numbers_of(tx, mine, kinds, limit)
        within = select(rows).where(rows.c.run_id == run.run_id, rows.c.number.in_(numbers), or_(*kinds))
        records = await tx.all(within.order_by(rows.c.number).with_for_update(of=rows)) if numbers else ()
        found = [to_log(row) for row in records]
        stored = await _stored(tx, run)
        ways = _ways(found, stored, alike, joins=joins)
        left = Counter(ways.left)
        if not after:
            left["in flight"] += await tx.value(
                select(func.count()).where(mine, SHOWN_FAILED, rows.c.state == RETRYING)
            )
        logs = [log for log in found if log.row in ways.anew or log.row in ways.ready]
        outbox: list[Unsent] = []
        if logs:
            taken = {log.row for log in logs}
            causes = sorted({row.fingerprint for row in records if row.fingerprint and row.number in taken})
            replaced = {"causes": causes[:CAUSES_NAMED], **_replaced(stored, logs, ways.anew)}
            await record(tx, audit, rows=len(logs), **replaced)
            logs = [_anew(log) if log.row in ways.anew else log for log in logs]
            await _reopen(tx, stored, logs)
            if not after:  # what steps do is told of the retry from here on
                await tx.execute(delete(run_steps).where(run_steps.c.run_id == run.run_id))
            failed = {log.row for log in logs if log.state == "failed"}
            await open_failures.taken(
                tx, run.flow, run_id, [failed_row(row) for row in records if row.number in failed]
            )
            outbox = [await post(tx, message) for message in _messages(stored, logs, version)]
        broken = [log for log in logs if log.state == "failed" and not sendable(log)]
        same = sum(stored.version_of(log) == version for log in broken)
        return Taken(len(logs), outbox, +left, same, ways.old, numbers[-1] if len(numbers) == limit else None)

    @reads
    async def retried(self, tx: Tx, run_id: str, version: int) -> list[RowsReady | ReplayPage]:
        """The messages of all rows of a run that are being retried, anew, by `version` of the flow."""
        run = await load(tx, run_id)
        statement = select(rows).where(rows.c.run_id == run.run_id, SHOWN_FAILED, rows.c.state == RETRYING)
        logs = [to_log(row) for row in await tx.all(statement.order_by(rows.c.number))]
        return _messages(await _stored(tx, run), logs, version) if logs else []

    @reads
    async def in_retry(self, tx: Tx, flow: str | None = None) -> list[InRetry]:
        """The runs of all flows, or of one, with rows that are being tried again now, the oldest first."""
        named = {} if flow is None else {"flow": clean(flow)}
        which = "true" if flow is None else "runs.flow = :flow"
        found = await tx.all(text(_IN_RETRY.format(which=which)), {**named, "most": MOST_IN_RETRY})
        return [InRetry._make(row) for row in found]

    @reads
    async def page_versions(self, tx: Tx, run_id: str) -> dict[int, int]:
        """The version that each page of a run went through last, of the pages that went through the flow again."""
        mine = (registered_pages.c.run_id == clean(run_id), registered_pages.c.version.is_not(None))
        found = await tx.all(select(registered_pages.c.page, registered_pages.c.version).where(*mine))
        return {row.page: row.version for row in found}

    @reads
    async def open_of(self, tx: Tx, *run_ids: str) -> dict[str, int]:
        """How many failures of each of these runs are open, by run. Runs without an open failure are left out."""
        mine = (run_causes.c.run_id.in_([clean(run_id) for run_id in run_ids]), run_causes.c.open > text("0"))
        found = select(run_causes.c.run_id, func.sum(run_causes.c.open).label("rows")).where(*mine)
        return {row.run_id: int(row.rows) for row in await tx.all(found.group_by(run_causes.c.run_id))}

    @reads
    async def failed_runs(self, tx: Tx, flow: str, group: str | None = None) -> list[str]:
        """The runs of a flow with failed rows that are open, the oldest first; if a group is given, with rows of it."""
        mine = (run_causes.c.flow == clean(flow), run_causes.c.open > text("0"))
        only = (run_causes.c.fingerprint == clean(group),) if group is not None else ()
        found = select(run_causes.c.run_id, run_causes.c.created_at).where(*mine, *only).distinct()
        return [row.run_id for row in await tx.all(found.order_by(run_causes.c.created_at, run_causes.c.run_id))]

    @reads
    async def replayed(self, tx: Tx, run_id: str, page: int) -> Replayed:
        """A page of which rows go through the flow again, with the logs of all its rows. Raises NotFoundError."""
        run = await load(tx, run_id)
        numbers = await _numbers(tx, run, page)
        if not numbers:
            return Replayed(run, (), (), False)
        within = (rows.c.run_id == run_id, rows.c.number.between(min(numbers), max(numbers)))
        mine = set(numbers)
        found = [row for row in await tx.all(select(rows).where(*within).order_by(rows.c.number)) if row.number in mine]
        chosen = {row.number for row in found if row.state == RETRYING and row.stage not in WRITTEN_AT}
        logs = [(row, to_log(row)) for row in found]
        others = [_shown(row, log) for row, log in logs if row.number not in chosen]
        return Replayed(
            run, tuple(log for _, log in logs if log.row in chosen), tuple(others), waits=len(found) < len(mine)
        )

    @writes
    async def replace_rows(
        self, tx: Tx, message: ReplayPage, chosen: Sequence[int], ready: Sequence[Row], settled: Sequence[RowLog]
    ) -> tuple[Unsent, ...] | None:
        """Put rows in the places of the `chosen` ones of a page: those to be written, whose messages are in the outbox then,
        and those that are settled. Numbers of 0 become new ones. None: another delivery of the message was faster.
        """
        run = await load(tx, message.run_id, lock=True)
        waiting = (rows.c.state == RETRYING, rows.c.stage.not_in(WRITTEN_AT), rows.c.run_id == run.run_id)
        numbers = await _numbers(tx, run, message.page)
        first, last = min(numbers, default=0), max(numbers, default=0)
        there = await tx.all(select(rows.c.number).where(*waiting, rows.c.number.between(first, last)))
        if not set(chosen) <= {row.number for row in there}:
            return None
        fresh = itertools.count(run.counts.total + 1)
        sent = [row if row.row else msgspec.structs.replace(row, row=next(fresh)) for row in ready]
        logs = [log if log.row else msgspec.structs.replace(log, row=next(fresh)) for log in settled]
        await _grow(tx, run, message, next(fresh) - 1)
        ended = await log_rows(tx, run.flow, [*(_retrying(message, row) for row in sent), *map(log_values, logs)])
        outbox = [await post(tx, RowsReady(run.run_id, run.flow, message.version, chunk)) for chunk in chunked(sent)]
        if not ended:
            await advance(tx, await load(tx, run.run_id))
        return tuple(outbox)


def sendable(log: RowLog) -> bool:
    """Whether the row can go to the writers as it is."""
    return log.stage in WRITTEN_AT and log.product is not None and bool(log.images)


async def _numbers_of(tx: Tx, mine: ColumnElement[bool], kinds: Sequence[ColumnElement[bool]], limit: int) -> list[int]:
    """The first `limit` numbers of rows of these kinds, each found by its own index."""
    found = [
        row.number
        for kind in kinds
        for row in await tx.all(select(rows.c.number).where(mine, kind).order_by(rows.c.number).limit(limit))
    ]
    return sorted(found)[:limit]


def _asked(row: int | None, group: str | None) -> list[ColumnElement[bool]]:
    by_row = [] if row is None else [rows.c.number == row]
    return by_row if group is None else [*by_row, rows.c.fingerprint == clean(group)]


class _Ways(NamedTuple):
    """How rows come through: `ready` to the writers with their images, `anew` through their page; `left`: not at all. `old` of the
    ready ones another version made, but their page cannot go through alone.
    """

    ready: set[int]
    anew: set[int]
    left: Mapping[Left, int]
    old: int


def _ways(found: Sequence[RowLog], stored: _Stored, alike: Container[int] | None, *, joins: bool) -> _Ways:
    why_not = {log.row: _why_not(log, stored, joins=joins) for log in found}
    sent = {log.row for log in found if sendable(log)}
    outdated = {log.row for log in found if alike is not None and stored.version_of(log) not in alike} & sent
    anew = {row for row, why in why_not.items() if why is None and (row not in sent or row in outdated)}
    left = Counter(why for row, why in why_not.items() if why is not None and row not in sent)
    return _Ways(sent - anew, anew, left, len(outdated - anew))


def _anew(log: RowLog) -> RowLog:
    """A row that goes through its page, as it is kept until then: at a stage before the writers."""
    return log if log.stage not in WRITTEN_AT else msgspec.structs.replace(log, stage="rows")


def _why_not(log: RowLog, stored: _Stored, *, joins: bool) -> Left | None:
    """Why a row cannot go through its page again; None: it can."""
    if joins and stored.run.pages > 1:
        return "joined"
    page = stored.page_of(log)
    if page is None:
        return "joined"
    return None if page in stored.seqs else "page gone"


async def _stored(tx: Tx, run: Run) -> _Stored:
    found = await tx.all(select(pages.c.page, pages.c.seq).where(pages.c.run_id == run.run_id))
    known = registered_pages.c
    registered = await tx.all(select(known.page, known.version, known.numbers).where(known.run_id == run.run_id))
    seqs = {row.page: row.seq for row in found}
    return _Stored(
        run,
        seqs,
        {seq: page for page, seq in seqs.items()},
        {row.page: row.version for row in registered if row.version is not None},
        {row.page: _ranges([row]) for row in registered},
    )


def _ranges(found: Sequence[SqlRow[Any]]) -> list[range]:
    """The row numbers of registered pages."""
    return [range(first, first + count) for row in found for first, count in decode_ranges(row.numbers)]


async def _reopen(tx: Tx, stored: _Stored, logs: Sequence[RowLog]) -> None:
    """Mark the rows as being retried, and let the run go on."""
    run = stored.run
    await count_from_here(tx, run.run_id)
    batch = [(run.run_id, log.row, log.stage, _page(stored, log)) for log in logs]
    await tx.run(_REOPEN.bind(tx, batch))
    states = Counter(log.state for log in logs)
    changes: dict[str, Any] = {
        "failed": runs.c.failed - states["failed"],
        "cancelled": runs.c.cancelled - states["cancelled"],
        "cancelled_at": None,
    }
    if run.read_complete:
        changes |= {"status": "draining", "finished_at": None}
    if run.ended:
        changes["retried_at"] = tx.now
    await tx.execute(update(runs).where(runs.c.run_id == run.run_id).values(**changes))


def _replaced(stored: _Stored, logs: Sequence[RowLog], anew: Container[int]) -> dict[str, Any]:
    """What a retry replaces, for the audit log: how many rows go through their pages again, which versions those went through
    before, and how many rows had failed at each stage or were cancelled.
    """
    from_pages = [log for log in logs if log.row in anew]
    ended = Counter("cancelled" if log.state == "cancelled" else str(log.stage) for log in logs)
    versions = sorted({stored.version_of(log) for log in from_pages})
    return {"from_pages": len(from_pages), "replaced": dict(ended), "versions_before": versions}


def _page(stored: _Stored, log: RowLog) -> int | None:
    return log.page if sendable(log) else stored.page_of(log)


def _messages(stored: _Stored, logs: Sequence[RowLog], version: int) -> list[RowsReady | ReplayPage]:
    """The messages that bring rows through: those that can be written as they are, and a page each of the others. What is said
    of Omnitron may be what was mended, so they all go by `version`.
    """
    run = stored.run
    ready = [
        Row(log.row, log.version, log.product or "", log.images, log.key, tries=history(log))
        for log in logs
        if sendable(log)
    ]
    messages: list[RowsReady | ReplayPage] = [
        RowsReady(run.run_id, run.flow, version, chunk) for chunk in chunked(ready)
    ]
    from_pages = {page for log in logs if not sendable(log) and (page := stored.page_of(log)) is not None}
    messages += [
        ReplayPage(run.run_id, run.flow, version, page, stored.seqs.get(page, 0)) for page in sorted(from_pages)
    ]
    return messages


async def _numbers(tx: Tx, run: Run, page: int) -> list[int]:
    """The row numbers of a page; of a run of one page, those of its join too."""
    mine = registered_pages.c.page == page if run.pages != 1 else registered_pages.c.page <= 1
    found = select(registered_pages.c.numbers).where(registered_pages.c.run_id == run.run_id, mine)
    return [number for numbers in _ranges(await tx.all(found)) for number in numbers]


def _shown(record_: Any, log: RowLog) -> RowLog:
    """The log of another row of the page; one that a writer has in hand counts as written."""
    return msgspec.structs.replace(log, state="written") if record_.state == RETRYING else log


def _retrying(message: ReplayPage, row: Row) -> tuple[Any, ...]:
    """The record of a row that goes to the writers: it has its product and images, and is in flight."""
    log = RowLog(
        run_id=message.run_id,
        row=row.row,
        product=row.product,
        state="failed",
        images=row.images,
        page=message.page,
        version=row.version,
        key=row.key,
    )
    values = log_values(log)
    return (*values[:3], RETRYING, *values[4:])


async def _grow(tx: Tx, run: Run, message: ReplayPage, highest: int) -> None:
    """The version that the page went through, and the numbers of its additional rows, which the run counts."""
    mine = (registered_pages.c.run_id == run.run_id, registered_pages.c.page == message.page)
    known = await tx.value(select(registered_pages.c.numbers).where(*mine))
    ranges = decode_ranges(known) if known is not None else []
    if highest > run.counts.total:
        ranges.append((run.counts.total + 1, highest - run.counts.total))
        await change(tx, run, total=highest)
    values = {"numbers": to_json(ranges), "version": message.version}
    statement = tx.insert(registered_pages).values(run_id=run.run_id, page=message.page, **values)
    await tx.execute(statement.on_conflict_do_update(index_elements=["run_id", "page"], set_=values))
