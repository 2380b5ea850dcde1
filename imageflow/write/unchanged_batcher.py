"""Settles rows as unchanged, those of several chunks in one statement.

What comes while a statement is under way waits and goes with the next one: the busier the database is, the more rows
share what a transaction costs, and nobody waits for company that may not come.
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
"""In one statement, but for a single chunk that holds more."""
AT_ONCE = 3
"""Statements of one run, so that the database has the next one when it is done."""


class Waiting(NamedTuple):
    """Rows of a chunk; `skipped` becomes the numbers of those that are settled."""

    rows: Sequence[Row]
    skipped: asyncio.Future[frozenset[int]]


class Line:
    """What waits of a run, and how many statements are under way."""

    def __init__(self) -> None:
        self.waiting: list[Waiting] = []
        self.working = 0

    def take(self) -> list[Waiting]:
        """What goes into the next statement."""
        count = fitting([len(waiting.rows) for waiting in self.waiting])
        taken, self.waiting[:count] = self.waiting[:count], []
        return taken


class UnchangedBatcher:
    """`tasks` is the group that statements run in; `ended` is told which runs a statement has ended."""

    def __init__(self, store: Store, tasks: asyncio.TaskGroup, ended: Callable[[Sequence[Run]], None]) -> None:
        self._store = store
        self._tasks = tasks
        self._ended = ended
        self._lines: dict[tuple[str, str], Line] = {}

    async def skip(self, domain: str, run_id: str, rows: Sequence[Row]) -> frozenset[int]:
        """See Store.skip; of a product that comes twice, the first row is looked at. Returns row numbers of the run, also
        of other chunks. Raises StoreError."""
        key = (domain, run_id)
        line = self._lines.setdefault(key, Line())
        waiting = Waiting(rows, asyncio.get_running_loop().create_future())
        line.waiting.append(waiting)
        if line.working < AT_ONCE:
            self._tasks.create_task(self._work(key, line))
            line.working += 1
        return await waiting.skipped

    async def _work(self, key: tuple[str, str], line: Line) -> None:
        """Skip until nothing waits."""
        taken: list[Waiting] = []
        try:
            while line.waiting:
                taken = line.take()
                await self._together(key, taken)
        finally:
            line.working -= 1
            if not line.working:
                self._lines.pop(key, None)
                taken += line.waiting
            for waiting in taken:
                waiting.skipped.cancel()

    async def _together(self, key: tuple[str, str], taken: Sequence[Waiting]) -> None:
        first = {row.product: row for waiting in reversed(taken) for row in reversed(waiting.rows)}
        try:
            rows, ended = await self._store.skip(*key, list(first.values()))
        except Exception as error:
            if len(taken) > 1 and not isinstance(error, StoreError):
                for waiting in taken:  # whoever is to blame shall not take the others down
                    await self._together(key, [waiting])
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
    """How many of these chunks go together, at least one."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if count and total > most:
            return count
    return len(sizes)
