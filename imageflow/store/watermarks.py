"""Watermarks: up to when each flow has read."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, update

from imageflow.store.audit import AuditEntry, record
from imageflow.store.database import Tx
from imageflow.store.run_record import ACTIVE
from imageflow.store.tables import runs, watermarks
from imageflow.store.text import clean
from imageflow.store.transaction import Sql, reads, writes


class WatermarksSql(Sql):
    """The methods of the store about watermarks."""

    @reads
    async def watermark(self, tx: Tx, flow: str) -> datetime | None:
        since: datetime | None = await tx.value(select(watermarks.c.since).where(watermarks.c.flow == clean(flow)))
        return since

    @reads
    async def watermarks(self, tx: Tx) -> dict[str, datetime]:
        """The watermark of each flow that has one."""
        return {row.flow: row.since for row in await tx.all(select(watermarks))}

    @writes
    async def set_watermark(
        self, tx: Tx, flow: str, since: datetime | None, *, audit: AuditEntry | None = None
    ) -> None:
        """Set (or clear) by hand, backwards too. Runs that are active do not move it any more; those that are being read
        lose their `until`.
        """
        await record(tx, audit)
        # A read that is going on began at the old one: without its bound it does not move the new one when it ends.
        reading = (runs.c.flow == clean(flow), ACTIVE, runs.c.read_complete.is_(False), runs.c.window.is_not(True))
        await tx.execute(update(runs).where(*reading).values(until=None))
        await tx.execute(update(runs).where(runs.c.flow == clean(flow), ACTIVE).values(moves_watermark=False))
        if since is None:
            await tx.execute(watermarks.delete().where(watermarks.c.flow == flow))
            return
        statement = tx.insert(watermarks).values(flow=flow, since=since)
        await tx.execute(statement.on_conflict_do_update(index_elements=["flow"], set_={"since": since}))


async def move_watermark(tx: Tx, flow: str, until: datetime) -> None:
    """Forward only."""
    statement = tx.insert(watermarks).values(flow=flow, since=until)
    later = watermarks.c.since < statement.excluded.since
    await tx.execute(statement.on_conflict_do_update(index_elements=["flow"], set_={"since": until}, where=later))
