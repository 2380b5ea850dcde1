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
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, CursorResult, Dialect, Executable, Row, Table

from imageflow.clock import Clock
from imageflow.store.driver_errors import LostTransaction
from imageflow.store.prepared import Bound

if TYPE_CHECKING:  # they import much that SQLite does without
    from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")
ATTEMPTS = 6


class Tx(ABC):
    """A transaction under way. `now` is one instant for all of it.

    What runs in it awaits its methods and nothing else: on SQLite a transaction runs on a thread, which cannot wait.
    """

    postgresql: bool

    def __init__(self, now: datetime, dialect: Dialect) -> None:
        self.now = now
        self.dialect = dialect
        self.committed: list[Callable[[], None]] = []
        """Called once what was done is committed."""

    @abstractmethod
    def insert(self, table: Table) -> PostgresInsert:
        """An INSERT that knows ON CONFLICT, which is the same in both dialects."""

    @abstractmethod
    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]: ...

    @abstractmethod
    async def run_sync(self, work: Callable[[Connection], T]) -> T:
        """Give SQLAlchemy's own connection to `work`."""

    @abstractmethod
    async def run(self, bound: Bound) -> list[Any]:
        """A statement of a hot path, straight on the driver; gives its rows as named tuples."""

    async def run_one(self, bound: Bound) -> Any | None:
        """As `run`: the first row, or None."""
        found = await self.run(bound)
        return found[0] if found else None

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


Work = Callable[[Tx], Awaitable[T]]
"""What a transaction does."""


class Database(ABC):
    """A database that transactions run on. `open` before, `close` after."""

    postgresql: bool

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @abstractmethod
    async def open(self) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    def migrator(self) -> AsyncEngine:
        """An engine for long transactions: it has no time-outs."""

    def is_outdated(self) -> bool:
        """Whether a statement may have failed because the schema is missing or older. PostgreSQL says so by SQLSTATE."""
        return False

    async def transact(self, work: Work[T], *, writing: bool, alone: bool = False) -> T:
        """Run `work` in a transaction and commit it; raises StoreError when the database is away. `alone`: it is one
        statement, and may run twice.
        """
        for attempt in range(1, ATTEMPTS):
            try:
                return await self.once(work, writing=writing, alone=alone)
            except LostTransaction:
                await asyncio.sleep(random.uniform(0.0, 0.01 * 2**attempt))  # noqa: S311 - jitter, not a secret
        return await self.once(work, writing=writing, alone=alone)

    @abstractmethod
    async def once(self, work: Work[T], *, writing: bool, alone: bool) -> T:
        """One try of `transact`."""

    @abstractmethod
    async def upgrade(self) -> None:
        """Bring the schema to the newest revision. Any number of processes may ask at once: one does it, the others wait."""
