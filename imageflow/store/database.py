"""Transactions over SQLAlchemy: connections and retries.

A transaction that lost against another one (deadlock, serialisation), or whose pooled connection was dead, is run again
a few times: nothing of it was committed. One that broke off at COMMIT is not run again, for it may have been committed.
Its caller decides; every method of the store may be repeated.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import CursorResult, Executable, Row, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from imageflow.cancellation import cancellation_kept
from imageflow.clock import Clock
from imageflow.store import schema
from imageflow.store.driver_errors import LostTransaction, translated

T = TypeVar("T")
ATTEMPTS = 6


class Tx:
    """A transaction under way. `now` is one instant for all of it."""

    def __init__(self, connection: AsyncConnection, now: datetime) -> None:
        self.connection = connection
        self.now = now
        self.dialect = connection.dialect.name
        self.committed: list[Callable[[], None]] = []
        """Called once what was done is committed."""

    @property
    def postgresql(self) -> bool:
        return self.dialect == "postgresql"

    def insert(self, table: Table) -> PostgresInsert:
        """An INSERT that knows ON CONFLICT, which is the same in both dialects."""
        make: Callable[[Table], Any] = postgresql.insert if self.postgresql else sqlite.insert
        statement: PostgresInsert = make(table)
        return statement

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        return await self.connection.execute(statement, parameters)

    async def all(self, statement: Executable, parameters: Any = None) -> Sequence[Row[Any]]:
        return (await self.execute(statement, parameters)).all()

    async def first(self, statement: Executable, parameters: Any = None) -> Row[Any] | None:
        return (await self.execute(statement, parameters)).first()

    async def value(self, statement: Executable, parameters: Any = None) -> Any:
        """The first column of the first row, or None."""
        return (await self.execute(statement, parameters)).scalar()

    async def count(self, statement: Executable, parameters: Any = None) -> int:
        """How many rows a statement changed."""
        return (await self.execute(statement, parameters)).rowcount


class Database(ABC):
    """A database that transactions run on. `open` before, `close` after."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @abstractmethod
    async def open(self) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    def connection(self, *, writing: bool) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection of the pool."""

    @abstractmethod
    def migrator(self) -> AsyncEngine:
        """An engine for a migration: it has no time-outs."""

    @abstractmethod
    async def lock_schema(self, connection: AsyncConnection) -> None:
        """Wait until no other process migrates; holds until the transaction ends."""

    def is_outdated(self) -> bool:
        """Whether a statement may have failed because the schema is missing or older. PostgreSQL says so by SQLSTATE."""
        return False

    async def transact(self, work: Callable[[Tx], Awaitable[T]], *, writing: bool) -> T:
        """Run `work` in a transaction and commit it; raises StoreError when the database is away."""
        for attempt in range(1, ATTEMPTS):
            try:
                return await self.once(work, writing=writing)
            except LostTransaction:
                await asyncio.sleep(random.uniform(0.0, 0.01 * 2**attempt))  # noqa: S311 - jitter, not a secret
        return await self.once(work, writing=writing)

    async def once(self, work: Callable[[Tx], Awaitable[T]], *, writing: bool) -> T:
        """One try of `transact`."""
        with cancellation_kept(), translated(self.is_outdated) as committing:
            async with self.connection(writing=writing) as connection, connection.begin() as transaction:
                tx = Tx(connection, self._clock.now())
                result = await work(tx)
                committing.append(True)
                await transaction.commit()
                for tell in tx.committed:
                    tell()
                return result

    async def upgrade(self) -> None:
        """Bring the schema to the newest revision."""
        engine = self.migrator()
        try:
            with translated():
                async with engine.begin() as connection:
                    await self.lock_schema(connection)
                    await connection.run_sync(schema.migrate)
        finally:
            await engine.dispose()
