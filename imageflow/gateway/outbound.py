"""The outbound door: what an ERP posts becomes a run with one page, durable before it is answered.

What a post holds, and why it is refused, post_body.py decides. `Outbound` does the rest, for HTTP and (the same rules) for
the queue `imageflow.outbound`. Posts that come together are stored and published together (group_commit.py); small ones may
share a run (shared_runs.py).
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

import structlog

from imageflow.broker import Broker
from imageflow.clock import Clock
from imageflow.errors import BrokerError, NotFoundError, PostError, QueueFullError, ThrottledError
from imageflow.gateway.group_commit import GroupCommit
from imageflow.gateway.late_publisher import SEND_SECONDS, LatePublisher
from imageflow.gateway.post_body import Post, finished, is_light, steps
from imageflow.gateway.shared_runs import Arrived, shared
from imageflow.model.flow import NAME_PATTERN, Definition, Flow
from imageflow.model.messages import transform_queue
from imageflow.model.run import Run, Trigger, new_run_id
from imageflow.runtime.bounded import Recent
from imageflow.runtime.outbox_publisher import Parcel
from imageflow.store import AcceptedPost, Store
from imageflow.telemetry import message_headers, tracing

QUEUE_LIMIT = 10_000
"""Posts of one flow that may wait to be transformed; after that, 429."""
FULL_RETRY_SECONDS = 10.0
DEPTH_SECONDS = 2.0
DEPTH_CACHE_SECONDS = 0.5
FLOWS_REMEMBERED = 1000
FLOW_SECONDS = 60.0
"""How long a flow is remembered. That it has not changed is checked where a post is stored, and where one is refused."""
OUTDATED_TRIES = 3
NDJSON_TYPES = frozenset(
    (
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonlines",
        "application/json-seq",
    )
)
_KEY = re.compile(r"[!-~]{1,255}")

log = structlog.get_logger("imageflow.gateway")


class KeyReused(PostError):
    """An idempotency key was used for another body, which became the run `run_id`."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"the Idempotency-Key was used for another body (run {run_id})", "conflict")
        self.run_id = run_id


class Posted(NamedTuple):
    """A post as it came: its bytes, whether it says that it is NDJSON, its Idempotency-Key, and who posts."""

    content: bytes
    ndjson: bool
    key: str | None
    by: str


def check_key(values: list[str]) -> str | None:
    """The Idempotency-Key of a request, from its headers of that name. Raises PostError when it cannot be used."""
    if not values:
        return None
    if len(values) > 1 or not _KEY.fullmatch(values[0]):
        raise PostError("Idempotency-Key must be one header of 1 to 255 visible ASCII characters")
    return values[0]


def scoped(by: str, key: str) -> str:
    """An Idempotency-Key as it is stored: each sender has keys of their own, and learns nothing of the others' posts."""
    return f"{hashlib.blake2b(by.encode(), digest_size=8).hexdigest()} {key}"


