"""The outbox publisher: publishes the messages that were stored together with their cause, then deletes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

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

SWEEP_AGE_SECONDS = 10.0
"""A message that is still unsent after that long was left by a crash, or by a broker that was away."""


class Parcel(NamedTuple):
    """A message of the outbox as it is published: with its headers, and the body of its page where it is a PageRead."""

    item: Unsent
    headers: Mapping[str, str]
    page: bytes | None = None


class OutboxPublisher:
    """Publishes outbox messages. Publishing one twice is harmless: consumers recognise what they have seen."""

    def __init__(self, store: Store, broker: Broker) -> None:
        self._store = store
        self._broker = broker

    async def send(self, unsent: Sequence[Unsent], *, page: bytes | None = None) -> None:
        """Publish the messages, then delete them. A PageRead among them carries `page`, the body of its page, if the
        body is small enough.
        """
        following, beside = message_headers.following(), message_headers.beside()
        await self.send_parcels(
            [Parcel(item, beside if item.queue == READ_QUEUE else following, page) for item in unsent]
        )

    async def send_parcels(self, parcels: Sequence[Parcel]) -> None:
        """Publish the messages, each with its own headers and page, then delete them."""
        if not parcels:
            return
        await self._broker.publish(
            *(Outgoing(item.queue, inlined(item.body, page), headers=headers) for item, headers, page in parcels)
        )
        await self.published([parcel.item.id for parcel in parcels])

    async def published(self, ids: Sequence[int]) -> None:
        """Delete messages that are published."""
        await self._store.sent(ids)

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
