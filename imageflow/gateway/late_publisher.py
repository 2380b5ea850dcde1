"""The outbox publisher of a door: what it has stored is accepted, whether or not the broker takes the message now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from imageflow.runtime.outbox_publisher import OutboxPublisher, Parcel

SEND_SECONDS = 5.0

log = structlog.get_logger("imageflow.gateway")


class LatePublisher(OutboxPublisher):
    """Publishes within SEND_SECONDS, or leaves the messages to the sweep of the outbox."""

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
