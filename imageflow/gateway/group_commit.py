"""Group commit: what many callers bring is handled together, in one transaction or one publish.

While a batch is under way, the next one gathers. So an idle door answers at once, and a busy one pays the price of a
commit once for all that came meanwhile. Nothing waits for a timer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

from imageflow.errors import ImageFlowError

T = TypeVar("T")
R = TypeVar("R")

MAX_ITEMS = 200
MAX_BYTES = 4 * 1024 * 1024
"""A batch of more is cut: a transaction must not keep its locks for long."""


class _Waiting(NamedTuple, Generic[T, R]):
    item: T
    size: int
    key: Hashable | None
    result: asyncio.Future[R]


class GroupCommit(Generic[T, R]):
    """Hands items in batches to `commit`, one batch at a time; it returns a result for each, in their order."""

    def __init__(self, commit: Callable[[Sequence[T]], Awaitable[Sequence[R]]]) -> None:
        self._commit = commit
        self._waiting: deque[_Waiting[T, R]] = deque()
        self._waiting_bytes = 0
        self._working: asyncio.Task[None] | None = None

    def add(self, item: T, *, size: int, key: Hashable | None = None) -> asyncio.Future[R]:
        """The item's result, or what its commit raised. `size` in bytes. No batch holds two items of one `key`.

        A caller that is cancelled does not take its item back: it may be committed.
        """
        result: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(item, size, key, result))
        self._waiting_bytes += size
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return result

    @property
    def behind(self) -> bool:
        """Whether more waits than a batch takes."""
        return len(self._waiting) > MAX_ITEMS or self._waiting_bytes > MAX_BYTES

    async def finish(self, seconds: float) -> None:
        """Wait until nothing waits any more, at most `seconds`."""
        if self._working is not None:
            await asyncio.wait((self._working,), timeout=seconds)

    async def _work(self) -> None:
        while self._waiting:
            await self._settle(self._next())

    def _next(self) -> list[_Waiting[T, R]]:
        """The items that waited for longest, as many as make a batch."""
        batch: list[_Waiting[T, R]] = []
        keys: set[Hashable] = set()
        size = 0
        while self._waiting and len(batch) < MAX_ITEMS:
            first = self._waiting[0]
            size += first.size
            if batch and (size > MAX_BYTES or first.key in keys):
                break
            if first.key is not None:
                keys.add(first.key)
            batch.append(self._waiting.popleft())
        self._waiting_bytes -= sum(one.size for one in batch)
        return batch

    async def _settle(self, batch: list[_Waiting[T, R]]) -> None:
        try:
            results = await self._commit([one.item for one in batch])
        except ImageFlowError as error:
            _fail(batch, error)
        except Exception as error:  # noqa: BLE001 - a fault of one item must not fail the others
            if len(batch) == 1:
                _fail(batch, error)
                return
            for one in batch:
                await self._settle([one])
        else:
            for one, result in zip(batch, results, strict=True):
                if not one.result.done():
                    one.result.set_result(result)


def _fail(batch: Sequence[_Waiting[T, R]], error: Exception) -> None:
    for one in batch:
        if not one.result.done():
            one.result.set_exception(error)
