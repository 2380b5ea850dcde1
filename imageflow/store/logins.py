"""Failed logins, counted by all gateways together, and the addresses from which users have logged in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import and_, delete, or_, select

from imageflow.store.database import Tx
from imageflow.store.tables import logins
from imageflow.store.transaction import Sql, reads, writes

FAMILIAR = "familiar"
FAMILIAR_FOR = timedelta(days=90)
FAILURES_FOR = timedelta(hours=1)
_FORGOTTEN_AT_ONCE = 5


class LoginCount(NamedTuple):
    """How often, and when last."""

    times: int
    last_at: datetime


class LoginsSql(Sql):
    """The methods of the store about logins. `keys`: by kind, a digest of the name, the address, or both."""

    @reads
    async def login_counts(self, tx: Tx, keys: Mapping[str, str]) -> dict[str, LoginCount]:
        """What is known of these keys, by kind."""
        wanted = or_(*(and_(logins.c.kind == kind, logins.c.key == key) for kind, key in keys.items()))
        found = await tx.all(select(logins).where(wanted))
        return {row.kind: LoginCount(row.times, row.last_at) for row in found}

    @writes
    async def count_login(self, tx: Tx, keys: Mapping[str, str], *, forget_after: timedelta) -> None:
        """One more of each key. A count that did not grow for `forget_after` begins anew."""
        await _forget_old(tx)
        for kind, key in sorted(keys.items()):
            statement = tx.insert(logins).values(kind=kind, key=key, times=1, last_at=tx.now)
            same = (logins.c.kind == kind, logins.c.key == key)
            await tx.execute(delete(logins).where(*same, logins.c.last_at <= tx.now - forget_after))
            more = {"times": logins.c.times + 1, "last_at": tx.now}
            await tx.execute(statement.on_conflict_do_update(index_elements=["kind", "key"], set_=more))

    @writes
    async def forget_login(self, tx: Tx, kind: str, key: str) -> None:
        """The count of a key begins anew."""
        await tx.execute(delete(logins).where(logins.c.kind == kind, logins.c.key == key))


async def _forget_old(tx: Tx) -> None:
    """Delete a few of the oldest with each that is counted, so that their number is bounded without a job of its own."""
    old = or_(
        and_(logins.c.kind != FAMILIAR, logins.c.last_at <= tx.now - FAILURES_FOR),
        and_(logins.c.kind == FAMILIAR, logins.c.last_at <= tx.now - FAMILIAR_FOR),
    )
    oldest = select(logins.c.kind, logins.c.key).where(old).order_by(logins.c.last_at).limit(_FORGOTTEN_AT_ONCE)
    for row in await tx.all(oldest.with_for_update(skip_locked=True)):
        await tx.execute(delete(logins).where(logins.c.kind == row.kind, logins.c.key == row.key))
