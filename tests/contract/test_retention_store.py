# ruff: noqa: F811 - fixtures of the store's contract
"""The store's contract for retention, over SQLite and PostgreSQL: what is forgotten, and what never is."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import func, select

from imageflow.errors import NotFoundError
from imageflow.schedule.retention import Retention
from imageflow.store import LedgerEntry, OldRun, Store, User, Wanted
from imageflow.store.database import Tx
from imageflow.store.tables import metadata
from tests.contract.test_store import (  # noqa: F401 - fixtures
    DOMAIN,
    FakeClock,
    clock,
    draining,
    failure,
    flow_document,
    log,
    new_run,
    other,
    post_run,
    reading,
    store,
    url,
)
from tests.posting import accept_post

DAY = 86_400.0


async def sizes(store: Store) -> dict[str, int]:
    """How many records each table has."""

    async def count(tx: Tx) -> dict[str, int]:
        return {table.name: await tx.value(select(func.count()).select_from(table)) for table in metadata.sorted_tables}

    return await store._database.transact(count, writing=False)


async def sweep(store: Store, clock: FakeClock, days: int = 30) -> None:
    sweeper = Retention(store, clock, days, pause=0)
    await sweeper.delete_old()
    await store.lease("retention", sweeper._holder, 0)


async def ended(store: Store, clock: FakeClock, *states: str, flow: str = "winter", **fields: object) -> str:
    """A run that ends with rows in these states."""
    run_id = await draining(store, clock, len(states), flow)
    logs = [
        failure(run_id, row, **fields) if state == "failed" else log(run_id, row, state, **fields)
        for row, state in enumerate(states, 1)
    ]
    await store.settle("", logs)
    return run_id


async def test_old_runs_are_forgotten_whole(store: Store, clock: FakeClock) -> None:
    """A run that ended longer ago goes with its rows, pages and messages; a younger one stays as it is."""
    old = await ended(store, clock, "written", "superseded", "unchanged")
    clock.move(20 * DAY)
    young = await ended(store, clock, "written")
    clock.move(11 * DAY)
    await sweep(store, clock)
    assert [run.run_id for run in await store.runs()] == [young]
    assert await store.rows(old) == []
    found = await sizes(store)
    assert {name: found[name] for name in ("runs", "rows", "pages", "registered_pages")} == {
        "runs": 1,
        "rows": 1,
        "pages": 1,
        "registered_pages": 1,
    }


async def test_pages_of_open_errors_are_bounded(store: Store, clock: FakeClock) -> None:
    """A page whose rows failed and are open is kept for three times the retention, and its rows go with it."""
    lost = await ended(store, clock, "failed", stage="script", images=(), product=None)
    clock.move(89 * DAY)
    await sweep(store, clock)
    assert (await store.page(lost, 1)).body == b"[]"
    clock.move(2 * DAY)
    await sweep(store, clock)
    assert await store.runs() == []
    assert (await sizes(store))["pages"] == 0


async def test_what_is_never_forgotten(store: Store, clock: FakeClock) -> None:
    """Runs that go on, the ledger, watermarks, flows, users and the audit log stay, however old they are."""
    going = await draining(store, clock, 2)
    await store.settle("", [failure(going, 1)])
    waiting = new_run(clock)
    await store.create_run(waiting)
    written = await ended(store, clock, "written")
    entry = LedgerEntry(DOMAIN, "sku-1", 5, "digest", written, 1)
    await store.settle("", [], written=[entry])
    await store.set_watermark("winter", clock.now())
    await store.save_user(User("ada", "hash", "operator"))
    before = await sizes(store)
    clock.move(1000 * DAY)
    await sweep(store, clock)
    after = await sizes(store)
    assert {run.run_id for run in await store.runs()} == {going, waiting.run_id}
    kept = ("ledger", "watermarks", "flows", "flow_versions", "users", "audit_log")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert [row.row for row in await store.rows(going)] == [1]
    assert (await store.page(going, 1)).body == b"[]"
    (claim,) = await store.claim(DOMAIN, "o", "t", [Wanted("sku-1", 9)])
    assert (claim.version, claim.digest) == (5, "digest")


async def test_open_errors_stay_until_they_are_closed(store: Store, clock: FakeClock) -> None:
    """A failed row that can be written again stays with its images; it goes once it was written again, or a newer row of
    its product came in the same flow. One that has no product stays with its page until the flow has other rows.
    """
    await store.save_flow(flow_document("other"))
    run_id = await ended(store, clock, "written", "failed", "failed")
    lost = await ended(store, clock, "failed", stage="script", images=(), product=None)
    clock.move(40 * DAY)
    await sweep(store, clock)
    assert [run.run_id for run in await store.runs()] == [lost, run_id]
    assert (await store.page(lost, 1)).body == b"[]"
    kept = await store.rows(run_id)
    assert [(row.row, row.state, len(row.images)) for row in kept] == [(2, "failed", 2), (3, "failed", 2)]
    assert [row.row for row in await store.rows(lost)] == [1]
    with pytest.raises(NotFoundError):
        await store.page(run_id, 1)

    newer = await draining(store, clock, 1)
    await store.settle("", [log(newer, 1, product="sku-2", version=99)])
    elsewhere = await draining(store, clock, 1, "other")
    await store.settle("", [log(elsewhere, 1, product="sku-3", version=99)])
    await sweep(store, clock)
    assert [row.row for row in await store.rows(run_id)] == [3]
    assert await store.rows(lost) == []

    assert (await store.reopen(run_id))[0] == 1
    await sweep(store, clock)
    assert (await store.run(run_id)).status == "draining"
    ended_now = await store.settle("", [log(run_id, 3)])
    assert [(run.run_id, run.counts.written) for run in ended_now] == [(run_id, 2)]
    clock.move(29 * DAY)
    await sweep(store, clock)
    assert [row.state for row in await store.rows(run_id)] == ["written"]
    clock.move(2 * DAY)
    await sweep(store, clock)
    assert await store.runs() == []
    assert (await sizes(store))["rows"] == 0


async def test_a_superseded_row_closes_no_error(store: Store, clock: FakeClock) -> None:
    """Retention and the list of open errors agree: a product that failed and was then superseded is still open, however
    long ago, and can be written again. A newer row that was written closes it, and the next sweep takes it.
    """
    failed = await ended(store, clock, "failed", product="P", version=1)
    await ended(store, clock, "superseded", product="P", version=2)
    [before] = await store.causes("winter")
    clock.move(150 * DAY)
    await sweep(store, clock)
    [after] = await store.causes("winter")
    assert (after.run_id, after.row, after.product) == (failed, 1, "P")
    assert msgspec.structs.replace(after, days=()) == msgspec.structs.replace(before, days=())
    assert [row.state for row in await store.rows(failed)] == ["failed"]
    await ended(store, clock, "written", product="P", version=3)
    assert await store.causes("winter") == []
    await sweep(store, clock)
    assert await store.rows(failed) == []


async def test_a_little_at_a_time(store: Store, clock: FakeClock) -> None:
    """Each call deletes no more than it may; calls together delete all; one that is repeated does no harm."""
    run_id = await ended(store, clock, *["written"] * 25)
    clock.move(31 * DAY)
    before = clock.now() - timedelta(days=30)
    counts = []
    while count := await store.forget_run(run_id, before, limit=10):
        counts.append(count)
    assert counts == [1, 10, 10, 5, 1]
    assert await store.forget_run(run_id, before) == 0
    assert await store.forget_run("unknown", before) == 0


async def test_old_runs_in_pages(store: Store, clock: FakeClock) -> None:
    """Old runs are listed by creation, without gap or repetition, also where one stays; young ones are not."""
    made = [await ended(store, clock, "failed") for _ in range(5)]
    clock.move(31 * DAY)
    await ended(store, clock, "written")
    seen: list[str] = []
    after: OldRun | None = None
    before = clock.now() - timedelta(days=30)
    while page := await store.old_runs(before, after=after, limit=2):
        seen += [run.run_id for run in page]
        after = page[-1]
    assert seen == made


async def test_the_rest(store: Store, clock: FakeClock) -> None:
    """Old ticks but each schedule's newest, expired keys and tokens, closed alarms and dead writers are forgotten."""
    start = clock.now()
    for flow in ("winter", "summer"):
        for day in range(3):
            await store.note_fire(flow, start + timedelta(days=day))
    run = post_run(clock)
    await accept_post(store, run, b"[]", rows=1, key="k")
    await store.save_user(User("ada", "hash", "operator"))
    await store.save_token("t", "ada", clock.now() + timedelta(hours=1))
    await store.alive("writer", 10)
    await store.sound("winter", {"hold": "x", "silence": "y"}, notify=True)
    await store.sound("winter", {"silence": "y"}, notify=True)
    clock.move(40 * DAY)
    await store.alive("living", 10)
    await sweep(store, clock)
    found = await sizes(store)
    wanted = {"fires": 2, "post_keys": 0, "tokens": 0, "owners": 1, "alarms": 1, "notices": 1}
    assert {name: found[name] for name in wanted} == wanted
    assert await store.last_fire("winter") == start + timedelta(days=2)
    assert [notice.alarm.kind for notice in await store.due_notices()] == ["silence"]


async def test_sweeping_beside_others(store: Store, other: Store, clock: FakeClock) -> None:
    """Two sweeps and a retry at once: the retried row is written, the rest is forgotten, nobody fails."""
    run_id = await ended(store, clock, *["written"] * 50, "failed")
    clock.move(31 * DAY)
    before = clock.now() - timedelta(days=30)
    sweeps = (opened.forget_run(run_id, before, limit=20) for opened in (store, other) for _ in range(4))
    (count, *_), *_ = await asyncio.gather(store.reopen(run_id), *sweeps)
    assert count == 1
    await store.settle("", [log(run_id, 51)])
    await sweep(store, clock)
    assert (await store.run(run_id)).counts.written == 51
    assert [row.row for row in await store.rows(run_id)][-1] == 51
