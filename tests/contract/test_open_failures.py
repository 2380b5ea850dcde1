# ruff: noqa: F811 - fixtures of the store's contract
"""The store's contract about open failures, over SQLite and PostgreSQL: what is kept of them is what the rows say."""

from __future__ import annotations

import asyncio
import importlib
import random
import signal
import sys
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import pytest

from imageflow.model.imageset import Image, digest
from imageflow.model.row import Row
from imageflow.store import LedgerEntry, OpenRowKey, Store
from imageflow.store.database import Tx
from imageflow.store.postgresql import PostgresDatabase
from imageflow.store.tables import cause_days, causes, failing_flows, open_failures, run_causes
from tests.contract.open_failures import assert_kept
from tests.contract.test_store import (  # noqa: F401 - fixtures
    DOMAIN,
    IMAGES,
    FakeClock,
    clock,
    draining,
    failure,
    flow_document,
    log,
    other,
    store,
    url,
)
from tests.seen_statements import seen_statements

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])  # what SQL says does not depend on the loop

REASONS = ("no such image", "no such product", "too large")
LONG = "P" * 4000


class World:
    """Two flows whose rows settle in any order, come twice, are retried and cancelled."""

    def __init__(self, store: Store, clock: FakeClock, seed: int) -> None:
        self.store = store
        self.clock = clock
        self.dice = random.Random(seed)
        self.runs: dict[str, int] = {}
        self.version = 0
        self.versions: dict[tuple[str, int], tuple[str | None, int]] = {}

    async def step(self) -> None:
        kind = self.dice.choices(
            [self.begin, self.settle, self.retry, self.cancel, self.check], weights=[1, 12, 6, 1, 1]
        )[0]
        await kind()

    async def begin(self) -> None:
        total = self.dice.randint(1, 6)
        self.runs[await draining(self.store, self.clock, total, self.dice.choice(["winter", "other"]))] = total

    def product(self, run_id: str, row: int) -> tuple[str | None, int]:
        """A row's product and version; the later its page, the higher."""
        if (run_id, row) not in self.versions:
            self.version += self.dice.randint(1, 3)
            named = self.dice.choice(["A", "A", "B", LONG, None])
            self.versions[run_id, row] = (named, self.version)
        return self.versions[run_id, row]

    async def settle(self) -> None:
        if not self.runs:
            return
        run_id = self.dice.choice(list(self.runs))
        logs = []
        for row in self.dice.sample(range(1, self.runs[run_id] + 1), self.dice.randint(1, self.runs[run_id])):
            product, version = self.product(run_id, row)
            state = self.dice.choice(["failed", "failed", "written", "unchanged", "superseded", "cancelled"])
            if state == "failed" or product is None:
                images = IMAGES if product is not None else ()
                stage = self.dice.choice(["write", "rows"]) if product is not None else "script"
                cause = {"reason": self.dice.choice(REASONS), "stage": stage, "images": images}
                logs.append(failure(run_id, row, product=product, version=version, **cause))
            else:
                logs.append(log(run_id, row, state, product=product, version=version))
        await self.store.settle("", logs)

    async def retry(self) -> None:
        if self.runs:
            run_id = self.dice.choice(list(self.runs))
            wanted = self.dice.choice([{}, {"row": 1}, {"only_open": True}])
            await self.store.reopen(run_id, **wanted)  # type: ignore[arg-type]

    async def cancel(self) -> None:
        if self.runs:
            run_id = self.dice.choice(list(self.runs))
            await self.store.cancel_run(run_id)
            await self.store.cancel_rows(run_id)

    async def check(self) -> None:
        self.clock.move(200)
        await self.store.check_failures()


@pytest.mark.parametrize("seed", range(4))
async def test_what_is_kept_is_what_the_rows_say(store: Store, clock: FakeClock, seed: int) -> None:
    """Whatever happens to rows, in whatever order, the kept failures and their counts agree with the rows after each step."""
    await store.save_flow(flow_document("other"))
    world = World(store, clock, seed)
    for _ in range(20):
        for _ in range(2):
            await world.step()
        await assert_kept(store)


