"""Schedulers over real stores: whatever their number, each tick fires once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from imageflow.broker.sqlite import SqliteBroker
from imageflow.errors import StoreError
from imageflow.model import messages
from imageflow.model.messages import ReadPage
from imageflow.model.run import Run, Trigger, new_run_id
from imageflow.runtime.outbox_publisher import OutboxPublisher
from imageflow.schedule import missing
from imageflow.schedule.scheduler import Scheduler
from imageflow.secret import Secret
from imageflow.store import Store
from imageflow.store.connect import connect

START = datetime(2026, 11, 24, 9, 0, 30, tzinfo=UTC)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.instant = START

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return self.instant.timestamp()

    def move(self, seconds: float) -> None:
        self.instant += timedelta(seconds=seconds)


class Fleet:
    """Two schedulers, each with a store of its own on the same database, and one queue."""

    def __init__(self, stores: list[Any], broker: SqliteBroker, clock: Clock) -> None:
        self.stores, self.broker, self.clock = stores, broker, clock
        self.store: Store = stores[0]
        self.schedulers = [Scheduler(store, OutboxPublisher(store, broker), clock) for store in stores]

    async def flow(self, name: str = "winter", **fields: Any) -> None:
        document = {
            "name": name,
            "direction": "inbound",
            "omnitron": {"domain_url": "https://brand.example.com", "username": "d", "password": {"env": "P"}},
            "erp": {"endpoint_url": "https://erp.example.com/"},
            **fields,
        }
        await self.store.save_flow(document)

    async def tick(self, times: int = 3) -> None:
        """All schedulers look at once, several times."""
        for _ in range(times):
            async with asyncio.TaskGroup() as group:
                for scheduler in self.schedulers:
                    group.create_task(scheduler.tick())

    async def runs(self, flow: str = "winter") -> list[Run]:
        """The oldest first."""
        return (await self.store.runs(flow, limit=1000))[::-1]

    async def fired(self, flow: str = "winter") -> list[str]:
        """What time of day the runs are of."""
        return [run.trigger.by[11:19] for run in await self.runs(flow)]

    async def end(self, run: Run, error: str | None = None) -> None:
        await self.store.start_reading(run.run_id, None, None)
        await self.store.end_read(run.run_id, error=error)

    async def messages(self) -> list[ReadPage]:
        found = []
        async with self.broker.consume(messages.READ_QUEUE, prefetch=100) as deliveries:
            for _ in range((await self.broker.depth(messages.READ_QUEUE)).ready):
                async with asyncio.timeout(5):
                    delivery = await anext(deliveries)
                found.append(messages.decode(delivery.body))
                await delivery.ack()
        return [message for message in found if isinstance(message, ReadPage)]


@pytest.fixture(params=["sqlite", "postgresql"])
async def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Fleet]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'store.db'}"
    else:
        url = request.getfixturevalue("postgres").new_database()
    clock = Clock()
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(connect(Secret(url), clock)) for _ in range(2)]
        await stores[0].upgrade()
        broker = await stack.enter_async_context(SqliteBroker(tmp_path / "broker.db"))
        yield Fleet(stores, broker, clock)


async def test_each_tick_fires_once(fleet: Fleet):
    """Of two schedulers that look at the same moment, one makes the run, for every tick."""
    await fleet.flow(schedule={"cron": "* * * * *"})
    await fleet.tick()
    assert await fleet.runs() == []
    for _ in range(5):
        fleet.clock.move(60)
        await fleet.tick()
        for run in await fleet.runs():
            await fleet.end(run)
    assert await fleet.fired() == ["09:01:00", "09:02:00", "09:03:00", "09:04:00", "09:05:00"]
    assert {run.status for run in await fleet.runs()} == {"empty"}


async def test_a_fired_run_is_told_to_the_reader_once_at_least(fleet: Fleet):
    """The run's first message is in the read queue, and no other."""
    await fleet.flow(schedule={"every": "60s"})
    await fleet.tick()
    fleet.clock.move(60)
    await fleet.tick()
    (run,) = await fleet.runs()
    assert set(await fleet.messages()) == {ReadPage(run.run_id, "winter", 1, 1)}


async def test_missed_ticks_run_once(fleet: Fleet):
    """After an hour in which nobody looked there is one run, of the newest tick."""
    await fleet.flow(schedule={"cron": "*/5 * * * *"})
    await fleet.tick()
    fleet.clock.move(3600)
    await fleet.tick()
    assert await fleet.fired() == ["10:00:00"]


