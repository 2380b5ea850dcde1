"""Dead letters: what lies in `imageflow.parked`, with the reason. People look at messages, replay or drop them.

The id of a parked message is a digest of its headers and body, so it is the same over either broker.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import msgspec

from imageflow.actions.actor import Actor
from imageflow.broker import Broker, Delivery, Outgoing
from imageflow.errors import ImageFlowError, NotFoundError
from imageflow.model.messages import PARKED_QUEUE
from imageflow.store import Store

OWN_QUEUES = "imageflow."
OWN_HEADERS = frozenset(("queue", "reason", "parked_at", "attempts"))
"""Headers that describe the parking. A replayed message goes without them."""

EXCERPT_BYTES = 200
_ID_BYTES = 6


class NotReplayable(ImageFlowError):
    """The queue that a dead letter came from is not known; it can only be dropped."""


class Parked(msgspec.Struct, frozen=True):
    """A parked message as people see it. `queue` is where it came from; `excerpt` the beginning of its body."""

    id: str
    queue: str
    flow: str
    reason: str
    parked_at: str
    bytes: int
    headers: dict[str, str]
    excerpt: str


def describe(delivery: Delivery) -> Parked:
    """A parked message for people."""
    headers = delivery.headers
    return Parked(
        id=identity(headers, delivery.body),
        queue=headers.get("queue", ""),
        flow=headers.get("flow", ""),
        reason=headers.get("reason", ""),
        parked_at=headers.get("parked_at", ""),
        bytes=len(delivery.body),
        headers=own(headers),
        excerpt=delivery.body[:EXCERPT_BYTES].decode("utf-8", "replace"),
    )


def identity(headers: Mapping[str, str], body: bytes) -> str:
    """The id of a parked message."""
    digest = hashlib.blake2b(digest_size=_ID_BYTES)
    for part in (*(text for item in sorted(headers.items()) for text in item), ""):
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    digest.update(body)
    return digest.hexdigest()


def own(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that the message had before it was parked."""
    return {name: value for name, value in headers.items() if name not in OWN_HEADERS}


async def look(broker: Broker, limit: int) -> list[Parked]:
    """The oldest `limit` parked messages."""
    found: list[Parked] = []
    async with broker.browse(PARKED_QUEUE) as deliveries:
        async for delivery in deliveries:
            if len(found) == limit:
                break
            found.append(describe(delivery))
    return found


async def one(broker: Broker, wanted: str) -> tuple[Parked, bytes]:
    """A parked message, with its whole body. Raises NotFoundError."""
    async with broker.browse(PARKED_QUEUE) as deliveries:
        async for delivery in deliveries:
            if (found := describe(delivery)).id == wanted:
                return found, delivery.body
    raise _unknown(wanted)


async def replay(store: Store, broker: Broker, wanted: str | None, actor: Actor) -> list[Parked]:
    """Send a message (None: every one) back to the queue it came from; what was sent.

    Raises NotFoundError, and NotReplayable for a message of which no queue is known.
    """

    async def publish(delivery: Delivery) -> None:
        # anew before it leaves the dead-letter queue: after a crash between the two it is in both, which does no harm
        await broker.publish(Outgoing(_origin(delivery), delivery.body, headers=own(delivery.headers)))

    return [parked async for parked in _settled(store, broker, wanted, actor, "parked.replay", publish)]


async def drop(store: Store, broker: Broker, wanted: str | None, actor: Actor) -> list[Parked]:
    """Throw a message away (None: every one); what was thrown away. Raises NotFoundError."""
    return [parked async for parked in _settled(store, broker, wanted, actor, "parked.drop", None)]


async def _settled(
    store: Store,
    broker: Broker,
    wanted: str | None,
    actor: Actor,
    what: str,
    before: Callable[[Delivery], Awaitable[None]] | None,
) -> AsyncIterator[Parked]:
    """Each wanted message, once it has left the dead-letter queue and is in the audit log."""
    count = 0
    ready = (await broker.depth(PARKED_QUEUE)).ready
    async with broker.browse(PARKED_QUEUE) as deliveries:
        async for delivery in deliveries:
            parked = describe(delivery)
            if wanted in (None, parked.id):
                if before is not None:
                    await before(delivery)
                await delivery.ack()
                about = {"queue": parked.queue, "flow": parked.flow, "reason": parked.reason}
                await store.record(actor.entry(what, f"message {parked.id}", **about))
                count += 1
                yield parked
            if wanted == parked.id or (wanted is None and count >= ready):
                break  # what is parked meanwhile is another matter: it may be the same message again
    if wanted is not None and not count:
        raise _unknown(wanted)


def _origin(delivery: Delivery) -> str:
    """The queue that a message came from. Raises NotReplayable."""
    queue = delivery.headers.get("queue", "")
    if not queue.startswith(OWN_QUEUES) or queue == PARKED_QUEUE:
        raise NotReplayable(
            f"message {describe(delivery).id} does not say which queue it came from: it can only be dropped (`imageflow parked drop`)"
        )
    return queue


def _unknown(wanted: str) -> NotFoundError:
    return NotFoundError(f"there is no parked message {wanted!r}")
