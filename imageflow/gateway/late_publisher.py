"""The outbox publisher of a door: what it has stored is accepted, whether or not the broker takes the message now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from imageflow.broker import Broker
from imageflow.runtime.outbox_publisher import OutboxPublisher, Parcel
from imageflow.store import Store

SEND_SECONDS = 5.0
DELETE_SECONDS = 0.05

log = structlog.get_logger("imageflow.gateway")


class LatePublisher(OutboxPublisher):
    """Publishes within SEND_SECONDS, or leaves the messages to the sweep of the outbox. What is published is deleted a little
    later, all that came within DELETE_SECONDS at once.
    """

    def __init__(self, store: Store, broker: Broker) -> None:
        super().__init__(store, broker)
        self._published: list[int] = []
        self._deleting: asyncio.Task[None] | None = None

    async def send_parcels(self, parcels: Sequence[Parcel]) -> None:
        """See `send_soon`."""
        await self.send_soon(parcels)

    async def send_soon(self, parcels: Sequence[Parcel]) -> Exception | None:
        """As `OutboxPublisher.send_parcels`, but returns what prevented it."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await super().send_parcels(parcels)
        except Exception as error:  # noqa: BLE001 - even after a fault of ours, what is stored is accepted
            log.warning("messages left to the outbox", messages=len(parcels), error=str(error) or repr(error))
            return error
        return None

    async def published(self, ids: Sequence[int]) -> None:
        self._published.extend(ids)
        if self._deleting is None or self._deleting.done():
            self._deleting = asyncio.create_task(self._delete())

    async def _delete(self) -> None:
        while self._published:
            await asyncio.sleep(DELETE_SECONDS)
            ids, self._published = self._published, []
            try:
                await super().published(ids)
            except Exception as error:  # noqa: BLE001 - the sweep publishes them once more, which is harmless
                log.warning("published messages stay in the outbox", messages=len(ids), error=str(error) or repr(error))

    async def finish(self) -> None:
        """Wait until what is published is deleted, at most SEND_SECONDS."""
        if self._deleting is not None:
            await asyncio.wait((self._deleting,), timeout=SEND_SECONDS)
