"""The outbox: messages stored in the transaction of their cause, until they are published."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import bindparam, insert, select

from imageflow.model import messages
from imageflow.store.batch import Batch, BatchStatement
from imageflow.store.database import Tx
from imageflow.store.prepared import Fixed
from imageflow.store.tables import outbox
from imageflow.store.transaction import Sql, reads, writes_once

_POST = Fixed(
    insert(outbox)
    .values({name: bindparam(name) for name in ("queue", "body", "run_id", "stored_at")})
    .returning(outbox.c.id)
)
_MESSAGES = Batch("messages", id="bigint")
_SENT = BatchStatement("DELETE FROM outbox WHERE id IN (SELECT id FROM {messages})", _MESSAGES)
_SENT_IN_ORDER = BatchStatement(
    "WITH locked AS MATERIALIZED (SELECT outbox.id FROM outbox WHERE id IN (SELECT id FROM {messages})"
    " ORDER BY outbox.id FOR UPDATE) DELETE FROM outbox WHERE id IN (SELECT id FROM locked)",
    _MESSAGES,
)
"""For PostgreSQL: two processes that delete the same messages, one of them sweeping, wait for each other in one order."""


class Unsent(NamedTuple):
    """A message of the outbox that has not been published yet."""

    id: int
    queue: str
    body: bytes


class OutboxSql(Sql):
    """The methods of the store about the outbox."""

    @reads
    async def unsent(self, tx: Tx, older_than: float, limit: int = 100) -> list[Unsent]:
        """Messages stored at least `older_than` seconds ago and not yet marked as sent."""
        old = outbox.c.stored_at <= tx.now - timedelta(seconds=older_than)
        found = await tx.all(select(outbox).where(old).order_by(outbox.c.id).limit(limit))
        return [Unsent(row.id, row.queue, row.body) for row in found]

    @writes_once
    async def sent(self, tx: Tx, ids: Sequence[int]) -> None:
        wanted = sorted(set(ids))
        if not wanted:
            return
        delete = _SENT_IN_ORDER if tx.postgresql else _SENT
        await tx.run(delete.bind(tx, [(item,) for item in wanted]))


async def post(
    tx: Tx,
    message: messages.ReadPage | messages.PageRead | messages.RunRead | messages.ReplayPage | messages.RowsReady,
) -> Unsent:
    """Put a message in the outbox."""
    queue, body = messages.queue_of(message), messages.encode(message)
    [row] = await tx.run(_POST.bind(tx, queue=queue, body=body, run_id=message.run_id, stored_at=tx.now))
    return Unsent(row.id, queue, body)
