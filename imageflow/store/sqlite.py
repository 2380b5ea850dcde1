"""The store in an SQLite file: one writing connection, a few reading ones. Several processes may open the file."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from imageflow.clock import Clock
from imageflow.private_files import private_file
from imageflow.store import schema
from imageflow.store.database import Database, Tx
from imageflow.store.driver_errors import translated

T = TypeVar("T")
BUSY_SECONDS = 15.0
MIGRATION_SECONDS = 600.0
READERS = 4


class SqliteDatabase(Database):
    """A file in WAL mode. Writing transactions take the write lock when they begin (BEGIN IMMEDIATE), one at a time."""

    def __init__(self, path: Path, clock: Clock, *, readers: int | None = None) -> None:
        super().__init__(clock)
        self._path = path
        self._turn = asyncio.Lock()
        self._writer = _engine(path, 1, "BEGIN IMMEDIATE")
        self._reader = _engine(path, readers or READERS, "BEGIN")

    async def open(self) -> None:
        with translated():
            await asyncio.to_thread(_prepare, self._path)

    async def close(self) -> None:
        await self._writer.dispose()
        await self._reader.dispose()

    def connection(self, *, writing: bool) -> AbstractAsyncContextManager[AsyncConnection]:
        return (self._writer if writing else self._reader).connect()

    async def once(self, work: Callable[[Tx], Awaitable[T]], *, writing: bool) -> T:
        if not writing:
            return await _to_its_end(super().once(work, writing=False))
        async with self._turn:
            return await _to_its_end(super().once(work, writing=True))

    def is_outdated(self) -> bool:
        with contextlib.closing(sqlite3.connect(self._path, timeout=0)) as connection:
            try:
                found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            except sqlite3.OperationalError:
                found = None
        return schema.is_older(found[0] if found else None)

    def migrator(self) -> AsyncEngine:
        return _engine(self._path, 1, "BEGIN IMMEDIATE", seconds=MIGRATION_SECONDS)

    async def lock_schema(self, connection: AsyncConnection) -> None:
        """BEGIN IMMEDIATE is the lock."""


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Wait for `work`, which is short, even when cancelled; then be cancelled.

    A statement that is running in SQLite's thread goes on without us, and Python's sqlite3 keeps the transaction (and so
    the file's write lock) of a connection that is closed before it: until the garbage collector comes by. The task
    never outlives this call, and what it raises is raised here.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()
        raise


def _engine(path: Path, connections: int, begin: str, *, seconds: float | None = None) -> AsyncEngine:
    seconds = BUSY_SECONDS if seconds is None else seconds
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=seconds * 2,
        hide_parameters=True,
        connect_args={"isolation_level": None, "timeout": seconds},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA cache_size = -16000")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


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
