"""Maps of runs: what became of each page, in a byte (model/page_map.py).

The bookkeeper makes them once a run has ended, a slice of rows at a time, so that no statement is long: whichever service
ends a run, and whatever crashes then. A run that is retried ends anew, and its map is made anew. The maps stand in a table
of their own, for lists of runs read the table `runs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import exists, func, select, update

from imageflow.store.database import Tx
from imageflow.store.failures import SHOWN_FAILED
from imageflow.store.run_record import ENDED
from imageflow.store.tables import flows, leases, page_maps, rows, runs
from imageflow.store.text import clean
from imageflow.store.transaction import Sql, reads, writes

MARK = "page maps"
"""The name under which `leases` holds the instant up to which runs that ended have maps."""
OVERLAP = timedelta(minutes=2)
"""A run may be seen so long after its end: its transaction began before."""
MOST_FAILED = 10_000


class Unmapped(NamedTuple):
    """A run that ended and has no map of that end."""

    run_id: str
    finished_at: datetime
    pages: int
    rows: int


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
        """Of the rows of a run with the next `limit` numbers after `after`: page, state, and how many. Rows without a page, which
        a join has made, are left out.
        """
        mine = (rows.c.run_id == clean(run_id), rows.c.number > after, rows.c.number <= after + limit)
        number = func.count().label("number")
        counted = select(rows.c.page, rows.c.state, number).where(*mine, rows.c.page > 0)
        found = await tx.all(counted.group_by(rows.c.page, rows.c.state))
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
    async def failed_pages(self, tx: Tx, run_id: str) -> Sequence[int]:
        """Which pages have failed rows, of the first MOST_FAILED rows of a run that failed."""
        mine = (rows.c.run_id == clean(run_id), SHOWN_FAILED, rows.c.state == "failed")
        first = select(rows.c.page).where(*mine).order_by(rows.c.number).limit(MOST_FAILED).subquery()
        found = select(first.c.page).where(first.c.page > 0).distinct().order_by(first.c.page)
        return [row.page for row in await tx.all(found)]
