"""The definitions of flows that a stage has handled."""

from __future__ import annotations

from imageflow.model.flow import Definition
from imageflow.runtime.bounded import Recent
from imageflow.store import Store

FLOWS_KEPT = 256


class FlowCache:
    """Definitions by flow and version. A version never changes, so it is read from the store once."""

    def __init__(self, store: Store, limit: int = FLOWS_KEPT) -> None:
        self._store = store
        self._known: Recent[tuple[str, int], Definition] = Recent(limit)

    async def definition(self, flow: str, version: int) -> Definition:
        """Raises NotFoundError for a version that does not exist, StoreError while the database is away."""
        known = self._known.get((flow, version))
        if known is not None:
            return known
        return self._known.put((flow, version), (await self._store.flow(flow, version)).definition)