async def test_skip_lets_a_tick_pass_while_a_run_is_active(fleet: Fleet):
    """`skip`: ticks that fall into a run are not made good when it has ended; the next one is."""
    await fleet.flow(schedule={"every": "60s"}, overlap_policy="skip")
    await fleet.tick()
    for _ in range(3):
        fleet.clock.move(60)
        await fleet.tick()
    assert await fleet.fired() == ["09:01:00"]
    await fleet.end((await fleet.runs())[0])
    await fleet.tick()
    assert await fleet.fired() == ["09:01:00"]
    fleet.clock.move(60)
    await fleet.tick()
    assert await fleet.fired() == ["09:01:00", "09:04:00"]


async def test_queue_lets_one_run_wait(fleet: Fleet):
    """`queue`: one run waits for the active one, never two; it begins when that has ended."""
    await fleet.flow(schedule={"every": "60s"}, overlap_policy="queue")
    await fleet.tick()
    for _ in range(4):
        fleet.clock.move(60)
        await fleet.tick()
        for run in await fleet.runs():
            if run.trigger.by.startswith("2026-11-24T09:01"):
                await fleet.store.start_reading(run.run_id, None, None)
    assert await fleet.fired() == ["09:01:00", "09:02:00"]
    first, second = await fleet.runs()
    assert {message.run_id for message in await fleet.messages()} == {first.run_id}
    await fleet.end(first)
    await fleet.tick()
    assert {message.run_id for message in await fleet.messages()} == {second.run_id}


@pytest.mark.parametrize(("error", "follows"), [(None, True), ("the ERP answered 500", False)])
async def test_after_another_flow(fleet: Fleet, error: str | None, follows: bool):
    """A run follows each run of the other flow that ended well, once; one that failed is not followed."""
    await fleet.flow("first")
    await fleet.flow("second", schedule={"after": "first"})
    await fleet.tick()
    for _ in range(2):
        fleet.clock.move(60)
        run = Run(
            run_id=new_run_id(fleet.clock.now()),
            flow="first",
            version=1,
            trigger=Trigger("person"),
            status="queued",
            created_at=fleet.clock.now(),
        )
        await fleet.store.create_run(run)
        await fleet.tick()
        await fleet.end(run, error)
        await fleet.tick()
        for follower in await fleet.runs("second"):
            await fleet.end(follower)
    followers = await fleet.runs("second")
    assert [(run.trigger.kind, run.trigger.by) for run in followers] == [("flow", "first")] * (2 if follows else 0)


async def test_a_disabled_flow_does_not_fire_and_does_not_make_good(fleet: Fleet):
    """Switched off, a flow fires nothing; switched on, it goes on from the newest tick."""
    await fleet.flow(schedule={"every": "60s"})
    await fleet.tick()
    await fleet.flow(schedule={"every": "60s"}, enabled=False)
    fleet.clock.move(600)
    await fleet.tick()
    assert await fleet.runs() == []
    await fleet.flow(schedule={"every": "60s"})
    await fleet.tick()
    assert await fleet.fired() == ["09:10:00"]


async def test_a_database_that_is_away_is_waited_for(fleet: Fleet):
    """While the store is away the scheduler lives on, and what it missed is made good."""
    await fleet.flow(schedule={"every": "60s"})
    await fleet.tick()
    fleet.clock.move(60)
    fails = 2

    class Away:
        def __getattr__(self, name: str) -> Any:
            return getattr(fleet.store, name)

        async def flows(self) -> Any:
            nonlocal fails
            fails -= 1
            if fails >= 0:
                raise StoreError
            return await fleet.store.flows()

    stop = asyncio.Event()
    store: Any = Away()
    async with asyncio.TaskGroup() as group:
        group.create_task(Scheduler(store, OutboxPublisher(fleet.store, fleet.broker), fleet.clock).run(stop))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(20):
                while not await fleet.runs():
                    await asyncio.sleep(0.05)
        stop.set()
    assert await fleet.fired() == ["09:01:00"]


async def test_a_round_of_fetch_missing_adds_its_runs_once(fleet: Fleet):
    """Two schedulers that bring different runs for the same round: the runs of one are there, all of them."""
    await fleet.flow()
    flow = await fleet.store.flow("winter")
    key, now = missing.key("winter"), fleet.clock.now()

    async def bring(store: Store, names: str) -> bool:
        asked = missing.Asked(tuple((name,) for name in names), 0, ())
        runs = missing.runs_for(flow, asked, "round", now)
        results = [
            await store.create_missing_runs(key, now, runs, domain="https://brand.example.com", without_images=names)
            for _ in range(2)
        ]
        assert results[0] == results[1]  # repeated after a crash
        return results[0]

    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(bring(store, names)) for store, names in zip(fleet.stores, ("ABC", "DE"), strict=True)
        ]
    assert sorted(task.result() for task in tasks) == [False, True]
    asked = "".join(identifier for run in await fleet.runs() for identifier in run.trigger.ids)
    assert asked in ("ABC", "DE")
    assert await fleet.store.last_fire("winter") is None
