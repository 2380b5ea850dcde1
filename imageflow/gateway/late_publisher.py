"""The outbox publisher of a door: what it has stored is accepted, whether or not the broker takes the message now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from imageflow.runtime.outbox_publisher import OutboxPublisher
from imageflow.store import Unsent

SEND_SECONDS = 5.0

log = structlog.get_logger("imageflow.gateway")


class LatePublisher(OutboxPublisher):
    """Publishes within SEND_SECONDS, or leaves the messages to the sweep of the outbox."""

    async def send(self, unsent: Sequence[Unsent], *, page: bytes | None = None) -> None:
        """See `send_soon`."""
        await self.send_soon(unsent, page=page)

    async def send_soon(self, unsent: Sequence[Unsent], *, page: bytes | None = None, **about: str) -> Exception | None:
        """As `OutboxPublisher.send`, but returns what prevented it. `about`: what the log says beside."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await super().send(unsent, page=page)
        except Exception as error:  # noqa: BLE001 - even after a fault of ours, what is stored is accepted
            log.warning("messages left to the outbox", messages=len(unsent), error=str(error) or repr(error), **about)
            return error
        return None
