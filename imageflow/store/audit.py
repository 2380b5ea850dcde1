"""The audit log: who changed what, when, from where."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row as SqlRow
from sqlalchemy import select

from imageflow.store.database import Tx
from imageflow.store.tables import audit_log
from imageflow.store.text import clean, from_json, to_json
from imageflow.store.transaction import Sql, reads, writes


class AuditEntry(msgspec.Struct, frozen=True):
    """A change: `who` changed `what` (`flow.save`, `user.remove`, …) on which `object`, and from where (`origin`: an address,
    or `command line`). `detail` never contains a secret.
    """

    who: str
    what: str
    object: str
    origin: str
    detail: dict[str, Any] = {}


class AuditRecord(msgspec.Struct, frozen=True):
    """An audit entry as the log keeps it, with its number and instant."""

    id: int
    at: datetime
    entry: AuditEntry


async def record(tx: Tx, audit: AuditEntry | None, **detail: Any) -> None:
    """Record a change in the transaction that makes it; `detail` is added to the entry's own. Without an entry, nothing."""
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
    async def record(self, tx: Tx, audit: AuditEntry) -> None:
        """Record a change that no other method makes. A method with an `audit` parameter records it in its own
        transaction, if it changes anything.
        """
        await record(tx, audit)

    @reads
    async def audit(
        self, tx: Tx, *, before: int | None = None, who: str | None = None, what: str | None = None, limit: int = 100
    ) -> list[AuditRecord]:
        """The audit log, newest first; `before`: entries older than the one with that id."""
        statement = select(audit_log).order_by(audit_log.c.id.desc()).limit(limit)
        if before is not None:
            statement = statement.where(audit_log.c.id < before)
        if who is not None:
            statement = statement.where(audit_log.c.who == clean(who))
        if what is not None:
            statement = statement.where(audit_log.c.what == clean(what))
        return [_entry(row) for row in await tx.all(statement)]

    @reads
    async def steered(self, tx: Tx, *run_ids: str) -> list[AuditRecord]:
        """Who retried rows of runs and who cancelled them, the oldest first."""
        objects = [clean(f"run {run_id}") for run_id in run_ids]
        mine = (audit_log.c.what.in_(("run.retry", "run.cancel")), audit_log.c.object.in_(objects))
        return [_entry(row) for row in await tx.all(select(audit_log).where(*mine).order_by(audit_log.c.id))]


def _entry(row: SqlRow[Any]) -> AuditRecord:
    return AuditRecord(row.id, row.at, AuditEntry(row.who, row.what, row.object, row.origin, from_json(row.detail)))
