"""Runs: made, released, read, and the schedule's ticks that make them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, func, literal_column, or_, select, update

from imageflow.model.messages import PageRead, ReadPage
from imageflow.model.run import FINAL, Run
from imageflow.store.audit import AuditEntry, record
from imageflow.store.database import Tx
from imageflow.store.flows import require
from imageflow.store.ledger import LAST
from imageflow.store.outbox import Unsent, post
from imageflow.store.pages import compress, insert_page
from imageflow.store.run_progress import advance, change, load, warned
from imageflow.store.run_record import ACTIVE, WAITING, run_values, to_run
from imageflow.store.tables import fires, flows, ledger, runs
from imageflow.store.text import clean, said, to_json
from imageflow.store.transaction import Sql, reads, writes

_FORGOTTEN_AT_ONCE = 500
OF_STATUS: ColumnElement[bool] = literal_column("finished_at IS NOT NULL AND status <> 'success'")
"""The words of the index `runs_by_status`."""

_ASKED: Mapping[str, None] = {"waits_for": None, "again_at": None}
"""The ERP has answered: the run waits for it no longer."""


class SavedPage(NamedTuple):
    """A page is stored. `outbox` are the ids of its messages: PageRead, and ReadPage where more pages follow."""

    seq: int
    outbox: tuple[Unsent, ...]
    run: Run


class RunsSql(Sql):
    """The methods of the store about runs."""

    @writes
    async def create_run(
        self, tx: Tx, run: Run, *, fire_time: datetime | None = None, audit: AuditEntry | None = None
    ) -> bool:
        """Add an inbound run, `queued` and waiting. With `fire_time`: once per (flow, fire time), else False."""
        if fire_time is not None and not await _fire(tx, run.flow, fire_time, run.run_id):
            return False
        if await insert_run(tx, run, released=False):
            await record(tx, audit)
        return True

    @writes
    async def create_missing_runs(
        self, tx: Tx, key: str, fire_time: datetime, runs: Sequence[Run], *, domain: str, without_images: Sequence[str]
    ) -> bool:
        """Add the runs of a fetch-missing round, all or none, once per (key, fire time), else False. Of the products
        `without_images` the ledger forgets what was written last: it is not there, so it is not `unchanged`.
        """
        if not await _fire(tx, key, fire_time, runs[0].run_id if runs else None):
            return False
        for run in runs:
            await insert_run(tx, run, released=False)
        products = sorted({clean(product) for product in without_images})
        for first in range(0, len(products), _FORGOTTEN_AT_ONCE):
            await _forget_images(tx, clean(domain), products[first : first + _FORGOTTEN_AT_ONCE])
        return True

    @writes
    async def note_fire(self, tx: Tx, flow: str, fire_time: datetime) -> bool:
        """Remember that the tick was seen and made no run (overlap_policy: skip). False if it was seen before."""
        statement = tx.insert(fires).values(flow=flow, fire_time=fire_time).on_conflict_do_nothing()
        return await tx.count(statement) == 1

    @reads
    async def last_fire(self, tx: Tx, flow: str) -> datetime | None:
        """The newest fire time seen of a flow."""
        newest: datetime | None = await tx.value(select(func.max(fires.c.fire_time)).where(fires.c.flow == flow))
        return newest

    @writes
    async def release_runs(self, tx: Tx, flow: str | None = None) -> list[Unsent]:
        """Let waiting inbound runs begin: of each flow (or this one) the oldest, unless another released run of it is active.
        Returns their messages (ReadPage of page 1), which are in the outbox.
        """
        waiting = await tx.all(select(runs.c.flow).where(*WAITING).distinct())
        names = sorted(row.flow for row in waiting if flow in (None, row.flow))
        if not names:
            return []
        await tx.execute(select(flows.c.name).where(flows.c.name.in_(names)).order_by(flows.c.name).with_for_update())
        released = [await _release(tx, name) for name in names]
        return [message for message in released if message is not None]

    @reads
    async def run(self, tx: Tx, run_id: str) -> Run:
        return await load(tx, run_id)

    @reads
    async def runs(
        self,
        tx: Tx,
        flow: str | None = None,
        *,
        limit: int = 100,
        active: bool = False,
        status: str | Collection[str] | None = None,
        trigger: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        before: tuple[datetime, str] | None = None,
    ) -> list[Run]:
        """Runs, newest first. `active`: only those that have not ended; `status`: one, or several; `trigger`: the kind of what
        started them; created between `since` (inclusive) and `until`. `before`: only those older than the run with that
        instant of creation and that id.
        """
        statement = select(runs).order_by(runs.c.created_at.desc(), runs.c.run_id.desc()).limit(limit)
        if flow is not None:
            statement = statement.where(runs.c.flow == clean(flow))
        if active:
            statement = statement.where(ACTIVE)
        if status is not None:
            statuses = [status] if isinstance(status, str) else list(status)
            statement = statement.where(runs.c.status.in_(statuses), *_by_status(statuses))
        if trigger is not None:
            statement = statement.where(runs.c.triggered.startswith(to_json({"kind": trigger})[:-1], autoescape=True))
        if since is not None:
            statement = statement.where(runs.c.created_at >= since)
        if until is not None:
            statement = statement.where(runs.c.created_at < until)
        if before is not None:
            created_at, run_id = before
            same = and_(runs.c.created_at == created_at, runs.c.run_id < clean(run_id))
            statement = statement.where(runs.c.created_at <= created_at, or_(runs.c.created_at < created_at, same))
        return [to_run(row) for row in await tx.all(statement)]

    @reads
    async def newest_runs(self, tx: Tx) -> list[Run]:
        """The newest run of each flow that has one."""
        its = select(runs.c.run_id).where(runs.c.flow == flows.c.name)
        newest = its.order_by(runs.c.created_at.desc(), runs.c.run_id.desc()).limit(1).scalar_subquery()
        ids = [row.run_id for row in await tx.all(select(newest.label("run_id")).select_from(flows)) if row.run_id]
        return [to_run(row) for row in await tx.all(select(runs).where(runs.c.run_id.in_(ids)))]

    @reads
    async def runs_named(self, tx: Tx, prefix: str, *, limit: int = 20) -> list[Run]:
        """Runs whose ids begin so, newest first."""
        low = clean(prefix)
        mine = (runs.c.run_id >= low, runs.c.run_id < low + LAST)
        return [
            to_run(row) for row in await tx.all(select(runs).where(*mine).order_by(runs.c.run_id.desc()).limit(limit))
        ]

    @writes
    async def start_reading(self, tx: Tx, run_id: str, since: datetime | None, until: datetime | None) -> Run:
        """Queued -> reading, with the bounds and `started_at`. A second call returns the run with the first bounds."""
        run = await load(tx, run_id, lock=True)
        if run.status != "queued":
            return run
        return await change(tx, run, status="reading", since=since, until=until, started_at=tx.now)

    async def save_page(
        self,
        run_id: str,
        page: int,
        body: bytes,
        *,
        cursor: str | None,
        last: bool,
        moves_watermark: bool = True,
        incomplete: bool = False,
        asked: Mapping[str, Any] | None = None,
    ) -> SavedPage | None:
        """Store page `page` of a run that is `reading`, its messages and the cursor of the next page; None if that page
        is stored already or the run has ended its read (another reader was faster).

        `last`: nothing more is read: the run becomes `draining` (or ends). Where `moves_watermark` and the run has an
        `until`, the flow's watermark moves to it, never backwards, once every page is registered and none of them failed
        as a whole. `incomplete`: rows did not come, so the run ends `partial` and the watermark stays. `asked`: the
        parameters of the request.
        """
        packed = await compress(body), await compress(to_json(asked).encode()) if asked else None
        ends = {"incomplete": incomplete, "moves_watermark": moves_watermark} if last else None
        return await self._save_page(run_id, page, packed, clean(cursor), ends)

    @writes
    async def _save_page(
        self,
        tx: Tx,
        run_id: str,
        page: int,
        packed: tuple[bytes, bytes | None],
        cursor: str | None,
        ends: dict[str, bool] | None,
    ) -> SavedPage | None:
        run = await load(tx, run_id, lock=True)
        if run.status != "reading" or run.read_complete or page <= run.pages:
            return None
        if page != run.pages + 1:
            raise ValueError(f"page {page} of run {run_id} cannot follow page {run.pages}")
        seq = await insert_page(tx, run_id, page, *packed)
        outbox = [await post(tx, PageRead(run_id, run.flow, run.version, page, seq))]
        if ends is None:
            outbox.append(await post(tx, ReadPage(run_id, run.flow, run.version, page + 1)))
            return SavedPage(seq, tuple(outbox), await change(tx, run, pages=page, cursor=cursor, **_ASKED))
        read = await change(tx, run, pages=page, cursor=cursor, **_read(run, **ends))
        run, more = await advance(tx, read)
        return SavedPage(seq, (*outbox, *more), run)

    @writes
    async def skip_page(self, tx: Tx, run_id: str, known: str | None, cursor: str) -> tuple[Unsent, ...]:
        """Go on with `cursor` although the answer that `known` asked for is no page. Returns the message for the page, none
        where the run's cursor is another by now or its read has ended.
        """
        run = await load(tx, run_id, lock=True)
        if run.status != "reading" or run.read_complete or run.cursor != known:
            return ()
        await change(tx, run, cursor=clean(cursor), **_ASKED)
        return (await post(tx, ReadPage(run_id, run.flow, run.version, run.pages + 1)),)

    @writes
    async def end_read(
        self,
        tx: Tx,
        run_id: str,
        *,
        error: str | None,
        stage: str | None = None,
        moves_watermark: bool = False,
        incomplete: bool = False,
    ) -> Run:
        """End the read without another page: with `error` the run will end `failed` (the watermark does not move). The
        rest is as in `save_page`.
        """
        run = await load(tx, run_id, lock=True)
        if run.read_complete or run.ended:
            return run
        ends = _read(run, incomplete=incomplete, moves_watermark=moves_watermark and error is None)
        run, _ = await advance(tx, await change(tx, run, error=said(error), error_stage=stage, **ends))
        return run

    @writes
    async def note_wait(self, tx: Tx, run_id: str, why: str, again_at: datetime) -> None:
        """Note why the ERP did not give the next page of a run that is `reading`, and when it is asked again."""
        run = await load(tx, run_id, lock=True)
        if run.status == "reading" and not run.read_complete:
            await change(tx, run, waits_for=said(why), again_at=again_at)

    @writes
    async def warn(self, tx: Tx, run_id: str, text: str) -> None:
        """Add a warning to a run, once per text, at most 20."""
        await warned(tx, await load(tx, run_id, lock=True), [text])


def _by_status(statuses: Sequence[str]) -> list[ColumnElement[bool]]:
    """Conditions that runs of these statuses meet anyway: those of the index that has them. Most runs are a success."""
    if FINAL.isdisjoint(statuses):
        return [ACTIVE]
    return [OF_STATUS] if FINAL.issuperset(statuses) and "success" not in statuses else []


def _read(run: Run, *, incomplete: bool, moves_watermark: bool) -> dict[str, Any]:
    """What changes on a run whose read ends. A page that failed, or a person, may have decided that the watermark stays."""
    moves = moves_watermark and not incomplete and run.moves_watermark is None
    return {"read_complete": True, "status": "draining", "incomplete": incomplete, "moves_watermark": moves, **_ASKED}


async def _fire(tx: Tx, flow: str, fire_time: datetime, run_id: str | None) -> bool:
    """Whether the tick is this run's: it is new, or this very run was made for it before."""
    statement = tx.insert(fires).values(flow=flow, fire_time=fire_time, run_id=run_id).on_conflict_do_nothing()
    if await tx.count(statement) == 1:
        return True
    seen = select(fires.c.run_id).where(fires.c.flow == flow, fires.c.fire_time == fire_time)
    return run_id is not None and bool(await tx.value(seen) == run_id)


