"""The domains that this process writes to: one queue each, and which of their circuits are open."""

from __future__ import annotations

import asyncio

from imageflow.clock import Clock
from imageflow.store import Store
from imageflow.telemetry import metrics
from imageflow.write.domain_queue import DomainQueue

ANNOUNCED_SECONDS = 15.0
"""How long other processes take a circuit for open after this process said so."""


class Domains:
    """`start` must be called before `queue`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queues: dict[str, DomainQueue[int]] = {}
        self._announced = False
        self._closed = False
        self._senders: asyncio.TaskGroup

    def start(self, senders: asyncio.TaskGroup) -> None:
        """`senders` is the group that requests are sent in."""
        self._senders = senders

    def queue(self, domain: str) -> DomainQueue[int]:
        if domain not in self._queues:
            self._queues[domain] = self._open(domain)
        return self._queues[domain]

    def close(self) -> None:
        """Send no more rows to any domain."""
        self._closed = True
        for queue in self._queues.values():
            queue.close()

    def reject_all(self) -> None:
        """Reject the rows in all queues."""
        for queue in self._queues.values():
            queue.reject_all()

    @property
    def open_circuits(self) -> dict[str, str]:
        """The domains whose circuit is open, and why."""
        return {domain: queue.breaker.reason for domain, queue in self._queues.items() if queue.breaker.open}

    async def announce(self, store: Store, owner: str) -> None:
        """Let other processes know which circuits are open. Raises StoreError."""
        circuits = self.open_circuits
        if circuits or self._announced:
            await store.hold(owner, circuits, ANNOUNCED_SECONDS)
        self._announced = bool(circuits)

    async def withdraw(self, store: Store, owner: str) -> None:
        """Take the announcement back. Raises StoreError."""
        if self._announced:
            await store.hold(owner, {}, ANNOUNCED_SECONDS)

    def _open(self, domain: str) -> DomainQueue[int]:
        queue: DomainQueue[int] = DomainQueue(self._clock, self._senders, metrics.Requests(domain))
        metrics.watch_domain(
            domain,
            in_flight=lambda: queue.in_flight,
            limit=lambda: queue.limiter.limit,
            held=lambda: queue.breaker.open,
        )
        if self._closed:
            queue.close()
        return queue
