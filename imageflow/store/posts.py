"""Outbound posts: runs of one page, and the idempotency key that makes a repeat harmless.

Posts are stored many at a time: a few statements and one commit, however many there are. Posts may share a run: its page is
then the list of their image sets, and a post costs what its rows cost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, LargeBinary, and_, bindparam, delete, select, tuple_
from sqlalchemy import Row as SqlRow

from imageflow.model import messages
from imageflow.model.messages import PageRead, transform_queue
from imageflow.model.run import Run
from imageflow.store.batch import Batch, BatchStatement
from imageflow.store.database import Tx
from imageflow.store.outbox import Unsent
from imageflow.store.pages import compress, pack
from imageflow.store.run_record import run_values
from imageflow.store.service_roles import quoted
from imageflow.store.tables import Instant, flows, outbox, pages, post_keys, runs
from imageflow.store.text import keyed
from imageflow.store.transaction import Sql, writes, writes_once

KEY_LIFE = timedelta(hours=24)

_SEQ = '"seq":0'
_EACH = ("run_id", "flow", "version", "triggered", "created_at", "started_at")
_SAME = tuple(column.name for column in runs.c if column.name not in _EACH)
_INSERT = BatchStatement(
    f"""
    WITH posted AS MATERIALIZED (
        SELECT posted.* FROM {{posted}} JOIN flows ON flows.name = posted.flow AND flows.version = posted.version
        WHERE flows.deleted_at IS NULL
    ),
    new_runs AS (
        INSERT INTO runs ({", ".join(map(quoted, (*_EACH, *_SAME)))})
        SELECT run_id, flow, version, triggered, CAST(created_at AS timestamptz), CAST(started_at AS timestamptz),
            {", ".join(f":{name}" for name in _SAME)}
        FROM posted ON CONFLICT DO NOTHING RETURNING run_id
    ),
    new_pages AS (
        INSERT INTO pages (run_id, page, body) SELECT run_id, 1, (:bodies)[number]
        FROM posted JOIN new_runs USING (run_id) ORDER BY number RETURNING run_id, seq
    ),
    new_messages AS (
        INSERT INTO outbox (queue, body, run_id, stored_at)
        SELECT queue, convert_to(head || seq || tail, 'UTF8'), run_id, :now
        FROM posted JOIN new_pages USING (run_id) ORDER BY seq RETURNING run_id, id
    )
    SELECT run_id, seq, id FROM new_pages JOIN new_messages USING (run_id)
    """,  # noqa: S608 - columns of our own
    Batch(
        "posted",
        number="bigint",
        run_id="text",
        flow="text",
        version="bigint",
        triggered="text",
        created_at="text",
        started_at="text",
        queue="text",
        head="text",
        tail="text",
    ),
    typed=[
        bindparam("bodies", type_=ARRAY(LargeBinary)),
        bindparam("now", type_=Instant()),
        *(bindparam(name, type_=runs.c[name].type) for name in _SAME),
    ],
)
"""For PostgreSQL: runs of the flows' newest versions, their pages and messages, in one round trip."""


class NewPost(NamedTuple):
    """A post to be stored: its run (`draining`, read complete, one page), its JSON text,
    its number of rows and its idempotency key. `sets`: the post shares the run, and its page, with the others of the same run;
    these are the texts of its image sets, separated by commas.
    """

    run: Run
    body: bytes
    rows: int
    key: str | None = None
    sets: bytes | None = None


class AcceptedPost(NamedTuple):
    """An outbound post is stored as page 1 of `run_id`, alone or with others. `outbox`: messages to be published; of posts that
    share a run, the first has them. `page` is the page's text where it was added now.

    `repeated`: the idempotency key was known, nothing was added; `conflict`: it was known with another body; `outdated`: the
    flow has another version by now, nothing was added.
    """

    run_id: str
    rows: int
    seq: int = 0
    outbox: tuple[Unsent, ...] = ()
    page: bytes | None = None
    repeated: bool = False
    conflict: bool = False
    outdated: bool = False


class _Keyed(NamedTuple):
    """A post with what the table `post_keys` says of it: `key` and `digest` (of the body); and its text packed, where it has a
    page of its own.
    """

    post: NewPost
    key: str | None
    digest: str
    packed: bytes | None

    @property
    def run(self) -> Run:
        return self.post.run


class _Page(NamedTuple):
    """The page of a run: its posts, its text, and that packed."""

    posts: Sequence[_Keyed]
    text: bytes
    packed: bytes

    @property
    def run(self) -> Run:
        return self.posts[0].run