async def _forget_images(tx: Tx, domain: str, products: Sequence[str]) -> None:
    """The ledger keeps the versions, so that what is older than them stays superseded."""
    known = (ledger.c.domain == domain, ledger.c.product.in_(products))
    # locked in the writers' order
    await tx.execute(select(ledger.c.product).where(*known).order_by(ledger.c.product).with_for_update())
    await tx.execute(update(ledger).where(*known).values(digest=None))


async def insert_run(tx: Tx, run: Run, *, released: bool) -> bool:
    """Add a run unless it is there already. Raises NotFoundError where its flow has no such version."""
    await require(tx, run.flow, run.version)
    values = run_values(run) | {"released": released}
    return await tx.count(tx.insert(runs).values(**values).on_conflict_do_nothing()) == 1


async def _release(tx: Tx, flow: str) -> Unsent | None:
    """Let the oldest waiting run of a flow begin, whose record is locked, unless another one is going on."""
    going = select(runs.c.run_id).where(runs.c.flow == flow, runs.c.released.is_(True), ACTIVE)
    if await tx.value(going.limit(1)) is not None:
        return None
    oldest = select(runs.c.run_id, runs.c.version).where(runs.c.flow == flow, *WAITING)
    run = await tx.first(oldest.order_by(runs.c.created_at, runs.c.run_id).limit(1).with_for_update())
    if run is None:
        return None
    await tx.execute(update(runs).where(runs.c.run_id == run.run_id).values(released=True))
    return await post(tx, ReadPage(run.run_id, flow, run.version, 1))
