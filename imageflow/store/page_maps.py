"""Maps of runs: what became of each page, in a byte (model/page_map.py).

The bookkeeper makes them once a run has ended, a slice of rows at a time, so that no statement is long: whichever service
ends a run, and whatever crashes then. A run that is retried ends anew, and its map is made anew. The maps stand in a table
of their own, for lists of runs read the table `runs`.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, exists, select, update

from imageflow.store.batch import Batch, BatchStatement
from imageflow.store.database import Tx
from imageflow.store.failures import SHOWN_FAILED
from imageflow.store.rows import decode_ranges
from imageflow.store.run_record import ENDED
from imageflow.store.tables import flows, leases, page_maps, registered_pages, rows, runs
from imageflow.store.text import clean
from imageflow.store.transaction import Sql, reads, writes

MARK = "page maps"
"""The name under which `leases` holds the instant up to which runs that ended have maps."""
OVERLAP = timedelta(minutes=2)
"""A run may be seen so long after its end: its transaction began before."""
MOST_FAILED = 2_000


_REGISTERED = registered_pages.c
_RANGES = Batch("pages", low="bigint", high="bigint", page="bigint")
_COUNT = {
    True: BatchStatement(
        """
        SELECT pages.page, counted.state, CAST(sum(counted.number) AS bigint) AS number FROM {pages} CROSS JOIN LATERAL (
            SELECT rows.state, count(*) AS number FROM rows
            WHERE rows.run_id = :run_id AND rows.number BETWEEN pages.low AND pages.high GROUP BY rows.state
        ) AS counted GROUP BY pages.page, counted.state
        """,
        _RANGES,
    ),
    False: BatchStatement(
        """
        SELECT pages.page, rows.state, count(*) AS number FROM {pages} CROSS JOIN rows
        WHERE rows.run_id = :run_id AND rows.number BETWEEN pages.low AND pages.high GROUP BY pages.page, rows.state
        """,
        _RANGES,
    ),
}
"""By number: a row that reached the writers does not say which page it came of. By dialect (is it PostgreSQL?), since each has
another way to have each range looked up by the key: LATERAL, and SQLite's CROSS JOIN, which keeps the order."""


class Unmapped(NamedTuple):
    """A run that ended and has no map of that end."""

    run_id: str
    finished_at: datetime
    pages: int
    rows: int


class Range(NamedTuple):
    """The first and the last of some numbers of rows, and the page that they are of."""

    low: int
    high: int
    page: int


class PageMapsSql(Sql):
    """The methods of the store about maps of runs."""

    @writes
    async def unmapped_runs(self, tx: Tx, limit: int = 100) -> list[Unmapped]:
        """Runs that ended since the last look and have pages, but no map: the one that ended first comes first. What ended long
        before the first look is left out.
        """
        since = await tx.value(select(leases.c.until).where(leases.c.name == MARK).with_for_update())
        if since is None:
            since = tx.now - OVERLAP
            await tx.execute(tx.insert(leases).values(name=MARK, holder="", until=since).on_conflict_do_nothing())
        names = [row.name for row in await tx.all(select(flows.c.name))]
        its = (page_maps.c.run_id == runs.c.run_id, page_maps.c.finished_at == runs.c.finished_at)
        columns = (runs.c.run_id, runs.c.finished_at, runs.c.pages, runs.c.total)
        ended = (ENDED, runs.c.flow.in_(names), runs.c.finished_at > since - OVERLAP, runs.c.pages > 0)
        oldest = select(*columns).where(*ended, ~exists().where(*its)).order_by(runs.c.finished_at).limit(limit)
        found = [Unmapped(row.run_id, row.finished_at, row.pages, row.total) for row in await tx.all(oldest)]
        until = min((one.finished_at for one in found), default=tx.now)
        await tx.execute(update(leases).where(leases.c.name == MARK).values(until=max(since, until)))
        return found

    @reads
    async def count_pages(self, tx: Tx, run_id: str, after: int, limit: int) -> list[tuple[int, str, int]]:
        """How many rows of each state the next `limit` pages after page `after` have: page, state, count. Rows that a
        join made belong to no page.
        """
        ranges = await _ranges(tx, run_id, _REGISTERED.page > after, _REGISTERED.page <= after + limit)
        if not ranges:
            return []
        found = await tx.run(_COUNT[tx.postgresql].bind(tx, ranges, run_id=clean(run_id)))
        return [(row.page, row.state, row.number) for row in found]

    @writes
    async def save_page_map(self, tx: Tx, run_id: str, finished_at: datetime, packed: bytes) -> None:
        """Keep the map of a run that ended then, instead of one of an earlier end. Nothing is kept where it goes on by now, or is
        gone.
        """
        same = (runs.c.run_id == run_id, runs.c.finished_at == finished_at)
        if await tx.value(select(runs.c.run_id).where(*same)) is None:
            return
        values = {"finished_at": finished_at, "map": packed}
        statement = tx.insert(page_maps).values(run_id=run_id, **values)
        await tx.execute(statement.on_conflict_do_update(index_elements=["run_id"], set_=values))

    @reads
    async def page_map(self, tx: Tx, run_id: str) -> bytes | None:
        """The map of a run that has ended; None: there is none (yet)."""
        its = (page_maps.c.run_id == runs.c.run_id, page_maps.c.finished_at == runs.c.finished_at)
        found = select(page_maps.c.map).join(runs, runs.c.run_id == page_maps.c.run_id)
        packed: bytes | None = await tx.value(found.where(runs.c.run_id == clean(run_id), *its))
        return packed

    @reads
    async def failed_pages(self, tx: Tx, run_id: str) -> list[int]:
        """Which pages have failed rows, of the first MOST_FAILED rows of a run that failed."""
        mine = (rows.c.run_id == clean(run_id), SHOWN_FAILED, rows.c.state == "failed")
        found = await tx.all(select(rows.c.number).where(*mine).order_by(rows.c.number).limit(MOST_FAILED))
        if not found:
            return []
        ranges = await _ranges(tx, run_id, _REGISTERED.page > 0)
        return sorted(pages_of([row.number for row in found], ranges))


async def _ranges(tx: Tx, run_id: str, *wanted: ColumnElement[bool]) -> list[Range]:
    """The numbers of a run's registered pages, by number."""
    mine = select(_REGISTERED.page, _REGISTERED.numbers).where(_REGISTERED.run_id == clean(run_id), *wanted)
    return sorted(
        Range(first, first + count - 1, row.page)
        for row in await tx.all(mine)
        for first, count in decode_ranges(row.numbers)
    )


def pages_of(numbers: Iterable[int], ranges: Sequence[Range]) -> set[int]:
    """The pages of row numbers; `ranges` in their order."""
    pages = set()
    for number in numbers:
        place = bisect.bisect(ranges, number, key=lambda one: one.low) - 1
        if place >= 0 and number <= ranges[place].high:
            pages.add(ranges[place].page)
    return pages
