"""What is laid over every picture of time: when writers held back, and which versions of flows were saved."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from imageflow.model.run_step import Hold
from imageflow.store import SavedVersion, Store


class Marks(NamedTuple):
    """Holds of all domains, by when they began, and versions of all flows, the oldest first."""

    holds: list[Hold]
    saved: list[SavedVersion]


async def look(store: Store, since: datetime, now: datetime) -> Marks:
    """The holds and versions since then: of each the newest ones, a bounded number."""
    return Marks(await store.holds_between(since, now), await store.versions_since(since))
