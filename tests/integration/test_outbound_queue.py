"""The queue imageflow.outbound: what is published there is accepted like a post, or parked with the reason."""

import asyncio
import gzip
import json
import os
import re
import subprocess
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aio_pika
import pytest

from imageflow.actions import dead_letters
from imageflow.actions.actor import Actor
from imageflow.broker import Outgoing
from imageflow.broker.connect import connect as connect_broker
from imageflow.clock import SystemClock
from imageflow.errors import StoreError
from imageflow.gateway import queue
from imageflow.gateway.late_publisher import LatePublisher
from imageflow.gateway.outbound import Outbound
from imageflow.gateway.queue import OutboundQueue
from imageflow.model.messages import OUTBOUND_QUEUE, PARKED_QUEUE, decode, transform_queue
from imageflow.runtime.service import Service
from imageflow.secret import Secret
from imageflow.store.connect import connect as connect_store

DOCS = Path(__file__).parents[2] / "docs" / "outbound.md"
CLOCK = SystemClock()
ACTOR = Actor("ada", "test")
ROW = {"sku": "A", "images": ["https://cdn.example.com/a.jpg"]}
OMNITRON = {"domain_url": "https://brand.example.com", "username": "u", "password": {"env": "P"}}


class Place:
    """A store, a broker, and the gateway's consumer between them."""

    def __init__(self, store, broker, taking):
        self.store, self.broker, self.taking = store, broker, taking

    async def publish(self, body, **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in ({"flow": "posts"} | headers).items() if value}
        await self.broker.publish(Outgoing(OUTBOUND_QUEUE, data, headers=named))

    async def runs(self, count, flow="posts"):
        """The flow's runs, oldest first, once there are `count` and nothing waits any more."""
        await self.until(lambda: self._has(count, flow))
        return (await self.store.runs(flow))[::-1]

    async def _has(self, count, flow):
        depth = await self.broker.depth(OUTBOUND_QUEUE)
        return len(await self.store.runs(flow)) >= count and not depth.ready and not self.taking._turns

    async def parked(self, count):
        await self.until(lambda: self._are_parked(count))
        return await dead_letters.look(self.broker, 100)

    async def _are_parked(self, count):
        return len(await dead_letters.look(self.broker, 100)) >= count

    async def until(self, condition):
        async with asyncio.timeout(30):
            while not await condition():
                await asyncio.sleep(0.02)


@asynccontextmanager
async def opened(tmp_path, url=None, *, store=lambda real: real, **options):
    url = url or f"sqlite:///{tmp_path}/broker.db"
    async with (
        connect_store(Secret(f"sqlite:///{tmp_path}/store.db"), CLOCK) as real,
        connect_broker(Secret(url)) as broker,
    ):
        await real.upgrade()
        await real.save_flow({"name": "posts", "direction": "outbound", "omnitron": OMNITRON})
        taking = OutboundQueue(Outbound(store(real), broker, LatePublisher(real, broker), CLOCK, **options))
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(Service(taking.stage, real, broker).run(stop, 2))
            try:
                yield Place(real, broker, taking)
            finally:
                stop.set()


@pytest.fixture
async def place(tmp_path):
    async with opened(tmp_path) as place:
        yield place


async def test_bodies_of_all_kinds(place):
    """A list, an object, NDJSON and gzip become runs with their rows, in the order of publishing, told to the transformer."""
    lines = b'{"sku": "A"}\n{"sku": "B"}\n'
    await place.publish([ROW, ROW])
    await place.publish(ROW)
    await place.publish(lines)
    await place.publish(lines, content_type="application/x-ndjson")
    await place.publish(gzip.compress(json.dumps([ROW] * 3).encode()), content_encoding="gzip")
    runs = await place.runs(5)
    bodies = [json.loads((await place.store.page(run.run_id, 1)).body) for run in runs]
    assert bodies == [[ROW, ROW], ROW, [{"sku": "A"}, {"sku": "B"}], [{"sku": "A"}, {"sku": "B"}], [ROW] * 3]
    assert {(run.status, run.trigger.kind, run.trigger.by) for run in runs} == {("draining", "outbound", "queue")}
    async with place.broker.consume(transform_queue("posts"), prefetch=5) as deliveries:
        first = await anext(deliveries)
        assert decode(first.body).run_id == runs[0].run_id


