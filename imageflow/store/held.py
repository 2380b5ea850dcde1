"""Rows that wait for the join of their run, and which products its pages have shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
from sqlalchemy import delete, exists, select

from imageflow.model.imageset import Image
from imageflow.model.row import RowLog
from imageflow.model.run import Run
from imageflow.store.batch import Batch, BatchStatement
from imageflow.store.database import Tx
from imageflow.store.row_record import to_log
from imageflow.store.run_progress import advance, change, load
from imageflow.store.tables import held_rows, registered_pages, rows
from imageflow.store.text import keyed, to_json
from imageflow.store.transaction import Sql, reads, writes

_HOLD = BatchStatement(
    """
    INSERT INTO held_rows (run_id, product, version, document)
    SELECT :run_id, held.product, held.version, held.document FROM {held} WHERE true
    """,
    Batch("held", product="text", version="bigint", document="text"),
)
_SEEN = Batch("shown", product="text")
_SEE = BatchStatement(
    """
    INSERT INTO seen_products (run_id, product, page)
    SELECT :run_id, shown.product, CAST(:page AS integer) FROM {shown} WHERE true ON CONFLICT DO NOTHING
    """,
    _SEEN,
)
_ELSEWHERE = BatchStatement(
    """
    SELECT seen_products.product FROM {shown} CROSS JOIN seen_products
    WHERE seen_products.run_id = :run_id AND seen_products.product = shown.product AND seen_products.page <> :page
    """,
    _SEEN,
)


class HeldRow(NamedTuple):
    """A row of a run that is held back until the read is complete; its version orders a product's rows. `reason`: why the
    product cannot be written, where that is known.
    """

    product: str
    key: Literal["sku", "base_code"]
    version: int
    images: tuple[Image, ...]
    reason: str | None = None


_decode_held = msgspec.json.Decoder(HeldRow).decode


class HeldSql(Sql):
    """The methods of the store about the join of a run."""

    @reads
    async def held_rows(self, tx: Tx, run_id: str, after: str | None, products: int) -> list[HeldRow]:
        """Held rows of the next `products` products after product `after`, by product, then version, complete products."""
        mine = held_rows.c.run_id == run_id
        following = select(held_rows.c.product).where(mine).distinct().order_by(held_rows.c.product).limit(products)
        if after is not None:
            following = following.where(held_rows.c.product > keyed(after))
        chosen = [row.product for row in await tx.all(following)]
        if not chosen:
            return []
        statement = select(held_rows.c.document).where(
            mine, held_rows.c.product >= chosen[0], held_rows.c.product <= chosen[-1]
        )
        in_order = statement.order_by(held_rows.c.product, held_rows.c.version, held_rows.c.id)
        return [_decode_held(row.document) for row in await tx.all(in_order)]

    @reads
    async def join_begun(self, tx: Tx, run_id: str) -> bool:
        """Whether a part of the run's join is registered."""
        mine = (registered_pages.c.run_id == run_id, registered_pages.c.page < 0)
        return await tx.value(select(registered_pages.c.page).where(*mine).limit(1)) is not None

    @reads
    async def rows_beside(self, tx: Tx, run_id: str, after: int, limit: int = 1000) -> list[RowLog]:
        """Logs of the run's rows with numbers above `after` whose products have held rows, too."""
        waits = exists().where(held_rows.c.run_id == run_id, held_rows.c.product == rows.c.product)
        mine = (rows.c.run_id == run_id, rows.c.number > after, rows.c.product.is_not(None), waits)
        return [to_log(row) for row in await tx.all(select(rows).where(*mine).order_by(rows.c.number).limit(limit))]

    @writes
    async def hold_more(self, tx: Tx, run_id: str, held: Sequence[HeldRow]) -> None:
        """Add to the held rows of a run. Repeating it adds them again: a join takes each image once."""
        await hold(tx, await load(tx, run_id, lock=True), held)

    @writes
    async def end_join(self, tx: Tx, run_id: str) -> None:
        """All held rows are registered as pages below 0 and published: forget them; the run may end."""
        run = await load(tx, run_id, lock=True)
        await tx.execute(delete(held_rows).where(held_rows.c.run_id == run_id))
        if run.joining:
            await advance(tx, await change(tx, run, joining=False))


async def hold(tx: Tx, run: Run, held: Sequence[HeldRow]) -> Run:
    """Hold rows of a locked run back: it does not end until they are joined."""
    batch = [(keyed(row.product), row.version, _document(row)) for row in held]
    await tx.run(_HOLD.bind(tx, batch, run_id=run.run_id))
    return run if run.joining else await change(tx, run, joining=True)


def _document(row: HeldRow) -> str:
    """Without a reason as older versions read it."""
    return to_json(row[:-1] if row.reason is None else row)


async def seen_elsewhere(tx: Tx, run_id: str, page: int, parts: Sequence[RowLog]) -> tuple[RowLog, ...]:
    """The rows of a page whose products another page of the run showed first. The other rows' products belong to this
    page from now on. The run is locked, so of two pages with one product the first to come has it, also when a page
    comes again.
    """
    products = [(keyed(log.product or ""),) for log in parts]
    await tx.run(_SEE.bind(tx, products, run_id=run_id, page=page))
    found = {row.product for row in await tx.run(_ELSEWHERE.bind(tx, products, run_id=run_id, page=page))}
    return tuple(log for log, (product,) in zip(parts, products, strict=True) if product in found)
