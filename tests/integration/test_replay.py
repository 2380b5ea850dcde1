"""Rows that failed before they were written go through the mended flow, from the stored page; the ERP is not asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from imageflow.actions import runs, shapes
from imageflow.actions.runs import Retried
from imageflow.broker import Outgoing
from imageflow.errors import NotFoundError
from imageflow.model.messages import ReplayPage, encode, transform_queue
from imageflow.model.run import Run
from tests.integration.pipeline import ACTOR, SCRIPT, Pipeline, pipeline

BROKEN_ROWS = (
    "def process_row(row):\n    if row['sku'][-1] in '05':\n        raise ValueError('oops')\n"
    + SCRIPT.partition("\n")[2]
)
BROKEN_PAGES = "def process(response):\n    return response['no such field']\n" + SCRIPT


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Pipeline]:
    async with pipeline(tmp_path, rows=200) as running:
        yield running


def posted(*skus: str, images: int = 1) -> list[dict[str, Any]]:
    return [
        {"sku": sku, "images": [{"url": f"https://i.example.com/{sku}-{n}.jpg"} for n in range(images)]} for sku in skus
    ]


async def retry(here: Pipeline, run_id: str, **only: Any) -> tuple[Retried, Run]:
    s = here.substrate
    done = await runs.retry(s.store, s.publisher, run_id, ACTOR, **only)
    return done, await here.follow(run_id)


async def states(here: Pipeline, run_id: str) -> dict[int, str]:
    return {row.row: row.state for row in await here.store.rows(run_id)}


async def test_rows_that_failed_alone(here: Pipeline) -> None:
    """All of them are written once the script is mended, with their products in the log; the ERP is not asked."""
    await here.save(script=BROKEN_ROWS)
    run = await here.run()
    assert (run.status, run.counts.failed) == ("partial", 40)
    asked = here.erp.pages
    await here.save()
    done, run = await retry(here, run.run_id)
    assert (done.rows, done.version, dict(done.left), done.same) == (40, 2, {}, 0)
    assert (run.status, run.counts.total, run.counts.written) == ("success", 200, 200)
    assert here.erp.pages == asked
    assert len(here.omnitron.images) == 200
    rows = await here.store.rows(run.run_id)
    assert len({row.product for row in rows}) == 200
    assert {row.stage for row in rows} == {"write"}


async def test_pages_that_failed_as_a_whole(here: Pipeline) -> None:
    """One failed row per element becomes the rows that come out."""
    await here.save(script=BROKEN_PAGES)
    run = await here.run()
    assert (run.status, run.counts.failed) == ("failed", 200)
    await here.save()
    done, run = await retry(here, run.run_id)
    assert (done.rows, run.status, run.counts.written, run.counts.total) == (200, "success", 200, 200)


async def test_a_row_alone(here: Pipeline) -> None:
    """One row of a page goes through, and the others that failed stay; then those of the group."""
    await here.save(script=BROKEN_ROWS)
    run = await here.run()
    failed = [row.row for row in await here.store.rows(run.run_id, state="failed")]
    await here.save()
    done, run = await retry(here, run.run_id, row=failed[3])
    assert (done.rows, run.counts.failed, run.counts.written) == (1, 39, 161)
    assert (await states(here, run.run_id))[failed[3]] == "written"
    [group] = await here.store.errors(run.run_id)
    done, run = await retry(here, run.run_id, group=group.group)
    assert (done.rows, run.counts.written, run.counts.total) == (39, 200, 200)
    with pytest.raises(NotFoundError, match="has no row 1 that failed"):
        await retry(here, run.run_id, row=1)


async def test_a_flow_that_is_not_mended(here: Pipeline) -> None:
    """The rows fail again, in place, and the retry says that the version is the same."""
    await here.save(script=BROKEN_ROWS)
    run = await here.run()
    before = await states(here, run.run_id)
    done, run = await retry(here, run.run_id)
    assert (done.rows, done.same) == (40, 40)
    assert "fail again" in (shapes.retried(done).note or "")
    assert (run.status, run.counts.failed, await states(here, run.run_id)) == ("partial", 40, before)
    await here.save(script=BROKEN_ROWS.replace("oops", "ouch"))
    done, run = await retry(here, run.run_id)
    assert done.same == 0
    assert all("ouch" in (row.reason or "") for row in await here.store.rows(run.run_id, state="failed"))
    done, _ = await retry(here, run.run_id)
    assert done.same == 40


async def test_fewer_and_more_rows(here: Pipeline) -> None:
    """Flat rows of one product become one row, and the others are superseded; a script that makes more rows adds them."""
    await here.save("flat", direction="outbound", script="def process(response):\n    return response.nothing\n")
    flat = [{"sku": sku, "url": f"https://i.example.com/{sku}-{n}.jpg"} for sku in "AB" for n in range(3)]
    run = await here.post(flat, "flat")
    assert run.counts.failed == 6
    await here.save("flat", direction="outbound")
    _, run = await retry(here, run.run_id)
    assert (run.status, run.counts.total, run.counts.written, run.counts.superseded) == ("success", 6, 2, 4)
    assert [len(here.omnitron.images[sku]) for sku in "AB"] == [3, 3]
    await here.save("more", direction="outbound", script="def process(response):\n    raise ValueError\n")
    run = await here.post(posted("C"), "more")
    twice = (
        "def process(response):\n    return [{**row, 'sku': row['sku'] + end} for row in response for end in 'xyz']\n"
    )
    await here.save("more", direction="outbound", script=twice)
    _, run = await retry(here, run.run_id)
    assert (run.counts.total, run.counts.written) == (3, 3)
    assert {"Cx", "Cy", "Cz"} <= set(here.omnitron.images)


async def test_newer_rows_win(here: Pipeline) -> None:
    """What a later run wrote is not overwritten: the old row is superseded."""
    await here.save("posts", direction="outbound", script="def process_row(row):\n    raise ValueError\n")
    old = await here.post(posted("A", "B"), "posts")
    await here.save("posts", direction="outbound")
    await here.post(posted("A", images=2), "posts")
    _, run = await retry(here, old.run_id)
    assert (run.counts.written, run.counts.superseded) == (1, 1)
    assert (len(here.omnitron.images["A"]), len(here.omnitron.images["B"])) == (2, 1)


WRONG_SKU = "def process_row(row):\n    return {'sku': 'EAN-' + row['sku'], 'pictures': row['images']}\n"
SAME_PICTURE = (
    "def process_row(row):\n    return {'sku': row['sku'], 'pictures': [{'url': 'https://i.example.com/swatch.jpg'}]}\n"
)


async def test_rows_that_omnitron_refused_for_a_mistake_of_the_flow(here: Pipeline) -> None:
    """They go through the mended flow, and no error stays open; a version that makes the same rows sends them as they are."""
    here.omnitron.set_faults(["status=400,match=EAN-*"])
    await here.save(script=WRONG_SKU)
    run = await here.run()
    assert (run.status, run.counts.failed) == ("failed", 200)
    await here.save(script=WRONG_SKU, alarms={"silence": "2d"})
    done, run = await retry(here, run.run_id)
    assert (done.rows, done.version, run.counts.failed) == (200, 2, 200)
    asked = here.erp.pages
    await here.save()
    done, run = await retry(here, run.run_id)
    assert (done.rows, done.version, done.old) == (200, 3, 0)
    assert (run.status, run.counts.total, run.counts.written) == ("success", 200, 200)
    assert here.erp.pages == asked
    assert set(here.omnitron.images) == {f"SKU-{number:06}" for number in range(1, 201)}
    assert await here.store.causes("main") == []


FLAT = """
def process(answer):
    return [{'sku': PREFIX + row['sku'], 'url': image['url']} for row in answer['results'] for image in row['images']]
