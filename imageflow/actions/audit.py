"""The audit log: who changed what."""

from __future__ import annotations

from imageflow.store import AuditRecord, Store


async def listed(
    store: Store, *, who: str | None = None, what: str | None = None, before: int | None = None, limit: int = 100
) -> list[AuditRecord]:
    """Entries, newest first; `before`: only those with smaller ids."""
    return await store.audit(who=who, what=what, before=before, limit=limit)
