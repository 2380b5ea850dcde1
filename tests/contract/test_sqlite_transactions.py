"""How transactions on an SQLite file run: many in one commit, each for itself, on threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import text

from imageflow.clock import SystemClock
from imageflow.errors import StoreError
from imageflow.store import sqlite
from imageflow.store.database import Tx
from imageflow.store.sqlite import SqliteDatabase


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    opened = SqliteDatabase(tmp_path / "store.db", SystemClock())
    await opened.open()
    await opened.transact(lambda tx: tx.execute(text("CREATE TABLE t (n INTEGER PRIMARY KEY)")), writing=True)
    yield opened
    await opened.close()


async def add(tx: Tx, *numbers: int) -> None:
    for number in numbers:
        await tx.execute(text("INSERT INTO t VALUES (:n)"), {"n": number})


async def numbers(database: SqliteDatabase) -> Sequence[int]:
    async def read(tx: Tx) -> list[int]:
        return [row.n for row in await tx.all(text("SELECT n FROM t ORDER BY n"))]

    return await database.transact(read, writing=False)


async def test_transactions_that_wait_share_a_commit(database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []
    answer = sqlite._answer

    def counted(taken, outcomes) -> None:
        groups.append(len(taken))
        answer(taken, outcomes)

    monkeypatch.setattr(sqlite, "_answer", counted)
    await asyncio.gather(*(database.transact(lambda tx, n=n: add(tx, n), writing=True) for n in range(200)))
    assert await numbers(database) == list(range(200))
    assert sum(groups) == 200
    assert max(groups) > 20


async def test_one_that_fails_undoes_nothing_of_the_others(database: SqliteDatabase) -> None:
    async def broken(tx: Tx) -> None:
        await add(tx, 100, 101)
        raise ValueError("a mistake")

    done = await asyncio.gather(
        database.transact(lambda tx: add(tx, 1), writing=True),
        database.transact(broken, writing=True),
        database.transact(lambda tx: add(tx, 2), writing=True),
        return_exceptions=True,
    )
    assert [str(one) for one in done] == ["None", "a mistake", "None"]
    assert await numbers(database) == [1, 2]


async def test_no_group_keeps_its_first_transaction_waiting(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "GROUP_SECONDS", 0.0)
    await asyncio.gather(*(database.transact(lambda tx, n=n: add(tx, n), writing=True) for n in range(20)))
    assert await numbers(database) == list(range(20))


@pytest.mark.parametrize("writing", [True, False])
async def test_a_transaction_must_not_wait(database: SqliteDatabase, writing: bool) -> None:
    """It would keep the file's lock meanwhile. It is undone, and the next ones run."""

    async def waits(tx: Tx) -> None:
        if writing:
            await add(tx, 1)
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="waited for something other than its statements"):
        await database.transact(waits, writing=writing)
    await database.transact(lambda tx: add(tx, 2), writing=True)
    assert await numbers(database) == [2]


async def test_a_cancelled_caller_goes_on_when_its_transaction_is_over(database: SqliteDatabase) -> None:
    began, may_end = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    async def slow(tx: Tx) -> None:
        loop.call_soon_threadsafe(began.set)
        asyncio.run_coroutine_threadsafe(may_end.wait(), loop).result()
        await add(tx, 1)

    task = asyncio.create_task(database.transact(slow, writing=True))
    await began.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await numbers(database) == [1]


async def test_what_is_told_after_the_commit_is_told_on_the_loop(database: SqliteDatabase) -> None:
    told: list[object] = []

    async def work(tx: Tx) -> None:
        await add(tx, 1)
        tx.committed.append(lambda: told.append(asyncio.get_running_loop()))

    await database.transact(work, writing=True)
    assert told == [asyncio.get_running_loop()]


async def test_closing_does_what_waits(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "store.db", SystemClock())
    with pytest.raises(StoreError, match="closed"):
        await numbers(database)
    await database.open()
    await database.transact(lambda tx: tx.execute(text("CREATE TABLE t (n INTEGER)")), writing=True)
    tasks = [asyncio.create_task(database.transact(lambda tx, n=n: add(tx, n), writing=True)) for n in range(30)]
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*tasks)
    with pytest.raises(StoreError, match="closed"):
        await database.transact(lambda tx: add(tx, 31), writing=True)
    await database.open()
    assert await numbers(database) == list(range(30))
    await database.close()
