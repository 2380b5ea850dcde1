"""The store in PostgreSQL, for a fleet."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncpg
from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from imageflow.clock import Clock
from imageflow.secret import Secret
from imageflow.store.database import Database
from imageflow.store.driver_errors import connecting, translated

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


class PostgresDatabase(Database):
    """A pool of connections. A dead one is noticed when it is used; the whole pool is then renewed."""

    def __init__(
        self, url: Secret, clock: Clock, *, connections: int | None = None, statement_seconds: float | None = None
    ) -> None:
        super().__init__(clock)
        self._url = url
        self._statement_seconds = statement_seconds or STATEMENT_SECONDS
        self._engine = self._create(
            pool_size=connections or POOL_SIZE, max_overflow=0, pool_timeout=self._statement_seconds
        )

    def _create(self, **options: Any) -> AsyncEngine:
        return create_async_engine(
            "postgresql+asyncpg://", async_creator=self._connect, hide_parameters=True, **options
        )

    async def _connect(self) -> asyncpg.Connection[Any]:
        """Asyncpg reads the URL itself: it knows all of libpq's parameters. The deadline of a statement is the server's;
        ours is longer, for a network that swallows everything.
        """
        with connecting():
            return await asyncpg.connect(
                self._url.reveal(),
                timeout=CONNECT_SECONDS,
                command_timeout=self._statement_seconds + 10,
                server_settings={**SESSION, "statement_timeout": f"{self._statement_seconds * 1000:.0f}ms"},
            )

    async def _connect_migrator(self) -> asyncpg.Connection[Any]:
        with connecting():
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

    def connection(self, *, writing: bool) -> AbstractAsyncContextManager[AsyncConnection]:  # noqa: ARG002 - SQLite's twin asks
        return self._engine.connect()

    def migrator(self) -> AsyncEngine:
        return create_async_engine(
            "postgresql+asyncpg://", async_creator=self._connect_migrator, hide_parameters=True, poolclass=NullPool
        )

    async def lock_schema(self, connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": SCHEMA_LOCK})