async def test_a_repeat_adds_nothing(place):
    """The same message id adds nothing, by any client; another id does; an id used for another body is parked."""
    for _ in range(3):
        await place.publish([ROW], message_id="m-1")
    await place.publish([ROW], message_id="m-2 ü")
    await place.publish([ROW, ROW], message_id="m-1")
    (aside,) = await place.parked(1)
    assert "message_id was used for another body" in aside.reason
    assert len(await place.runs(2)) == 2


BAD = [
    ([ROW], {"flow": None}, "header `flow` is missing"),
    ([ROW], {"flow": "nowhere"}, "no flow 'nowhere'"),
    ([ROW], {"flow": "Not A Name"}, "no such flow"),
    (b"{not json", {}, "not JSON"),
    (b"", {}, "empty"),
    ([], {}, "no rows"),
    ([1], {}, "element 1 of the list is a number"),
    (b"plain", {"content_encoding": "gzip"}, "not gzip"),
    ([ROW], {"content_encoding": "br"}, "neither a compression that is understood (gzip) nor a charset"),
    (gzip.compress(b" " * 11_000_000), {"content_encoding": "gzip"}, "larger than 10,485,760 bytes"),
]


async def test_what_cannot_be_accepted_is_parked(place):
    """Each bad message is put aside with its reason, body and headers; none hinders the good ones."""
    for body, headers, _ in BAD:
        await place.publish(body, **headers)
    await place.publish([ROW])
    found = await place.parked(len(BAD))
    for (_, headers, reason), item in zip(BAD, sorted(found, key=lambda i: place_of(i.reason)), strict=True):
        assert reason in item.reason
        assert item.queue == OUTBOUND_QUEUE
        assert item.flow == (headers["flow"] or "" if "flow" in headers else "posts")
    assert len(await place.runs(1)) == 1


def place_of(reason):
    return next(number for number, (_, _, text) in enumerate(BAD) if text in reason)


async def test_a_parked_message_is_replayed(place):
    """Once the cause is mended, replaying accepts it, with the id it had; dropping throws it away."""
    await place.publish([ROW], flow="later", message_id="m")
    await place.publish(b"nonsense")
    await place.parked(2)
    await place.store.save_flow({"name": "later", "direction": "outbound", "omnitron": OMNITRON})
    replayed = await dead_letters.replay(place.store, place.broker, None, ACTOR)
    assert len(replayed) == 2
    await place.publish([ROW], flow="later", message_id="m")
    assert len(await place.runs(1, "later")) == 1
    (again,) = await place.parked(1)
    await dead_letters.drop(place.store, place.broker, again.id, ACTOR)
    assert (await place.broker.depth(PARKED_QUEUE)).ready == 0


async def test_a_full_flow_makes_messages_wait(tmp_path):
    """While too much of a flow waits to be transformed its messages come again later; other flows go on."""
    async with opened(tmp_path, queue_limit=1) as place:
        await place.store.save_flow({"name": "other", "direction": "outbound", "omnitron": OMNITRON})
        await place.broker.publish(Outgoing(transform_queue("posts"), b"{}"))
        await place.publish([ROW])
        await place.publish([ROW], flow="other")
        await place.runs(1, "other")
        assert await place.store.runs("posts") == []
        assert (await place.broker.depth(OUTBOUND_QUEUE)).delayed == 1


class AwayTwice:
    """A store that is away the first two times a post is to be stored."""

    def __init__(self, real):
        self._real, self.left = real, 2

    def __getattr__(self, name):
        return getattr(self._real, name)

    async def accept_posts(self, *args, **options):
        if self.left:
            self.left -= 1
            raise StoreError("away")
        return await self._real.accept_posts(*args, **options)


