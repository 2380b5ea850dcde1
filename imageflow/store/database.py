"""Transactions over SQLAlchemy: connections, retries, and the one place that translates what databases raise.

A transaction that lost against another one (deadlock, serialisation) or met a connection that had died in the pool is
run again, a few times: nothing of it was committed. One whose COMMIT broke off is not: nobody knows what became of it,
so its caller decides; every method of the store may be repeated.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import asyncpg
import structlog
from sqlalchemy import Connection, CursorResult, Executable, Row, Table, inspect, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from imageflow.clock import Clock
from imageflow.errors import StoreError

log = structlog.get_logger()

T = TypeVar("T")
ATTEMPTS = 6
MIGRATIONS = Path(__file__).parent / "migrations"

_CONFLICTS = frozenset(("40001", "40P01", "57P01"))
"""Serialisation, deadlock, and a backend that was told to stop: the transaction was not committed."""
_AWAY_CLASSES = ("08", "53", "57", "58", "28", "3D", "XX")
"""SQLSTATE classes: connection, resources, operator intervention, system, authorisation, no database, internal."""
_AWAY_CODES = frozenset(("55P03", "25006", "25P03", "55000"))
"""Lock not available, read only (a standby), idle in transaction, not in the prerequisite state."""
_NO_SCHEMA = frozenset(("42P01", "3F000"))
_SQLITE_AWAY = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
    )
)


class _AgainError(StoreError):
    """The transaction was not committed, and may succeed at once."""


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

    async def transact(self, work: Callable[[Tx], Awaitable[T]], *, writing: bool) -> T:
        """Run `work` in a transaction and commit it; raises StoreError when the database is away."""
        for attempt in range(1, ATTEMPTS):
            try:
                return await self.once(work, writing=writing)
            except _AgainError:
                await asyncio.sleep(random.uniform(0.0, 0.01 * 2**attempt))  # noqa: S311 - jitter, not a secret
        return await self.once(work, writing=writing)

    async def once(self, work: Callable[[Tx], Awaitable[T]], *, writing: bool) -> T:
        """One try of `transact`."""
        with translated() as committing:
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
                    await connection.run_sync(_migrate)
        finally:
            await engine.dispose()


def _migrate(connection: Connection) -> None:
    """Bring the schema up to date. Alembic is loaded only where there is something to do: each command comes by here."""
    current = _current_revision(connection)
    if current == newest_revision():
        return
    if current is not None and current not in _revisions():
        # While versions are mixed, in a rolling upgrade, an older service may start again; a revision leaves everything
        # in place that the version before it uses.
        log.warning("the database is of a newer version", revision=current)
        return
    from alembic import command  # noqa: PLC0415 - only a process that upgrades pays for alembic
    from alembic.config import Config  # noqa: PLC0415 - the same

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def newest_revision() -> str:
    """The revision of the schema that this code wants."""
    return max(_revisions())


def _revisions() -> set[str]:
    """All revisions that this code knows: the files are named after them."""
    return {path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py")}


def _current_revision(connection: Connection) -> str | None:
    """The schema's revision; None where there is no schema yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


@contextmanager
def translated() -> Iterator[list[bool]]:
    """Turns what SQLAlchemy and the drivers raise into StoreError where the database is away; what is a mistake of
    ours passes through. The caller puts something in the list once it commits.
    """
    committing: list[bool] = []
    try:
        yield committing
    except (SQLAlchemyError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, sqlite3.Error) as error:
        _translate(error, committed=bool(committing))


def _translate(error: Exception, *, committed: bool) -> NoReturn:
    """OSError includes TimeoutError."""
    reason = away(error)
    if reason is None:
        raise error
    if not committed and may_repeat(error):
        raise _AgainError(reason) from error
    raise StoreError(reason) from error


def away(error: Exception) -> str | None:
    """Why the database is not to be had, for people (never a URL or a parameter); None where it is not to blame."""
    if isinstance(error, TimeoutError):
        return "the database did not answer in time"
    if isinstance(error, PoolTimeoutError):
        return "no connection to the database became free in time"
    cause = _driver_error(error)
    if isinstance(cause, sqlite3.Error):
        return _sqlite_away(cause)
    if isinstance(cause, asyncpg.PostgresError):
        return _postgres_away(cause)
    return _connection_away(error, cause)


def _connection_away(error: Exception, cause: BaseException) -> str | None:
    if isinstance(cause, OSError):
        return f"the database cannot be reached: {cause.strerror or type(cause).__name__}"
    if may_repeat(error) or isinstance(cause, asyncpg.InternalClientError):
        return f"the connection to the database broke off: {type(cause).__name__}"
    return None


def may_repeat(error: Exception) -> bool:
    """Whether the transaction may succeed when it is run again at once."""
    cause = _driver_error(error)
    if isinstance(cause, asyncpg.InvalidCachedStatementError):
        return True
    if isinstance(cause, asyncpg.PostgresError) and cause.sqlstate in _CONFLICTS:
        return True
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return lost or (isinstance(cause, asyncpg.InterfaceError) and "connection is closed" in str(cause))


def _driver_error(error: Exception) -> BaseException:
    """What the driver itself raised: SQLAlchemy wraps it, for asyncpg twice."""
    cause: BaseException = error
    if isinstance(cause, DBAPIError) and cause.orig is not None:
        cause = cause.orig
    if not isinstance(cause, (asyncpg.PostgresError, asyncpg.InterfaceError, sqlite3.Error)) and cause.__cause__:
        cause = cause.__cause__
    return cause


def _sqlite_away(error: sqlite3.Error) -> str | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in _SQLITE_AWAY:
        return f"the database file cannot be used: {error}"
    if str(error).startswith("no such table"):
        return "the database has no schema yet; run `imageflow db upgrade`"
    if str(error).lower() in ("no active connection", "connection closed"):
        return "the database is closed"
    return None


def _postgres_away(error: asyncpg.PostgresError) -> str | None:
    code = error.sqlstate or ""
    if code in _NO_SCHEMA:
        return "the database has no schema yet; run `imageflow db upgrade`"
    if code in _CONFLICTS or code in _AWAY_CODES or code.startswith(_AWAY_CLASSES):
        return f"the database is away: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return "the schema of the database has just changed"
    return None
