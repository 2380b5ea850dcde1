"""The outbox publisher: publishes the messages that were stored together with their cause, and deletes them a little later."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import structlog

from imageflow.broker import Broker, Outgoing
from imageflow.model.messages import (
    MAX_INLINE_BODY_BYTES,
    MAX_MESSAGE_BYTES,
    READ_QUEUE,
    PageRead,
    decode,
    encode,
)
from imageflow.store import Store, Unsent
from imageflow.telemetry import message_headers

DELETE_SECONDS = 0.05
"""A busy service publishes a hundred messages in that time. Deleting them together is one transaction, not a hundred."""
FINISH_SECONDS = 5.0
SWEEP_AGE_SECONDS = 10.0
"""A message that is still unsent after that long was left by a crash, or by a broker that was away."""

log = structlog.get_logger()


class Parcel(NamedTuple):
    """A message of the outbox as it is published: with its headers, and the body of its page where it is a PageRead."""

    item: Unsent
    headers: Mapping[str, str]
    page: bytes | None = None


class OutboxPublisher:
    """Publishes outbox messages. What is published is deleted within DELETE_SECONDS, together with all that came meanwhile; a
    process that dies before leaves it to the sweep. Publishing a message twice is harmless: consumers recognise what they have
    seen.
    """

    def __init__(self, store: Store, broker: Broker) -> None:
        self._store = store
        self._broker = broker
        self._published: set[int] = set()
        """Ids of messages that are published, and not deleted yet."""
        self._deleting: asyncio.Task[None] | None = None
        self._finishing = asyncio.Event()

    async def send(self, unsent: Sequence[Unsent], *, page: bytes | None = None) -> None:
        """Publish the messages. A PageRead among them carries `page`, the body of its page, if the body is small enough."""
        following, beside = message_headers.following(), message_headers.beside()
        await self.send_parcels(
            [Parcel(item, beside if item.queue == READ_QUEUE else following, page) for item in unsent]
        )

    async def send_parcels(self, parcels: Sequence[Parcel]) -> None:
        """Publish the messages, each with its own headers and page."""
        parcels = [parcel for parcel in parcels if parcel.item.id not in self._published]
        if not parcels:
            return
        await self._broker.publish(
            *(Outgoing(item.queue, inlined(item.body, page), headers=headers) for item, headers, page in parcels)
        )
        self._published.update(parcel.item.id for parcel in parcels)
        if self._deleting is None or self._deleting.done():
            self._deleting = asyncio.create_task(self._delete_later(), name="outbox deletions")

    async def _delete_later(self) -> None:
        while self._published:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DELETE_SECONDS):
                    await self._finishing.wait()
            await self._delete()

    async def _delete(self) -> None:
        ids = sorted(self._published)
        try:
            await self._store.sent(ids)
        except Exception as error:  # noqa: BLE001 - the sweep publishes them once more, which is harmless
            log.warning("published messages stay in the outbox", messages=len(ids), error=str(error) or repr(error))
        finally:
            self._published.difference_update(ids)

    async def finish(self) -> None:
        """Delete what is published at once from now on; wait for that for at most FINISH_SECONDS."""
        self._finishing.set()
        if self._deleting is not None:
            await asyncio.wait((self._deleting,), timeout=FINISH_SECONDS)

    async def sweep(self, older_than: float = SWEEP_AGE_SECONDS) -> int:
        """Publish what was left behind; returns how many messages."""
        unsent = await self._store.unsent(older_than)
        await self.send(unsent)
        return len(unsent)


def inlined(message: bytes, page: bytes | None) -> bytes:
    """A PageRead message with its page in it, where both are small enough; any other message as it is."""
    if page is None or len(page) > MAX_INLINE_BODY_BYTES:
        return message
    read = decode(message)
    if not isinstance(read, PageRead):
        return message
    whole = encode(msgspec.structs.replace(read, body=page.decode()))
    return whole if len(whole) <= MAX_MESSAGE_BYTES else message
