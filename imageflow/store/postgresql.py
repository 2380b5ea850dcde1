"""The store in PostgreSQL, for a fleet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import asyncpg
from sqlalchemy import Connection, CursorResult, Executable, NullPool, Table, text
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from imageflow.cancellation import cancellation_kept
from imageflow.clock import Clock
from imageflow.secret import Secret
from imageflow.store import schema
from imageflow.store.database import Database, Tx, Work
from imageflow.store.driver_errors import DRIVER_ERRORS, connecting, translated, verdict
from imageflow.store.place import place_of
from imageflow.store.prepared import Bound

T = TypeVar("T")
CONNECT_SECONDS = 10.0
STATEMENT_SECONDS = 30.0
POOL_SIZE = 10
SCHEMA_LOCK = 0x696D6167656677  # "imagefw": any number that no other program locks
SESSION = {
    "application_name": "imageflow",
    "lock_timeout": "15s",
    "idle_in_transaction_session_timeout": "60s",
    "jit": "off",
    "timezone": "UTC",
}


class Kept(NamedTuple):
    """A connection that is kept, and its driver's own. SQLAlchemy is to commit each statement by itself: what begins and ends a
    transaction goes to the driver. SQLAlchemy's own pool, begin and commit take longer than most statements.
    """

    connection: AsyncConnection
    driver: asyncpg.Connection[Any]

    async def discard(self) -> None:
        """Close it, whatever state it is in."""
        await self.connection.invalidate()
        await self.connection.close()


class PostgresTx(Tx):
    """A transaction on a connection that is kept."""

    postgresql = True

    def __init__(self, kept: Kept, now: datetime) -> None:
        super().__init__(now, kept.connection.dialect)
        self.connection = kept.connection
        self._driver = kept.driver

    def insert(self, table: Table) -> Insert:
        return insert(table)

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        return await self.connection.execute(statement, parameters)

    async def run(self, bound: Bound) -> list[Any]:
        prepared = bound.statement
        found = await self._driver.fetch(prepared.sql, *prepared.values(bound.parameters))
        return prepared.rows(found[0].keys(), found) if found else []

    async def run_sync(self, work: Callable[[Connection], T]) -> T:
        return await self.connection.run_sync(work)


class PostgresDatabase(Database):
    """Connections that are kept, POOL_SIZE of them at most. A dead one is noticed when it is used."""

    postgresql = True

    def __init__(
        self, url: Secret, clock: Clock, *, connections: int | None = None, statement_seconds: float | None = None
    ) -> None:
        super().__init__(clock)
        self._url = url
        self._statement_seconds = statement_seconds or STATEMENT_SECONDS
        self._engine = self._create(self._connect).execution_options(isolation_level="AUTOCOMMIT")
        self._room = asyncio.Semaphore(connections or POOL_SIZE)
        self._idle: list[Kept] = []
        self._opened = False

    def _create(self, connect: Callable[[], Awaitable[asyncpg.Connection[Any]]]) -> AsyncEngine:
        return create_async_engine(
            "postgresql+asyncpg://", async_creator=connect, hide_parameters=True, poolclass=NullPool
        )

    async def _connect(self) -> asyncpg.Connection[Any]:
        """Asyncpg reads the URL itself: it knows all of libpq's parameters. The deadline of a statement is the server's;
        ours is longer, for a network that swallows everything.
        """
        with connecting(place_of(self._url)):
            return await asyncpg.connect(
                self._url.reveal(),
                timeout=CONNECT_SECONDS,
                command_timeout=self._statement_seconds + 10,
                server_settings={**SESSION, "statement_timeout": f"{self._statement_seconds * 1000:.0f}ms"},
            )

    async def _connect_migrator(self) -> asyncpg.Connection[Any]:
        with connecting(place_of(self._url)):
            return await asyncpg.connect(
                self._url.reveal(),
                timeout=CONNECT_SECONDS,
                server_settings={"application_name": "imageflow db upgrade"},
            )

    async def open(self) -> None:
        self._opened = True
        with translated():
            async with self._connection():
                pass

    async def close(self) -> None:
        self._opened = False
        while self._idle:
            await self._idle.pop().discard()

    async def once(self, work: Work[T], *, writing: bool, alone: bool) -> T:
        """Reads, and a statement that is alone, go without BEGIN and COMMIT, two round trips of which each takes as long as a
        small statement. Reads lose nothing by it: each statement of a transaction sees what is committed when it begins, too.
        """
        with cancellation_kept(), translated() as committing:
            async with self._connection() as kept:
                tx = PostgresTx(kept, self._clock.now())
                if alone or not writing:
                    result = await work(tx)
                else:
                    await kept.driver.execute("BEGIN")
                    result = await work(tx)
                    committing.append(True)
                    await kept.driver.execute("COMMIT")
        for tell in tx.committed:
            tell()
        return result

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Kept]:
        """A connection for one transaction. One that is left in a good state is kept; one that is not (a cancelled statement may
        still run on the server) is closed, and with it ends all that it did.
        """
        async with self._turn():
            kept = await self._alive() or await self._new()
            good = False
            try:
                yield kept
                good = True
            except Exception as error:
                broken = kept.driver.is_closed()
                good = await _rolled_back(kept, error)
                if broken and _says_less(error):
                    raise asyncpg.InterfaceError("the connection is closed") from error
                raise
            finally:
                if good and self._opened:
                    self._idle.append(kept)
                else:
                    await asyncio.shield(kept.discard())

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Raises SQLAlchemy's TimeoutError where no connection becomes free in time. Who need not wait pays for no timer."""
        if self._room.locked():
            try:
                async with asyncio.timeout(self._statement_seconds):
                    await self._room.acquire()
            except TimeoutError as error:
                raise PoolTimeoutError from error
        else:
            await self._room.acquire()
        try:
            yield
        finally:
            self._room.release()

    async def _alive(self) -> Kept | None:
        """The connection that was used last: the server keeps its plans, and others may be dead by now."""
        while self._idle:
            kept = self._idle.pop()
            if not kept.driver.is_closed():
                return kept
            await kept.discard()
        return None

    async def _new(self) -> Kept:
        connection = await self._engine.connect()
        raw = await connection.get_raw_connection()
        driver: Any = raw.driver_connection
        return Kept(connection, driver)

    def migrator(self) -> AsyncEngine:
        return self._create(self._connect_migrator)

    async def upgrade(self) -> None:
        engine = self.migrator()
        try:
            with translated():
                async with engine.begin() as connection:
                    await connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": SCHEMA_LOCK})
                    await connection.run_sync(schema.migrate)
        finally:
            await engine.dispose()


async def _rolled_back(kept: Kept, error: Exception) -> bool:
    """Undo what has failed. False: the connection cannot be used any more."""
    if isinstance(error, DRIVER_ERRORS) and verdict(error) is not None:
        return False
    with contextlib.suppress(*DRIVER_ERRORS):
        if kept.driver.is_in_transaction():
            await kept.driver.execute("ROLLBACK")
        return not kept.driver.is_closed()
    return False


def _says_less(error: Exception) -> bool:
    """Whether an error does not say what a broken connection means: that nothing of the transaction was committed."""
    if not isinstance(error, DRIVER_ERRORS) or isinstance(error, TimeoutError):
        return False
    away = verdict(error)
    return away is not None and not away.lost
