"""What both brokers promise. One suite; each test has queues of its own, in a fresh file or on the shared server."""

from __future__ import annotations

import asyncio
import random
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from imageflow.actions import dead_letters
from imageflow.actions.actor import Actor
from imageflow.broker import Broker, Delivery, Depth, Outgoing
from imageflow.broker.connect import connect
from imageflow.broker.rabbitmq import RabbitBroker
from imageflow.broker.sqlite import SqliteBroker
from imageflow.errors import BrokerError, NotFoundError, QueueFullError
from imageflow.model.messages import PARKED_QUEUE
from imageflow.secret import Secret
from imageflow.store import AuditEntry

ACTOR = Actor("ada", "test")
PATIENCE = 30.0


class Place:
    """Where messages wait: opens brokers on the same file or server."""

    def __init__(self, url: str) -> None:
        self.url = Secret(url)

    def open(self, *, queue_limit: int = 20_000) -> Broker:
        if self.url.reveal().startswith("sqlite"):
            return SqliteBroker(Path(self.url.reveal().removeprefix("sqlite:///")), queue_limit=queue_limit)
        return RabbitBroker(self.url, queue_limit=queue_limit)


@pytest.fixture(params=["sqlite", "rabbitmq"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return Place(f"sqlite:///{tmp_path / 'broker.db'}")
    return Place(request.getfixturevalue("rabbitmq").url)


@pytest.fixture
def queue() -> str:
    return f"test.{secrets.token_hex(6)}"


@pytest.fixture
async def broker(place: Place) -> AsyncIterator[Broker]:
    async with place.open() as broker:
        yield broker


async def take(deliveries: AsyncIterator[Delivery], count: int = 1) -> list[Delivery]:
    async with asyncio.timeout(PATIENCE):
        return [await anext(deliveries) for _ in range(count)]


async def take_one(deliveries: AsyncIterator[Delivery]) -> Delivery:
    (delivery,) = await take(deliveries)
    return delivery


async def nothing_comes(deliveries: AsyncIterator[Delivery], seconds: float = 0.3) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await anext(deliveries)
    except TimeoutError:
        return True
    return False


async def until(condition: Callable[[], object]) -> None:
    """Wait for what the broker does in its own time."""
    async with asyncio.timeout(PATIENCE):
        while True:
            holds = condition()
            if asyncio.iscoroutine(holds):
                holds = await holds
            if holds:
                return
            await asyncio.sleep(0.05)


async def ready(broker: Broker, queue: str, count: int) -> None:
    """Wait until so many messages are ready."""

    async def there() -> bool:
        return (await broker.depth(queue)).ready == count

    await until(there)


@asynccontextmanager
async def parked_of(broker: Broker, queue: str) -> AsyncIterator[Delivery]:
    """The message that was parked from `queue`; others in the parked queue are given back."""
    others: list[Delivery] = []
    async with broker.consume(PARKED_QUEUE, prefetch=1000) as deliveries:
        async with asyncio.timeout(PATIENCE):
            async for delivery in deliveries:
                if delivery.headers.get("queue") == queue:
                    yield delivery
                    await delivery.ack()
                    break
                others.append(delivery)
        for other in others:
            await other.requeue()


async def test_a_message_is_delivered_and_ends_with_its_acknowledgement(broker: Broker, queue: str) -> None:
    """What was published arrives with its body; after ack it is gone."""
    await broker.publish(Outgoing(queue, b"hello"))
    async with broker.consume(queue, prefetch=10) as deliveries:
        delivery = await take_one(deliveries)
        assert (delivery.queue, delivery.body, delivery.deliveries) == (queue, b"hello", 0)
        await delivery.ack()
        assert await nothing_comes(deliveries)
    assert (await broker.depth(queue))[:2] == (0, 0)


async def test_publishing_nothing_is_nothing(broker: Broker) -> None:
    """An empty publish returns."""
    await broker.publish()


async def test_a_consumer_may_come_first(broker: Broker, queue: str) -> None:
    """A queue is made by its consumer too, and a waiting consumer is woken at once."""
    async with broker.consume(queue, prefetch=10) as deliveries:
        assert await nothing_comes(deliveries)
        started = time.monotonic()
        await broker.publish(Outgoing(queue, b"x"))
        await (await take_one(deliveries)).ack()
        assert time.monotonic() - started < 5


async def test_order_is_kept(broker: Broker, queue: str) -> None:
    """Plain messages arrive in the order of publishing, within a publish and across publishes."""
    for start in range(0, 300, 100):
        await broker.publish(*(Outgoing(queue, str(start + i).encode()) for i in range(100)))
    async with broker.consume(queue, prefetch=50) as deliveries:
        for expected in range(300):
            delivery = await take_one(deliveries)
            assert delivery.body == str(expected).encode()
            await delivery.ack()


@pytest.mark.parametrize("body", [b"", bytes(range(256)), b"\x00" * 10, b"\xff\xfe", b"z" * (1 << 20)])
async def test_bodies_are_bytes(broker: Broker, queue: str, body: bytes) -> None:
    """Any bytes up to 1 MiB arrive as they were sent."""
    await broker.publish(Outgoing(queue, body))
    async with broker.consume(queue, prefetch=1) as deliveries:
        delivery = await take_one(deliveries)
        assert delivery.body == body
        await delivery.ack()


async def test_headers_travel_along(broker: Broker, queue: str) -> None:
    """Text headers arrive, also those that are not ASCII, and stay with a message that is retried."""
    headers = {"flow": "winter", "name": "Şişli", "empty": ""}
    await broker.publish(Outgoing(queue, b"x", headers=headers))
    async with broker.consume(queue, prefetch=1) as deliveries:
        delivery = await take_one(deliveries)
        assert delivery.headers == headers
        await delivery.retry(1)
        again = await take_one(deliveries)
        assert again.headers == {**headers, "attempts": "1"}
        await again.ack()


async def test_messages_outlive_the_broker_object(place: Place, queue: str) -> None:
    """What was published, also with a delay, is there after closing and opening again."""
    async with place.open() as broker:
        await broker.publish(Outgoing(queue, b"now"), Outgoing(queue, b"later", delay=1))
    async with place.open() as broker, broker.consume(queue, prefetch=5) as deliveries:
        bodies = [delivery.body for delivery in await take(deliveries, 2)]
    assert bodies == [b"now", b"later"]


async def test_an_unsettled_message_comes_back_counted(place: Place, queue: str) -> None:
    """What a broker held when it was closed is delivered again, as delivered once before."""
    async with place.open() as broker:
        await broker.publish(Outgoing(queue, b"x"))
        async with broker.consume(queue, prefetch=1) as deliveries:
            await take_one(deliveries)
    async with place.open() as broker, broker.consume(queue, prefetch=1) as deliveries:
        delivery = await take_one(deliveries)
        assert delivery.deliveries == 1
        await delivery.ack()


CRASHING = """
import asyncio, sys
from imageflow.broker import Outgoing
from imageflow.broker.connect import connect
from imageflow.secret import Secret

async def main():
    queue = sys.argv[1]
    async with connect(Secret(sys.stdin.readline().strip())) as broker:
        await broker.publish(*(Outgoing(queue, str(i).encode()) for i in range(10)))
        async with broker.consume(queue, prefetch=5) as deliveries:
            held = [await anext(deliveries) for _ in range(5)]
            await held[0].ack()
            await broker.publish(Outgoing(queue, b"last"))
            print("ready", flush=True)
            await asyncio.sleep(1000)

asyncio.run(main())
"""


async def test_a_killed_process_loses_nothing(place: Place, queue: str) -> None:
    """After kill -9 of a consumer, all that was accepted is there; what it held comes back counted."""
    process = subprocess.Popen(
        [sys.executable, "-c", CRASHING, queue], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(place.url.reveal() + "\n")
        process.stdin.flush()
        assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
    finally:
        process.kill()
        process.communicate()
    counted: dict[bytes, int] = {}
    async with place.open() as broker, broker.consume(queue, prefetch=20) as deliveries:
        for delivery in await take(deliveries, 10):
            counted[delivery.body] = delivery.deliveries
            await delivery.ack()
        assert await nothing_comes(deliveries)
    assert set(counted) == {*(str(i).encode() for i in range(1, 10)), b"last"}
    assert all(counted[str(i).encode()] == 1 for i in range(1, 5))


async def test_a_delayed_message_blocks_nobody(broker: Broker, queue: str) -> None:
    """A delayed message comes after its delay; those behind it come at once."""
    started = time.monotonic()
    await broker.publish(Outgoing(queue, b"late", delay=2), Outgoing(queue, b"soon", delay=0.3))
    await broker.publish(Outgoing(queue, b"now"))
    async with broker.consume(queue, prefetch=5) as deliveries:
        arrived = {}
        for delivery in await take(deliveries, 3):
            arrived[delivery.body] = time.monotonic() - started
            await delivery.ack()
    assert list(arrived) == [b"now", b"soon", b"late"]
    assert time.monotonic() - started >= 1.9


async def test_delayed_messages_return_to_their_own_queues(broker: Broker, queue: str) -> None:
    """The ladder is shared by all queues; each message comes back to its own."""
    names = [f"{queue}.{letter}" for letter in "abc"]
    await broker.publish(*(Outgoing(name, name.encode(), delay=1) for name in names))
    for name in names:
        async with broker.consume(name, prefetch=1) as deliveries:
            delivery = await take_one(deliveries)
            assert delivery.body == name.encode()
            await delivery.ack()


async def test_only_failed_retries_count_as_attempts(broker: Broker, queue: str) -> None:
    """`attempts` counts failures; a postponed message keeps its count; both wait at least the first step."""
    await broker.publish(Outgoing(queue, b"x"))
    seen = []
    async with broker.consume(queue, prefetch=1) as deliveries:
        for failed in (False, True, False, True):
            delivery = await take_one(deliveries)
            seen.append(delivery.headers.get("attempts"))
            started = time.monotonic()
            await delivery.retry(0, failed=failed)
        delivery = await take_one(deliveries)
        assert time.monotonic() - started >= 0.9
        assert (seen, delivery.headers["attempts"]) == ([None, None, "1", "1"], "2")
        assert delivery.deliveries == 0
        await delivery.ack()


async def test_parked_messages_keep_reason_and_queue(broker: Broker, queue: str) -> None:
    """A parked message leaves its queue and lies in the parked one, with why and whence."""
    await broker.publish(Outgoing(queue, b"\x00broken", headers={"flow": "f"}))
    async with broker.consume(queue, prefetch=1) as deliveries:
        await (await take_one(deliveries)).park("not a message: " + "é" * 5000)
        assert await nothing_comes(deliveries)
    async with parked_of(broker, queue) as delivery:
        assert delivery.body == b"\x00broken"
        assert delivery.headers["flow"] == "f"
        assert delivery.headers["reason"].startswith("not a message: é")


async def test_a_message_handed_back_comes_again(broker: Broker, queue: str) -> None:
    """requeue delivers it again at once, with nothing counted as failed."""
    await broker.publish(Outgoing(queue, b"x"))
    async with broker.consume(queue, prefetch=1) as deliveries:
        for _ in range(3):
            await (await take_one(deliveries)).requeue()
        delivery = await take_one(deliveries)
        assert delivery.body == b"x"
        assert "attempts" not in delivery.headers
        await delivery.ack()


async def test_settling_twice_does_no_harm(broker: Broker, queue: str) -> None:
    """Only the first settling counts."""
    await broker.publish(Outgoing(queue, b"a"), Outgoing(queue, b"b"))
    async with broker.consume(queue, prefetch=1) as deliveries:
        first = await take_one(deliveries)
        await first.ack()
        await first.requeue()
        await first.retry(1)
        await first.park("no")
        second = await take_one(deliveries)
        assert second.body == b"b"
        await second.ack()
        assert await nothing_comes(deliveries, 1.5)


async def test_prefetch_bounds_what_is_unacknowledged(broker: Broker, queue: str) -> None:
    """No more than `prefetch` messages are unacknowledged at once; each settled one makes room."""
    await broker.publish(*(Outgoing(queue, b"x") for _ in range(10)))
    async with broker.consume(queue, prefetch=3) as deliveries:
        held = await take(deliveries, 3)
        assert await nothing_comes(deliveries)
        await ready(broker, queue, 7)
        await held[0].ack()
        await take_one(deliveries)
        assert await nothing_comes(deliveries)
    await ready(broker, queue, 6)


async def test_leaving_hands_back_what_was_not_taken(broker: Broker, queue: str) -> None:
    """What was delivered and not taken is there for others at once; what was taken may still be settled."""
    await broker.publish(*(Outgoing(queue, str(i).encode()) for i in range(5)))
    async with broker.consume(queue, prefetch=5) as deliveries:
        taken = await take(deliveries, 2)
    await ready(broker, queue, 3)
    await taken[0].ack()
    await taken[1].retry(1)
    async with broker.consume(queue, prefetch=5) as deliveries:
        bodies = sorted(delivery.body for delivery in await take(deliveries, 4))
    assert bodies == [b"1", b"2", b"3", b"4"]


async def test_a_cancelled_wait_loses_nothing(broker: Broker, queue: str) -> None:
    """Giving up on the iterator's next delivery and asking again misses none, and borrows no more than allowed."""
    async with broker.consume(queue, prefetch=2) as deliveries:
        for _ in range(20):
            await nothing_comes(deliveries, 0.001)
        await broker.publish(*(Outgoing(queue, str(i).encode()) for i in range(4)))
        assert {delivery.body for delivery in await take(deliveries, 2)} == {b"0", b"1"}
        assert await nothing_comes(deliveries)


async def test_consumers_share_a_queue(broker: Broker, queue: str) -> None:
    """No message goes to two consumers at once, none is left."""
    await broker.publish(*(Outgoing(queue, str(i).encode()) for i in range(200)))
    seen: list[bytes] = []

    async def work() -> None:
        async with broker.consume(queue, prefetch=7) as deliveries:
            async for delivery in deliveries:
                seen.append(delivery.body)
                await delivery.ack()
                if len(seen) == 200:
                    finished.set()

    finished = asyncio.Event()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        tasks = [group.create_task(work()) for _ in range(4)]
        await finished.wait()
        for task in tasks:
            task.cancel()
    assert Counter(seen) == Counter(str(i).encode() for i in range(200))


async def test_a_full_queue_refuses(place: Place, queue: str) -> None:
    """A full queue raises QueueFullError, retries still have room, and taking messages makes room again."""
    async with place.open(queue_limit=10) as broker:
        accepted = 0
        with pytest.raises(QueueFullError):
            for _ in range(1000):
                await broker.publish(Outgoing(queue, b"x"))
                accepted += 1
        assert accepted >= 10
        async with broker.consume(queue, prefetch=5) as deliveries:
            for delivery in await take(deliveries, 5):
                await delivery.retry(1)

            async def accepts() -> bool:
                try:
                    await broker.publish(Outgoing(queue, b"x"))
                except QueueFullError:
                    await (await take_one(deliveries)).ack()
                    return False
                return True

            await until(accepts)
        await broker.publish(Outgoing(f"{queue}.other", b"x"))


async def test_a_refused_message_does_not_take_others_along(place: Place, queue: str) -> None:
    """Of concurrent publishes only that to the full queue fails."""
    async with place.open(queue_limit=5) as broker:
        with pytest.raises(QueueFullError):
            for _ in range(1000):
                await broker.publish(Outgoing(queue, b"x"))

        async def publish(name: str) -> type[BaseException] | None:
            try:
                await broker.publish(Outgoing(name, b"x"))
            except BrokerError as error:
                return type(error)
            return None

        async with asyncio.TaskGroup() as group:
            other = [group.create_task(publish(f"{queue}.{i}")) for i in range(5)]
            full = group.create_task(publish(queue))
        assert [task.result() for task in other] == [None] * 5
        assert full.result() is QueueFullError


async def test_depth(broker: Broker, queue: str) -> None:
    """depth tells what is ready and how many consume it; what is delivered is not ready any more."""
    assert await broker.depth(queue) == Depth(0, 0)
    await broker.publish(*(Outgoing(queue, b"x") for _ in range(7)))
    await ready(broker, queue, 7)
    async with broker.consume(queue, prefetch=2) as deliveries:
        held = await take(deliveries, 2)
        await ready(broker, queue, 5)
        assert (await broker.depth(queue)).consumers == 1
        for delivery in held:
            await delivery.ack()


async def test_health(broker: Broker, queue: str) -> None:
    """A connected broker whose consumers run has nothing to complain about."""
    assert broker.healthy is None
    async with broker.consume(queue, prefetch=2):
        await until(lambda: broker.healthy is None)


async def test_a_closed_broker_says_so(place: Place, queue: str) -> None:
    """After closing, publishing raises BrokerError and health is not good."""
    async with place.open() as broker:
        pass
    assert broker.healthy is not None
    started = time.monotonic()
    with pytest.raises(BrokerError):
        await broker.publish(Outgoing(queue, b"x"))
    assert time.monotonic() - started < 1


async def test_a_url_leads_to_a_broker(place: Place, queue: str) -> None:
    """`connect` opens either kind."""
    async with connect(place.url) as broker:
        await broker.publish(Outgoing(queue, b"x"))
        assert isinstance(broker, SqliteBroker | RabbitBroker)


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_lost_whatever_is_done(place: Place, queue: str, seed: int) -> None:
    """Under random ack, retry, requeue, leaving and reopening, every message is acknowledged exactly once."""
    dice = random.Random(seed)
    todo = {str(i).encode() for i in range(60)}
    done: Counter[bytes] = Counter()
    async with place.open() as broker:
        await broker.publish(*(Outgoing(queue, body, delay=dice.choice((0, 0, 1))) for body in sorted(todo)))
    async with asyncio.timeout(60):
        while set(done) < todo:
            async with place.open() as broker:
                await _some_work(broker, queue, dice, done, todo)
    async with place.open() as broker, broker.consume(queue, prefetch=10) as deliveries:
        assert await nothing_comes(deliveries, 1.5)
    assert done == Counter(todo)


async def _some_work(
    broker: Broker, queue: str, dice: random.Random, done: Counter[bytes], todo: Sequence[bytes] | set[bytes]
) -> None:
    for _ in range(dice.randint(1, 4)):
        async with broker.consume(queue, prefetch=dice.randint(1, 10)) as deliveries:
            try:
                async with asyncio.timeout(1.5):
                    for _ in range(dice.randint(5, 30)):
                        await _settle_somehow(await anext(deliveries), dice, done)
                        if set(done) == todo:
                            return
            except TimeoutError:
                continue


async def _settle_somehow(delivery: Delivery, dice: random.Random, done: Counter[bytes]) -> None:
    fate = dice.random()
    if fate < 0.6:
        done[delivery.body] += 1
        await delivery.ack()
    elif fate < 0.75:
        await delivery.retry(1, failed=dice.random() < 0.5)
    elif fate < 0.95:
        await delivery.requeue()


async def test_browsing_leaves_what_is_not_settled(broker: Broker, queue: str) -> None:
    """Browsing gives what is ready, oldest first, and ends; what was settled is gone, the rest is there as before."""
    await broker.publish(*(Outgoing(queue, str(i).encode(), headers={"n": str(i)}) for i in range(6)))
    await ready(broker, queue, 6)
    async with broker.browse(queue) as deliveries:
        seen = []
        async for delivery in deliveries:
            seen.append((delivery.queue, delivery.body, delivery.headers["n"]))
            if delivery.body == b"1":
                await delivery.ack()
            if delivery.body == b"2":
                await delivery.park("looked at")
            if delivery.body == b"3":
                await delivery.requeue()
                break
    assert seen == [(queue, str(i).encode(), str(i)) for i in range(4)]
    async with parked_of(broker, queue) as aside:
        assert (aside.body, aside.headers["reason"]) == (b"2", "looked at")
    await ready(broker, queue, 4)
    async with broker.consume(queue, prefetch=5) as deliveries:
        assert sorted(delivery.body for delivery in await take(deliveries, 4)) == [b"0", b"3", b"4", b"5"]


async def test_browsing_nothing(broker: Broker, queue: str) -> None:
    """A queue that is empty, or was never made, has nothing to look at."""
    async with broker.browse(queue) as deliveries:
        assert [delivery async for delivery in deliveries] == []


async def test_browsing_needs_no_consumer(place: Place, queue: str) -> None:
    """A process that may not consume can look and settle beside the one that does."""
    async with place.open() as consumer, connect(place.url, consumer=False) as visitor:
        await consumer.publish(Outgoing(queue, b"a"), Outgoing(queue, b"b"))
        await ready(consumer, queue, 2)
        async with visitor.browse(queue) as deliveries:
            assert (await anext(deliveries)).body == b"a"
            await (await anext(deliveries)).ack()
        await ready(consumer, queue, 1)
        async with consumer.consume(queue, prefetch=5) as deliveries:
            delivery = await take_one(deliveries)
            assert delivery.body == b"a"
            await delivery.ack()


async def test_parked_messages_are_replayed_and_dropped(place: Place, queue: str) -> None:
    """A parked message is listed with its reason, goes back to its queue as it was, or is dropped; unknown ids say so."""
    name, log = f"imageflow.test.{queue}", AuditLog()
    async with place.open() as broker:
        await broker.publish(*(Outgoing(name, body, headers={"flow": "f"}) for body in (b"one", b"two")))
        async with broker.consume(name, prefetch=2) as deliveries:
            for delivery in await take(deliveries, 2):
                await delivery.retry(1)
            for delivery in await take(deliveries, 2):
                await delivery.park("no good")
            one, two = sorted(await mine(broker, name), key=lambda item: item.excerpt)
            assert (one.flow, one.reason, one.bytes, one.excerpt) == ("f", "no good", 3, "one")
            assert one.headers == {"flow": "f"}
            assert (await dead_letters.one(broker, two.id))[1] == b"two"
            assert [item.id for item in await dead_letters.replay(log, broker, one.id, ACTOR)] == [one.id]
            again = await take_one(deliveries)
            assert (again.body, again.headers) == (b"one", {"flow": "f"})
            await again.ack()
            await dead_letters.drop(log, broker, two.id, ACTOR)
            assert await mine(broker, name) == []
            assert [(entry.what, entry.object) for entry in log.entries] == [
                ("parked.replay", f"message {one.id}"),
                ("parked.drop", f"message {two.id}"),
            ]
            for act in (dead_letters.replay, dead_letters.drop):
                with pytest.raises(NotFoundError, match=two.id):
                    await act(log, broker, two.id, ACTOR)
            with pytest.raises(NotFoundError, match=two.id):
                await dead_letters.one(broker, two.id)


class AuditLog:
    """Stands for the store: it keeps the audit entries."""

    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []

    async def record(self, entry: AuditEntry) -> None:
        self.entries.append(entry)


async def mine(broker: Broker, queue: str) -> list[dead_letters.Parked]:
    """What was parked from a queue: the server's parked queue is everybody's."""
    return [item for item in await dead_letters.look(broker, 1000) if item.queue == queue]


async def test_headers_of_strangers(broker: Broker, queue: str) -> None:
    """Headers that mean something to us, and more of them than fit, do no harm when the message is published again."""
    huge = {f"h{n}": "x" * 20_000 for n in range(5)}
    await broker.publish(Outgoing(queue, b"x", headers={"attempts": "many", "flow": "f", **huge}))
    async with broker.consume(queue, prefetch=1) as deliveries:
        await (await take_one(deliveries)).retry(1)
        delivery = await take_one(deliveries)
        assert (delivery.headers["attempts"], delivery.headers["flow"]) == ("1", "f")
        await delivery.park("why")
    async with parked_of(broker, queue) as aside:
        assert aside.headers["reason"] == "why"
