"""The store: flows, runs, pages, rows, the ledger, users, the audit log, alarms. The truth of everything but the queues.

Each topic is one module, which holds its values, its queries, and a class with the methods about it; `Store` is all of
these classes together. There is no protocol beside them: SQL over two databases is the only implementation, and
SQLite, which needs no server, is the one to test with. So a query is one method, with its docstring, and one contract
test; `tests/contract` runs over SQLite and PostgreSQL.

Each method is one transaction, and may be repeated after a crash: nothing is counted twice. Methods raise StoreError
while the database is away, and NotFoundError for a name or an id that does not exist.

A method that stores a state which must be followed by a message stores both in one transaction, the message in the
outbox. The caller publishes it and calls `sent`; after a crash the outbox publisher finds it with `unsent`.
"""

from __future__ import annotations

from typing import Self

from sqlalchemy import literal, select

from imageflow.store.alarms import Alarm, AlarmsSql, HeldDomain, Notice
from imageflow.store.audit import AuditEntry, AuditRecord, AuditSql
from imageflow.store.cancels import CancelsSql
from imageflow.store.claims import Claim, ClaimsSql, Wanted
from imageflow.store.database import Tx
from imageflow.store.doubts import DoubtsSql
from imageflow.store.failures import Cause, CauseKey, ErrorGroup, FailuresSql, OpenRowKey
from imageflow.store.flows import FlowsSql, FlowVersion, SavedVersion
from imageflow.store.held import HeldRow, HeldSql
from imageflow.store.in_flight import InFlight, InFlightSql
from imageflow.store.ledger import LedgerEntry, LedgerSql, LedgerState
from imageflow.store.logins import LoginCount, LoginsSql
from imageflow.store.open_failures import OpenFailuresSql
from imageflow.store.outbox import OutboxSql, Unsent
from imageflow.store.page_maps import PageMapsSql, Unmapped
from imageflow.store.pages import PagesSql, Printed
from imageflow.store.posts import AcceptedPost, NewPost, PostsSql
from imageflow.store.replays import InRetry, Left, Replayed, ReplaysSql, Taken
from imageflow.store.retention import OldRun, RetentionSql
from imageflow.store.rows import Registered, RowsSql
from imageflow.store.run_steps import RunStepsSql
from imageflow.store.runs import RunsSql, SavedPage
from imageflow.store.series import SeriesSql
from imageflow.store.services import ServiceSeen, ServicesSql
from imageflow.store.settling import SettlingSql, Skipped
from imageflow.store.transaction import reads
from imageflow.store.users import ApiKey, User, UsersSql
from imageflow.store.watermarks import WatermarksSql

__all__ = [
    "AcceptedPost",
    "Alarm",
    "ApiKey",
    "AuditEntry",
    "AuditRecord",
    "Cause",
    "CauseKey",
    "Claim",
    "ErrorGroup",
    "FlowVersion",
    "HeldDomain",
    "HeldRow",
    "InFlight",
    "InRetry",
    "LedgerEntry",
    "LedgerState",
    "Left",
    "LoginCount",
    "NewPost",
    "Notice",
    "OldRun",
    "OpenRowKey",
    "Printed",
    "Registered",
    "Replayed",
    "SavedPage",
    "SavedVersion",
    "ServiceSeen",
    "Skipped",
    "Store",
    "Taken",
    "Unmapped",
    "Unsent",
    "User",
    "Wanted",
]


class Store(
    FlowsSql,
    RunsSql,
    PagesSql,
    WatermarksSql,
    PostsSql,
    RowsSql,
    HeldSql,
    FailuresSql,
    OpenFailuresSql,
    ReplaysSql,
    CancelsSql,
    ClaimsSql,
    InFlightSql,
    SettlingSql,
    DoubtsSql,
    LedgerSql,
    OutboxSql,
    UsersSql,
    LoginsSql,
    AuditSql,
    AlarmsSql,
    SeriesSql,
    RunStepsSql,
    PageMapsSql,
    ServicesSql,
    RetentionSql,
):
    """All queries, on one database; `connect.connect` makes one from a URL.

    Use it as an async context manager: entering connects, leaving closes.
    """

    async def __aenter__(self) -> Self:
        await self._database.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._database.close()

    async def upgrade(self) -> None:
        """Bring the schema to the newest revision. Any number of processes may ask at once: one does it, the others wait."""
        await self._database.upgrade()

    @reads
    async def ping(self, tx: Tx) -> None:
        """Raises StoreError when the database does not answer."""
        await tx.execute(select(literal(1)))
