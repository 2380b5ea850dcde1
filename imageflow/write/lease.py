"""The leases of a writer process: while one lasts, no other process takes over the claims that were made with it.

Theory of operation. A request may go out only if the lease of its claim outlasts it, so that its answer has come before
another writer may send the product. Hence a lease lasts MARGIN_SECONDS longer than the longest request, and flows with
different time-outs have leases of their own: the claims of a writer that was killed stay no longer than its flow requires.

A lease that lapsed is never renewed: another writer may have taken its claims over meanwhile. The next claims are made with
a new lease, under a new name, and what was claimed with the old one is not sent. So a process that wakes from a freeze sends
nothing old, whichever of its tasks runs first.

A lease runs from the moment at which its renewal was *asked for*: the database reckons from a later one, so this process
takes its lease to end earlier than the others do. For the same reason an answer that comes after the end counts for nothing.
"""

from __future__ import annotations

import asyncio
import secrets

from imageflow.clock import Clock
from imageflow.errors import StoreError
from imageflow.store import Store

HEARTBEAT_SECONDS = 3.0
"""The pause between renewals."""
MARGIN_SECONDS = 9.0
"""How much longer a lease lasts than a request: two renewals may be late before nothing is sent."""


class Lease:
    """`owner` names it in the database. `timeout` is that of the requests that it is for."""

    def __init__(self, clock: Clock, owner: str, timeout: float) -> None:
        self._clock = clock
        self._until = float("-inf")
        self.owner = owner
        self.timeout = timeout
        self.failed = False
        """Whether the last renewal failed."""

    @property
    def seconds(self) -> float:
        """How long it lasts from a renewal on."""
        return self.timeout + MARGIN_SECONDS

    @property
    def left(self) -> float:
        """Seconds until it ends; negative once it has lapsed."""
        return self._until - self._clock.monotonic()

    def may_send(self) -> bool:
        """Whether it outlasts a request that begins now."""
        return not self.failed and self.left >= self.timeout

    async def begin(self, store: Store) -> None:
        """Ask for it for the first time. Raises StoreError."""
        self._until = await self._granted(store)

    async def renew(self, store: Store) -> bool:
        """Renew it; False if it lapsed before the answer came. Raises StoreError: then it runs on, and nothing is sent."""
        try:
            until = await self._granted(store)
        except StoreError:
            self.failed = True
            raise
        if self.left < 0:
            return False
        self.failed, self._until = False, until
        return True

    async def _granted(self, store: Store) -> float:
        asked_at = self._clock.monotonic()
        await store.alive(self.owner, self.seconds)
        return asked_at + self.seconds


class Leases:
    """The leases of this process, one for each time-out. `renew` must be called every HEARTBEAT_SECONDS.

    `process` names this process in the database.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._current: dict[float, Lease] = {}
        self._begun = 0
        self._asking = asyncio.Lock()
        self.process = secrets.token_hex(8)

    async def lease(self, timeout: float) -> Lease:
        """A lease for claims of a flow with this time-out, which lasts for a while. Raises StoreError: then nothing may be
        claimed."""
        if (lease := self._lasting(timeout)) is not None:
            return lease
        async with self._asking:
            if (lease := self._lasting(timeout)) is not None:
                return lease
            lease = self._current.get(timeout)
            if lease is None or lease.left < 0 or not await lease.renew(self._store):
                return await self._begin(timeout)
            return lease

    async def renew(self) -> None:
        """Renew all that last. Raises StoreError: then nothing is sent until it succeeds."""
        async with self._asking:
            away: StoreError | None = None
            for timeout, lease in list(self._current.items()):
                try:
                    if lease.left < 0 or not await lease.renew(self._store):
                        del self._current[timeout]
                except StoreError as error:
                    away = error
            if away is not None:
                raise away

    async def end(self) -> None:
        """End all leases, and all claims that were made with them. Raises StoreError."""
        for lease in self._current.values():
            await self._store.gone(lease.owner)

    def _lasting(self, timeout: float) -> Lease | None:
        """The lease, if it lasts for a while."""
        lease = self._current.get(timeout)
        lasts = lease is not None and not lease.failed and lease.left > timeout + MARGIN_SECONDS / 2
        return lease if lasts else None

    async def _begin(self, timeout: float) -> Lease:
        self._begun += 1
        lease = Lease(self._clock, f"{self.process}-{self._begun}", timeout)
        await lease.begin(self._store)
        self._current[timeout] = lease
        return lease
