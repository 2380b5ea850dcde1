"""The seam to the message broker: durable queues that deliver messages.

Two adapters, `sqlite.py` (one process, one file) and `rabbitmq.py`; tests/contract/test_broker.py holds for both:

- `publish` returns when the message is durable (committed, or confirmed by the broker), else it raises: BrokerError
  when the broker is away or does not answer within the deadline, QueueFullError when the queue takes no more.
- A delivery is unacknowledged until exactly one of ack, retry, park or requeue. What a dead process had not settled is
  redelivered, with `deliveries` raised by one.
- Delays are steps of retry_ladder.LADDER; a delayed message does not block those behind it, and comes back to its own queue.
- Queues are made on first use, by publisher or consumer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import NamedTuple, Protocol, Self

DELIVERY_LIMIT = 50
"""Deliveries after which the broker itself parks a message; the service gives up on a message long before."""

QUEUE_LIMIT = 20_000
"""Messages that a work queue holds before it refuses more (QueueFullError)."""

PUBLISH_SECONDS = 15.0
"""Deadline of every publish."""

MAX_REASON_CHARS = 2000
MAX_HEADERS_BYTES = 64 * 1024
"""Headers of a message that is published again. Another program's may be larger: RabbitMQ takes 128 KiB in all."""


class Depth(NamedTuple):
    """What is in a queue: messages `ready` to be delivered, its `consumers`, messages `delayed`."""

    ready: int
    consumers: int
    delayed: int = 0
    """Only the embedded broker can tell."""


class Outgoing(NamedTuple):
    """A message to publish: `delay` in seconds is rounded up to a step of retry_ladder.LADDER."""

    queue: str
    body: bytes
    delay: float = 0.0
    headers: Mapping[str, str] = {}


class Delivery(Protocol):
    """A delivered message. Settle it exactly once; a settled delivery whose connection was lost may be redelivered.

    A settling call that raised BrokerError did not settle: another may follow. One that was cancelled may have settled:
    what follows it does no harm.
    """

    @property
    def queue(self) -> str: ...

    @property
    def body(self) -> bytes: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Text headers; others are turned into text. A message that another program published over AMQP has some
        properties among them: `message-id`, `content-type`, `content-encoding`.
        """
        ...

    @property
    def deliveries(self) -> int:
        """How often it was delivered before and not settled (0 the first time)."""
        ...

    async def ack(self) -> None:
        """Done: everything derived from it is durable elsewhere."""
        ...

    async def retry(self, delay: float, *, failed: bool = True) -> None:
        """Redeliver it after `delay` seconds (a step of the ladder, at least the first); durable before the delivery ends.

        The header `attempts` (text, from "1") of the redelivered message counts the retries that were `failed`;
        a message that was merely postponed keeps its count.
        """
        ...

    async def park(self, reason: str) -> None:
        """Put it into the dead-letter queue `imageflow.parked`, with headers `reason`, `queue` and `parked_at`; durable
        before the delivery ends.
        """
        ...

    async def requeue(self) -> None:
        """Put it back into its queue at once, for any consumer.

        RabbitMQ counts that in `deliveries`, and parks a message that came back DELIVERY_LIMIT times: a message that has
        to wait is better retried, with `failed=False`.
        """
        ...


class Broker(Protocol):
    """A message broker. Use as an async context manager: entering connects (or raises BrokerError), leaving closes."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def publish(self, *messages: Outgoing) -> None:
        """Publish all; returns when all are durable. On an error some may be durable: the caller publishes again."""
        ...

    def consume(self, queue: str, *, prefetch: int) -> AbstractAsyncContextManager[AsyncIterator[Delivery]]:
        """Consume a queue: entering starts it, the iterator gives deliveries without end (through reconnections and
        cancels by the broker), at most `prefetch` of them unacknowledged at once. Leaving stops it: nothing more is
        delivered, what was not yet taken from the iterator is requeued, what was taken may still be settled until the
        broker closes.
        """
        ...

    def browse(self, queue: str) -> AbstractAsyncContextManager[AsyncIterator[Delivery]]:
        """Look through what is ready in a queue now, the oldest first: the iterator ends with the last message, and
        waits for no other. Each may be settled until the context is left; what was not settled stays in the queue.

        A process that may not consume may browse. Two that browse one queue at once may not see the same.
        """
        ...

    async def depth(self, queue: str) -> Depth:
        """What is in the queue now (of RabbitMQ: as of its last statistics)."""
        ...

    def consuming(self, queue: str) -> bool:
        """Whether a consumer of this process runs on the queue now: then the queue is there, too."""
        ...

    @property
    def healthy(self) -> str | None:
        """None while connected and every consumer that should run does, or has only just begun; else what is wrong."""
        ...


def retried(headers: Mapping[str, str], *, failed: bool) -> dict[str, str]:
    """The headers of a message that is retried: with one more attempt, or as they were."""
    if not failed:
        return bounded(headers)
    return {**bounded(headers), "attempts": str(attempts(headers) + 1)}


def parked(headers: Mapping[str, str], queue: str, reason: str, at: float) -> dict[str, str]:
    """The headers of a message that is parked at Unix time `at`."""
    when = datetime.fromtimestamp(int(at), UTC).isoformat()
    return {**bounded(headers), "queue": queue, "reason": reason[:MAX_REASON_CHARS], "parked_at": when}


def attempts(headers: Mapping[str, str]) -> int:
    """How often a message was retried after a failure; 0 where another program wrote no number there."""
    text = headers.get("attempts", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def bounded(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers, as many of them as fit into MAX_HEADERS_BYTES, the small ones first."""
    sizes = {name: len(name.encode()) + len(value.encode()) for name, value in headers.items()}
    if sum(sizes.values()) <= MAX_HEADERS_BYTES:
        return dict(headers)
    kept: dict[str, str] = {}
    room = MAX_HEADERS_BYTES
    for name in sorted(sizes, key=sizes.__getitem__):
        room -= sizes[name]
        if room < 0:
            break
        kept[name] = headers[name]
    return kept
