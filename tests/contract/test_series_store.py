# ruff: noqa: F811 - fixtures of the store's contract
"""The store's contract about what moves over time, and about who is alive."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from imageflow.model.series import Point, step_of
from imageflow.store import ServiceSeen, Store
from imageflow.store.database import Tx
from imageflow.store.tables import queue_minutes
from tests.contract.test_store import (  # noqa: F401 - fixtures
    FakeClock,
    clock,
    draining,
    failure,
    log,
    store,
    url,
)

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])  # what SQL says does not depend on the loop


async def test_series_are_the_differences_of_counts(store: Store, clock: FakeClock) -> None:
    """What settles between two looks counts in its step, once; a run that began and ended in between too; a retry counts what
    comes of it, also long after the run ended.
    """
    run_id = await draining(store, clock, 4)
    await store.settle("", [log(run_id, 1)])
    began = clock.now()
    await store.count_series()
    assert await store.series("winter", began) == []
    await store.settle("", [log(run_id, 2), failure(run_id, 3)])
    await store.count_series()
    await store.count_series()
    first = Point(step_of(began), written=1, failed=1)
    assert await store.series("winter", began) == [first]

    clock.move(600)
    short = await draining(store, clock, 2)
    await store.settle("", [log(short, 1, "unchanged"), log(short, 2, "superseded")])
    await store.settle("", [log(run_id, 4, "written")])
    await store.count_series()
    second = Point(step_of(clock.now()), written=1, unchanged=1, superseded=1)
    assert await store.series("winter", began) == [first, second]

    clock.move(3600)
    for _ in range(2):
        await store.count_series()
    await store.reopen(run_id)
    await store.count_series()
    await store.settle("", [log(run_id, 3)])
    await store.count_series()
    assert (await store.series("winter", began))[-1] == Point(step_of(clock.now()), written=1)
    assert await store.series("winter", clock.now() + timedelta(minutes=5)) == []
    assert await store.series("other", began) == []


async def test_queues_are_sampled(store: Store, clock: FakeClock) -> None:
    """Of each step the fullest moment is kept, and the consumers of the last look."""
    for ready, consumers in ((5, 1), (9, 2), (3, 0)):
        await store.sample_queues({"q": (ready, consumers), "r": (0, 1)})
    first = step_of(clock.now())
    assert await queue_samples(store) == [("q", first, 9, 0), ("r", first, 0, 1)]
    clock.move(300)
    await store.sample_queues({"q": (1, 1)})
    second = step_of(clock.now())
    assert await queue_samples(store) == [("q", first, 9, 0), ("r", first, 0, 1), ("q", second, 1, 1)]


async def queue_samples(store: Store) -> list[tuple[str, datetime, int, int]]:
    """Queue, step, ready messages and consumers of all samples, by step, then queue."""

    async def read(tx: Tx) -> list[tuple[str, datetime, int, int]]:
        samples = select(queue_minutes).order_by(queue_minutes.c.minute, queue_minutes.c.queue)
        return [(row.queue, row.minute, row.ready, row.consumers) for row in await tx.all(samples)]

    return await store._database.transact(read, writing=False)


async def test_services_that_are_alive(store: Store, clock: FakeClock) -> None:
    """A service is alive as long as it reports, and says what it does; one that ends is gone, one that died is shown for an
    hour, and forgotten after a day.
    """
    about = {"host": "h", "pid": 7, "version": "1", "started_at": clock.now()}
    reader, writer = (ServiceSeen(f"h/7/{kind}", kind, **about) for kind in ("reader", "writer"))
    await store.report([writer, reader], 30)
    await store.report([writer._replace(doing="2 deliveries")], 60)
    until = clock.now() + timedelta(seconds=30)
    assert await store.services() == [
        reader._replace(alive_until=until),
        writer._replace(doing="2 deliveries", alive_until=until + timedelta(seconds=30)),
    ]
    await store.withdraw([reader.owner])
    clock.move(3000)
    assert [one.kind for one in await store.services()] == ["writer"]
    clock.move(3600)
    assert await store.services() == []
    assert await store.forget_rest(clock.now()) == 0
    clock.move(86_400)
    assert await store.forget_rest(clock.now()) == 1
