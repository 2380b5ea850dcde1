"""The store in PostgreSQL, for a fleet."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Connection, CursorResult, Executable, NullPool, Table, text
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from imageflow.cancellation import cancellation_kept
from imageflow.clock import Clock
from imageflow.secret import Secret
from imageflow.store import schema
from imageflow.store.connect import place_of
from imageflow.store.database import Database, Tx, Work
from imageflow.store.driver_errors import connecting, translated

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


class PostgresTx(Tx):
    """A transaction on a connection of the pool."""

    postgresql = True

    def __init__(self, connection: AsyncConnection, now: datetime) -> None:
        super().__init__(now)
        self.connection = connection

    def insert(self, table: Table) -> Insert:
        return insert(table)

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        return await self.connection.execute(statement, parameters)

    async def run_sync(self, work: Callable[[Connection], T]) -> T:
        return await self.connection.run_sync(work)


class PostgresDatabase(Database):
    """A pool of connections. A dead one is noticed when it is used; the whole pool is then renewed."""

    postgresql = True

    def __init__(
        self, url: Secret, clock: Clock, *, connections: int | None = None, statement_seconds: float | None = None
    ) -> None:
        super().__init__(clock)
        self._url = url
        self._statement_seconds = statement_seconds or STATEMENT_SECONDS
        self._engine = self._create(
            pool_size=connections or POOL_SIZE, max_overflow=0, pool_timeout=self._statement_seconds
        )
        self._autocommit = self._engine.execution_options(isolation_level="AUTOCOMMIT")

    def _create(self, **options: Any) -> AsyncEngine:
        return create_async_engine(
            "postgresql+asyncpg://", async_creator=self._connect, hide_parameters=True, **options
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
        with translated():
            async with self._engine.connect():
                pass

    async def close(self) -> None:
        await self._engine.dispose()

    async def once(self, work: Work[T], *, writing: bool, alone: bool) -> T:
        """Reads, and a statement that is alone, go without BEGIN and COMMIT, two round trips of which each takes as long as a
        small statement. Reads lose nothing by it: each statement of a transaction sees what is committed when it begins, too.
        """
        if writing and not alone:
            return await self._transaction(work)
        with cancellation_kept(), translated():
            async with self._autocommit.connect() as connection:
                tx = PostgresTx(connection, self._clock.now())
                result = await work(tx)
        _tell(tx)
        return result

    async def _transaction(self, work: Work[T]) -> T:
        with cancellation_kept(), translated() as committing:
            async with self._engine.connect() as connection, connection.begin() as transaction:
                tx = PostgresTx(connection, self._clock.now())
                result = await work(tx)
                committing.append(True)
                await transaction.commit()
        _tell(tx)
        return result

    def migrator(self) -> AsyncEngine:
        return create_async_engine(
            "postgresql+asyncpg://", async_creator=self._connect_migrator, hide_parameters=True, poolclass=NullPool
        )

    async def upgrade(self) -> None:
        engine = self.migrator()
        try:
            with translated():
                async with engine.begin() as connection:
                    await connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": SCHEMA_LOCK})
                    await connection.run_sync(schema.migrate)
        finally:
            await engine.dispose()


def _tell(tx: Tx) -> None:
    for tell in tx.committed:
        tell()
