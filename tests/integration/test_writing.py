"""The writer between a store and a fake Omnitron: the images on Omnitron, and the ledger's entries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from imageflow.errors import StoreError
from imageflow.model.imageset import Image, digest
from tests.integration.pipeline import Pipeline, pipeline


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Pipeline]:
    async with pipeline(tmp_path) as running:
        await running.save("posted", direction="outbound")
        yield running


def post(image: str) -> list[dict[str, Any]]:
    return [{"sku": "S", "images": [{"url": f"https://images.example.com/{image}.jpg", "order": 0}]}]


async def test_a_write_whose_answer_was_lost(here: Pipeline) -> None:
    """Omnitron took an image set and its answer was lost: a newer row with the set from before that is not `unchanged`."""
    before = post("before")
    assert (await here.post(before, "posted")).counts.written == 1
    here.omnitron.set_faults(["lost,first=2"])
    lost = asyncio.create_task(here.post(post("lost"), "posted"))
    async with asyncio.timeout(20):
        while len(here.omnitron.history["S"]) < 3:  # a connection that was kept is tried once more
            await asyncio.sleep(0.01)
        while (await here.store.ledger("S", [here.omnitron.url]))[0].in_flight is not None:
            await asyncio.sleep(0.01)
    assert (await here.post(before, "posted")).counts.written == 1
    assert (await lost).counts.superseded == 1
    image = Image("https://images.example.com/before.jpg")
    assert here.omnitron.images["S"] == (image,)
    [state] = await here.store.ledger("S", [here.omnitron.url])
    assert state.digest == digest((image,))


async def test_what_a_late_write_may_have_come_over(here: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to an older row is lost, and a newer one is written meanwhile: once the older one surely came, the newer
    one is written again by itself. No row more is counted, and the ledger knows what is there."""
    monkeypatch.setattr("imageflow.write.chunk.LATE_SECONDS", 0.5)
    await here.save("posted", direction="outbound", write={"timeout": "1s"})
    here.omnitron.set_faults(["lost,first=2"])
    lost = asyncio.create_task(here.post(post("lost"), "posted"))
    async with asyncio.timeout(20):
        while here.omnitron.faulted + here.omnitron.writes["S"] < 2:  # a connection that was kept is tried once more
            await asyncio.sleep(0.01)
        while not (states := await here.store.ledger("S", [here.omnitron.url])) or states[0].in_flight is not None:
            await asyncio.sleep(0.01)
    here.omnitron.set_faults([])
    newer = await here.post(post("newer"), "posted")
    image = Image("https://images.example.com/newer.jpg")
    here.omnitron.images["S"] = (Image("https://images.example.com/lost.jpg"),)  # it comes late
    async with asyncio.timeout(30):
        while here.omnitron.images["S"] != (image,):
            await asyncio.sleep(0.05)
        while (state := (await here.store.ledger("S", [here.omnitron.url]))[0]).doubt_until is not None:
            await asyncio.sleep(0.05)
    assert (state.digest, state.rewrites, state.run_id) == (digest((image,)), 0, newer.run_id)
    assert ((await lost).counts.superseded, newer.counts.written) == (1, 1)
    assert (await here.store.run(newer.run_id)).counts == newer.counts


async def test_rows_that_are_there_are_not_sent(here: Pipeline) -> None:
    """A post that comes again is unchanged, whole, in part, and with products twice; changed rows are written."""
    rows = [post("a")[0] | {"sku": f"S{n}"} for n in range(30)]
    assert (await here.post(rows, "posted")).counts.written == 30
    assert (await here.post(rows, "posted")).counts.unchanged == 30
    assert (await here.post([*rows[:5], *rows[:5]], "posted")).counts.unchanged == 5
    some = [post("b")[0] | {"sku": row["sku"]} if n % 3 == 0 else row for n, row in enumerate(rows)]
    counts = (await here.post(some, "posted")).counts
    assert (counts.written, counts.unchanged) == (10, 20)
    assert sum(here.omnitron.writes.values()) == 40


