"""How transactions on PostgreSQL run: on connections that are kept, and whatever happens to one, the next starts clean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from imageflow.clock import SystemClock
from imageflow.errors import StoreError
from imageflow.secret import Secret
from imageflow.store.batch import Batch, BatchStatement
from imageflow.store.database import Tx
from imageflow.store.driver_errors import CLASHES
from imageflow.store.postgresql import PostgresDatabase
from tests.postgres_server import PrivatePostgres

ADD = BatchStatement("INSERT INTO t SELECT n FROM {new} RETURNING n, n * 2 AS twice", Batch("new", n="bigint"))
WHO = BatchStatement("SELECT pg_backend_pid() AS pid")


@pytest.fixture
async def database(postgres: PrivatePostgres) -> AsyncIterator[PostgresDatabase]:
    opened = PostgresDatabase(Secret(postgres.new_database()), SystemClock(), connections=1, statement_seconds=2)
    await opened.open()
    await opened.transact(lambda tx: tx.execute(text("CREATE TABLE t (n bigint PRIMARY KEY)")), writing=True)
    yield opened
    await opened.close()


async def add(tx: Tx, *numbers: int) -> list[tuple[int, int]]:
    return [(row.n, row.twice) for row in await tx.run(ADD.bind(tx, [(number,) for number in numbers]))]


async def numbers(database: PostgresDatabase) -> list[int]:
    async def read(tx: Tx) -> list[int]:
        return [row.n for row in await tx.all(text("SELECT n FROM t ORDER BY n"))]

    return await database.transact(read, writing=False)


async def backend(database: PostgresDatabase) -> int:
    async def ask(tx: Tx) -> int:
        [row] = await tx.run(WHO.bind(tx))
        pid: int = row.pid
        return pid

    return await database.transact(ask, writing=False)


async def test_statements_of_both_kinds_are_one_transaction(database: PostgresDatabase) -> None:
    """Those of SQLAlchemy and those that go to the driver are committed together, or not at all."""

    async def both(tx: Tx, last: int) -> None:
        assert await add(tx, last - 2, last - 1) == [(last - 2, 2 * last - 4), (last - 1, 2 * last - 2)]
        await tx.execute(text("INSERT INTO t VALUES (:n)"), {"n": last})
        if last > 10:
            raise ValueError("a mistake")

    before = await backend(database)
    await database.transact(lambda tx: both(tx, 3), writing=True)
    with pytest.raises(ValueError, match="a mistake"):
        await database.transact(lambda tx: both(tx, 13), writing=True)
    assert await numbers(database) == [1, 2, 3]
    assert await backend(database) == before


async def test_a_statement_alone_is_committed_by_itself(database: PostgresDatabase) -> None:
    async def twice(tx: Tx) -> None:
        await add(tx, 1)
        raise ValueError("too late")

    with pytest.raises(ValueError, match="too late"):
        await database.transact(twice, writing=True, alone=True)
    assert await numbers(database) == [1]


async def test_what_clashes_is_undone_and_the_connection_kept(database: PostgresDatabase) -> None:
    before = await backend(database)
    with pytest.raises(CLASHES):
        await database.transact(lambda tx: add(tx, 1, 1), writing=True)
    with pytest.raises(ProgrammingError):
        await database.transact(lambda tx: tx.execute(text("SELECT nothing FROM t")), writing=True)
    await database.transact(lambda tx: add(tx, 2), writing=True)
    assert await numbers(database) == [2]
    assert await backend(database) == before


async def test_a_cancelled_transaction_leaves_nothing(database: PostgresDatabase) -> None:
    """Neither in the table, nor on the connection that the next one has; and the server does not go on with it."""

    async def slow(tx: Tx) -> None:
        await add(tx, 1)
        await tx.execute(text("SELECT pg_sleep(1.5)"))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await database.transact(slow, writing=True)
    assert await add_alone(database, 2) == [(2, 4)]
    assert await numbers(database) == [2]
    active = text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(1%' AND pid <> pg_backend_pid()")
    async with asyncio.timeout(5):
        while await database.transact(lambda tx: tx.value(active), writing=False):
            await asyncio.sleep(0.05)


async def add_alone(database: PostgresDatabase, *numbers: int) -> list[tuple[int, int]]:
    return await database.transact(lambda tx: add(tx, *numbers), writing=True, alone=True)


@pytest.mark.parametrize("way", ["read", "write", "alone"])
async def test_a_connection_that_died_is_replaced(
    database: PostgresDatabase, postgres: PrivatePostgres, way: str
) -> None:
    """Nobody sees it: what could not have been committed runs again on a new one."""
    del postgres
    before = await backend(database)
    other = PostgresDatabase(database._url, SystemClock(), connections=1)
    await other.open()
    kill = text("SELECT pg_terminate_backend(:pid)")
    await other.transact(lambda tx: tx.execute(kill, {"pid": before}), writing=False)
    await other.close()
    if way == "read":
        assert await numbers(database) == []
    else:
        await database.transact(lambda tx: add(tx, 1), writing=True, alone=way == "alone")
        assert await numbers(database) == [1]
    assert await backend(database) != before


async def test_a_connection_that_dies_within(database: PostgresDatabase) -> None:
    """The transaction runs again, once its connection has died before its COMMIT."""
    tries = 0

    async def dying(tx: Tx) -> None:
        nonlocal tries
        tries += 1
        await add(tx, tries)
        if tries == 1:
            await tx.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    await database.transact(dying, writing=True)
    assert (tries, await numbers(database)) == (2, [2])


async def test_waiting_for_a_connection_has_an_end(database: PostgresDatabase) -> None:
    """With one connection for two, the second waits, and is told so when it waits too long."""
    began, go_on = asyncio.Event(), asyncio.Event()

    async def hold(tx: Tx) -> None:
        await add(tx, 1)
        began.set()
        await go_on.wait()

    holding = asyncio.create_task(database.transact(hold, writing=True))
    await began.wait()
    waiting = asyncio.create_task(numbers(database))
    with pytest.raises(StoreError, match="became free in time"):
        await numbers(database)
    go_on.set()
    await holding
    await asyncio.wait((waiting,))
    assert isinstance(waiting.exception(), StoreError)
    assert await numbers(database) == [1]