"""


async def test_rows_joined_across_pages_that_omnitron_refused(here: Pipeline) -> None:
    """Their pages cannot go through alone: they are sent as the old version made them, which is told, and the run ends."""
    here.omnitron.set_faults(["status=400,match=EAN-*"])
    await here.save(script=FLAT.replace("PREFIX", "'EAN-'"), mapping=None)
    run = await here.run()
    assert (run.pages, run.counts.failed) == (4, 200)
    await here.save(script=FLAT.replace("PREFIX", "''"), mapping=None)
    done, run = await retry(here, run.run_id)
    assert (done.rows, done.old, run.counts.failed) == (200, 200, 200)
    assert "an older version of main made" in (shapes.retried(done).note or "")
    here.omnitron.set_faults([])
    _, run = await retry(here, run.run_id)
    assert (run.status, run.counts.failed) == ("success", 0)


async def test_a_rollback_while_wrong_pictures_are_written(here: Pipeline) -> None:
    """The rows that the cancelled run did not send go through the version that is in force now."""
    await here.save()
    await here.save(script=SAME_PICTURE, write={"concurrency": 2})
    here.omnitron.set_faults(["latency=20ms"])
    s = here.substrate
    begun = await runs.start(s.store, s.publisher, "main", (), ACTOR, s.clock.now())
    while len(here.omnitron.images) < 20:
        await asyncio.sleep(0.01)
    await runs.cancel(s.store, begun.run.run_id, ACTOR)
    run = await here.follow(begun.run.run_id)
    assert run.counts.cancelled
    written = run.counts.written
    await here.save()
    here.omnitron.set_faults([])
    done, run = await retry(here, run.run_id)
    assert (done.rows, run.counts.written) == (200 - written, 200)
    wrong = [sku for sku in here.omnitron.images if here.omnitron.images_of(sku)[0]["url"].endswith("swatch.jpg")]
    assert len(wrong) == written


async def test_what_was_wrong_about_omnitron(here: Pipeline) -> None:
    """Rows that Omnitron never took, for the flow had its path or its address wrong, go where the mended flow says; the trace says
    where each was sent, and knows what is on either Omnitron.
    """
    omnitron = {"domain_url": here.omnitron.url, "username": "demo", "password": {"env": "OMNITRON_PASSWORD"}}
    await here.save(omnitron={**omnitron, "images_path": "/api/v1/wrong/"})
    run = await here.run()
    assert (run.status, run.counts.failed) == ("failed", 200)
    assert (await here.trace("SKU-000007"))["rows"][0]["request"]["url"] == f"{here.omnitron.url}/api/v1/wrong/"
    await here.save(omnitron=omnitron)
    done, run = await retry(here, run.run_id)
    assert (done.rows, done.version, run.status, run.counts.written) == (200, 2, "success", 200)
    assert len(here.omnitron.images) == 200
    story = await here.trace("SKU-000007")
    assert story["rows"][0]["request"]["url"] == f"{here.omnitron.url}/api/v1/downloadable-image/"
    await here.save(omnitron={**omnitron, "domain_url": "http://127.0.0.1:9"})
    moved = await here.trace("SKU-000007")
    assert moved["rows"][0]["request"] == story["rows"][0]["request"]
    assert [(one["domain"], one["run_id"]) for one in moved["ledger"]] == [(here.omnitron.url, run.run_id)]


async def test_a_run_that_joins(here: Pipeline) -> None:
    """With `group: run` a post is put through alone; a run of several pages is not, and says what to do instead."""
    broken = {"script": "def process(response):\n    raise ValueError\n", "group": "run"}
    await here.save("posts", direction="outbound", **broken)
    run = await here.post(posted("A", "B"), "posts")
    await here.save("posts", direction="outbound", group="run")
    _, run = await retry(here, run.run_id)
    assert (run.status, run.counts.written) == ("success", 2)
    await here.save(**broken)
    run = await here.run()
    await here.save(group="run")
    done, run = await retry(here, run.run_id)
    assert (done.rows, run.status) == (0, "failed")
    [left] = shapes.retried(done).left
    assert (left.rows, left.reason, left.do) == (200, "joined", "imageflow run main")


async def test_a_retry_asked_twice_and_messages_that_come_twice(here: Pipeline) -> None:
    """Nothing is counted twice: the second retry finds the rows in flight, and a repeated message changes nothing."""
    await here.save(script=BROKEN_PAGES)
    run = await here.run()
    await here.save()
    s = here.substrate
    here.omnitron.set_faults(["latency=300ms,first=50"])
    first = await runs.retry(s.store, s.publisher, run.run_id, ACTOR)
    second = await runs.retry(s.store, s.publisher, run.run_id, ACTOR)
    assert (first.rows, second.rows) == (200, 0)
    assert sum(second.left.values()) > 0
    for page in range(1, run.pages + 1):
        seq = (await s.store.page(run.run_id, page)).seq
        await publish(here, ReplayPage(run.run_id, "main", 2, page, seq))
    await runs.resume(s.store, s.broker, run.run_id, ACTOR)
    ended = await here.follow(run.run_id)
    await asyncio.sleep(0.5)
    assert ended == await here.follow(run.run_id)
    assert (ended.status, ended.counts.total, ended.counts.written) == ("success", 200, 200)


async def publish(here: Pipeline, message: ReplayPage) -> None:
    await here.substrate.broker.publish(Outgoing(transform_queue(message.flow), encode(message)))


async def test_rows_of_a_cancelled_run(here: Pipeline) -> None:
    """A retry writes what the cancel kept from being sent, once each."""
    await here.save("posts", direction="outbound", write={"concurrency": 2})
    here.omnitron.set_faults(["latency=100ms"])
    following = asyncio.create_task(here.post(posted(*(f"S{n}" for n in range(150))), "posts"))
    async with asyncio.timeout(20):
        while not here.omnitron.images:
            await asyncio.sleep(0.01)
    [run] = await here.store.runs("posts")
    await runs.cancel(here.store, run.run_id, ACTOR)
    ended = await following
    assert ended.status == "cancelled"
    here.omnitron.set_faults([])
    done, run = await retry(here, run.run_id)
    assert (done.rows, done.same) == (ended.counts.cancelled, 0)
    assert (run.status, run.counts.written, run.counts.total) == ("success", 150, 150)
    assert len(here.omnitron.images) == 150


async def test_over_all_runs_of_a_flow(here: Pipeline) -> None:
    """Every open failure of the flow goes through, whichever run it is of."""
    await here.save(
        "posts", direction="outbound", script="def process_row(row):\n    raise ValueError(row['sku'][0])\n"
    )
    for skus in (("A1", "A2"), ("B1", "A3")):
        await here.post(posted(*skus), "posts")
    await here.save("posts", direction="outbound")
    errors = await here.store.causes("posts")
    assert {(error.rows, error.runs, error.retryable) for error in errors} == {(3, 2, 3), (1, 1, 1)}
    s = here.substrate
    group = next(error.group for error in errors if error.rows == 1)
    assert [one.rows for one in await runs.retry_flow(s.store, s.publisher, "posts", ACTOR, group=group)] == [1]
    assert [one.rows for one in await runs.retry_flow(s.store, s.publisher, "posts", ACTOR)] == [2, 1]
    for run in await s.store.runs("posts"):
        assert (await here.follow(run.run_id)).status == "success"
    assert set(here.omnitron.images) == {"A1", "A2", "A3", "B1"}
    assert await here.store.causes("posts") == []
