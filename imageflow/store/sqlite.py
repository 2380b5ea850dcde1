"""The store in an SQLite file. Several processes may open it.

A transaction runs as a whole on a thread: one thread writes, a few read. The thread that writes takes all transactions that
wait for it and commits them at once (group commit): many callers share one fsync, and what was answered is on disk. Each of
them has a savepoint, so that one that fails undoes nothing of the others.

A transaction awaits nothing but its statements (see Tx), and these are done when they return. So its coroutine never waits,
and the thread runs it from its start to its end by hand (`run_through`). One hop to the thread and back serves a whole
transaction, and not each of its statements.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue as threads
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from sqlalchemy import URL, Connection, CursorResult, Engine, Executable, Table, create_engine, event
from sqlalchemy.dialects.sqlite import insert

from imageflow.clock import Clock
from imageflow.errors import StoreError
from imageflow.private_files import private_file
from imageflow.store import schema
from imageflow.store.database import Database, Tx, Work
from imageflow.store.driver_errors import DRIVER_ERRORS, translated
from imageflow.store.prepared import Bound

if TYPE_CHECKING:
    from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")
BUSY_SECONDS = 15.0
MIGRATION_SECONDS = 600.0
READERS = 4
WRITER_CACHE_KIB, READER_CACHE_KIB = 8_000, 2_000
"""Pages that a connection keeps in memory. The system keeps the file, too; what each of five connections keeps makes a process grow
with its database.
"""
GROUP_SECONDS = 0.05
"""A group takes no more transactions after so long: the first of it waits for the commit."""


class SqliteTx(Tx):
    """A transaction on a thread of the database. Its methods never wait."""

    postgresql = False

    def __init__(self, connection: Connection, now: datetime) -> None:
        super().__init__(now, connection.dialect)
        self._connection = connection

    def insert(self, table: Table) -> PostgresInsert:
        made: Any = insert(table)
        return cast("PostgresInsert", made)

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        return self._connection.execute(statement, parameters)

    async def run(self, bound: Bound) -> list[Any]:
        prepared = bound.statement
        cursor = driver(self._connection).execute(prepared.sql, prepared.values(bound.parameters))
        found = cursor.fetchall()
        return prepared.rows([name for name, *_ in cursor.description], found) if found else []

    async def run_sync(self, work: Callable[[Connection], T]) -> T:
        return work(self._connection)


class SqliteDatabase(Database):
    """A file in WAL mode. A group of writing transactions takes the write lock when it begins (BEGIN IMMEDIATE)."""

    postgresql = False

    def __init__(self, path: Path, clock: Clock, *, readers: int | None = None) -> None:
        super().__init__(clock)
        self._path = path
        self._writer: Writer | None = None
        self._readers: Readers | None = None
        self._read_at_once = readers or READERS

    async def open(self) -> None:
        with translated():
            await asyncio.to_thread(_prepare, self._path)
        self._readers = Readers(self._path, self._read_at_once)
        self._writer = Writer(self._path)

    async def close(self) -> None:
        """Do what waits, and close the file."""
        writer, readers = self._writer, self._readers
        self._writer = self._readers = None
        if writer is not None and readers is not None:
            await asyncio.to_thread(writer.close)
            await asyncio.to_thread(readers.close)

    async def once(self, work: Work[T], *, writing: bool, alone: bool) -> T:  # noqa: ARG002 - PostgreSQL's twin asks
        if self._writer is None or self._readers is None:
            raise StoreError("the database is closed")
        now = self._clock.now()
        with translated(self.is_outdated) as committing:
            if not writing:
                return await self._readers.run(work, now)
            outcome = await _to_its_end(self._writer.submit(work, now))
            if outcome.error is None:
                return cast("T", outcome.result)
            if outcome.committing:
                committing.append(True)
            raise outcome.error

    def is_outdated(self) -> bool:
        with contextlib.closing(sqlite3.connect(self._path, timeout=0)) as connection:
            try:
                found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            except sqlite3.OperationalError:
                found = None
        return schema.is_older(found[0] if found else None)

    def migrator(self) -> AsyncEngine:
        from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 - it imports SQLAlchemy's whole ORM

        engine = create_async_engine(_url(self._path, "sqlite+aiosqlite"), **_options(1, MIGRATION_SECONDS))
        _configure(engine.sync_engine)
        _begin_at_once(engine.sync_engine)
        return engine

    async def upgrade(self) -> None:
        with translated():
            await asyncio.to_thread(self._upgrade)

    def _upgrade(self) -> None:
        engine = _engine(self._path, 1, busy_seconds=MIGRATION_SECONDS)
        _begin_at_once(engine)
        try:
            with engine.begin() as connection:
                schema.migrate(connection)
        finally:
            engine.dispose()


class Kept:
    """A connection that a thread keeps, and its transactions: SQLAlchemy's own begin and commit, with its pool, take longer
    than most statements. After an error of the driver the next transaction opens the file again.
    """

    def __init__(self, engine: Engine, begin: str) -> None:
        self._engine = engine
        self._begin = begin
        self._connection: Connection | None = None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Commits at the end; on an error nothing of it stays."""
        if self._connection is None:
            self._connection = self._engine.connect()
        raw = driver(self._connection)
        try:
            raw.execute(self._begin)
            yield self._connection
            raw.execute("COMMIT")
        except BaseException as error:
            if raw.in_transaction:
                raw.execute("ROLLBACK")
            if isinstance(error, DRIVER_ERRORS):
                self.close()
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def driver(connection: Connection) -> sqlite3.Connection:
    """SQLite's own connection within SQLAlchemy's."""
    return cast("sqlite3.Connection", connection.connection.driver_connection)


