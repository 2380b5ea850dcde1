"""The writer between a store and a fake Omnitron: what is on Omnitron, and what the ledger says of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from imageflow.imageset import Image, digest
from tests.integration.pipeline import Pipeline, pipeline


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Pipeline]:
    async with pipeline(tmp_path) as running:
        await running.save("posted", direction="outbound")
        yield running


def post(image: str) -> list[dict[str, Any]]:
    return [{"sku": "S", "images": [{"url": f"https://images.example.com/{image}.jpg", "order": 0}]}]


async def test_a_write_whose_answer_was_lost(here: Pipeline) -> None:
    """Omnitron took the set, its answer was lost: a newer row with the set before that is not taken for unchanged."""
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


async def test_rows_that_are_there_are_not_sent(here: Pipeline) -> None:
    """A post that comes again is unchanged, as a whole, in part, and with products twice; what is newer is written."""
    rows = [post("a")[0] | {"sku": f"S{n}"} for n in range(30)]
    assert (await here.post(rows, "posted")).counts.written == 30
    assert (await here.post(rows, "posted")).counts.unchanged == 30
    assert (await here.post([*rows[:5], *rows[:5]], "posted")).counts.unchanged == 5
    some = [post("b")[0] | {"sku": row["sku"]} if n % 3 == 0 else row for n, row in enumerate(rows)]
    counts = (await here.post(some, "posted")).counts
    assert (counts.written, counts.unchanged) == (10, 20)
    assert sum(here.omnitron.writes.values()) == 40