class PostsSql(Sql):
    """The method of the store about outbound posts."""

    async def accept_posts(self, posts: Sequence[NewPost]) -> list[AcceptedPost]:
        """Store outbound posts, all or none: their runs, their pages, and the PageRead messages. Pages are numbered in the
        order of the posts. What became of each is returned in the same order.

        A key that the flow has seen within the last 24 hours gives the first post's run instead. No key may occur twice
        among the posts of a flow.
        """
        wanted = [await _keyed(post) for post in posts]
        at_once = wanted and self._database.postgresql and all(post.key is None for post in wanted)
        accepted = await self._accept_at_once(wanted) if at_once else {}
        left = [post for post in wanted if id(post) not in accepted]
        others = iter(await self._accept_stepwise(left) if left else ())
        return [accepted.get(id(post)) or next(others) for post in wanted]

    @writes_once
    async def _accept_at_once(self, tx: Tx, posts: Sequence[_Keyed]) -> dict[int, AcceptedPost]:
        """The posts, by `id`, that one statement has accepted: those to the newest version of their flow. A statement is a
        transaction by itself, where the steps need four round trips.
        """
        pages = _paged(posts)
        records = _records(pages)
        if not _alike(records):
            return {}
        inserted = await _insert_at_once(tx, pages, records)
        return _accepted_now([page for page in pages if page.run.run_id in inserted], inserted)

    @writes
    async def _accept_stepwise(self, tx: Tx, posts: Sequence[_Keyed]) -> list[AcceptedPost]:
        newest = await _newest(tx, posts)
        current = [post for post in posts if (post.run.flow, post.run.version) in newest]
        first = await _first_posts(tx, current)
        wanted = _paged([post for post in current if (post.run.flow, post.key) not in first])
        inserted = await _insert(tx, wanted)
        accepted = _accepted_now([page for page in wanted if page.run.run_id in inserted], inserted)
        return [accepted.get(id(post)) or await _known(tx, post, newest, first) for post in posts]


async def _keyed(post: NewPost) -> _Keyed:
    packed = await compress(post.body) if post.sets is None else None
    if post.key is None:
        return _Keyed(post, None, "", packed)
    return _Keyed(post, keyed(post.key), hashlib.blake2b(post.body, digest_size=16).hexdigest(), packed)


def _paged(posts: Sequence[_Keyed]) -> list[_Page]:
    """The pages of the posts' runs."""
    together: dict[str, list[_Keyed]] = {}
    for post in posts:
        together.setdefault(post.run.run_id, []).append(post)
    return [_page(same) for same in together.values()]


def _page(posts: Sequence[_Keyed]) -> _Page:
    first = posts[0]
    if len(posts) == 1:
        return _Page(posts, first.post.body, first.packed or pack(first.post.body))
    text = b"[" + b",".join([one.post.sets for one in posts if one.post.sets is not None]) + b"]"
    return _Page(posts, text, pack(text))


async def _newest(tx: Tx, posts: Sequence[_Keyed]) -> set[tuple[str, int]]:
    """The newest version of each of the posts' flows; none of one that was deleted."""
    names = {post.run.flow for post in posts}
    there = (flows.c.name.in_(names), flows.c.deleted_at.is_(None))
    found = await tx.all(select(flows.c.name, flows.c.version).where(*there))
    return {(row.name, row.version) for row in found}


async def _first_posts(tx: Tx, posts: Sequence[_Keyed]) -> dict[tuple[str, str | None], SqlRow[Any]]:
    """The posts that used a key before, by flow and key. A key that is free belongs to the run of its post now."""
    keyed_posts = sorted((post for post in posts if post.key is not None), key=lambda post: (post.run.flow, post.key))
    if not keyed_posts:
        return {}
    await _forget_old_keys(tx)
    taken = await _take_keys(tx, keyed_posts)
    known = [(post.run.flow, post.key) for post in keyed_posts if (post.run.flow, post.key) not in taken]
    if not known:
        return {}
    found = await tx.all(select(post_keys).where(tuple_(post_keys.c.flow, post_keys.c.key).in_(known)))
    return {(row.flow, row.key): row for row in found}


async def _take_keys(tx: Tx, posts: Sequence[_Keyed]) -> set[tuple[str, str]]:
    """The keys, with their flow, that were free or had expired. In order, so that two transactions do not deadlock."""
    statement = tx.insert(post_keys)
    fresh = {name: statement.excluded[name] for name in ("digest", "run_id", "rows", "posted_at")}
    old = post_keys.c.posted_at <= tx.now - KEY_LIFE
    statement = statement.on_conflict_do_update(index_elements=["flow", "key"], set_=fresh, where=old)
    taken = await tx.all(
        statement.returning(post_keys.c.flow, post_keys.c.key),
        [
            {
                "flow": post.run.flow,
                "key": post.key,
                "digest": post.digest,
                "run_id": post.run.run_id,
                "rows": post.post.rows,
                "posted_at": tx.now,
            }
            for post in posts
        ],
    )
    return {(row.flow, row.key) for row in taken}


async def _forget_old_keys(tx: Tx) -> None:
    """Delete a few expired keys with each batch that makes some, so that their number is bounded without a job of its own.
    SKIP LOCKED leaves those that another batch deletes at this moment.
    """
    old = select(post_keys.c.flow, post_keys.c.key).where(post_keys.c.posted_at <= tx.now - KEY_LIFE)
    for row in await tx.all(old.order_by(post_keys.c.posted_at).limit(3).with_for_update(skip_locked=True)):
        await tx.execute(delete(post_keys).where(and_(post_keys.c.flow == row.flow, post_keys.c.key == row.key)))


