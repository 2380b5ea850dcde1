"""Rows and pages of runs, and why rows failed."""

from __future__ import annotations

from collections.abc import AsyncIterator

from imageflow.errors import NotFoundError
from imageflow.model.page import Page
from imageflow.model.row import RowLog, StageName, State
from imageflow.store import ErrorGroup, Store

ROWS_AT_ONCE = 1000


async def every(
    store: Store,
    run_id: str,
    *,
    state: State | None = None,
    product: str | None = None,
    group: str | None = None,
    limit: int | None = None,
) -> AsyncIterator[RowLog]:
    """The settled rows of a run, by number: all of them, or those of a state, a product or an error group; at most `limit`.
    Raises NotFoundError.
    """
    after, left = 0, limit
    while left is None or left > 0:
        most = ROWS_AT_ONCE if left is None else min(left, ROWS_AT_ONCE)
        found = await listed(store, run_id, state=state, product=product, group=group, after=after, limit=most)
        for row in found:
            yield row
        if len(found) < most:
            return
        after, left = found[-1].row, None if left is None else left - most


async def listed(
    store: Store,
    run_id: str,
    *,
    state: State | None = None,
    stage: StageName | None = None,
    product: str | None = None,
    group: str | None = None,
    page: int | None = None,
    after: int = 0,
    limit: int = ROWS_AT_ONCE,
) -> list[RowLog]:
    """Settled rows of a run with numbers above `after`, by number. Raises NotFoundError."""
    await store.run(run_id)
    return await store.rows(
        run_id, state=state, stage=stage, product=product, group=group, page=page, after=after, limit=limit
    )


async def of_product(store: Store, product: str, *, limit: int) -> list[RowLog]:
    """A product's newest rows, over all runs."""
    return await store.product_rows(product, limit=limit)


async def written_last(store: Store, limit: int) -> list[RowLog]:
    """The rows that were written last, over all runs, the last first."""
    return await store.written_last(limit)


async def show(store: Store, run_id: str, number: int) -> RowLog:
    """A settled row. Raises NotFoundError."""
    found = await listed(store, run_id, after=number - 1, limit=1)
    if not found or found[0].row != number:
        raise NotFoundError(f"run {run_id} has no row {number} that is settled")
    return found[0]


async def page(store: Store, run_id: str, number: int) -> Page:
    """A page as the ERP answered or posted it. Raises NotFoundError."""
    await store.run(run_id)
    return await store.page(run_id, number)


async def errors(store: Store, run_id: str, *, limit: int = 100) -> list[ErrorGroup]:
    """The failed rows of a run by cause, the largest groups first. Raises NotFoundError."""
    await store.run(run_id)
    return await store.errors(run_id, limit)
