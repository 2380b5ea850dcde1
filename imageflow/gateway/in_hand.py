"""The requests that a server has in hand: each has an end, and a server that stops waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from imageflow.gateway import events

REQUEST_SECONDS = 120.0
LOOK_SECONDS = 1.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.get_logger("imageflow.gateway")


class InHand:
    """Requests under way, but for event streams, which last and are told to end. One that takes longer than `seconds` is ended,
    and `late` answers it. While stopping, each answer closes its connection.

    One look a second finds those that take too long: a timer for each costs a small post as much as its parsing.
    """

    def __init__(self, late: Callable[[web.Request], web.StreamResponse], seconds: float = REQUEST_SECONDS) -> None:
        self._late_answer = late
        self._seconds = seconds
        self._begun: dict[asyncio.Task[object], float] = {}  # in the order of their beginning
        self._late: set[asyncio.Task[object]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Around all that a request does."""
        if request.path == events.PATH:
            return await handler(request)
        task = asyncio.current_task()
        assert task is not None
        self._begun[task] = asyncio.get_running_loop().time()
        self._idle.clear()
        try:
            answer = await handler(request)
        except asyncio.CancelledError:
            if not self._was_late(task):
                raise
            answer = self._late_answer(request)
        finally:
            self._was_late(task)  # where the handler was done all the same
            del self._begun[task]
            if not self._begun:
                self._idle.set()
        if self._stopping:
            answer.force_close()
        return answer

    def _was_late(self, task: asyncio.Task[object]) -> bool:
        """Whether `look` has cancelled the task, and nobody else. It is not cancelled any more then."""
        if task not in self._late:
            return False
        self._late.remove(task)
        return not task.uncancel()

    async def run(self, _app: web.Application) -> None:
        """Look, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look(asyncio.get_running_loop().time())

    def look(self, now: float) -> None:
        """End the requests that take too long. `now` is the loop's time."""
        for task, begun in self._begun.items():
            if begun > now - self._seconds:
                break
            if task not in self._late:
                self._late.add(task)
                task.cancel()

    async def finish(self, seconds: float) -> None:
        """Wait until nothing is in hand, at most `seconds`."""
        self._stopping = True
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            log.warning("stopped with requests in hand", requests=len(self._begun))