async def test_the_order_outlasts_an_absent_database(tmp_path, monkeypatch):
    """While the database is away messages wait in their order."""
    monkeypatch.setattr(queue, "AWAY_PAUSE_SECONDS", 0.1)
    async with opened(tmp_path, store=AwayTwice) as place:
        for number in range(20):
            await place.publish([{"sku": str(number)}])
        runs = await place.runs(20)
        bodies = [json.loads((await place.store.page(run.run_id, 1)).body) for run in runs]
        assert bodies == [[{"sku": str(number)}] for number in range(20)]
        assert place.taking._turns == {}


def block(language):
    """A code block of docs/outbound.md."""
    return re.search(rf"```{language}\n(.*?)```", DOCS.read_text(), re.DOTALL)[1]


async def test_the_documented_publishers(tmp_path, rabbitmq_vhost):
    """The Python publisher of the documentation works as it stands, twice too; so does what the shell's one sends."""
    async with opened(tmp_path, rabbitmq_vhost) as place:
        await place.until(lambda: waiting_consumer(place.broker))
        for _ in range(2):
            environ = os.environ | {"AMQP_URL": rabbitmq_vhost}
            done = await asyncio.to_thread(
                subprocess.run, [sys.executable, "-c", block("python")], env=environ, timeout=60
            )
            assert done.returncode == 0
        shell = json.loads(re.search(r"<<'JSON'.*?\n(.*?)\nJSON\n", block("sh"), re.DOTALL)[1])
        properties = shell["properties"]
        connection = await aio_pika.connect(rabbitmq_vhost)
        async with connection:
            channel = await connection.channel()
            exchange = await channel.get_exchange("imageflow.outbound", ensure=False)
            message = aio_pika.Message(shell["payload"].encode(), **properties)
            await exchange.publish(message, routing_key=shell["routing_key"])
            await channel.default_exchange.publish(
                aio_pika.Message(b"{}", headers={"flow": "nowhere", "x": {"y": [1]}}), routing_key=OUTBOUND_QUEUE
            )
        runs = await place.runs(2)
        bodies = [json.loads((await place.store.page(run.run_id, 1)).body) for run in runs]
        assert [body[0]["sku"] for body in bodies] == ["A-1", "A-2"]
        (aside,) = await place.parked(1)
        assert (aside.flow, aside.queue) == ("nowhere", OUTBOUND_QUEUE)
        assert await dead_letters.drop(place.store, place.broker, None, ACTOR) == [aside]