class _Inserted(NamedTuple):
    """A run that was added: the number of its page over all runs, and its message."""

    seq: int
    message: Unsent


async def _insert(tx: Tx, new: Sequence[_Page]) -> dict[str, _Inserted]:
    """Add the runs that are not there yet, each with its page, numbered in their order, and its message; by run."""
    if not new:
        return {}
    records = _records(new)
    if tx.postgresql and _alike(records):
        return await _insert_at_once(tx, new, records)
    added = await tx.all(tx.insert(runs).on_conflict_do_nothing().returning(runs.c.run_id), records)
    ids = {row.run_id for row in added}
    bodies = [{"run_id": page.run.run_id, "page": 1, "body": page.packed} for page in new if page.run.run_id in ids]
    if not bodies:
        return {}
    stored = await tx.all(tx.insert(pages).returning(pages.c.run_id, pages.c.seq), bodies)
    seqs = {row.run_id: row.seq for row in stored}
    posted = {page.run.run_id: _page_read(page.run, seqs[page.run.run_id]) for page in new if page.run.run_id in ids}
    values = [
        {"queue": messages.queue_of(read), "body": messages.encode(read), "run_id": run_id, "stored_at": tx.now}
        for run_id, read in posted.items()
    ]
    left = await tx.all(tx.insert(outbox).returning(outbox.c.run_id, outbox.c.id), values)
    return {row.run_id: _inserted(posted[row.run_id], row.id) for row in left}


def _records(new: Sequence[_Page]) -> list[dict[str, Any]]:
    """The runs of pages, as the table has them."""
    return [run_values(page.run) | {"released": True} for page in new]


def _alike(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the runs differ in nothing but what `_INSERT` takes of each."""
    return all(record[name] == records[0][name] for record in records[1:] for name in _SAME)


async def _insert_at_once(tx: Tx, new: Sequence[_Page], records: Sequence[Mapping[str, Any]]) -> dict[str, _Inserted]:
    batch = []
    for number, (page, record) in enumerate(zip(new, records, strict=True), 1):
        head, _, tail = messages.encode(_page_read(page.run, 0)).decode().rpartition(_SEQ)
        instants = [value and value.isoformat() for value in (record["created_at"], record["started_at"])]
        varying = (record[name] for name in ("run_id", "flow", "version", "triggered"))
        batch.append((number, *varying, *instants, messages.transform_queue(page.run.flow), head + _SEQ[:-1], tail))
    same = {name: records[0][name] for name in _SAME}
    bodies = [page.packed for page in new]
    found = await tx.run(_INSERT.bind(tx, batch, bodies=bodies, now=tx.now, **same))
    by_id = {page.run.run_id: page.run for page in new}
    return {row.run_id: _inserted(_page_read(by_id[row.run_id], row.seq), row.id) for row in found}


def _inserted(read: PageRead, number: int) -> _Inserted:
    return _Inserted(read.seq, Unsent(number, messages.queue_of(read), messages.encode(read)))


def _accepted_now(new: Sequence[_Page], inserted: Mapping[str, _Inserted]) -> dict[int, AcceptedPost]:
    """The posts of new pages, by `id`. The first of each page has its message."""
    accepted = {}
    for page in new:
        run_id, (seq, message) = page.run.run_id, inserted[page.run.run_id]
        for post in page.posts:
            accepted[id(post)] = AcceptedPost(run_id, post.post.rows, seq)
        first = id(page.posts[0])
        accepted[first] = accepted[first]._replace(outbox=(message,), page=page.text)
    return accepted


def _page_read(run: Run, seq: int) -> PageRead:
    return PageRead(run.run_id, run.flow, run.version, 1, seq)


async def _known(
    tx: Tx,
    post: _Keyed,
    newest: set[tuple[str, int]],
    first: dict[tuple[str, str | None], SqlRow[Any]],
) -> AcceptedPost:
    """What is there of a post that was not added."""
    run_id, flow, rows = post.run.run_id, post.run.flow, post.post.rows
    if (flow, post.run.version) not in newest:
        return AcceptedPost(run_id, rows, outdated=True)
    before = first.get((flow, post.key))
    if before is None:  # the same run again: its transaction was repeated
        return await _accepted(tx, run_id, flow, rows)
    again = await _accepted(tx, before.run_id, flow, before.rows)
    return again._replace(conflict=before.digest != post.digest)


async def _accepted(tx: Tx, run_id: str, flow: str, rows: int) -> AcceptedPost:
    """A post that was accepted before, with its message if that is not marked as sent yet."""
    seq = await tx.value(select(pages.c.seq).where(pages.c.run_id == run_id, pages.c.page == 1))
    page_read = select(outbox).where(outbox.c.run_id == run_id, outbox.c.queue == transform_queue(flow))
    unsent = await tx.all(page_read.order_by(outbox.c.id))
    return AcceptedPost(
        run_id, rows, seq or 0, tuple(Unsent(row.id, row.queue, row.body) for row in unsent), repeated=True
    )