async def test_a_retried_row_that_is_superseded(store: Store, clock: FakeClock) -> None:
    """While the newest failure of a product is retried none is open; if it ends superseded, the one before it is open again."""
    first, second = [await draining(store, clock, 1) for _ in range(2)]
    await store.settle("", [failure(first, 1, product="A", version=1)])
    await store.settle("", [failure(second, 1, product="A", version=2)])
    assert [one.run_id for one in await store.causes("winter")] == [second]
    await store.reopen(second)
    assert await store.causes("winter") == []
    await store.settle("", [log(second, 1, "superseded", product="A", version=2)])
    assert [(one.run_id, one.total) for one in await store.causes("winter")] == [(first, 2)]
    await assert_kept(store)


async def test_unchanged_rows_close_failures(store: Store, clock: FakeClock) -> None:
    """A product that failed and is found unchanged on Omnitron, without a claim, has come through."""
    images = (Image("https://cdn.example.com/1.png"),)
    run_id = await draining(store, clock, 2)
    await store.settle("", [failure(run_id, 1, product="A", version=1), failure(run_id, 2, product="B", version=2)])
    written = [LedgerEntry(DOMAIN, "A", 3, digest(images), run_id, 1)]
    await store.settle("", [], written=written)
    later = await draining(store, clock, 1)
    assert (await store.skip(DOMAIN, later, [Row(1, 9, "A", images)])).rows == {1}
    [left] = await store.causes("winter")
    assert (left.rows, left.product) == (1, "B")
    await assert_kept(store)


async def test_what_a_chunk_costs(store: Store, clock: FakeClock) -> None:
    """Where nothing is open, settling and skipping run the statements that they need for the rows alone; where something is
    open, one more, which looks for the chunk's products.
    """
    run_id = await draining(store, clock, 9)
    images = (Image("https://cdn.example.com/1.png"),)
    postgresql = isinstance(store._database, PostgresDatabase)

    async def written(row: int) -> int:
        entry = LedgerEntry(DOMAIN, f"sku-{row}", row, digest(images), run_id, row)
        return await statements(store, store.settle("t", [log(run_id, row)], written=[entry]))

    async def unchanged(row: int) -> int:
        return await statements(store, store.skip(DOMAIN, run_id, [Row(row, 100, f"sku-{row - 1}", images)]))

    alone = (1, 3) if postgresql else (3, 3)
    assert (await written(1), await unchanged(2)) == alone
    await store.settle("", [failure(run_id, 9, product="other")])
    assert (await written(3), await unchanged(4)) == (alone[0] + 1, alone[1] + 1)
    await store.reopen(run_id)
    assert (await written(5), await unchanged(6)) == alone


async def statements(store: Store, work: Awaitable[object]) -> int:
    """How many statements a call runs, without those that begin and end transactions."""
    with seen_statements() as seen:
        await work
    return len(seen)


async def test_causes_over_all_flows(store: Store, clock: FakeClock) -> None:
    """Causes of all flows in one list, the largest first, in pages without gap or repetition; closed ones stand by
    themselves, and so do those of a flow that is deleted: nowhere.
    """
    for name in ("other", "third"):
        await store.save_flow(flow_document(name))
    for flow, failed in (("winter", 3), ("other", 3), ("third", 1)):
        run_id = await draining(store, clock, failed, flow)
        logs = [
            failure(run_id, row, product=f"{flow}-{row}", reason=REASONS[0], version=row)
            for row in range(1, failed + 1)
        ]
        await store.settle("", logs)
    everything = await store.causes()
    assert [(one.flow, one.rows, one.days[-1]) for one in everything] == [
        ("other", 3, 3),
        ("winter", 3, 3),
        ("third", 1, 1),
    ]
    seen: list[str] = []
    while page := await store.causes(after=everything[len(seen) - 1].key() if seen else None, limit=1):
        seen += [one.flow for one in page]
    assert seen == ["other", "winter", "third"]

    group = everything[0].group
    rows = [(row.product, row.version) for row in await store.open_rows(group)]
    assert rows == sorted(rows, key=lambda one: -one[1])
    assert len(rows) == 7
    assert {row.product for row in await store.open_rows(group, "third")} == {"third-1"}

    await store.delete_flow("third")
    later = await draining(store, clock, 3, "other")
    await store.settle("", [log(later, row, product=f"other-{row}", version=10 + row) for row in (1, 2, 3)])
    assert [one.flow for one in await store.causes()] == ["winter"]
    [closed] = await store.causes(state="closed")
    assert (closed.flow, closed.rows, closed.total, closed.closed_at) == ("other", 0, 3, clock.now())
    assert await store.causes(state="closed", after=closed.key()) == []
    assert [row.product for row in await store.open_rows(group, "other")] == []


