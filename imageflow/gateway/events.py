"""`GET /api/events`: what changes, as it changes. One look a second at the store serves all who listen.

An event names a topic and holds nothing else: what there is to see, the listener asks for, with its own rights.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import structlog
from aiohttp import web

from imageflow.errors import StoreError, ThrottledError
from imageflow.gateway import changes
from imageflow.gateway.problem_details import Refusal
from imageflow.store import Store, User

PATH = "/api/events"
LOOK_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
RETRY_MS = 2_000
RUNS_SEEN = 200
STREAMS = 500
STREAMS_OF_ONE = 25
"""How many streams may be open: of all users, and of one. A browser needs one stream for all of its tabs."""
WAITING_EVENTS = 1_000

STOPPING = web.AppKey("stopping", asyncio.Event)
"""Set when the server begins to stop: streams say so and end."""

Who = Callable[[web.Request], Awaitable[User]]
log = structlog.get_logger("imageflow.gateway")


class _Listener(NamedTuple):
    user: str
    wanted: frozenset[str]
    queue: asyncio.Queue[tuple[int, str]]
    request: web.Request

    @property
    def listens(self) -> bool:
        """Whether it is still connected. Its stream finds that out with its next write."""
        return self.request.transport is not None and not self.request.transport.is_closing()


class Events:
    """The streams of one gateway."""

    def __init__(self, store: Store, who: Who, *, look_seconds: float = LOOK_SECONDS) -> None:
        self._store = store
        self._who = who
        self._look_seconds = look_seconds
        self._listeners: list[_Listener] = []
        self._number = 0

    def routes(self) -> list[web.AbstractRouteDef]:
        """The route of the stream; with it the look runs while the application does."""
        return [web.get(PATH, self._stream)]

    async def run(self, _app: web.Application) -> None:
        """Look, for all who listen, until cancelled: while nobody listens, nothing is asked."""
        before: changes.Look | None = None
        looks = 0
        while True:
            await asyncio.sleep(self._look_seconds)
            if not self._listeners:
                before = None
                continue
            try:
                now = await self._look()
            except StoreError:
                continue  # pages say that the database is away; what changed meanwhile is told later
            except Exception:
                log.exception("the look at what changes failed")
                continue
            if before is not None:
                looks += 1
                self._tell(changes.topics(before, now, looks))
            before = now

    async def _look(self) -> changes.Look:
        store = self._store
        newest = await store.runs(limit=20)
        active = await store.runs(active=True, limit=RUNS_SEEN)
        flows = frozenset((flow.name, flow.version) for flow in await store.flows())
        holds = frozenset((held.domain, held.reason) for held in await store.holds())
        alarms = frozenset((alarm.id, alarm.closed_at is None) for alarm in await store.alarms(limit=20))
        return changes.Look(flows, {run.run_id: run for run in [*newest, *active]}, holds, alarms)

    def _tell(self, topics: list[str]) -> None:
        for topic in topics:
            self._number += 1
            for listener in self._listeners:
                if (not listener.wanted or topic in listener.wanted) and not listener.queue.full():
                    listener.queue.put_nowait((self._number, topic))

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        user = await self._who(request)
        wanted = changes.wanted(request.query.get("topics", ""))
        if wanted is None:
            raise Refusal(400, "the query: topics: flows, runs, run:ID, errors, holds, alarms or system, with commas")
        listening = [one.user for one in self._listeners if one.listens]
        mine = listening.count(user.name)
        if mine >= STREAMS_OF_ONE or len(listening) >= STREAMS:
            raise ThrottledError("too many event streams at once", 10.0, overload=mine < STREAMS_OF_ONE)
        listener = _Listener(user.name, wanted, asyncio.Queue(WAITING_EVENTS), request)
        self._listeners.append(listener)
        try:
            return await self._served(request, listener)
        finally:
            self._listeners.remove(listener)

    async def _served(self, request: web.Request, listener: _Listener) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        answer.force_close()
        stopping = asyncio.ensure_future(request.app[STOPPING].wait())
        try:
            with contextlib.suppress(ConnectionError):  # the listener is gone
                await answer.prepare(request)
                await answer.write(f"retry: {RETRY_MS}\n: listening\n\n".encode())
                while await self._written(request, answer, listener, stopping):
                    pass
        finally:
            stopping.cancel()
        return answer

    async def _written(
        self,
        request: web.Request,
        answer: web.StreamResponse,
        listener: _Listener,
        stopping: asyncio.Future[Any],
    ) -> bool:
        """Wait for the next event, and write it; False: the stream ends."""
        event = asyncio.ensure_future(listener.queue.get())
        try:
            await asyncio.wait((event, stopping), timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not event.done():
                event.cancel()
        if stopping.done():
            await answer.write(b"event: bye\ndata: bye\n\n")
            return False
        if event.done() and not event.cancelled():
            number, topic = event.result()
            await answer.write(f"id: {number}\ndata: {topic}\n\n".encode())
            return True
        return await self._still(request, answer)

    async def _still(self, request: web.Request, answer: web.StreamResponse) -> bool:
        """Say that the stream lives, as long as the listener may listen."""
        try:
            await self._who(request)
        except StoreError:
            pass  # not known now: asked again at the next beat
        except Exception:  # noqa: BLE001 - whatever closes the door ends the stream
            return False
        await answer.write(b": still here\n\n")
        return True