class Readers:
    """The threads that read, each transaction on one of them."""

    def __init__(self, path: Path, count: int) -> None:
        self._engine = _engine(path, count, cache_kib=READER_CACHE_KIB)
        self._threads = ThreadPoolExecutor(count, f"reads {path.name}")
        self._of_thread = threading.local()

    async def run(self, work: Work[T], now: datetime) -> T:
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._threads, context.run, self._read, work, now)

    def close(self) -> None:
        self._threads.shutdown()
        self._engine.dispose()

    def _read(self, work: Work[T], now: datetime) -> T:
        if not hasattr(self._of_thread, "kept"):
            self._of_thread.kept = Kept(self._engine, "BEGIN")
        with self._of_thread.kept.transaction() as connection:
            return run_through(work(SqliteTx(connection, now)))


class Outcome(NamedTuple):
    """What became of a transaction. `committing`: the error came with the COMMIT. `committed`: see Tx."""

    result: Any = None
    error: Exception | None = None
    committing: bool = False
    committed: Sequence[Callable[[], None]] = ()


class Waiting(NamedTuple):
    """A transaction that waits for the thread that writes, with the context of its caller."""

    work: Work[Any]
    now: datetime
    context: contextvars.Context
    done: asyncio.Future[Outcome]


class Writer:
    """The thread that writes, and its queue. `submit` is for the loop that made it."""

    def __init__(self, path: Path) -> None:
        self._engine = _engine(path, 1)
        self._kept = Kept(self._engine, "BEGIN IMMEDIATE")
        self._loop = asyncio.get_running_loop()
        self._queue: threads.SimpleQueue[Waiting | None] = threads.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name=f"writes {path.name}", daemon=True)
        self._thread.start()

    def submit(self, work: Work[Any], now: datetime) -> asyncio.Future[Outcome]:
        done: asyncio.Future[Outcome] = self._loop.create_future()
        self._queue.put(Waiting(work, now, contextvars.copy_context(), done))
        return done

    def close(self) -> None:
        """Do what waits, end the thread, close the file."""
        self._queue.put(None)
        self._thread.join()
        self._kept.close()
        self._engine.dispose()

    # --- the thread

    def _serve(self) -> None:
        waiting: deque[Waiting] = deque()
        while self._take(waiting):
            self._commit(waiting)

    def _take(self, waiting: deque[Waiting]) -> bool:
        """Take all that wait, and at least one; False: that was the last."""
        while not waiting or not self._queue.empty():
            item = self._queue.get()
            if item is None:
                self._queue.put(None)
                return bool(waiting)
            waiting.append(item)
        return True

    def _commit(self, waiting: deque[Waiting]) -> None:
        """Run transactions for GROUP_SECONDS, commit them at once, answer their callers."""
        taken: list[Waiting] = []
        outcomes: list[Outcome] = []
        committing = False
        try:
            with self._kept.transaction() as connection:
                until = time.monotonic() + GROUP_SECONDS
                while waiting and (not taken or time.monotonic() < until):
                    taken.append(waiting.popleft())
                    outcomes.append(_within_savepoint(connection, taken[-1]))
                committing = True
        except Exception as error:  # noqa: BLE001 - all of it is undone, and the callers learn why
            if not taken:  # another process has the file: all of them have waited for it
                taken = list(waiting)
                waiting.clear()
            outcomes = [Outcome(error=error, committing=committing)] * len(taken)
        with contextlib.suppress(RuntimeError):  # the loop is closed: no caller is left
            self._loop.call_soon_threadsafe(_answer, taken, outcomes)