async def test_a_claim_whose_answer_was_lost(here: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database committed a claim, and the connection broke before the answer: the writer releases it and claims anew."""
    claim = here.store.claim
    lost: list[str] = []

    async def lose_one(domain: str, owner: str, token: str, wanted: Any, **options: Any) -> Any:
        claims = await claim(domain, owner, token, wanted, **options)
        if not lost:
            lost.append(token)
            raise StoreError("the database went away")
        return claims

    monkeypatch.setattr(here.store, "claim", lose_one)
    assert (await here.post(post("a"), "posted")).counts.written == 1
    assert lost
    assert here.omnitron.writes["S"] == 1


async def test_orphaned_claims_are_settled_later(here: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk breaks off after its write while the database is away: once it is back, the write is entered and the claim is
    released, and the row is not sent again."""
    settle = here.store.settle
    errors: list[Exception] = [StoreError("away"), StoreError("away"), ValueError("unexpected")]

    async def fail_at_first(token: str, *args: Any, **options: Any) -> Any:
        if errors:
            raise errors.pop()
        return await settle(token, *args, **options)

    monkeypatch.setattr(here.store, "settle", fail_at_first)
    assert (await here.post(post("a"), "posted")).counts.written == 1
    assert not errors
    assert here.omnitron.writes["S"] == 1
    [state] = await here.store.ledger("S", [here.omnitron.url])
    assert state.in_flight is None


@pytest.mark.parametrize(("status", "kept"), [(429, True), (503, False)])
async def test_retry_after_is_honoured(here: Pipeline, status: int, kept: bool) -> None:
    """A row that Omnitron puts off comes again no earlier than Retry-After says, which is later than its first rung. What
    Omnitron had is still known after a 429, which took nothing, and unknown after a 503."""
    assert (await here.post(post("before"), "posted")).counts.written == 1
    here.omnitron.set_faults([f"status={status},retry_after=1.5,first=1"])
    posting = asyncio.create_task(here.post(post("after"), "posted"))
    async with asyncio.timeout(20):
        while here.omnitron.refused == 0:
            await asyncio.sleep(0.01)
        while (state := (await here.store.ledger("S", [here.omnitron.url]))[0]).in_flight is not None:
            await asyncio.sleep(0.01)
    assert (state.digest is not None) == kept
    run = await posting
    [log] = await here.store.rows(run.run_id)
    assert (log.state, log.attempts, [one.status for one in log.tries]) == ("written", 2, [status, 200])
    refused, written = log.tries
    assert 1.5 <= written.at - refused.at < 5.0


async def test_nothing_is_sent_without_a_lease(here: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that alone loses the database sends no more rows once its claims may be taken over. It goes on when the
    database is back."""
    monkeypatch.setattr("imageflow.write.lease.MARGIN_SECONDS", 0.6)
    monkeypatch.setattr("imageflow.write.lease.HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr("imageflow.write.row_work.HELD_SECONDS", 1.0)
    await here.save("posted", direction="outbound", write={"rate_limit": "20/s"})
    alive, away = here.store.alive, asyncio.Event()

    async def lose_it(owner: str, seconds: float) -> None:
        if away.is_set():
            raise StoreError("the network is split")
        await alive(owner, seconds)

    monkeypatch.setattr(here.store, "alive", lose_it)
    posting = asyncio.create_task(here.post([post("a")[0] | {"sku": f"S{n}"} for n in range(40)], "posted"))
    async with asyncio.timeout(20):
        while not here.omnitron.writes:
            await asyncio.sleep(0.01)
    away.set()
    await asyncio.sleep(0.6)
    sent = sum(here.omnitron.writes.values())
    assert sent < 40
    await asyncio.sleep(0.6)
    assert sum(here.omnitron.writes.values()) == sent
    away.clear()
    assert (await posting).counts.written == 40
    assert set(here.omnitron.writes.values()) == {1}
