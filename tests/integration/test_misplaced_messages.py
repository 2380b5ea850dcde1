"""What does not belong in a queue, or holds what the store cannot take, is parked; services go on, and nothing else suffers.

One table, over files and over RabbitMQ and PostgreSQL: every message in every queue that is not its own, every number out
of range, and what a stranger may write.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from imageflow import bootstrap
from imageflow.actions import dead_letters
from imageflow.actions.dead_letters import EXCERPT_BYTES
from imageflow.broker import Outgoing
from imageflow.clock import SystemClock
from imageflow.errors import MessageError
from imageflow.model import messages
from imageflow.model.imageset import NOT_CLEARED, Image
from imageflow.model.messages import OUTBOUND_QUEUE, READ_QUEUE, PageRead, ReadPage, ReplayPage, RowsReady, RunRead
from imageflow.model.row import Row, Try
from imageflow.model.run import Run, Trigger
from imageflow.secret import Secret
from imageflow.store.connect import connect as connect_store
from tests.integration.pipeline import pipeline
from tests.posting import accept_post

FLOW, RUN = "posted", "20261128-000000-aaaaaaaaaa"
ROW = Row(1, 1, "A", (Image("https://c.example/1.jpg"),), attempts=1, tries=(Try(1.0, 500, "no"),), digest="d")
WHOLE = [
    ReadPage(RUN, FLOW, 1, 1, 1, 1.0, 1.0),
    PageRead(RUN, FLOW, 1, 1, 1, "[]"),
    RunRead(RUN, FLOW, 1),
    ReplayPage(RUN, FLOW, 1, 1, 1),
    RowsReady(RUN, FLOW, 1, (ROW,)),
]
QUEUES = [READ_QUEUE, OUTBOUND_QUEUE, messages.transform_queue(FLOW), messages.write_queue(FLOW)]
OTHER = [messages.transform_queue("other"), messages.write_queue("other")]
NUMBERS = [-1, 2**31, 2**63, 2**64, 10**30, 1.5, 1e300, -1e300, "1", None, [], True]
BODIES = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"\xff",
    b"not JSON",
    b'{"type": "other"}',
    b'{"type": "read_page"}',
    b"[" * 100_000,
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all numbers in a document."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))
    elif isinstance(value, int | float):
        yield path


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    key, *rest = path
    new = changed(document[key], tuple(rest), value) if rest else value
    if isinstance(document, dict):
        return document | {key: new}
    return [new if at == key else item for at, item in enumerate(document)]


def out_of_range() -> Iterator[tuple[str, bytes]]:
    """Each message with each number out of range, in its own queue."""
    for message in WHOLE:
        document = json.loads(messages.encode(message))
        for path in places(document):
            for value in NUMBERS:
                body = json.dumps(changed(document, path, value)).encode()
                try:
                    messages.decode(body)
                except MessageError:
                    yield messages.queue_of(message), body


def misplaced() -> Iterator[tuple[str, bytes]]:
    for message in WHOLE:
        for queue in [*QUEUES, *OTHER]:
            if queue != messages.queue_of(message):
                yield queue, messages.encode(message)


def unknown() -> Iterator[tuple[str, bytes]]:
    """Well-formed messages of a flow version, or a run, that does not exist."""
    for message in WHOLE[1:]:
        for version in (2, 2**31 - 1):
            yield messages.queue_of(message), messages.encode(msgspec.structs.replace(message, version=version))


def names() -> Iterator[tuple[str, bytes]]:
    """Names that PostgreSQL does not take, or that are none."""
    for message in WHOLE:
        for name in ("a\0b", "", "r" * 1000):
            yield messages.queue_of(message), messages.encode(msgspec.structs.replace(message, run_id=name))
    row = msgspec.structs.replace(ROW, digest="a\0b")
    yield messages.write_queue(FLOW), messages.encode(RowsReady(RUN, FLOW, 1, (row,)))


TABLE = [
    *misplaced(),
    *out_of_range(),
    *((queue, body) for queue in [*QUEUES, *OTHER] for body in BODIES),
    *unknown(),
    *names(),
]


@pytest.fixture(params=["files", "servers"])
async def substrate(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings of a broker and a store."""
    if request.param == "files":
        return {}
    database = request.getfixturevalue("postgres").new_database()
    async with connect_store(Secret(database), SystemClock()) as store:
        await store.upgrade()
    return {"IMAGEFLOW_STORE_URL": database, "IMAGEFLOW_BROKER_URL": request.getfixturevalue("rabbitmq_vhost")}


