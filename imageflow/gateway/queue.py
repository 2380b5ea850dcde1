"""The queue `imageflow.outbound`: what an ERP publishes is accepted as if it had posted it (see outbound.py).

A publisher sets the header `flow`, and should set the property `message_id`: like an Idempotency-Key it makes a repeat
harmless, also the broker's own, which comes after a crash. What cannot be accepted is parked with the reason.

The messages of one flow are accepted one after the other, in their order; nothing is acknowledged that is not durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

import structlog

from imageflow.broker import Delivery
from imageflow.errors import MessageError, PostError, Postponed, RequestError, StoreError, ThrottledError
from imageflow.gateway.outbound import FULL_RETRY_SECONDS, NDJSON_TYPES, KeyReused, Outbound, Posted
from imageflow.gateway.problem_details import refusal
from imageflow.gateway.published_encoding import Encoding, as_utf8, encoding_of
from imageflow.gateway.request_body import MAX_BODY_BYTES, Body
from imageflow.model.messages import OUTBOUND_QUEUE
from imageflow.runtime.service import Stage
from imageflow.telemetry import metrics

PREFETCH = 8
PUBLISHER = "queue"
"""Who posted, as runs show it: RabbitMQ knows its users, ImageFlow does not."""

AWAY_PAUSE_SECONDS = 2.0
AWAY_TRIES = 60
"""A message waits this many pauses while the database is away, because the next ones must not overtake it; RabbitMQ takes
back what is held for 30 minutes."""

log = structlog.get_logger("imageflow.gateway")


class Published(NamedTuple):
    """What an ERP published: for which flow, the body as it came, and under which key."""

    flow: str
    body: bytes
    encoding: Encoding
    ndjson: bool
    key: str | None
    run_id: str = ""
    """There is none yet."""


def published(delivery: Delivery) -> Published:
    """Raises MessageError where it does not say for whom it is, is too large, or is packed in a way that is not understood."""
    headers = _folded(delivery.headers)
    flow = headers.get("flow", "").strip()
    if not flow:
        raise MessageError("the header `flow` is missing: it names the outbound flow that the rows are for")
    if len(delivery.body) > MAX_BODY_BYTES:
        raise MessageError(f"the body is larger than {MAX_BODY_BYTES:,} bytes; publish it in parts")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        encoding = encoding_of(headers)
    except PostError as why:
        raise MessageError(str(why)) from why
    return Published(
        flow=flow,
        body=delivery.body,
        encoding=encoding,
        ndjson=kind in NDJSON_TYPES,
        key=headers.get("message-id") or None,
    )


def _folded(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers by their names as HTTP would take them: a sender that cannot set properties writes `Message-Id`."""
    return {name.lower().replace("_", "-"): value for name, value in headers.items()}


class _Turn:
    """Whose turn it is to have a message of a flow accepted."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.takers = 0


class OutboundQueue:
    """Takes what is published to the queue."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._turns: dict[str, _Turn] = {}

    @property
    def stage(self) -> Stage[Published]:
        """What `Service` runs."""
        return Stage("outbound", PREFETCH, lambda _: [OUTBOUND_QUEUE], published, self._handle, self._give_up)

    async def _handle(self, message: Published) -> None:
        """Accept a message. Raises MessageError where it is refused for good, Postponed while the flow's queue is full."""
        async with self._turn(message.flow):
            for _ in range(AWAY_TRIES):
                try:
                    await self._accept(message)
                except StoreError as away:
                    log.warning("database away: what was published waits", error=str(away))
                    await asyncio.sleep(AWAY_PAUSE_SECONDS)
                else:
                    return
            await self._accept(message)

    @asynccontextmanager
    async def _turn(self, flow: str) -> AsyncIterator[None]:
        """First come, first served, flow by flow."""
        turn = self._turns.setdefault(flow, _Turn())
        turn.takers += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.takers -= 1
            if not turn.takers:
                del self._turns[flow]

    async def _accept(self, message: Published) -> None:
        known = ""
        try:
            flow = await self._outbound.flow(message.flow)
            known = flow.name
            await self._outbound.check_room(known)
            body = Body("gzip" if message.encoding.gzip else "")
            for _ in body.steps(message.body):
                await asyncio.sleep(0)
            content = as_utf8(body.end(), message.encoding.charset)
            await self._outbound.accept(flow, Posted(content, message.ndjson, message.key, PUBLISHER))
        except RequestError as why:
            metrics.POSTS.labels(known, refusal(why).status).inc()
            raise _answer(why) from why
        metrics.POSTS.labels(known, 202).inc()

    async def _give_up(self, _message: Published, reason: str) -> None:
        raise MessageError(reason)


def _answer(why: RequestError) -> MessageError | Postponed:
    """What becomes of a message that is refused: a dead letter, or a redelivery where it may be accepted later."""
    match why:
        case ThrottledError():
            return Postponed(why.retry_after or FULL_RETRY_SECONDS, str(why))
        case KeyReused():
            return MessageError(f"the message_id was used for another body (run {why.run_id})")
    return MessageError(str(why))