async def test_open_rows_in_pages(store: Store, clock: FakeClock) -> None:
    """The rows of a cause over several runs, newest first, without gap or repetition, also where versions are the same."""
    for start in (1, 4):
        run_id = await draining(store, clock, 3)
        cause = {"product": None, "images": (), "stage": "script", "reason": "line 1"}
        await store.settle("", [failure(run_id, row, version=start + row // 2, **cause) for row in (1, 2, 3)])
    [one] = await store.causes("winter")
    whole = await store.open_rows(one.group)
    assert len(whole) == 6
    seen: list[tuple[str, int]] = []
    after = None
    while page := await store.open_rows(one.group, after=after, limit=2):
        seen += [(row.run_id, row.row) for row in page]
        after = OpenRowKey(page[-1].version, page[-1].run_id, page[-1].row)
    assert seen == [(row.run_id, row.row) for row in whole]


async def test_products_that_were_refused(store: Store, clock: FakeClock) -> None:
    """Why, for those that Omnitron refused last; not where it gave no answer, where the flow failed, or where a newer row came."""
    run_id = await draining(store, clock, 6)
    fields: list[dict[str, Any]] = [{}, {"http_status": 503}, {"http_status": None}, {"stage": "rows"}, {}]
    await store.settle("t", [failure(run_id, row, **of) for row, of in enumerate(fields, 1)])
    await store.settle("t", [log(run_id, 6, product="sku-5", version=9)])
    asked = {f"sku-{row}" for row in range(1, 8)}
    assert await store.refused("winter", asked) == {"sku-1": "no such image 1"}
    assert await store.refused("other", asked) == await store.refused("winter", []) == {}


async def test_total_counts_each_failure_once(store: Store, clock: FakeClock) -> None:
    """A row that fails again after a retry counts again in `total` and in its day; a message that came twice does not."""
    run_id = await draining(store, clock, 1)
    for _ in range(2):
        await store.settle("", [failure(run_id, 1)])
    [one] = await store.causes("winter")
    assert (one.rows, one.total) == (1, 1)
    await store.reopen(run_id)
    [shut] = await store.causes("winter", state="closed")
    assert (shut.rows, shut.total) == (0, 1)
    clock.move(86_400)
    await store.settle("", [failure(run_id, 1)])
    [again] = await store.causes("winter")
    assert (again.rows, again.total, again.days[-2:], again.closed_at) == (1, 2, (1, 1), None)


async def test_rows_that_were_settled_at_the_same_moment(store: Store, clock: FakeClock) -> None:
    """A failure that was entered although a newer row of its product was written, in a transaction that it did not see, is
    closed by the check a few minutes later; each failure is looked at once.
    """
    first, second = [await draining(store, clock, 1) for _ in range(2)]
    await store.settle("", [log(second, 1, product="A", version=9)])
    await store.settle("", [failure(first, 1, product="A", version=1)])
    assert await store.causes("winter") == []
    third = await draining(store, clock, 1)
    await store.settle("", [failure(third, 1, product="A", version=20)])

    async def back_in_time(tx: Tx) -> None:
        await tx.execute(open_failures.update().values(version=2))

    await store._database.transact(back_in_time, writing=True)
    assert await store.check_failures() == 0
    clock.move(121)
    assert await store.check_failures() == 1
    assert await store.causes("winter") == []
    assert await store.check_failures() == 0


async def test_two_processes_at_once(store: Store, other: Store, clock: FakeClock) -> None:
    """Two processes settle failures and successes of the same products, in runs of their own: nobody waits in vain, and after
    the check the kept failures agree with the rows.
    """
    runs = [await draining(store, clock, 40) for _ in range(4)]

    async def settle(at: Store, run_id: str, seed: int) -> None:
        dice = random.Random(seed)
        for first in range(1, 41, 5):
            logs = [
                (failure if dice.random() < 0.5 else log)(
                    run_id, row, product=f"P{dice.randint(1, 6)}", version=row * 10 + seed
                )
                for row in range(first, first + 5)
            ]
            await at.settle("", logs)

    async with asyncio.TaskGroup() as tasks:
        for seed, run_id in enumerate(runs):
            tasks.create_task(settle((store, other)[seed % 2], run_id, seed))
    clock.move(121)
    while await store.check_failures():
        pass
    await assert_kept(store)


async def test_retention_forgets_what_is_not_kept(store: Store, clock: FakeClock) -> None:
    """Closed causes and days go with the retention; a nameless failure of an older run goes with its row, and is not open."""
    cause = {"product": None, "images": (), "stage": "script", "reason": "line 1"}
    old = await draining(store, clock, 1)
    await store.settle("", [failure(old, 1, **cause)])
    young = await draining(store, clock, 1)
    await store.settle("", [failure(young, 1, **cause)])
    before = clock.now() + timedelta(days=1)
    clock.move(40 * 86_400)
    while await store.forget_run(old, before, pages_before=before - timedelta(days=60)):
        pass
    [left] = await store.causes("winter")
    assert (left.rows, left.run_id) == (1, young)
    await assert_kept(store)
    await store.reopen(young)
    await store.settle("", [log(young, 1)])
    clock.move(40 * 86_400)
    assert await store.forget_rest(clock.now() - timedelta(days=30)) >= 2
    assert await store.causes(state="closed") == []


async def test_a_store_of_the_version_before(store: Store, clock: FakeClock) -> None:
    """The migration makes of the rows that failed what would have been kept of them."""
    await store.save_flow(flow_document("other"))
    world = World(store, clock, 5)
    for _ in range(30):
        await world.step()
    kept = await store.causes()
    assert kept
    migration = importlib.import_module("imageflow.store.migrations.versions.0017_open_failures")

    async def fill_again(tx: Tx) -> None:
        for table in (open_failures, run_causes, causes, cause_days, failing_flows):
            await tx.execute(table.delete())
        await tx.run_sync(migration.fill)

    await store._database.transact(fill_again, writing=True)
    await assert_kept(store)
    filled = await store.causes()
    assert [(one.flow, one.group, one.rows, one.retryable, one.runs, one.row) for one in filled] == [
        (one.flow, one.group, one.rows, one.retryable, one.runs, one.row) for one in kept
    ]


WORKER = """
import asyncio, sys
from imageflow.clock import SystemClock
from imageflow.secret import Secret
from imageflow.store.connect import connect
from tests.contract.test_store import draining, failure, log

class Clock(SystemClock):
    def move(self, seconds): pass

async def main():
    clock = Clock()
    async with connect(Secret(sys.argv[1]), clock) as store:
        version = int(sys.argv[2])
        while True:
            run_id = await draining(store, clock, 20)
            for first in (1, 6, 11, 16):
                made = (failure if (version + row) % 3 else log for row in range(5))
                await store.settle("", [
                    make(run_id, first + place, product=f"P{(version + place) % 7}", version=version + place)
                    for place, make in enumerate(made)
                ])
                version += 5
            await store.reopen(run_id, row=3)
            print(version, flush=True)

asyncio.run(main())
"""


async def test_after_kill_9(store: Store, url: str) -> None:
    """A process that is killed at any moment leaves failures that agree with the rows."""
    version = 1
    for patience in (3, 5, 8):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WORKER, url, str(version), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        for _ in range(patience):
            version = int(await process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        version = max([version, *map(int, (await process.stdout.read()).split())]) + 100
        await process.wait()
        await assert_kept(store)
    assert await store.causes("winter")
