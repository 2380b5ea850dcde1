"""Alarms of flows, and the Omnitron domains that writers hold."""

from __future__ import annotations

from imageflow.store import Alarm, HeldDomain, Store


async def listed(
    store: Store,
    flow: str | None = None,
    *,
    is_open: bool | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[Alarm]:
    """Alarms, newest first. `is_open`: only open or only closed ones; `before`: only those with smaller ids."""
    return await store.alarms(flow, is_open=is_open, before=before, limit=limit)


async def holds(store: Store) -> list[HeldDomain]:
    """The domains that writers hold now."""
    return await store.holds()
