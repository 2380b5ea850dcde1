"""Pages: what was read or posted, compressed."""

from __future__ import annotations

import asyncio
import zlib
from typing import Any, NamedTuple

from msgspec import json
from sqlalchemy import Row, bindparam, insert, select, update

from imageflow.errors import NotFoundError
from imageflow.model.page import Page
from imageflow.store.database import Tx
from imageflow.store.prepared import Fixed
from imageflow.store.tables import pages
from imageflow.store.text import clean
from imageflow.store.transaction import Sql, reads, writes

_IN_THREAD_BYTES = 256 * 1024
_INSERT = Fixed(
    insert(pages).values({name: bindparam(name) for name in ("run_id", "page", "body", "asked")}).returning(pages.c.seq)
)
_PAGE = pages.c.run_id, pages.c.page, pages.c.seq, pages.c.body, pages.c.asked


class Printed(NamedTuple):
    """What the script printed of a page."""

    page: int
    text: str


class PagesSql(Sql):
    """The methods of the store about pages."""

    async def page(self, run_id: str, page: int) -> Page:
        return await _unpacked(await self._page(run_id, page))

    @reads
    async def _page(self, tx: Tx, run_id: str, page: int) -> Row[Any]:
        row = await tx.first(select(*_PAGE).where(pages.c.run_id == run_id, pages.c.page == page))
        if row is None:
            raise NotFoundError(f"there is no page {page} of run {run_id!r}")
        return row

    @reads
    async def kept_pages(self, tx: Tx, run_id: str, limit: int) -> list[int]:
        """The numbers of a run's pages, the newest first."""
        statement = (
            select(pages.c.page).where(pages.c.run_id == clean(run_id)).order_by(pages.c.page.desc()).limit(limit)
        )
        return [row.page for row in await tx.all(statement)]

    async def page_of(self, seq: int) -> Page:
        """The page that has this number over all runs (see page.row_version). Raises NotFoundError."""
        return await _unpacked(await self._page_of(seq))

    @reads
    async def _page_of(self, tx: Tx, seq: int) -> Row[Any]:
        row = await tx.first(select(*_PAGE).where(pages.c.seq == seq))
        if row is None:
            raise NotFoundError(f"there is no page with the number {seq}")
        return row

    @writes
    async def keep_prints(self, tx: Tx, run_id: str, page: int, text: str) -> None:
        """Keep what the script printed of a page; what it printed before is replaced."""
        mine = (pages.c.run_id == run_id, pages.c.page == page)
        await tx.execute(update(pages).where(*mine).values(printed=clean(text)))

    @reads
    async def prints(self, tx: Tx, run_id: str, after: int = 0, limit: int = 100) -> list[Printed]:
        """What the script printed, page by page, of the pages after that one."""
        mine = (pages.c.run_id == clean(run_id), pages.c.page > after, pages.c.printed.is_not(None))
        statement = select(pages.c.page, pages.c.printed).where(*mine).order_by(pages.c.page).limit(limit)
        return [Printed(row.page, row.printed) for row in await tx.all(statement)]


async def _unpacked(row: Row[Any]) -> Page:
    asked = json.decode(await decompress(row.asked)) if row.asked else {}
    return Page(row.run_id, row.page, row.seq, await decompress(row.body), asked)


async def insert_page(tx: Tx, run_id: str, page: int, packed: bytes, asked: bytes | None) -> int:
    """Add a page, its body and what was asked packed; returns its number over all runs."""
    [row] = await tx.run(_INSERT.bind(tx, run_id=run_id, page=page, body=packed, asked=asked))
    seq: int = row.seq
    return seq


async def compress(body: bytes) -> bytes:
    return pack(body) if len(body) < _IN_THREAD_BYTES else await asyncio.to_thread(pack, body)


def pack(body: bytes) -> bytes:
    """As `compress`, at once: for a small body."""
    return zlib.compress(body, 1)


async def decompress(packed: bytes) -> bytes:
    if len(packed) < _IN_THREAD_BYTES:
        return zlib.decompress(packed)
    return await asyncio.to_thread(zlib.decompress, packed)