def test_the_documented_publisher_says_that_there_is_no_queue(rabbitmq_vhost):
    """RabbitMQ confirms what it drops because the gateway has not made the queue yet; the publisher must not take it for sent."""
    environ = os.environ | {"AMQP_URL": rabbitmq_vhost}
    command = [sys.executable, "-c", block("python")]
    done = subprocess.run(command, env=environ, timeout=60, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "imageflow.outbound" in done.stderr


async def waiting_consumer(broker):
    return (await broker.depth(OUTBOUND_QUEUE)).consumers == 1


async def test_one_gateway_after_the_other(tmp_path, rabbitmq_vhost):
    """Of two gateways one takes what is published, in its order; when it ends the other goes on."""
    async with AsyncExitStack() as first, AsyncExitStack() as second:
        place = await first.enter_async_context(opened(tmp_path, rabbitmq_vhost))
        await place.until(lambda: waiting_consumer(place.broker))
        other = await second.enter_async_context(opened(tmp_path, rabbitmq_vhost))
        for number in range(20):
            await other.publish([{"sku": str(number)}])
        await other.runs(10)
        await first.aclose()
        for number in range(20, 40):
            await other.publish([{"sku": str(number)}])
        runs = await other.runs(40)
        bodies = [json.loads((await other.store.page(run.run_id, 1)).body) for run in runs]
        assert bodies == [[{"sku": str(number)}] for number in range(40)]


ENCODED = [
    ({"content_type": "application/json", "content_encoding": "utf-8"}, {}, "utf-8"),  # kombu
    (
        {"content_type": "application/json", "content_encoding": "UTF-8"},
        {"__TypeId__": "java.util.List"},
        "utf-8",
    ),  # Spring
    ({"content_type": "application/json; charset=utf-8", "content_encoding": ""}, {}, "utf-8"),
    ({"content_type": "application/json", "content_encoding": "binary", "delivery_mode": 2}, {}, "utf-8"),
    ({"content_encoding": "iso-8859-9"}, {}, "iso-8859-9"),
    ({"content_encoding": "windows-1254"}, {}, "cp1254"),
    ({"content_type": "application/json;charset=ISO-8859-9"}, {}, "iso-8859-9"),
    ({"content_encoding": "utf-16"}, {}, "utf-16"),
    ({"content_encoding": "gzip:UTF-8"}, {}, "gzip"),  # Spring, with a GZipPostProcessor
    ({"content_encoding": "utf-8"}, {"compression": "application/x-gzip"}, "gzip"),  # kombu, compressed
    ({}, {}, "utf-8"),  # pika, amqplib
    ({"priority": 9, "expiration": 60, "type": "x", "app_id": "erp"}, {}, "utf-8"),
]
UNREADABLE = [
    ({"content_encoding": "us-ascii"}, "utf-8", "not ascii text"),
    ({"content_encoding": "deflate"}, "utf-8", "'deflate' is neither a compression"),
    ({}, "iso-8859-9", "not UTF-8"),
]


async def test_what_clients_say_of_a_body(tmp_path, rabbitmq_vhost):
    """Each body is read as its client wrote it; what cannot be read is parked with the reason, and so again when replayed."""
    async with opened(tmp_path, rabbitmq_vhost) as place, await aio_pika.connect(rabbitmq_vhost) as connection:
        await place.until(lambda: waiting_consumer(place.broker))
        exchange = (await connection.channel()).default_exchange

        async def publish(properties, headers, charset, sku):
            text = json.dumps([{"sku": sku, "images": ["https://c.example/1.jpg"]}], ensure_ascii=False)
            body = gzip.compress(text.encode()) if charset == "gzip" else text.encode(charset)
            message = aio_pika.Message(body, headers={"flow": "posts"} | headers, **properties)
            await exchange.publish(message, routing_key=OUTBOUND_QUEUE, mandatory=True)

        for number, (properties, headers, charset) in enumerate(ENCODED):
            await publish(properties, headers, charset, f"ŞIK-ğüİı {number}")
        runs = await place.runs(len(ENCODED))
        bodies = [json.loads((await place.store.page(run.run_id, 1)).body) for run in runs]
        assert [body[0]["sku"] for body in bodies] == [f"ŞIK-ğüİı {number}" for number in range(len(ENCODED))]
        for properties, charset, _ in UNREADABLE:
            await publish(properties, {}, charset, "ŞIK")
        for _ in range(2):
            reasons = [letter.reason for letter in await place.parked(len(UNREADABLE))]
            assert all(any(said in reason for reason in reasons) for _, _, said in UNREADABLE), reasons
            await dead_letters.replay(place.store, place.broker, None, ACTOR)


async def test_a_message_parked_by_an_older_version_is_accepted_when_replayed(tmp_path):
    """Its property is a header by then: `content-encoding: utf-8`."""
    async with opened(tmp_path) as place:
        headers = {"flow": "posts", "content-encoding": "utf-8", "queue": OUTBOUND_QUEUE, "reason": "not understood"}
        await place.broker.publish(Outgoing(PARKED_QUEUE, json.dumps([ROW]).encode(), headers=headers))
        await dead_letters.replay(place.store, place.broker, None, ACTOR)
        assert len(await place.runs(1)) == 1
