"""Alarms and their notices to webhooks, held domains, and leases: which of several processes does a job now."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
from sqlalchemy import Row as SqlRow
from sqlalchemy import delete, func, or_, select, update

from imageflow.model.run import Run
from imageflow.store.database import Tx
from imageflow.store.run_record import ACTIVE, ENDED, to_run
from imageflow.store.tables import alarms, holds, leases, notices, past_holds, runs
from imageflow.store.text import clean
from imageflow.store.transaction import Sql, reads, writes


class HeldDomain(msgspec.Struct, frozen=True):
    """A domain to which `writers` writers send nothing for now: `since` when the first of them does not, and why."""

    domain: str
    reason: str
    since: datetime
    writers: int


class Alarm(msgspec.Struct, frozen=True):
    """A condition of a flow that a person should see, open until it has passed. `notice`: the outcome of its last post to
    the webhook; None before the first.
    """

    id: int
    flow: str
    kind: str
    text: str
    opened_at: datetime
    closed_at: datetime | None
    notice: str | None


class Notice(msgspec.Struct, frozen=True):
    """An alarm's opening or closing, to be posted to the flow's webhook."""

    id: int
    event: Literal["opened", "closed"]
    attempts: int
    alarm: Alarm


class AlarmsSql(Sql):
    """The methods of the store about alarms and holds."""

    @writes
    async def lease(self, tx: Tx, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a lease for `seconds` from now. Whether `holder` has it: it is free while no other holder's lasts."""
        values = {"holder": holder, "until": tx.now + timedelta(seconds=seconds)}
        statement = tx.insert(leases).values(name=name, **values)
        free = or_(leases.c.holder == holder, leases.c.until <= tx.now)
        taken = statement.on_conflict_do_update(index_elements=["name"], set_=values, where=free)
        return await tx.count(taken) == 1

    @reads
    async def recent_runs(self, tx: Tx, flow: str, since: datetime, limit: int = 200) -> list[Run]:
        """The newest runs of a flow that are active or ended after `since`. If none ended since, also the last one that
        ended.
        """
        mine = select(runs).where(runs.c.flow == flow)
        newest = mine.order_by(runs.c.created_at.desc(), runs.c.run_id.desc())
        active = await tx.all(newest.where(ACTIVE).limit(limit))
        lately = mine.where(ENDED, runs.c.finished_at > since).order_by(runs.c.finished_at.desc())
        ended = await tx.all(lately.limit(limit)) or await tx.all(newest.where(ENDED).limit(1))
        found = [to_run(row) for row in (*active, *ended)]
        return sorted(found, key=lambda run: (run.created_at, run.run_id), reverse=True)[: limit + 1]

    @reads
    async def rows_since(self, tx: Tx, flow: str, since: datetime) -> bool:
        """Whether the flow had a run with rows that was active at some time after `since`."""
        mine = select(runs.c.run_id).where(runs.c.flow == flow, runs.c.total > 0).limit(1)
        kinds = ((ACTIVE,), (ENDED, runs.c.finished_at > since), (runs.c.created_at > since,))
        return any([await tx.value(mine.where(*kind)) is not None for kind in kinds])

    @writes
    async def sound(self, tx: Tx, flow: str, alarming: dict[str, str], *, notify: bool) -> list[Alarm]:
        """Open an alarm of each kind in `alarming` (kind: text) that is not open, and close those that are not in it;
        an open one's text follows. `notify`: with a notice for each that opened or closed. Returns those.
        """
        mine = (alarms.c.flow == flow, alarms.c.closed_at.is_(None))
        known = {row.kind: row for row in await tx.all(select(alarms).where(*mine).with_for_update())}
        changed = []
        for kind, text in sorted(alarming.items()):
            if kind in known:
                if known[kind].text != clean(text):
                    await tx.execute(update(alarms).where(alarms.c.id == known[kind].id).values(text=clean(text)))
            elif (opened := await _open(tx, flow, kind, text)) is not None:
                changed.append(opened)
        for kind in sorted(known.keys() - alarming.keys()):
            closed = update(alarms).where(alarms.c.id == known[kind].id, *mine).values(closed_at=tx.now)
            changed += [_alarm(row) for row in await tx.all(closed.returning(*alarms.c))]
        for alarm in changed if notify else ():
            event = "opened" if alarm.closed_at is None else "closed"
            values = {"alarm": alarm.id, "flow": flow, "event": event, "attempts": 0, "due_at": tx.now}
            await tx.execute(tx.insert(notices).values(**values))
        return changed

    @reads
    async def alarms(
        self,
        tx: Tx,
        flow: str | None = None,
        *,
        is_open: bool | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Alarm]:
        """Alarms, newest first; `before`: older than the one with that id."""
        statement = select(alarms).order_by(alarms.c.id.desc()).limit(limit)
        if flow is not None:
            statement = statement.where(alarms.c.flow == clean(flow))
        if is_open is not None:
            statement = statement.where(alarms.c.closed_at.is_(None) if is_open else alarms.c.closed_at.is_not(None))
        if before is not None:
            statement = statement.where(alarms.c.id < before)
        return [_alarm(row) for row in await tx.all(statement)]

    @reads
    async def due_notices(self, tx: Tx, limit: int = 100) -> list[Notice]:
        """Notices to post now, oldest first."""
        of_notice = (notices.c.id.label("notice_id"), notices.c.event, notices.c.attempts)
        statement = select(*of_notice, alarms).join(alarms, alarms.c.id == notices.c.alarm)
        found = await tx.all(statement.where(notices.c.due_at <= tx.now).order_by(notices.c.id).limit(limit))
        return [Notice(row.notice_id, row.event, row.attempts, _alarm(row)) for row in found]

    @writes
    async def notice_sent(self, tx: Tx, notice: int, outcome: str, *, again_in: float | None = None) -> None:
        """Keep the outcome of a notice's post with its alarm. The notice is due again in `again_in` seconds; None: it is done."""
        mine = notices.c.id == notice
        alarm = await tx.value(select(notices.c.alarm).where(mine).with_for_update())
        if alarm is None:
            return
        await tx.execute(update(alarms).where(alarms.c.id == alarm).values(notice=clean(outcome)))
        if again_in is None:
            await tx.execute(delete(notices).where(mine))
            return
        later = {"attempts": notices.c.attempts + 1, "due_at": tx.now + timedelta(seconds=again_in)}
        await tx.execute(update(notices).where(mine).values(**later))

    @writes
    async def hold(self, tx: Tx, owner: str, held: dict[str, str], seconds: float) -> None:
        """The domains that a writer process holds (`held`: domain and reason) for `seconds` from now: these and no others. What
        it held before, and what others held until they died, is kept as past.
        """
        over = delete(holds).where(or_(holds.c.owner == owner, holds.c.alive_until <= tx.now), _not_in(owner, held))
        for gone in await tx.all(over.returning(*holds.c)):
            until = min(tx.now, gone.alive_until)
            past = {"domain": gone.domain, "owner": gone.owner, "since": gone.since, "reason": gone.reason}
            await tx.execute(tx.insert(past_holds).values(**past, until=until).on_conflict_do_nothing())
        for domain, reason in sorted(held.items()):
            values = {"reason": clean(reason), "alive_until": tx.now + timedelta(seconds=seconds)}
            statement = tx.insert(holds).values(domain=domain, owner=owner, since=tx.now, **values)
            await tx.execute(statement.on_conflict_do_update(index_elements=["domain", "owner"], set_=values))

    @reads
    async def holds(self, tx: Tx) -> list[HeldDomain]:
        """The domains that writers hold."""
        columns = (holds.c.domain, func.min(holds.c.reason).label("reason"), func.min(holds.c.since).label("since"))
        statement = select(*columns, func.count().label("writers")).where(holds.c.alive_until > tx.now)
        found = await tx.all(statement.group_by(holds.c.domain).order_by(holds.c.domain))
        return [HeldDomain(row.domain, row.reason, row.since, row.writers) for row in found]


def _not_in(owner: str, held: dict[str, str]) -> Any:
    """All records but those that `owner` is about to renew: these keep their `since`."""
    return or_(holds.c.owner != owner, holds.c.domain.not_in(sorted(held)))


async def _open(tx: Tx, flow: str, kind: str, text: str) -> Alarm | None:
    values = {"flow": flow, "kind": kind, "text": clean(text), "opened_at": tx.now}
    row = await tx.first(tx.insert(alarms).values(**values).on_conflict_do_nothing().returning(*alarms.c))
    return None if row is None else _alarm(row)


def _alarm(row: SqlRow[Any]) -> Alarm:
    return Alarm(row.id, row.flow, row.kind, row.text, row.opened_at, row.closed_at, row.notice)
