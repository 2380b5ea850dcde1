"""A run that is cancelled, in whatever it is doing: it ends soon, its rows balance, and a retry puts the rest through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from imageflow.actions import runs
from imageflow.errors import ConflictError
from imageflow.model.run import Run
from tests.integration.pipeline import ACTOR, Pipeline, pipeline

SOON = 20.0


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Pipeline]:
    async with pipeline(tmp_path, rows=200) as running:
        yield running


def posted(count: int) -> list[dict[str, Any]]:
    return [{"sku": f"S{n}", "images": [{"url": f"https://images.example.com/{n}.jpg"}]} for n in range(count)]


async def until(here: Pipeline, what: Callable[[Run], bool], flow: str = "main") -> Run:
    """The flow's newest run, once it is so."""
    async with asyncio.timeout(SOON):
        while True:
            found = await here.store.runs(flow, limit=1)
            if found and what(found[0]):
                return found[0]
            await asyncio.sleep(0.01)


async def cancelled(here: Pipeline, run_id: str) -> Run:
    await runs.cancel(here.store, run_id, ACTOR)
    async with asyncio.timeout(SOON):
        ended = await here.follow(run_id)
    assert (ended.status, ended.counts.in_flight) == ("cancelled", 0)
    return ended


async def test_while_rows_are_sent(here: Pipeline) -> None:
    """What is in flight is written and counted so; no other row is sent; a retry writes the rest."""
    await here.save("posted", direction="outbound", write={"concurrency": 2})
    here.omnitron.set_faults(["latency=100ms"])
    following = asyncio.create_task(here.post(posted(300), "posted"))
    run = await until(here, lambda run: run.counts.total == 300 and bool(here.omnitron.images), "posted")
    ended = await cancelled(here, run.run_id)
    assert await following == ended
    assert 0 < ended.counts.written < 300
    assert ended.counts.cancelled == 300 - ended.counts.written
    assert ended.counts.written == len(here.omnitron.images)
    await asyncio.sleep(0.5)
    assert ended.counts.written == len(here.omnitron.images)
    assert len(await here.store.rows(run.run_id, state="cancelled")) == ended.counts.cancelled


async def test_while_the_domain_is_held(here: Pipeline) -> None:
    """An open circuit does not keep a run from being cancelled."""
    await here.save("posted", direction="outbound")
    here.omnitron.set_faults(["down"])
    following = asyncio.create_task(here.post(posted(30), "posted"))
    async with asyncio.timeout(SOON):
        while not await here.store.holds():
            await asyncio.sleep(0.05)
    [run] = await here.store.runs("posted")
    ended = await cancelled(here, run.run_id)
    assert ended.counts.cancelled == 30
    await following


async def test_while_it_is_read(here: Pipeline) -> None:
    """No more pages are asked for; the watermark stays; the next run of the flow begins."""
    await here.save()
    here.erp.set_faults(["latency=300ms"])
    begun = await runs.start(here.store, here.substrate.publisher, "main", (), ACTOR, here.substrate.clock.now())
    waiting = await runs.start(here.store, here.substrate.publisher, "main", (), ACTOR, here.substrate.clock.now())
    await until(here, lambda _: bool(here.erp.pages))
    ended = await cancelled(here, begun.run.run_id)
    assert ended.pages < 4
    assert await here.store.watermark("main") is None
    here.erp.set_faults([])
    assert (await here.follow(waiting.run.run_id)).status == "success"


async def test_while_it_waits(here: Pipeline) -> None:
    """A queued run ends at once, and once more changes nothing; one that has ended otherwise is left, and says so."""
    await here.save()
    here.erp.set_faults(["latency=300ms"])
    s = here.substrate
    first = await runs.start(s.store, s.publisher, "main", (), ACTOR, s.clock.now())
    second = await runs.start(s.store, s.publisher, "main", (), ACTOR, s.clock.now())
    for _ in range(2):
        assert (await runs.cancel(s.store, second.run.run_id, ACTOR)).run.status == "cancelled"
    here.erp.set_faults([])
    assert (await here.follow(first.run.run_id)).status == "success"
    with pytest.raises(ConflictError, match="has ended as success"):
        await runs.cancel(s.store, first.run.run_id, ACTOR)
    assert len(await s.store.audit(what="run.cancel")) == 1


async def test_while_rows_are_held_for_the_join(here: Pipeline) -> None:
    """Products that wait for the read to end are cancelled rows."""
    await here.save(group="run")
    here.erp.set_faults(["latency=300ms,after=2"])
    begun = await runs.start(here.store, here.substrate.publisher, "main", (), ACTOR, here.substrate.clock.now())
    await until(here, lambda run: run.pages_done >= 1)
    ended = await cancelled(here, begun.run.run_id)
    assert ended.counts.cancelled == ended.counts.total >= 50
    assert not here.omnitron.images
