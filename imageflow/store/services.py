"""Which services run: every process reports its services every few seconds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import delete, select

from imageflow.store.database import Tx
from imageflow.store.tables import services
from imageflow.store.text import clean
from imageflow.store.transaction import Sql, reads, writes

SHOWN_FOR = timedelta(hours=1)
"""A service that ended without saying so is shown for so long."""


class ServiceSeen(NamedTuple):
    """A service of a process: `kind` is its name. It counts as alive until `alive_until`; `doing` says in a few words what it has
    in hand, and is empty while it waits.
    """

    owner: str
    kind: str
    host: str
    pid: int
    version: str
    started_at: datetime
    doing: str = ""
    alive_until: datetime | None = None


class ServicesSql(Sql):
    """The methods of the store about services that run."""

    @writes
    async def report(self, tx: Tx, found: Sequence[ServiceSeen], seconds: float) -> None:
        """These services of a process are alive for `seconds` from now."""
        until = tx.now + timedelta(seconds=seconds)
        for one in sorted(found):
            changes = {"doing": clean(one.doing), "alive_until": until}
            known = {name: getattr(one, name) for name in ("owner", "kind", "host", "pid", "version", "started_at")}
            statement = tx.insert(services).values(**known, **changes)
            await tx.execute(statement.on_conflict_do_update(index_elements=["owner"], set_=changes))

    @writes
    async def withdraw(self, tx: Tx, owners: Sequence[str]) -> None:
        """These services have ended."""
        await tx.execute(delete(services).where(services.c.owner.in_(list(owners))))

    @reads
    async def services(self, tx: Tx) -> list[ServiceSeen]:
        """The services that are alive, or were within the last hour and did not say that they end; by kind, then start."""
        lately = select(services).where(services.c.alive_until > tx.now - SHOWN_FOR)
        found = await tx.all(lately.order_by(services.c.kind, services.c.started_at, services.c.owner).limit(1000))
        return [ServiceSeen(**{name: getattr(row, name) for name in ServiceSeen._fields}) for row in found]
