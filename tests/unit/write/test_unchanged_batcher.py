"""Rows of several chunks in one statement: which chunks go together, and which result reaches them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from imageflow.errors import StoreError
from imageflow.model.row import Row
from imageflow.model.run import Run
from imageflow.store import Skipped
from imageflow.write.unchanged_batcher import CONCURRENT_STATEMENTS, MAX_ROWS, UnchangedBatcher, fitting

DOMAIN = "https://omnitron.example"


class SlowStore:
    """Skips every row, one call for each permit of `may`; `errors` by product."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.may = asyncio.Semaphore(0)
        self.errors: dict[str, Exception] = {}

    async def skip(self, domain: str, run_id: str, rows: Sequence[Row]) -> Skipped:
        assert domain == DOMAIN
        self.calls.append(sorted(row.row for row in rows))
        await self.may.acquire()
        for row in rows:
            if row.product in self.errors:
                raise self.errors[row.product]
        return Skipped(frozenset(row.row for row in rows), ["ended"])  # type: ignore[list-item]


class Bench:
    """A batcher over a slow store."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.store = SlowStore()
        self.ended: list[Any] = []
        self.tasks = tasks
        self.batcher = UnchangedBatcher(self.store, tasks, self._end)  # type: ignore[arg-type]

    def _end(self, runs: Sequence[Run]) -> None:
        self.ended += runs

    def chunk(self, *rows: int, run_id: str = "r", product: str | None = None) -> asyncio.Task[frozenset[int]]:
        made = [Row(row, row, product or f"p{row}", ()) for row in rows]
        return asyncio.create_task(self.batcher.skip(DOMAIN, run_id, made))

    async def chunks(self, count: int) -> list[asyncio.Task[frozenset[int]]]:
        """Chunks of one row, one after the other."""
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
            made.store.may.release()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_no_chunk_waits_for_others(bench: Bench) -> None:
    """While statements may begin, each chunk goes at once; later ones go together; another run has its own statements."""
    chunks = await bench.chunks(CONCURRENT_STATEMENTS + 3)
    other = bench.chunk(99, run_id="other")
    await settle()
    assert bench.store.calls == [*([number] for number in range(CONCURRENT_STATEMENTS)), [99]]
    for _ in range(CONCURRENT_STATEMENTS + 2):
        bench.store.may.release()
    found = await asyncio.gather(*chunks, other)
    assert bench.store.calls[CONCURRENT_STATEMENTS + 1 :] == [
        [CONCURRENT_STATEMENTS, CONCURRENT_STATEMENTS + 1, CONCURRENT_STATEMENTS + 2]
    ]
    assert all(number in rows for number, rows in enumerate(found[:-1]))
    assert bench.ended == ["ended"] * (CONCURRENT_STATEMENTS + 2)


async def test_nothing_is_left_behind(bench: Bench) -> None:
    """A run without waiting chunks takes no memory, and may come again."""
    bench.store.may = asyncio.Semaphore(1000)
    for number in range(5):
        assert await bench.chunk(number) == {number}
        await settle()
        assert not bench.batcher._queues


async def test_the_first_of_a_product_is_looked_at(bench: Bench) -> None:
    """In a statement a product comes once."""
    bench.store.may = asyncio.Semaphore(1000)
    assert await bench.chunk(1, 2, 3, product="one") == {1}
    assert bench.store.calls == [[1]]


async def test_a_store_error_reaches_all_chunks(bench: Bench) -> None:
    """StoreError reaches every chunk of the statement; afterwards it works again."""
    bench.store.errors["p3"] = StoreError("away")
    chunks = await bench.chunks(CONCURRENT_STATEMENTS + 3)
    found = await asyncio.wait_for(_outcomes(bench, chunks), 5)
    assert [type(one) for one in found] == [frozenset] * CONCURRENT_STATEMENTS + [StoreError] * 3
    assert await bench.chunk(7) == {7}


async def test_the_chunk_with_the_cause_fails_alone(bench: Bench) -> None:
    """An unexpected error reaches the chunk that causes it, and no other."""
    bench.store.errors["p3"] = ValueError("p3")
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
        bench.store.may.release()
    return await asyncio.gather(*chunks, return_exceptions=True)


@pytest.mark.parametrize(
    ("sizes", "together"),
    [([1], 1), ([MAX_ROWS * 2, 1], 1), ([MAX_ROWS // 2] * 3, 2), ([100] * 16, MAX_ROWS // 100), ([], 0)],
)
def test_how_many_go_together(sizes: list[int], together: int) -> None:
    """Up to the limit; a larger chunk goes alone."""
    assert fitting(sizes) == together
