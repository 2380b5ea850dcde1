"""Settles rows as unchanged, those of several chunks in one statement.

Chunks that come while statements are running wait, and go into the next statement together. So the busier the database is,
the more rows share the cost of a transaction; and no chunk waits for others that may not come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from imageflow.errors import StoreError
from imageflow.model.row import Row
from imageflow.model.run import Run
from imageflow.store import Store

MAX_ROWS = 1000
"""In one statement, unless a single chunk holds more."""
CONCURRENT_STATEMENTS = 3
"""Of one run, so that the database has the next one when it has finished one."""


class Waiting(NamedTuple):
    """The rows of a chunk. `skipped` becomes the numbers of the rows that are settled."""

    rows: Sequence[Row]
    skipped: asyncio.Future[frozenset[int]]


class RunQueue:
    """The chunks of a run that wait, and the number of tasks that work on them."""

    def __init__(self) -> None:
        self.waiting: list[Waiting] = []
        self.workers = 0

    def take(self) -> list[Waiting]:
        """The chunks of the next statement."""
        count = fitting([len(waiting.rows) for waiting in self.waiting])
        taken, self.waiting[:count] = self.waiting[:count], []
        return taken


class UnchangedBatcher:
    """`tasks` is the group that statements run in; `ended` is called with the runs that a statement has ended."""

    def __init__(self, store: Store, tasks: asyncio.TaskGroup, ended: Callable[[Sequence[Run]], None]) -> None:
        self._store = store
        self._tasks = tasks
        self._ended = ended
        self._queues: dict[tuple[str, str], RunQueue] = {}

    async def skip(self, domain: str, run_id: str, rows: Sequence[Row]) -> frozenset[int]:
        """See Store.skip. Of a product that comes twice, the first row is looked at. Returns row numbers of the run, also
        those of other chunks. Raises StoreError."""
        key = (domain, run_id)
        queue = self._queues.setdefault(key, RunQueue())
        waiting = Waiting(rows, asyncio.get_running_loop().create_future())
        queue.waiting.append(waiting)
        if queue.workers < CONCURRENT_STATEMENTS:
            self._tasks.create_task(self._work(key, queue))
            queue.workers += 1
        return await waiting.skipped

    async def _work(self, key: tuple[str, str], queue: RunQueue) -> None:
        """Skip until no chunk waits."""
        taken: list[Waiting] = []
        try:
            while queue.waiting:
                taken = queue.take()
                await self._skip_together(key, taken)
        finally:
            queue.workers -= 1
            if not queue.workers:
                self._queues.pop(key, None)
                taken += queue.waiting  # only where this task was cancelled: nothing else would end their wait
            for waiting in taken:
                waiting.skipped.cancel()

    async def _skip_together(self, key: tuple[str, str], taken: Sequence[Waiting]) -> None:
        first = {row.product: row for waiting in reversed(taken) for row in reversed(waiting.rows)}
        try:
            rows, ended = await self._store.skip(*key, list(first.values()))
        except Exception as error:  # noqa: BLE001 - the chunks wait for it; here it would end all writing
            if len(taken) > 1 and not isinstance(error, StoreError):
                for waiting in taken:  # one by one, so that the chunk with the cause of the error fails alone
                    await self._skip_together(key, [waiting])
                return
            for waiting in taken:
                if not waiting.skipped.done():
                    waiting.skipped.set_exception(error)
            return
        self._ended(ended)
        for waiting in taken:
            if not waiting.skipped.done():
                waiting.skipped.set_result(rows)


def fitting(sizes: Sequence[int], most: int = MAX_ROWS) -> int:
    """How many of these chunks go into one statement, at least one."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if count and total > most:
            return count
    return len(sizes)
