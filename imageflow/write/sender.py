"""Sends rows to Omnitron: which of a chunk go out, and the requests of each."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import structlog

from imageflow.clock import Clock
from imageflow.errors import SecretError, StageError, TransportError
from imageflow.http.omnitron import Access, OmnitronSessions
from imageflow.http.post_client import NotSentError, PostClient
from imageflow.model.imageset import Image
from imageflow.write import row_work
from imageflow.write.chunk import Chunk
from imageflow.write.domain_queue import DomainQueue
from imageflow.write.outcome import Outcome, Unauthorized, Unavailable, judge, no_answer

_log = structlog.get_logger()

UNCAPPED = 1 << 30


class Payload(msgspec.Struct, frozen=True):
    """The body of a write, as Omnitron takes it."""

    product_sku: str
    images: tuple[Image, ...]


class Destination(NamedTuple):
    """Where the rows of a chunk go."""

    client: PostClient
    access: Access
    queue: DomainQueue[int]
    timeout: float
    may_send: Callable[[], bool]
    """Asked before each single request: see Lease.may_send."""
    epoch: float
    """Unix time less the monotonic clock."""


_encode = msgspec.json.Encoder().encode


class Sender:
    """Keeps the connections of a process. `close` ends them."""

    def __init__(self, clock: Clock, omnitron: OmnitronSessions) -> None:
        self._clock = clock
        self._omnitron = omnitron
        self._clients: dict[tuple[str, bool], PostClient] = {}

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    async def send_all(
        self, chunk: Chunk, queue: DomainQueue[int], *, probe: bool, until: asyncio.Future[None] | None = None
    ) -> None:
        """Send the rows that are `waiting`; those that the queue rejects stay so. `probe`: the first goes out although the
        circuit is open, and the others if it closes the circuit. Once `until` is done, no more are sent."""
        ready = chunk.places("waiting")
        if not ready:
            if probe:
                queue.breaker.return_probe(self._clock.monotonic())
            return
        try:
            destination = self._destination(chunk, queue)
        except (SecretError, TransportError) as error:
            for place in ready:
                chunk.works[place] = row_work.unsent(chunk.works[place], no_answer(error))
            return
        send = functools.partial(self._send, destination, chunk)
        if probe and not queue.closed:
            await send(ready.pop(0))
        write = chunk.definition.write
        cap = UNCAPPED if write.concurrency == "auto" else write.concurrency
        await queue.send_all(chunk.definition.name, ready, send, cap=cap, rate=write.rate_limit, until=until)

    def _destination(self, chunk: Chunk, queue: DomainQueue[int]) -> Destination:
        """Raises SecretError, and TransportError for a URL that cannot be asked."""
        definition = chunk.definition
        url = definition.omnitron.domain + definition.omnitron.images_path
        access = self._omnitron.access(definition)
        key = (url, definition.bounded)
        if (client := self._clients.get(key)) is None:
            client = self._clients[key] = self._omnitron.post_client(definition, url)
        epoch = self._clock.now().timestamp() - self._clock.monotonic()
        return Destination(client, access, queue, definition.write.timeout, chunk.lease.may_send, epoch)

    async def _send(self, destination: Destination, chunk: Chunk, place: int) -> None:
        """Write a row to each of its SKUs in turn, until one fails.

        The chunk may be cancelled meanwhile: then it finds the row `sending` and keeps its claims.
        """
        work = chunk.works[place]
        monotonic = self._clock.monotonic()
        work = row_work.begun(work, destination.epoch + monotonic, monotonic)
        chunk.works[place] = work
        for sku in filter(row_work.to_be_sent, work.skus):
            if destination.queue.closed:
                work = row_work.stopped(work, "waiting")
                break
            try:
                outcome = await self._ask_safely(destination, sku.product, work.row.images)
            except NotSentError:
                work = row_work.stopped(work, "lease_ending")
                destination.queue.reject_all()
                break
            work = row_work.answered(work, sku, outcome)
            if work.state != "sending":
                break
        chunk.works[place] = work

    async def _ask_safely(self, destination: Destination, product: str, images: tuple[Image, ...]) -> Outcome:
        """One write. Any error is an outcome: raised here, it would end the sender's task, and all others with it.

        Raises NotSentError where the lease does not outlast the request: Omnitron has taken nothing then.
        """
        try:
            return await self._ask(destination, product, images)
        except NotSentError:
            raise
        except Exception as error:  # noqa: BLE001 - see above
            _log.exception("unexpected error in a write")
            return Unavailable(f"unexpected error: {type(error).__name__}: {error}")

    async def _ask(self, destination: Destination, product: str, images: tuple[Image, ...]) -> Outcome:
        """One write, with one more login if the token is not valid."""
        started = self._clock.monotonic()
        body = _encode(Payload(product, images))
        outcome = await self._post(destination, body)
        if isinstance(outcome, Unauthorized):
            started = self._clock.monotonic()
            outcome = await self._post(destination, body)
        if isinstance(outcome, Unauthorized):
            outcome = Unavailable(outcome.reason, 401)
        destination.queue.record(product, outcome, self._clock.monotonic() - started)
        return outcome

    async def _post(self, destination: Destination, body: bytes) -> Outcome | Unauthorized:
        try:
            token = await destination.access.token()
            answer = await destination.client.post(
                f"Token {token}", body, destination.timeout, may_send=destination.may_send
            )
        except (StageError, TransportError, SecretError) as error:
            return no_answer(error)
        if answer.status == 401:
            destination.access.invalidate(token)
        return judge(answer, self._clock.now)
