"""The audit log: who changed what, when, from where."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from imageflow.store import AuditEntry, AuditRecord
from imageflow.store.database import Tx
from imageflow.store.tables import audit_log
from imageflow.store.text import clean, from_json, to_json
from imageflow.store.transaction import Sql, reads, writes


async def note(tx: Tx, audit: AuditEntry | None, **detail: Any) -> None:
    """Enter a change in the transaction that makes it; `detail` is added to the audit's own. None is nobody's change."""
    if audit is None:
        return
    values = {
        "at": tx.now,
        "who": clean(audit.who),
        "what": audit.what,
        "object": clean(audit.object),
        "origin": clean(audit.origin),
        "detail": to_json({**audit.detail, **detail}),
    }
    await tx.execute(tx.insert(audit_log).values(**values))


class AuditSql(Sql):
    """The methods of the store about the audit log."""

    @writes
    async def note(self, tx: Tx, audit: AuditEntry) -> None:
        await note(tx, audit)

    @reads
    async def audit(
        self, tx: Tx, *, before: int | None = None, who: str | None = None, what: str | None = None, limit: int = 100
    ) -> list[AuditRecord]:
        statement = select(audit_log).order_by(audit_log.c.id.desc()).limit(limit)
        if before is not None:
            statement = statement.where(audit_log.c.id < before)
        if who is not None:
            statement = statement.where(audit_log.c.who == clean(who))
        if what is not None:
            statement = statement.where(audit_log.c.what == clean(what))
        return [
            AuditRecord(row.id, row.at, AuditEntry(row.who, row.what, row.object, row.origin, from_json(row.detail)))
            for row in await tx.all(statement)
        ]
