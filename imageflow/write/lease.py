"""The lease of a writer process: while it lasts, no other process takes this one's claims over."""

from __future__ import annotations

import secrets

from imageflow.clock import Clock
from imageflow.store import Store

LEASE_SECONDS = 15.0
HEARTBEAT_SECONDS = 3.0
"""The pause between renewals."""


class Lease:
    """`owner` names this process in the database. `renew` must be called every HEARTBEAT_SECONDS.

    The lease runs from the moment at which its renewal was *asked for*: the database reckons from a later one, so this
    process takes its lease to end earlier than the others do. Nothing is begun in the last part of it: new claims need half
    of it, and a request a third, so that its answer comes before another writer may send the product.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._renewed_at = float("-inf")
        self.owner = secrets.token_hex(8)

    @property
    def ending(self) -> bool:
        """Whether the lease may end before a request does that begins now."""
        return self._age > LEASE_SECONDS * 2 / 3

    async def renew(self) -> None:
        """Raises StoreError; the lease then runs on from its last renewal."""
        asked_at = self._clock.monotonic()
        await self._store.alive(self.owner, LEASE_SECONDS)
        self._renewed_at = asked_at

    async def require(self) -> None:
        """Renew the lease unless it lasts for a while. Raises StoreError: then nothing may be claimed or sent."""
        if self._age > LEASE_SECONDS / 2:
            await self.renew()

    async def end(self) -> None:
        """End the lease, and all claims of this process with it. Raises StoreError."""
        await self._store.gone(self.owner)

    @property
    def _age(self) -> float:
        return self._clock.monotonic() - self._renewed_at
