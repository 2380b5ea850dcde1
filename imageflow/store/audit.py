"""The audit log: who changed what, when, from where."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from imageflow.store import Act, AuditEntry
from imageflow.store.database import Tx
from imageflow.store.tables import audit_log
from imageflow.store.text import clean, from_json, to_json
from imageflow.store.transaction import Sql, reads, writes


async def note(tx: Tx, act: Act | None, **detail: Any) -> None:
    """Enter a change in the transaction that makes it; `detail` is added to the act's own. None is nobody's change."""
    if act is None:
        return
    values = {
        "at": tx.now,
        "who": clean(act.who),
        "what": act.what,
        "object": clean(act.object),
        "origin": clean(act.origin),
        "detail": to_json({**act.detail, **detail}),
    }
    await tx.execute(tx.insert(audit_log).values(**values))


class AuditSql(Sql):
    """The methods of the store about the audit log."""

    @writes
    async def note(self, tx: Tx, act: Act) -> None:
        await note(tx, act)

    @reads
    async def audit(
        self, tx: Tx, *, before: int | None = None, who: str | None = None, what: str | None = None, limit: int = 100
    ) -> list[AuditEntry]:
        statement = select(audit_log).order_by(audit_log.c.id.desc()).limit(limit)
        if before is not None:
            statement = statement.where(audit_log.c.id < before)
        if who is not None:
            statement = statement.where(audit_log.c.who == clean(who))
        if what is not None:
            statement = statement.where(audit_log.c.what == clean(what))
        return [
            AuditEntry(row.id, row.at, Act(row.who, row.what, row.object, row.origin, from_json(row.detail)))
            for row in await tx.all(statement)
        ]
