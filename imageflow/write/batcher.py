"""Asks the store for several chunks in one statement.

Chunks that come while statements are running wait, and go into the next statement together. So the busier the database is,
the more rows share the cost of a transaction; and no chunk waits for others that may not come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

from imageflow.errors import StoreError

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_ITEMS = 1000
"""In one statement, unless a single chunk holds more."""
CONCURRENT_STATEMENTS = 3
"""Of one key, so that the database has the next one when it has finished one."""


class Waiting(NamedTuple, Generic[Item, Result]):
    """The items of a chunk, and what becomes the result of its statement."""

    items: Sequence[Item]
    result: asyncio.Future[Result]


class KeyQueue(Generic[Item, Result]):
    """The chunks of a key that wait, and the number of tasks that work on them."""

    def __init__(self) -> None:
        self.waiting: list[Waiting[Item, Result]] = []
        self.workers = 0

    def take(self) -> list[Waiting[Item, Result]]:
        """The chunks of the next statement."""
        count = fitting([len(waiting.items) for waiting in self.waiting])
        taken, self.waiting[:count] = self.waiting[:count], []
        return taken


class Batcher(Generic[Key, Item, Result]):
    """`tasks` is the group that statements run in. `ask` executes one, for the items of one or more chunks with the same key; what
    it returns goes to each of these chunks, which finds its own part in it.
    """

    def __init__(self, tasks: asyncio.TaskGroup, ask: Callable[[Key, list[Item]], Awaitable[Result]]) -> None:
        self._tasks = tasks
        self._ask = ask
        self._queues: dict[Key, KeyQueue[Item, Result]] = {}

    async def ask(self, key: Key, items: Sequence[Item]) -> Result:
        """The result of the statement that the items went into. Raises what it raised."""
        queue = self._queues.setdefault(key, KeyQueue())
        waiting: Waiting[Item, Result] = Waiting(items, asyncio.get_running_loop().create_future())
        queue.waiting.append(waiting)
        if queue.workers < CONCURRENT_STATEMENTS:
            self._tasks.create_task(self._work(key, queue))
            queue.workers += 1
        return await waiting.result

    async def _work(self, key: Key, queue: KeyQueue[Item, Result]) -> None:
        """Ask until no chunk waits."""
        taken: list[Waiting[Item, Result]] = []
        try:
            while queue.waiting:
                taken = queue.take()
                await self._ask_together(key, taken)
        finally:
            queue.workers -= 1
            if not queue.workers:
                self._queues.pop(key, None)
                taken += queue.waiting  # only where this task was cancelled: nothing else would end their wait
            for waiting in taken:
                waiting.result.cancel()

    async def _ask_together(self, key: Key, taken: Sequence[Waiting[Item, Result]]) -> None:
        try:
            result = await self._ask(key, [item for waiting in taken for item in waiting.items])
        except Exception as error:  # noqa: BLE001 - the chunks wait for it; here it would end all writing
            if len(taken) > 1 and not isinstance(error, StoreError):
                for waiting in taken:  # one by one, so that the chunk with the cause of the error fails alone
                    await self._ask_together(key, [waiting])
                return
            for waiting in taken:
                if not waiting.result.done():
                    waiting.result.set_exception(error)
            return
        for waiting in taken:
            if not waiting.result.done():
                waiting.result.set_result(result)


def fitting(sizes: Sequence[int], most: int = MAX_ITEMS) -> int:
    """How many of these chunks go into one statement, at least one."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if count and total > most:
            return count
    return len(sizes)
