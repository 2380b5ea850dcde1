"""Items of several chunks in one statement: which chunks go together, and which result reaches them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from imageflow.errors import StoreError
from imageflow.write.batcher import CONCURRENT_STATEMENTS, MAX_ITEMS, Batcher, fitting


class Bench:
    """A batcher over a slow store: one statement for each permit of `may`, whose result is its items; `errors` by item."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.calls: list[list[int]] = []
        self.may = asyncio.Semaphore(0)
        self.errors: dict[int, Exception] = {}
        self.batcher: Batcher[str, int, frozenset[int]] = Batcher(tasks, self._ask)

    async def _ask(self, key: str, items: list[int]) -> frozenset[int]:
        self.calls.append(items)
        await self.may.acquire()
        for item in items:
            if item in self.errors:
                raise self.errors[item]
        return frozenset(items)

    def chunk(self, *items: int, key: str = "r") -> asyncio.Task[frozenset[int]]:
        return asyncio.create_task(self.batcher.ask(key, items))

    async def chunks(self, count: int) -> list[asyncio.Task[frozenset[int]]]:
        """Chunks of one item, one after the other."""
        made = []
        for number in range(count):
            made.append(self.chunk(number))
            await settle()
        return made


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with asyncio.TaskGroup() as tasks:
        made = Bench(tasks)
        yield made
        for _ in range(100):
            made.may.release()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_no_chunk_waits_for_others(bench: Bench) -> None:
    """While statements may begin, each chunk goes at once; later ones go together; another key has its own statements."""
    chunks = await bench.chunks(CONCURRENT_STATEMENTS + 3)
    other = bench.chunk(99, key="other")
    await settle()
    assert bench.calls == [*([number] for number in range(CONCURRENT_STATEMENTS)), [99]]
    for _ in range(CONCURRENT_STATEMENTS + 2):
        bench.may.release()
    found = await asyncio.gather(*chunks, other)
    assert bench.calls[CONCURRENT_STATEMENTS + 1 :] == [
        [CONCURRENT_STATEMENTS, CONCURRENT_STATEMENTS + 1, CONCURRENT_STATEMENTS + 2]
    ]
    assert all(number in rows for number, rows in enumerate(found[:-1]))


async def test_nothing_is_left_behind(bench: Bench) -> None:
    """A key without waiting chunks takes no memory, and may come again."""
    bench.may = asyncio.Semaphore(1000)
    for number in range(5):
        assert await bench.chunk(number) == {number}
        await settle()
        assert not bench.batcher._queues


async def test_a_store_error_reaches_all_chunks(bench: Bench) -> None:
    """StoreError reaches every chunk of the statement; afterwards it works again."""
    bench.errors[3] = StoreError("away")
    chunks = await bench.chunks(CONCURRENT_STATEMENTS + 3)
    found = await asyncio.wait_for(_outcomes(bench, chunks), 5)
    assert [type(one) for one in found] == [frozenset] * CONCURRENT_STATEMENTS + [StoreError] * 3
    assert await bench.chunk(7) == {7}


async def test_the_chunk_with_the_cause_fails_alone(bench: Bench) -> None:
    """An unexpected error reaches the chunk that causes it, and no other."""
    bench.errors[3] = ValueError("3")
    chunks = await bench.chunks(CONCURRENT_STATEMENTS + 3)
    found = await asyncio.wait_for(_outcomes(bench, chunks), 5)
    assert [type(one) for one in found] == [
        ValueError if number == 3 else frozenset for number in range(CONCURRENT_STATEMENTS + 3)
    ]


async def test_a_cancelled_chunk_does_not_harm_others(bench: Bench) -> None:
    """The chunks of the same statement get their results."""
    chunks = await bench.chunks(CONCURRENT_STATEMENTS + 3)
    await settle()
    chunks[0].cancel()
    chunks[CONCURRENT_STATEMENTS].cancel()
    found = await asyncio.wait_for(_outcomes(bench, chunks), 5)
    assert [type(one) is frozenset for one in found] == [
        number not in (0, CONCURRENT_STATEMENTS) for number in range(CONCURRENT_STATEMENTS + 3)
    ]


async def _outcomes(bench: Bench, chunks: Sequence[asyncio.Task[frozenset[int]]]) -> list[Any]:
    """What becomes of chunks once the store answers."""
    await settle()
    for _ in range(20):
        bench.may.release()
    return await asyncio.gather(*chunks, return_exceptions=True)


@pytest.mark.parametrize(
    ("sizes", "together"),
    [([1], 1), ([MAX_ITEMS * 2, 1], 1), ([MAX_ITEMS // 2] * 3, 2), ([100] * 16, MAX_ITEMS // 100), ([], 0)],
)
def test_how_many_go_together(sizes: list[int], together: int) -> None:
    """Up to the limit; a larger chunk goes alone."""
    assert fitting(sizes) == together
