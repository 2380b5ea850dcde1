"""The way out of the outbox: publish what was stored together with its cause, then mark it as sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imageflow.broker import Broker, Outgoing
from imageflow.model.messages import READ_QUEUE
from imageflow.store import Store, Unsent
from imageflow.telemetry import message_headers

SWEEP_AGE_SECONDS = 10.0
"""What is still unsent after that long was left behind by a crash or by a broker that was away."""


class OutboxPublisher:
    """Publishes outbox messages. Publishing one twice is harmless: consumers recognise what they have seen."""

    def __init__(self, store: Store, broker: Broker) -> None:
        self._store = store
        self._broker = broker

    async def send(self, unsent: Sequence[Unsent], *, instead: Mapping[int, bytes] | None = None) -> None:
        """Publish and mark as sent; `instead` gives a richer body for a message, by its id (a page's rows inline)."""
        if not unsent:
            return
        bodies = instead or {}
        following, beside = message_headers.following(), message_headers.beside()
        await self._broker.publish(
            *(
                Outgoing(
                    item.queue,
                    bodies.get(item.id, item.body),
                    headers=beside if item.queue == READ_QUEUE else following,
                )
                for item in unsent
            )
        )
        await self._store.sent([item.id for item in unsent])

    async def sweep(self, older_than: float = SWEEP_AGE_SECONDS) -> int:
        """Publish what was left behind; how many messages."""
        unsent = await self._store.unsent(older_than)
        await self.send(unsent)
        return len(unsent)
