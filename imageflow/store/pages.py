"""Pages: what was read or posted, compressed."""

from __future__ import annotations

import asyncio
import zlib
from typing import NamedTuple

from sqlalchemy import select, update

from imageflow.errors import NotFoundError
from imageflow.model.page import Page
from imageflow.store.database import Tx
from imageflow.store.tables import pages
from imageflow.store.text import clean
from imageflow.store.transaction import Sql, reads, writes

_IN_THREAD_BYTES = 256 * 1024


class Printed(NamedTuple):
    """What the script printed of a page."""

    page: int
    text: str


class PagesSql(Sql):
    """The methods of the store about pages."""

    async def page(self, run_id: str, page: int) -> Page:
        seq, packed = await self._page(run_id, page)
        return Page(run_id, page, seq, await decompress(packed))

    @reads
    async def _page(self, tx: Tx, run_id: str, page: int) -> tuple[int, bytes]:
        row = await tx.first(select(pages.c.seq, pages.c.body).where(pages.c.run_id == run_id, pages.c.page == page))
        if row is None:
            raise NotFoundError(f"there is no page {page} of run {run_id!r}")
        return row.seq, row.body

    async def page_of(self, seq: int) -> Page:
        """The page that has this number over all runs (see page.row_version). Raises NotFoundError."""
        run_id, page, packed = await self._page_of(seq)
        return Page(run_id, page, seq, await decompress(packed))

    @reads
    async def _page_of(self, tx: Tx, seq: int) -> tuple[str, int, bytes]:
        row = await tx.first(select(pages.c.run_id, pages.c.page, pages.c.body).where(pages.c.seq == seq))
        if row is None:
            raise NotFoundError(f"there is no page with the number {seq}")
        return row.run_id, row.page, row.body

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


async def insert_page(tx: Tx, run_id: str, page: int, packed: bytes) -> int:
    statement = tx.insert(pages).values(run_id=run_id, page=page, body=packed).returning(pages.c.seq)
    seq: int = await tx.value(statement)
    return seq


async def compress(body: bytes) -> bytes:
    if len(body) < _IN_THREAD_BYTES:
        return zlib.compress(body, 1)
    return await asyncio.to_thread(zlib.compress, body, 1)


async def decompress(packed: bytes) -> bytes:
    if len(packed) < _IN_THREAD_BYTES:
        return zlib.decompress(packed)
    return await asyncio.to_thread(zlib.decompress, packed)
