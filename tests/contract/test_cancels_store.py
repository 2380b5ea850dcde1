# ruff: noqa: F811 - fixtures of the store's contract
"""The store's contract about cancelled runs, over SQLite and PostgreSQL: each row ends once, and the counts agree."""

from __future__ import annotations

from imageflow.model.imageset import Image
from imageflow.model.page import row_version
from imageflow.model.row import CANCELLED
from imageflow.model.run import Counts
from imageflow.store import HeldRow, LedgerEntry, Store, Wanted
from tests.contract.test_store import (  # noqa: F401 - fixtures
    DOMAIN,
    FakeClock,
    clock,
    draining,
    flow_document,
    log,
    new_run,
    other,
    reading,
    store,
    url,
)

IMAGES = (Image("https://cdn.example.com/1.png"),)


async def cancel(store: Store, run_id: str) -> None:
    await store.cancel_run(run_id)
    done: int | None = 0
    while done is not None:
        done = await store.cancel_rows(run_id, after=done, limit=3)


async def test_a_queued_run(store: Store, clock: FakeClock) -> None:
    """It ends at once, and is never released; cancelling it again changes nothing."""
    run = new_run(clock)
    await store.create_run(run)
    await cancel(store, run.run_id)
    ended = await store.run(run.run_id)
    assert (ended.status, ended.counts, ended.finished_at) == ("cancelled", Counts(), clock.now())
    clock.move(1)
    assert await store.cancel_run(run.run_id) == ended
    assert await store.release_runs() == []


async def test_a_run_that_ended(store: Store, clock: FakeClock) -> None:
    """It stays what it is."""
    run = await reading(store, clock)
    ended = await store.end_read(run.run_id, error=None)
    assert await store.cancel_run(run.run_id) == ended
    assert ended.cancelled_at is None


async def test_a_run_that_is_read(store: Store, clock: FakeClock) -> None:
    """No more pages are stored, and the watermark stays, whatever a late reader says."""
    run = await reading(store, clock)
    await store.save_page(run.run_id, 1, b"[]", cursor="next", last=False)
    await cancel(store, run.run_id)
    assert await store.save_page(run.run_id, 2, b"[]", cursor=None, last=True) is None
    await store.end_read(run.run_id, error="late", moves_watermark=True)
    assert (await store.run(run.run_id)).status == "draining", "the rows of page 1 are not known yet"
    await store.register_page(run.run_id, 1, 1, [log(run.run_id, 0, "cancelled")])
    ended = await store.run(run.run_id)
    assert (ended.status, ended.error, ended.counts) == ("cancelled", None, Counts(total=1, cancelled=1))
    assert await store.watermark("winter") is None


async def test_rows_in_flight(store: Store, clock: FakeClock) -> None:
    """What a living writer has claimed is left to it; all other rows are settled, and those that are settled stay."""
    run_id = await draining(store, clock, 8)
    seq = (await store.page(run_id, 1)).seq
    await store.settle("t", [log(run_id, 1), log(run_id, 2, "failed")])
    await store.alive("writer", 15)
    await store.claim(DOMAIN, "writer", "w/1", [Wanted("sku-4", row_version(seq, 3))])
    await cancel(store, run_id)
    run = await store.run(run_id)
    assert (run.status, run.counts) == ("draining", Counts(total=8, written=1, failed=1, cancelled=5))
    rows = {row.row: row for row in await store.rows(run_id)}
    assert {number: row.state for number, row in rows.items()} == {
        1: "written",
        2: "failed",
        **dict.fromkeys((3, 5, 6, 7, 8), "cancelled"),
    }
    assert (rows[3].reason, rows[3].page, rows[3].version) == (CANCELLED, 1, row_version(seq, 2))
    entry = LedgerEntry(DOMAIN, "sku-4", row_version(seq, 3), "d", run_id, 4)
    [ended] = await store.settle("w/1", [log(run_id, 4)], written=[entry])
    assert (ended.status, ended.counts) == ("cancelled", Counts(total=8, written=2, failed=1, cancelled=5))


async def test_a_claim_of_a_dead_writer(store: Store, clock: FakeClock) -> None:
    """It keeps no row from being cancelled."""
    run_id = await draining(store, clock, 1)
    seq = (await store.page(run_id, 1)).seq
    await store.alive("writer", 15)
    await store.claim(DOMAIN, "writer", "w/1", [Wanted("sku-1", row_version(seq, 0))])
    clock.move(16)
    await cancel(store, run_id)
    assert (await store.run(run_id)).counts == Counts(total=1, cancelled=1)


async def test_a_row_that_was_in_flight_after_all(store: Store, clock: FakeClock) -> None:
    """What came of it replaces the log, and the counts follow; a second time changes nothing."""
    run_id = await draining(store, clock, 2)
    await cancel(store, run_id)
    for _ in range(2):
        await store.settle("w/1", [log(run_id, 1)])
        run = await store.run(run_id)
        assert (run.status, run.counts) == ("cancelled", Counts(total=2, written=1, cancelled=1))
    await store.settle("w/1", [log(run_id, 1, "cancelled"), log(run_id, 2, "cancelled")])
    assert (await store.run(run_id)).counts == Counts(total=2, written=1, cancelled=1)


async def test_a_row_that_is_retried(store: Store, clock: FakeClock) -> None:
    """It keeps its product and images, so that it can be retried again."""
    run_id = await draining(store, clock, 1)
    await store.settle("t", [log(run_id, 1, "failed", images=IMAGES)])
    await store.reopen(run_id)
    await cancel(store, run_id)
    [row] = await store.rows(run_id)
    assert (row.state, row.product, row.images, row.reason) == ("cancelled", "sku-1", IMAGES, CANCELLED)
    assert (await store.run(run_id)).counts == Counts(total=1, cancelled=1)


async def test_rows_that_are_held_for_the_join(store: Store, clock: FakeClock) -> None:
    """Each product that is held back becomes a cancelled row, and is not joined any more."""
    await store.save_flow(flow_document("joined", group="run"))
    run = await reading(store, clock, "joined")
    await store.save_page(run.run_id, 1, b"[]", cursor="next", last=False)
    held = [HeldRow(product, "sku", 7, IMAGES) for product in ("a", "b", "a")]
    await store.register_page(run.run_id, 1, 0, [], held=held)
    await cancel(store, run.run_id)
    ended = await store.run(run.run_id)
    assert (ended.status, ended.counts) == ("cancelled", Counts(total=2, cancelled=2))
    assert [row.product for row in await store.rows(run.run_id, state="cancelled")] == ["a", "b"]
    assert await store.held_rows(run.run_id, None, 10) == []


async def test_which_runs_are_cancelled(store: Store, clock: FakeClock) -> None:
    """Of the runs that are asked for, those that a person cancelled."""
    one, two = await draining(store, clock, 1), await draining(store, clock, 1)
    await store.cancel_run(one)
    assert await store.cancelled([one, two, "no such run"]) == {one}
    assert await store.cancelled([]) == frozenset()
