"""When the steps of runs were at work, and when writers were held: what the page of a run shows of time.

A process notes in its memory what its steps do, and keeps it once a second (runtime/step_keeper.py): so a chunk costs no
statement for that. A killed process loses the last second of a picture, and no row.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import case, select

from imageflow.model.run_step import STEPS, Hold, RunStep
from imageflow.store.database import Tx
from imageflow.store.tables import holds, past_holds, run_steps, runs
from imageflow.store.text import clean
from imageflow.store.transaction import Sql, reads, writes

MOST_HOLDS = 500


class RunStepsSql(Sql):
    """The methods of the store about steps of runs."""

    @writes
    async def keep_steps(self, tx: Tx, steps: Sequence[RunStep]) -> None:
        """Add what a process has noted to the steps of runs. What is noted of a run that is gone is dropped."""
        ids = sorted({one.run_id for one in steps})
        known = {row.run_id for row in await tx.all(select(runs.c.run_id).where(runs.c.run_id.in_(ids)))}
        records = [_record(one) for one in sorted(steps, key=_key) if one.run_id in known]
        if not records:
            return
        statement = tx.insert(run_steps)
        new, old = statement.excluded, run_steps.c
        grown = {
            "first_at": case((old.first_at < new.first_at, old.first_at), else_=new.first_at),
            "last_at": case((old.last_at > new.last_at, old.last_at), else_=new.last_at),
            "rows": old.rows + new.rows,
            "waited": old.waited + new.waited,
        }
        await tx.execute(statement.on_conflict_do_update(index_elements=["run_id", "step"], set_=grown), records)

    @reads
    async def run_steps(self, tx: Tx, run_id: str) -> list[RunStep]:
        """The steps of a run, in their order, as far as they have begun."""
        found = await tx.all(select(run_steps).where(run_steps.c.run_id == clean(run_id)))
        steps = [RunStep(row.run_id, row.step, row.first_at, row.last_at, row.rows, row.waited / 1000) for row in found]
        return sorted(steps, key=lambda step: STEPS.index(step.step))

    @reads
    async def holds_between(self, tx: Tx, since: datetime, until: datetime, domain: str | None = None) -> list[Hold]:
        """When writers held back from domains, or from one of them, between two instants, by when they began; the last
        MOST_HOLDS.
        """
        past, now = past_holds.c, holds.c
        mine = (past.until >= since, past.since <= until, *(() if domain is None else (past.domain == clean(domain),)))
        newest = select(past_holds).where(*mine).order_by(past.until.desc()).limit(MOST_HOLDS)
        found = [Hold(row.since, row.until, row.reason, row.domain) for row in await tx.all(newest)]
        going = (now.since <= until, *(() if domain is None else (now.domain == clean(domain),)))
        for row in await tx.all(select(holds).where(*going)):
            ended = None if row.alive_until > tx.now else row.alive_until
            if ended is None or ended >= since:
                found.append(Hold(row.since, ended, row.reason, row.domain))
        return sorted(found, key=lambda hold: (hold.since, hold.domain))


def _key(one: RunStep) -> tuple[str, str]:
    """Records are locked in this order."""
    return one.run_id, one.step


def _record(one: RunStep) -> dict[str, Any]:
    return {
        "run_id": one.run_id,
        "step": one.step,
        "first_at": one.first_at,
        "last_at": one.last_at,
        "rows": one.rows,
        "waited": round(one.waited * 1000),
    }
