# ruff: noqa: F811 - fixtures of the store's contract
"""The store's contract about lists: filters that match few rows or none, and products by the beginning of their name."""

from __future__ import annotations

import pytest

from imageflow.store import LedgerEntry, Store
from tests.contract.test_store import (  # noqa: F401 - fixtures
    DOMAIN,
    FakeClock,
    clock,
    draining,
    failure,
    log,
    reading,
    store,
    url,
)

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])  # what SQL says does not depend on the loop


async def numbers(store: Store, run_id: str, **wanted: object) -> list[int]:
    return [row.row for row in await store.rows(run_id, **wanted)]  # type: ignore[arg-type]


async def test_rows_by_every_filter(store: Store, clock: FakeClock) -> None:
    """Rows of a run by state, stage, product and cause, alone and together; what no row can be is an empty list, before the
    run has ended and after.
    """
    run_id = await draining(store, clock, 8)
    script = {"stage": "script", "product": None, "images": (), "reason": "line 1"}
    await store.settle(
        "",
        [
            log(run_id, 1),
            log(run_id, 2, "unchanged"),
            log(run_id, 3, "superseded"),
            failure(run_id, 4, **script),
            failure(run_id, 5, product="A"),
            log(run_id, 6, "cancelled", stage="rows"),
            log(run_id, 7, "superseded", stage="rows"),
        ],
    )
    for _ in range(2):
        for state, found in (("unchanged", [2]), ("superseded", [3, 7]), ("failed", [4, 5]), ("cancelled", [6])):
            assert await numbers(store, run_id, state=state) == found
        assert await numbers(store, run_id, stage="script") == [4]
        assert await numbers(store, run_id, stage="rows") == [6, 7]
        assert await numbers(store, run_id, stage="rows", state="superseded") == [7]
        assert await numbers(store, run_id, stage="login") == []
        assert await numbers(store, run_id, stage="write", state="failed") == [5]
        assert await numbers(store, run_id, stage="write", state="cancelled") == []
        assert await numbers(store, run_id, stage="script", state="written") == []
        assert await numbers(store, run_id, product="A") == [5]
        assert await numbers(store, run_id, product="A", state="written") == []
        assert await numbers(store, run_id, product="sku-3", stage="write", after=3) == []
        [cause] = [one.group for one in await store.errors(run_id) if one.stage == "script"]
        assert await numbers(store, run_id, group=cause) == [4]
        assert await numbers(store, run_id, group=cause, stage="write") == []
        assert await numbers(store, run_id, group=cause, state="unchanged") == []
        assert await numbers(store, run_id, stage="write", after=3) in ([5], [5, 8])
        await store.settle("", [log(run_id, 8)])
    assert (await store.run(run_id)).ended
    assert await numbers(store, run_id, state="written") == [1, 8]
    assert await numbers(store, "none", state="written") == []


async def test_a_run_that_failed_in_the_script(store: Store, clock: FakeClock) -> None:
    """None of its rows is of the write, which its causes say without its rows; one that is retried is in flight."""
    run_id = await draining(store, clock, 2)
    script = {"stage": "script", "product": None, "images": (), "reason": "line 1"}
    await store.settle("", [failure(run_id, row, **script) for row in (1, 2)])
    assert await numbers(store, run_id, stage="write") == []
    assert await numbers(store, run_id, stage="write", state="failed") == []
    assert await numbers(store, run_id, stage="script", state="failed") == [1, 2]
    await store.reopen(run_id, row=1)
    await store.settle("", [failure(run_id, 1, product="A")])
    assert await numbers(store, run_id, stage="write") == [1]


async def test_rows_that_were_written_last(store: Store, clock: FakeClock) -> None:
    """Over all runs, by when that was: a row of an older run that was retried comes before those of newer runs."""
    old = await draining(store, clock, 3)
    await store.settle("", [log(old, 1), failure(old, 2), log(old, 3, "unchanged")])
    clock.move(60)
    new = await draining(store, clock, 2)
    await store.settle("", [log(new, 1), log(new, 2)])
    clock.move(60)
    await store.reopen(old, row=2)
    await store.settle("", [log(old, 2)])
    found = [(row.run_id, row.row) for row in await store.written_last(10)]
    assert found == [(old, 2), (new, 2), (new, 1), (old, 1)]
    assert len(await store.written_last(2)) == 2


async def test_products_by_their_beginning(store: Store, clock: FakeClock) -> None:
    """The products of some domains that begin with a text, in order, as they are written: upper case is not lower case."""
    names = ["A", "AB", "AB-1", "Ab", "B", "AB\U0010fffe", "Ä"]
    await store.settle("", [], written=[LedgerEntry(DOMAIN, name, 1, "d", None, None) for name in names])
    await store.settle("", [], written=[LedgerEntry("https://other", "AB-2", 1, "d", None, None)])
    assert await store.products("AB", [DOMAIN]) == ["AB", "AB-1", "AB\U0010fffe"]
    assert await store.products("AB", [DOMAIN, "https://other"], limit=3) == ["AB", "AB-1", "AB-2"]
    assert await store.products("Ä", [DOMAIN]) == ["Ä"]
    assert await store.products("%", [DOMAIN]) == []
    assert await store.products("A", []) == []


async def test_what_stands_before_the_numbers_of_products(store: Store, clock: FakeClock) -> None:
    """Each beginning once, with the zeros, whatever is between them; what has no number has none."""
    names = ["8690", "AB", "AB-1", "AB-12", "AB0", "AB001", "AB0012", "AB9-3", "ABC", "Ç 7", "Z-01"]
    await store.settle("", [], written=[LedgerEntry(DOMAIN, name, 1, "d", None, None) for name in names])
    assert await store.product_heads([DOMAIN]) == ["", "AB", "AB-", "AB00", "Z-0", "Ç "]
    assert await store.product_heads([DOMAIN], limit=3) == ["", "AB-"]
    assert await store.product_heads([]) == []


async def test_runs_by_status(store: Store, clock: FakeClock) -> None:
    """Runs of one status or several, ended or not."""
    failed = await draining(store, clock, 1)
    await store.settle("", [failure(failed, 1)])
    written = await draining(store, clock, 1)
    await store.settle("", [log(written, 1)])
    going = await reading(store, clock)
    assert [run.run_id for run in await store.runs(status="failed")] == [failed]
    assert [run.run_id for run in await store.runs(status="success")] == [written]
    assert [run.run_id for run in await store.runs(status="reading")] == [going.run_id]
    assert await store.runs(status="cancelled") == []
    assert [run.run_id for run in await store.runs(status=["reading", "failed"])] == [going.run_id, failed]
