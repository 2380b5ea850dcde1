# ruff: noqa: F811 - fixtures of the store's contract
"""The store's contract about what the page of a run shows: times of steps, holds, and the map of its pages."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from imageflow.broker.sqlite import SqliteBroker
from imageflow.model import page_map
from imageflow.model.row import RowLog
from imageflow.model.run_step import Hold, RunStep
from imageflow.schedule.bookkeeper import Bookkeeper
from imageflow.schedule.retention import Retention
from imageflow.store import Store
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


def step(run_id: str, name: str, since: datetime, seconds: float, rows: int = 0, waited: float = 0.0) -> RunStep:
    return RunStep(run_id, name, since, since + timedelta(seconds=seconds), rows, waited)


async def test_steps_grow(store: Store, clock: FakeClock) -> None:
    """What processes note of a step adds up: the first and the last instant, rows and waits; a run that is gone has none."""
    run_id, began = await draining(store, clock, 2), clock.now()
    await store.keep_steps(
        [step(run_id, "write", began, 2, 10, 0.5), step(run_id, "read", began, 1), step("gone", "read", began, 1)]
    )
    await store.keep_steps([step(run_id, "write", began + timedelta(seconds=1), 9, 5, 1.25)])
    await store.keep_steps([step(run_id, "write", began - timedelta(seconds=1), 1)])
    earlier = began - timedelta(seconds=1)
    assert await store.run_steps(run_id) == [
        step(run_id, "read", began, 1),
        RunStep(run_id, "write", earlier, began + timedelta(seconds=10), 15, 1.75),
    ]
    assert await store.run_steps("gone") == []


async def test_steps_are_told_of_a_retry_anew(store: Store, clock: FakeClock) -> None:
    """A retry begins the picture of a run again."""
    run_id, began = await draining(store, clock, 1), clock.now()
    await store.settle("", [failure(run_id, 1)])
    await store.keep_steps([step(run_id, "write", began, 2, 1)])
    await store.reopen(run_id)
    assert await store.run_steps(run_id) == []
    assert (await store.run(run_id)).retried_at == clock.now()


async def test_holds_are_remembered(store: Store, clock: FakeClock) -> None:
    """A hold that is over, and one whose writer died, are past; one that goes on has no end."""
    began = clock.now()
    await store.hold("w1", {DOMAIN: "503"}, 15)
    await store.hold("w2", {"b.example": "away"}, 15)
    clock.move(10)
    await store.hold("w1", {}, 15)
    clock.move(100)
    await store.hold("w1", {DOMAIN: "timeout"}, 15)
    past = Hold(began, began + timedelta(seconds=10), "503", DOMAIN)
    dead = Hold(began, began + timedelta(seconds=15), "away", "b.example")
    going = Hold(clock.now(), None, "timeout", DOMAIN)
    assert await store.holds_between(began, clock.now()) == [*sorted([past, dead], key=lambda one: one.domain), going]
    assert await store.holds_between(began, clock.now(), DOMAIN) == [past, going]
    assert await store.holds_between(began + timedelta(seconds=20), clock.now()) == [going]
    assert await store.holds_between(began - timedelta(seconds=9), began - timedelta(seconds=1)) == []


async def mapped(store: Store, clock: FakeClock, tmp_path) -> None:
    async with SqliteBroker(tmp_path / "broker.db") as broker:
        await Bookkeeper(store, broker).keep()


def settled(run_id: str, row: int, state: str = "written") -> RowLog:
    """A row's log as writers give it: without its page."""
    return failure(run_id, row, page=None) if state == "failed" else log(run_id, row, state, page=None)


async def test_maps_of_runs_that_ended(store: Store, clock: FakeClock, tmp_path) -> None:
    """The bookkeeper makes a map of each run that ends, from its rows, and makes it anew after a retry."""
    await mapped(store, clock, tmp_path)
    run_id = (await reading(store, clock)).run_id
    for page, total in ((1, 4), (2, 2), (3, 0)):
        await store.save_page(run_id, page, b"[]", cursor="c", last=page == 3)
        await store.register_page(run_id, page, total, [])
    await store.register_page(run_id, 1, 5, [])  # a script gave one row more the second time
    await mapped(store, clock, tmp_path)
    assert await store.page_map(run_id) is None
    first = {1: "written", 2: "unchanged", 3: "failed", 5: "unchanged", 6: "superseded"}
    await store.settle("", [settled(run_id, row, state) for row, state in first.items()])
    assert await store.failed_pages(run_id) == [1]
    await store.settle("", [settled(run_id, 4, "superseded"), settled(run_id, 7)])
    [run] = await store.unmapped_runs()
    assert (run.run_id, run.pages, run.rows) == (run_id, 3, 7)
    of_first = [(1, "failed", 1), (1, "superseded", 1), (1, "unchanged", 1), (1, "written", 2)]
    of_second = [(2, "superseded", 1), (2, "unchanged", 1)]
    assert sorted(await store.count_pages(run_id, 0, 3)) == [*of_first, *of_second]
    assert sorted(await store.count_pages(run_id, 0, 1)) == of_first
    assert sorted(await store.count_pages(run_id, 1, 2)) == of_second
    await mapped(store, clock, tmp_path)
    assert await store.unmapped_runs() == []
    assert page_map.letters(await store.page_map(run_id)) == "fu."

    clock.move(3600)
    await mapped(store, clock, tmp_path)
    await store.reopen(run_id)
    assert await store.page_map(run_id) is None
    await store.settle("", [settled(run_id, 3)])
    await store.save_page_map(run_id, clock.now() - timedelta(seconds=1), b"\0")
    assert await store.page_map(run_id) is None
    await mapped(store, clock, tmp_path)
    assert page_map.letters(await store.page_map(run_id)) == "wu."
    assert await store.failed_pages(run_id) == []


async def test_a_run_takes_its_pictures_with_it(store: Store, clock: FakeClock, tmp_path) -> None:
    """Retention deletes steps and map with their run, and holds that are as old."""
    await mapped(store, clock, tmp_path)
    run_id, began = await draining(store, clock, 1), clock.now()
    await store.keep_steps([step(run_id, "write", began, 1, 1)])
    await store.hold("w1", {DOMAIN: "503"}, 15)
    await store.settle("", [settled(run_id, 1)])
    await mapped(store, clock, tmp_path)
    await store.hold("w1", {}, 15)
    clock.move(31 * 86_400)
    await Retention(store, clock, 30, pause=0).delete_old()
    assert await store.run_steps(run_id) == []
    assert await store.page_map(run_id) is None
    assert await store.holds_between(began, clock.now()) == []
