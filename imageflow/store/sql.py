"""The store in SQL, over SQLite and PostgreSQL: its parts put together. See Store for what each method promises."""

from __future__ import annotations

from typing import Self

from sqlalchemy import text

from imageflow.store.alarms import AlarmsSql
from imageflow.store.audit import AuditSql
from imageflow.store.database import Tx
from imageflow.store.flows import FlowsSql
from imageflow.store.ledger import LedgerSql
from imageflow.store.outbox import OutboxSql
from imageflow.store.posts import PostsSql
from imageflow.store.retention import RetentionSql
from imageflow.store.rows import RowsSql
from imageflow.store.runs import RunsSql
from imageflow.store.transaction import reads
from imageflow.store.users import UsersSql

_ONE = text("SELECT 1")


class SqlStore(FlowsSql, RunsSql, PostsSql, RowsSql, LedgerSql, OutboxSql, UsersSql, AuditSql, AlarmsSql, RetentionSql):
    """Implements Store. `connect.connect` makes one from a URL."""

    async def __aenter__(self) -> Self:
        await self._database.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._database.close()

    async def upgrade(self) -> None:
        await self._database.upgrade()

    @reads
    async def ping(self, tx: Tx) -> None:
        await tx.execute(_ONE)