async def test_what_does_not_belong_is_parked(tmp_path: Path, substrate: dict[str, str]) -> None:
    """Each message of the table is parked with a reason, in one piece; all services live, and a post is written after it."""
    async with pipeline(tmp_path, services=bootstrap.SERVICES, **substrate) as running:
        await running.save(FLOW, direction="outbound")
        await running.save("other", direction="outbound")
        broker = running.substrate.broker
        before = [[{"sku": f"S{n}", "images": ["https://c.example/1.jpg"]}] for n in range(3)]
        posted = [asyncio.create_task(running.post(rows, FLOW)) for rows in before]
        for queue, body in TABLE:
            await broker.publish(Outgoing(queue, body))
        found = await parked(running, len(TABLE))
        expected = Counter((queue, len(body), body[:EXCERPT_BYTES].decode("utf-8", "replace")) for queue, body in TABLE)
        assert Counter((letter.queue, letter.bytes, letter.excerpt) for letter in found) == expected
        assert all(letter.reason for letter in found)
        assert [(await run).counts.written for run in posted] == [1, 1, 1]
        assert (await running.post([{"sku": "Z", "images": ["https://c.example/1.jpg"]}], FLOW)).counts.written == 1
        assert sorted(running.omnitron.images) == ["S0", "S1", "S2", "Z"]
        assert not await running.store.rows(RUN)


async def test_what_nobody_registered_is_not_written(tmp_path: Path, substrate: dict[str, str]) -> None:
    """Rows of a run that has ended, rows that no page gave, an image set that would clear a product, a page that was never
    stored: nothing of that reaches Omnitron, and the run stays as it ended.
    """
    async with pipeline(tmp_path, **substrate) as running:
        await running.save(FLOW, direction="outbound")
        ended = await running.post([{"sku": "A", "images": ["https://c.example/1.jpg"]}], FLOW)
        published = running.omnitron.writes.copy()
        row = Row(1, 2**62, "A", ())
        forged = [
            RowsReady(ended.run_id, FLOW, 1, (row,)),
            RowsReady(ended.run_id, FLOW, 1, (msgspec.structs.replace(ROW, row=2, product="B", version=2**62),)),
            PageRead(ended.run_id, FLOW, 1, 2, 99, '[{"sku": "C", "images": ["https://c.example/1.jpg"]}]'),
            PageRead(
                ended.run_id,
                FLOW,
                1,
                1,
                1,
                json.dumps([{"sku": s, "images": ["https://c.example/1.jpg"]} for s in "AD"]),
            ),
            RowsReady(RUN, FLOW, 1, (ROW,)),
            RunRead(ended.run_id, FLOW, 1),
        ]
        for message in forged:
            await running.substrate.broker.publish(Outgoing(messages.queue_of(message), messages.encode(message)))
        found = await parked(running, 3)
        assert {letter.reason.split(";")[0] for letter in found} == {
            f"run {ended.run_id} has no page 2",
            f"run {ended.run_id} has ended: page 1 gives it no more rows",
            f"there is no run {RUN!r}",
        }
        assert (await running.post([{"sku": "Z", "images": ["https://c.example/1.jpg"]}], FLOW)).counts.written == 1
        assert running.omnitron.writes - published == {"Z": 1}
        assert await running.store.run(ended.run_id) == ended
        assert len(await running.store.rows(ended.run_id)) == 1


async def test_nothing_is_cleared_without_leave(tmp_path: Path) -> None:
    """The writer repeats the rule of `write.allow_clear`: an image set without images fails its row."""
    async with pipeline(tmp_path) as running:
        await running.save(FLOW, direction="outbound")
        now = running.substrate.clock.now()
        run = Run(
            run_id=RUN,
            flow=FLOW,
            version=1,
            trigger=Trigger("outbound"),
            status="draining",
            created_at=now,
            started_at=now,
            read_complete=True,
            pages=1,
        )
        await accept_post(running.store, run, b"[]", rows=1)
        await running.store.register_page(RUN, 1, 1, [])
        cleared = RowsReady(RUN, FLOW, 1, (Row(1, 1, "A", ()),))
        await running.substrate.broker.publish(Outgoing(messages.write_queue(FLOW), messages.encode(cleared)))
        assert (await running.follow(RUN)).counts.failed == 1
        [log] = await running.store.rows(RUN)
        assert log.reason == NOT_CLEARED
        assert not running.omnitron.writes


async def parked(running: Any, count: int) -> list[Any]:
    async with asyncio.timeout(120):
        while len(found := await dead_letters.look(running.substrate.broker, count + 10)) < count:
            await asyncio.sleep(0.2)
    return found