class Outbound:
    """Accepts posts: the flow is found, there is room, the rows are durable, the transformer is told."""

    def __init__(
        self,
        store: Store,
        broker: Broker,
        publisher: LatePublisher,
        clock: Clock,
        *,
        queue_limit: int = QUEUE_LIMIT,
    ) -> None:
        self._store = store
        self._broker = broker
        self._publisher = publisher
        self._clock = clock
        self._queue_limit = queue_limit
        self._flows: Recent[str, Flow] = Recent(FLOWS_REMEMBERED, FLOW_SECONDS, clock.monotonic)
        self._full: Recent[str, tuple[float, bool]] = Recent(FLOWS_REMEMBERED)
        self._asking: set[str] = set()
        self._parsing = asyncio.Semaphore(1)
        self._storing = GroupCommit(self._store_all)
        self._publishing = GroupCommit(self._publish_all)

    async def flow(self, name: str) -> Flow:
        """The outbound flow of that name. Raises NotFoundError where there is none that takes posts."""
        return self._flows.get(name) or await self._newest(name)

    async def _newest(self, name: str) -> Flow:
        self._flows.forget(name)
        if not re.fullmatch(NAME_PATTERN, name):
            raise NotFoundError("there is no such flow")
        try:
            flow = await self._store.flow(name)
        except NotFoundError as error:
            raise NotFoundError(f"there is no flow {name!r}") from error
        if flow.no_posts is not None:
            raise NotFoundError(flow.no_posts)
        return self._flows.put(name, flow)

    async def check_room(self, flow: str) -> None:
        """Raises ThrottledError while too much of the flow waits to be transformed, but not because the broker is away.

        Of many posts at once one asks the broker, and the others go by what was known before.
        """
        until, full = self._full.get(flow, (0.0, False))
        if until <= self._clock.monotonic() and flow not in self._asking:
            self._asking.add(flow)
            try:
                full = await self._is_full(flow)
                self._remember(flow, full=full)
            finally:
                self._asking.discard(flow)
        if full:
            raise ThrottledError(f"the queue of the flow {flow!r} is full; try again later", FULL_RETRY_SECONDS)

    async def _is_full(self, flow: str) -> bool:
        try:
            async with asyncio.timeout(DEPTH_SECONDS):
                return (await self._broker.depth(transform_queue(flow))).ready >= self._queue_limit
        except (BrokerError, TimeoutError):
            return False

    def _remember(self, flow: str, *, full: bool) -> None:
        self._full.put(flow, (self._clock.monotonic() + DEPTH_CACHE_SECONDS, full))

    async def accept(self, flow: Flow, body: Posted) -> AcceptedPost:
        """Store the post as a run, of which the transformer is told. Once this returns nothing can be lost.

        Raises PostError where the body cannot be used, KeyReused, NotFoundError where the flow takes no posts any more, and
        StoreError when the database is away: then nothing was accepted, or the same key finds it.
        """
        for _ in range(OUTDATED_TRIES):
            flow, post = await self._understood(flow, body)
            accepted = await self._store_post(flow, post, body)
            if accepted.conflict:
                raise KeyReused(accepted.run_id)
            if not accepted.outdated:
                return accepted
            flow = await self._newest(flow.name)
        raise ThrottledError(f"the flow {flow.name!r} is being changed; try again", 1.0, overload=True)

    async def _understood(self, flow: Flow, body: Posted) -> tuple[Flow, Post]:
        """What the body holds, and the version of the flow that understands it: a refusal is the newest version's."""
        try:
            return flow, await self._parsed(body, flow.definition)
        except PostError:
            newest = await self._newest(flow.name)
            if newest.version == flow.version:
                raise
        return newest, await self._parsed(body, newest.definition)

    async def _parsed(self, body: Posted, definition: Definition) -> Post:
        """A large body in steps, one such body at a time: others get their turn, and memory has a bound."""
        parsing = steps(body.content, definition, ndjson=body.ndjson)
        if is_light(body.content):
            return finished(parsing)
        async with self._parsing:
            while True:
                try:
                    next(parsing)
                except StopIteration as done:
                    post: Post = done.value
                    return post
                await asyncio.sleep(0)

    async def _store_post(self, flow: Flow, post: Post, body: Posted) -> AcceptedPost:
        """Store the post, and have published what the outbox has of it."""
        key = None if body.key is None else scoped(body.by, body.key)
        arrived = Arrived(flow.name, flow.version, body.by, post, key)
        same = None if key is None else (flow.name, key)
        accepted = await self._storing.add(arrived, size=len(post.text), key=same)
        with tracing.span("gateway", accepted.run_id, flow.name, {}, rows=post.rows):
            headers = message_headers.following()
        if accepted.outbox and not accepted.repeated:  # of a repeat, the first post's is on its way
            parcels = [Parcel(item, headers, accepted.page) for item in accepted.outbox]
            await self._publish(flow.name, parcels, size=len(accepted.page or b""))
        return accepted

    async def _publish(self, flow: str, parcels: Sequence[Parcel], *, size: int) -> None:
        """Tell the transformer soon. The post is durable, so its sender need not wait for that, unless much is to be published:
        a slow broker slows the senders down.
        """
        published = self._publishing.add(parcels, size=size)
        published.add_done_callback(lambda done: self._published(flow, done))
        if self._publishing.behind:
            await published

    def _published(self, flow: str, done: asyncio.Future[Exception | None]) -> None:
        if not done.cancelled() and isinstance(done.result(), QueueFullError):
            self._remember(flow, full=True)

    async def finish(self) -> None:
        """Wait until what was accepted is published, or left to the sweep of the outbox."""
        await self._publishing.finish(SEND_SECONDS)
        await self._publisher.finish()

    def _run(self, arrived: Arrived) -> Run:
        now = self._clock.now()
        return Run(
            run_id=new_run_id(now),
            flow=arrived.flow,
            version=arrived.version,
            trigger=Trigger("outbound", by=arrived.by),
            status="draining",
            created_at=now,
            started_at=now,
            pages=1,
            read_complete=True,
        )

    async def _store_all(self, posts: Sequence[Arrived]) -> list[AcceptedPost]:
        return await self._store.accept_posts(shared(posts, self._run))

    async def _publish_all(self, posts: Sequence[Sequence[Parcel]]) -> list[Exception | None]:
        """What prevented the publishing, for each post: None where nothing did."""
        prevented = await self._publisher.send_soon([parcel for post in posts for parcel in post])
        return [prevented] * len(posts)
