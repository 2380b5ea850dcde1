"""Series: what moved in steps of five minutes. One process at a time writes them, from counts that others keep anyway, so
that no row of the hot path is written for them.

`counted_runs` holds the counts of runs as they were at the last look, so the differences are what moved since. A run that
ended is known for a few minutes more; one that is retried later is known again from then on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row as SqlRow
from sqlalchemy import Select, delete, select, update

from imageflow.model import series
from imageflow.model.run import Counts
from imageflow.model.series import Point, Seen
from imageflow.store.batch import Batch, BatchStatement
from imageflow.store.database import Tx
from imageflow.store.run_record import ACTIVE, ENDED
from imageflow.store.tables import counted_runs, flow_minutes, flows, leases, queue_minutes, runs
from imageflow.store.text import clean
from imageflow.store.transaction import Sql, reads, writes

OVERLAP = timedelta(minutes=2)
"""A run may be seen so long after its end: its transaction began before."""
KNOWN = timedelta(minutes=10)
"""For so long the counts of a run that ended are known."""
MARK = "series"
"""The name under which `leases` holds the instant of the last look."""

_COUNTS = ", ".join(series.COUNTED)
_KNOW = BatchStatement(
    f"""
    INSERT INTO counted_runs (run_id, {_COUNTS})
    SELECT seen.run_id, {", ".join(f"seen.{name}" for name in series.COUNTED)} FROM {{seen}} WHERE true
    ON CONFLICT (run_id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in series.COUNTED)}
    """,  # noqa: S608 - columns of our own
    Batch("seen", run_id="text", **dict.fromkeys(series.COUNTED, "bigint")),
)


class SeriesSql(Sql):
    """The methods of the store about series."""

    @writes
    async def count_series(self, tx: Tx) -> None:
        """Add what has moved since the last call to the series of flows. Nothing moved before the first one."""
        last = await tx.value(select(leases.c.until).where(leases.c.name == MARK).with_for_update())
        await _mark(tx, first=last is None)
        names = [row.name for row in await tx.all(select(flows.c.name))]
        since = (last or tx.now) - OVERLAP
        ended = (ENDED, runs.c.flow.in_(names), runs.c.finished_at > since)
        seen = [_seen(row) for where in ((ACTIVE,), ended) for row in await tx.all(_counts().where(*where))]
        known = {row.run_id: _known(row) for row in await tx.all(select(counted_runs))}
        if last is not None:
            for (flow, at), point in sorted(series.moved(seen, known, tx.now).items()):
                await _add(tx, flow, at, point)
        changed = [run for run in seen if known.get(run.run_id) != run.counts]
        if changed:
            await tx.run(_KNOW.bind(tx, sorted((run.run_id, *_values(run.counts)) for run in changed)))
        still = {run.run_id for run in seen}
        if gone := sorted(known.keys() - still)[:500]:
            await tx.execute(delete(counted_runs).where(counted_runs.c.run_id.in_(await _long_ended(tx, gone))))

    @reads
    async def series(self, tx: Tx, flow: str, since: datetime) -> list[Point]:
        """What moved in a flow in each step from the one of `since`; steps in which nothing did are left out."""
        table = flow_minutes.c
        mine = (table.flow == clean(flow), table.minute >= series.step_of(since))
        found = await tx.all(select(flow_minutes).where(*mine).order_by(table.minute))
        return [_point(row) for row in found]

    @reads
    async def all_series(self, tx: Tx, since: datetime) -> dict[str, list[Point]]:
        """As `series`, of all flows at once: those in which something moved."""
        table = flow_minutes.c
        lately = select(flow_minutes).where(table.minute >= series.step_of(since)).order_by(table.flow, table.minute)
        found: dict[str, list[Point]] = {}
        for row in await tx.all(lately):
            found.setdefault(row.flow, []).append(_point(row))
        return found

    @writes
    async def sample_queues(self, tx: Tx, depths: Mapping[str, tuple[int, int]]) -> None:
        """Note what queues hold now: ready messages and consumers, by queue. A step keeps its most ready messages, and the
        consumers of the last call.
        """
        at = series.step_of(tx.now)
        for queue, (ready, consumers) in sorted(depths.items()):
            statement = tx.insert(queue_minutes).values(queue=queue, minute=at, ready=ready, consumers=consumers)
            known = queue_minutes.c
            more = update(queue_minutes).where(known.queue == queue, known.minute == at, known.ready < ready)
            values = {"consumers": consumers}
            await tx.execute(statement.on_conflict_do_update(index_elements=["queue", "minute"], set_=values))
            await tx.execute(more.values(ready=ready))


async def count_from_here(tx: Tx, run_id: str) -> None:
    """Know the counts of a run that ended long ago and is retried now, before they change."""
    columns = [runs.c[name] for name in ("run_id", *series.COUNTED)]
    statement = tx.insert(counted_runs).from_select(
        [column.name for column in columns], select(*columns).where(runs.c.run_id == run_id)
    )
    await tx.execute(statement.on_conflict_do_nothing())


def _counts() -> Select[tuple[object, ...]]:
    return select(runs.c.run_id, runs.c.flow, runs.c.finished_at, *(runs.c[name] for name in series.COUNTED))


async def _mark(tx: Tx, *, first: bool) -> None:
    if first:
        await tx.execute(tx.insert(leases).values(name=MARK, holder="", until=tx.now).on_conflict_do_nothing())
    else:
        await tx.execute(update(leases).where(leases.c.name == MARK).values(until=tx.now))


async def _add(tx: Tx, flow: str, at: datetime, point: Point) -> None:
    values = {name: getattr(point, name) for name in series.COUNTED}
    statement = tx.insert(flow_minutes).values(flow=flow, minute=at, **values)
    grown = {name: flow_minutes.c[name] + statement.excluded[name] for name in series.COUNTED}
    await tx.execute(statement.on_conflict_do_update(index_elements=["flow", "minute"], set_=grown))


async def _long_ended(tx: Tx, run_ids: Sequence[str]) -> list[str]:
    """Of these runs, those that ended long ago or are deleted."""
    mine = (runs.c.run_id.in_(run_ids), (runs.c.finished_at.is_(None)) | (runs.c.finished_at > tx.now - KNOWN))
    kept = {row.run_id for row in await tx.all(select(runs.c.run_id).where(*mine))}
    return [run_id for run_id in run_ids if run_id not in kept]


def _point(row: SqlRow[Any]) -> Point:
    return Point(row.minute, *(getattr(row, name) for name in series.COUNTED))


def _seen(row: SqlRow[Any]) -> Seen:
    return Seen(row.run_id, row.flow, _known(row), row.finished_at)


def _known(row: SqlRow[Any]) -> Counts:
    return Counts(0, *(getattr(row, name) for name in series.COUNTED))


def _values(counts: Counts) -> list[int]:
    return [getattr(counts, name) for name in series.COUNTED]
