"""Outbound posts: a run of one page, and the idempotency key that makes a repeat harmless."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import Row as SqlRow
from sqlalchemy import and_, delete, select

from imageflow.model.messages import PageRead, transform_queue
from imageflow.model.run import Run
from imageflow.store.database import Tx
from imageflow.store.outbox import Unsent, post
from imageflow.store.pages import compress, insert_page
from imageflow.store.runs import insert_run
from imageflow.store.tables import outbox, pages, post_keys
from imageflow.store.text import keyed
from imageflow.store.transaction import Sql, writes

KEY_LIFE = timedelta(hours=24)


class AcceptedPost(NamedTuple):
    """An outbound post is stored as page 1 of `run_id`. `repeated`: the idempotency key was known, nothing was added;
    `conflict`: it was known with another body.
    """

    run_id: str
    rows: int
    seq: int
    outbox: tuple[Unsent, ...]
    repeated: bool = False
    conflict: bool = False


class PostsSql(Sql):
    """The method of the store about outbound posts."""

    async def accept_post(self, run: Run, body: bytes, *, rows: int, key: str | None) -> AcceptedPost:
        """Store an outbound post: its run (given as `draining`, read complete, one page), page 1 and the PageRead
        message. A `key` that the flow has seen within the last 24 hours returns the first post's run instead.
        """
        digest = hashlib.blake2b(body, digest_size=16).hexdigest()
        packed = await compress(body)
        return await self._accept_post(run, packed, rows=rows, key=None if key is None else keyed(key), digest=digest)

    @writes
    async def _accept_post(
        self, tx: Tx, run: Run, packed: bytes, *, rows: int, key: str | None, digest: str
    ) -> AcceptedPost:
        first = None if key is None else await _first_post(tx, run, rows, key, digest)
        if first is not None:
            again = await _accepted(tx, first.run_id, run.flow, first.rows)
            return again._replace(repeated=True, conflict=first.digest != digest)
        if not await insert_run(tx, run, released=True):
            return (await _accepted(tx, run.run_id, run.flow, rows))._replace(repeated=True)
        seq = await insert_page(tx, run.run_id, 1, packed)
        message = await post(tx, PageRead(run.run_id, run.flow, run.version, 1, seq))
        return AcceptedPost(run.run_id, rows, seq, (message,))


async def _first_post(tx: Tx, run: Run, rows: int, key: str, digest: str) -> SqlRow[Any] | None:
    """The post that used the key before; None where the key is this run's now."""
    await _forget_old_keys(tx)
    values = {"digest": digest, "run_id": run.run_id, "rows": rows, "posted_at": tx.now}
    statement = tx.insert(post_keys).values(flow=run.flow, key=key, **values)
    old = post_keys.c.posted_at <= tx.now - KEY_LIFE
    if await tx.count(statement.on_conflict_do_update(index_elements=["flow", "key"], set_=values, where=old)):
        return None
    return await tx.first(select(post_keys).where(post_keys.c.flow == run.flow, post_keys.c.key == key))


async def _forget_old_keys(tx: Tx) -> None:
    """Delete a few expired keys with each post that makes one, so that their number is bounded without a job of its own. SKIP
    LOCKED leaves those that another post deletes at this moment.
    """
    old = select(post_keys.c.flow, post_keys.c.key).where(post_keys.c.posted_at <= tx.now - KEY_LIFE)
    for row in await tx.all(old.order_by(post_keys.c.posted_at).limit(3).with_for_update(skip_locked=True)):
        await tx.execute(delete(post_keys).where(and_(post_keys.c.flow == row.flow, post_keys.c.key == row.key)))


async def _accepted(tx: Tx, run_id: str, flow: str, rows: int) -> AcceptedPost:
    """A post that was accepted before, with its message if that is not marked as sent yet."""
    seq = await tx.value(select(pages.c.seq).where(pages.c.run_id == run_id, pages.c.page == 1))
    page_read = select(outbox).where(outbox.c.run_id == run_id, outbox.c.queue == transform_queue(flow))
    unsent = await tx.all(page_read.order_by(outbox.c.id))
    return AcceptedPost(run_id, rows, seq or 0, tuple(Unsent(row.id, row.queue, row.body) for row in unsent))