def _within_savepoint(connection: Connection, waiting: Waiting) -> Outcome:
    """Run a transaction of a group. Raises what it raised where SQLite has undone the whole group with it."""
    tx = SqliteTx(connection, waiting.now)
    raw = driver(connection)
    raw.execute("SAVEPOINT one")
    try:
        result = waiting.context.run(lambda: run_through(waiting.work(tx)))
    except Exception as error:
        if not raw.in_transaction:
            raise
        raw.execute("ROLLBACK TO one")
        raw.execute("RELEASE one")
        return Outcome(error=error)
    raw.execute("RELEASE one")
    return Outcome(result, committed=tx.committed)


def run_through(work: Awaitable[T]) -> T:
    """Run what awaits only what is done already, without a loop."""
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as end:
        return cast("T", end.value)
    raise RuntimeError("a transaction waited for something other than its statements")


def _answer(taken: Sequence[Waiting], outcomes: Sequence[Outcome]) -> None:
    """On the loop: after a commit, or after an error."""
    for waiting, outcome in zip(taken, outcomes, strict=True):
        for tell in outcome.committed:
            tell()
        if not waiting.done.done():
            waiting.done.set_result(outcome)


async def _to_its_end(done: asyncio.Future[Outcome]) -> Outcome:
    """Wait for a transaction, which is short, even when cancelled; then be cancelled: nothing of it happens later."""
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        while not done.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((done,))
        raise


def _engine(
    path: Path, connections: int, *, busy_seconds: float | None = None, cache_kib: int = WRITER_CACHE_KIB
) -> Engine:
    engine = create_engine(_url(path, "sqlite"), **_options(connections, busy_seconds or BUSY_SECONDS))
    _configure(engine, cache_kib)
    return engine


def _url(path: Path, driver: str) -> URL:
    return URL.create(driver, database=str(path))


def _options(connections: int, busy_seconds: float) -> dict[str, Any]:
    return {
        "pool_size": connections,
        "max_overflow": 0,
        "pool_timeout": busy_seconds * 2,
        "hide_parameters": True,
        "connect_args": {"isolation_level": None, "timeout": busy_seconds},
    }


def _configure(engine: Engine, cache_kib: int = WRITER_CACHE_KIB) -> None:
    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute(f"PRAGMA cache_size = -{cache_kib}")
        cursor.close()


def _begin_at_once(engine: Engine) -> None:
    """SQLAlchemy's transactions take the write lock when they begin."""

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _prepare(path: Path) -> None:
    """Make the file (readable by its owner alone) and put it in WAL mode, which lasts.

    Changing the mode fails at once while another process has the file open, whatever the busy time-out is: try again.
    """
    private_file(path)
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
        finally:
            connection.close()
