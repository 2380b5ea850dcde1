"""What only a live RabbitMQ shows: its topology, and our conduct when it goes away, comes back, or takes something away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pytest
import uvloop
from yarl import URL

from imageflow.broker import DELIVERY_LIMIT, Broker, Delivery, Outgoing
from imageflow.broker.rabbitmq import RabbitBroker
from imageflow.broker.rabbitmq_connection import Link, unprepared
from imageflow.broker.rabbitmq_topology import EXCHANGE, delay_arguments, delay_name, queue_arguments
from imageflow.errors import BrokerError
from imageflow.model import retry_ladder
from imageflow.model.messages import OUTBOUND_QUEUE, PARKED_QUEUE
from imageflow.secret import Secret
from tests.contract.test_broker import parked_of, ready, take, take_one, until
from tests.rabbitmq_server import Rabbit

HEALING_SECONDS = 60.0


@pytest.fixture
def queue() -> str:
    return f"test.{secrets.token_hex(6)}"


@pytest.fixture
async def broker(rabbitmq: Rabbit) -> AsyncIterator[RabbitBroker]:
    async with RabbitBroker(Secret(rabbitmq.url)) as broker:
        yield broker


@pytest.fixture
async def foreign(rabbitmq: Rabbit) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    """A channel of another program."""
    async with await aio_pika.connect(rabbitmq.url) as connection:
        yield await connection.channel()


def on_server(rabbitmq: Rabbit, what: str, *columns: str) -> dict[str, dict[str, object]]:
    rows = json.loads(rabbitmq.control(f"list_{what}", "--formatter", "json", *columns))
    return {row["name"]: row for row in rows}


def arguments_of(row: dict[str, object]) -> dict[str, object]:
    """rabbitmqctl prints arguments as [name, type, value] or as an object, by version."""
    raw = row["arguments"]
    return raw if isinstance(raw, dict) else {name: value for name, _, value in raw}  # type: ignore[attr-defined]


async def test_the_topology_is_as_designed(broker: RabbitBroker, rabbitmq: Rabbit, queue: str) -> None:
    """Queues are durable quorum queues with dead-lettering, limits and reject-publish; the ladder has one TTL a step."""
    await broker.publish(Outgoing(queue, b"x"))
    queues = await asyncio.to_thread(on_server, rabbitmq, "queues", "name", "type", "durable", "arguments")
    exchanges = await asyncio.to_thread(on_server, rabbitmq, "exchanges", "name", "type", "durable")
    wanted = {queue: queue_arguments(queue), PARKED_QUEUE: queue_arguments(PARKED_QUEUE)}
    wanted |= {delay_name(seconds): delay_arguments(seconds) for seconds in retry_ladder.LADDER}
    for name, arguments in wanted.items():
        assert (queues[name]["type"], queues[name]["durable"]) == ("quorum", True)
        assert arguments_of(queues[name]) == arguments
    assert (exchanges[EXCHANGE]["type"], exchanges[EXCHANGE]["durable"]) == ("direct", True)
    assert {exchanges[delay_name(seconds)]["type"] for seconds in retry_ladder.LADDER} == {"fanout"}


async def test_the_delivery_limit_parks(broker: RabbitBroker, queue: str) -> None:
    """RabbitMQ itself parks a message that was requeued too often; it says why and whence."""
    await broker.publish(Outgoing(queue, b"poison"))
    async with broker.consume(queue, prefetch=1) as deliveries:
        for _ in range(DELIVERY_LIMIT + 1):
            delivery = await take_one(deliveries)
            await delivery.requeue()
        assert delivery.deliveries == DELIVERY_LIMIT
    async with parked_of(broker, queue) as parked:
        assert parked.body == b"poison"
        assert "delivery_limit" in parked.headers["reason"]


async def test_a_message_climbs_the_same_step_again_and_again(broker: RabbitBroker, queue: str) -> None:
    """RabbitMQ drops what dead-letters in a cycle; a message that is retried must not look like one."""
    await broker.publish(Outgoing(queue, b"x", delay=1))
    async with broker.consume(queue, prefetch=1) as deliveries:
        for _ in range(3):
            delivery = await take_one(deliveries)
            assert not any(name.startswith("x-") for name in delivery.headers)
            await delivery.retry(1)
        delivery = await take_one(deliveries)
        assert delivery.headers == {"attempts": "3"}
        await delivery.ack()


async def test_another_program_publishes_through_the_default_exchange(
    broker: RabbitBroker, foreign: aio_pika.abc.AbstractChannel, queue: str
) -> None:
    """A message that did not come through our exchange is delivered, retried and comes back to its queue."""
    async with broker.consume(queue, prefetch=1) as deliveries:
        await until(lambda: broker.consuming(queue))
        message = aio_pika.Message(b"[]", headers={"flow": "winter"}, message_id="m-1")
        await foreign.default_exchange.publish(message, routing_key=queue)
        await (await take_one(deliveries)).retry(1)
        delivery = await take_one(deliveries)
        assert (delivery.body, delivery.headers) == (b"[]", {"flow": "winter", "message-id": "m-1", "attempts": "1"})
        await delivery.ack()


async def test_other_arguments_are_named(
    broker: RabbitBroker, foreign: aio_pika.abc.AbstractChannel, queue: str
) -> None:
    """A queue that exists with other arguments is an error that names it and says what to do; others go on."""
    await foreign.declare_queue(queue, durable=True)
    with pytest.raises(BrokerError, match=f"{queue} exists with other settings.*delete it"):
        await broker.publish(Outgoing(queue, b"x"))
    async with broker.consume(queue, prefetch=1):
        await until(lambda: broker.healthy and queue in broker.healthy and "other settings" in broker.healthy)
    await broker.publish(Outgoing(f"{queue}.2", b"x"))
    assert broker.healthy is None


@pytest.mark.parametrize("arguments", [{}, {"x-queue-type": "quorum"}, {"x-queue-type": "quorum", "x-max-length": 5}])
async def test_an_outbound_queue_of_another_program(rabbitmq_vhost: str, arguments: dict[str, Any]) -> None:
    """What an ERP's program declared first is used where it is durable: consumed, and published to by its own exchange."""
    async with await aio_pika.connect(rabbitmq_vhost) as connection:
        channel = await connection.channel()
        await channel.declare_queue(OUTBOUND_QUEUE, durable=True, arguments=arguments)
        async with (
            RabbitBroker(Secret(rabbitmq_vhost)) as broker,
            broker.consume(OUTBOUND_QUEUE, prefetch=1) as deliveries,
        ):
            await until(lambda: broker.consuming(OUTBOUND_QUEUE))
            forged = aio_pika.Message(b"1", headers={"flow": "winter", "x-delivery-count": 10**6})
            await channel.default_exchange.publish(forged, routing_key=OUTBOUND_QUEUE)
            delivery = await take_one(deliveries)
            assert (delivery.body, delivery.deliveries) == (b"1", 0)
            if arguments:  # a classic queue does not count
                await delivery.requeue()
                delivery = await take_one(deliveries)
                assert delivery.deliveries == 1
            await delivery.ack()
            await broker.publish(Outgoing(OUTBOUND_QUEUE, b"2"))
            await (await take_one(deliveries)).ack()
            assert broker.healthy is None


async def test_an_outbound_queue_that_a_restart_deletes(rabbitmq_vhost: str) -> None:
    """A queue that is not durable is refused in words, and /ready says so; nothing ends."""
    async with await aio_pika.connect(rabbitmq_vhost) as connection:
        await (await connection.channel()).declare_queue(OUTBOUND_QUEUE, durable=False)
        async with RabbitBroker(Secret(rabbitmq_vhost)) as broker, broker.consume(OUTBOUND_QUEUE, prefetch=1):
            await until(lambda: broker.healthy and "delete it, and it is made anew" in broker.healthy)
            assert not broker.consuming(OUTBOUND_QUEUE)


async def test_a_deleted_queue_is_made_anew_by_publishing(
    broker: RabbitBroker, foreign: aio_pika.abc.AbstractChannel, queue: str
) -> None:
    """A returned message is noticed, the queue declared again, the message published again."""
    await broker.publish(Outgoing(queue, b"1"))
    await foreign.queue_delete(queue)
    await broker.publish(*(Outgoing(queue, str(i).encode()) for i in range(3)))
    async with broker.consume(queue, prefetch=3) as deliveries:
        assert {delivery.body for delivery in await take(deliveries, 3)} == {b"0", b"1", b"2"}


async def test_a_deleted_ladder_and_exchange_are_made_anew(
    broker: RabbitBroker, foreign: aio_pika.abc.AbstractChannel, queue: str
) -> None:
    """Deleting exchanges and delay queues under a running broker loses no publish."""
    await broker.publish(Outgoing(queue, b"1"))
    await foreign.queue_delete(delay_name(1))
    await broker.publish(Outgoing(queue, b"2", delay=1))
    await foreign.exchange_delete(delay_name(1))
    await broker.publish(Outgoing(queue, b"3", delay=1))
    await foreign.exchange_delete(EXCHANGE)
    await broker.publish(Outgoing(queue, b"4"))
    async with broker.consume(queue, prefetch=9) as deliveries:
        assert {delivery.body for delivery in await take(deliveries, 4)} == {b"1", b"2", b"3", b"4"}


async def test_a_consumer_resumes_after_its_queue_was_deleted(
    broker: RabbitBroker, foreign: aio_pika.abc.AbstractChannel, queue: str
) -> None:
    """RabbitMQ cancels the consumer of a deleted queue: the queue is made again and consumed again."""
    async with broker.consume(queue, prefetch=2) as deliveries:
        await broker.publish(Outgoing(queue, b"before"))
        before = await take_one(deliveries)
        await foreign.queue_delete(queue)
        await before.ack()

        async def consumed() -> bool:
            return (await broker.depth(queue)).consumers == 1

        await until(consumed)
        await broker.publish(Outgoing(queue, b"after"))
        delivery = await take_one(deliveries)
        assert delivery.body == b"after"
        await delivery.ack()
        await until(lambda: broker.healthy is None)


async def test_a_queue_without_a_leader_is_not_full(rabbitmq: Rabbit, queue: str) -> None:
    """A negative confirm of a queue that has room is no reason to give up: the message is published once it has a leader."""
    member = f"{{'%2F_{queue}', node()}}"
    async with RabbitBroker(Secret(rabbitmq.url)) as before:
        await before.publish(Outgoing(queue, b"1"))
    await asyncio.to_thread(rabbitmq.control, "eval", f"ra:stop_server(quorum_queues, {member}).")
    # to ask RabbitMQ for its leader takes rabbitmqctl many seconds on a busy machine: the deadline is no part of this
    async with RabbitBroker(Secret(rabbitmq.url), publish_seconds=90) as broker:
        publishing = asyncio.create_task(broker.publish(Outgoing(queue, b"2")))
        await asyncio.sleep(1)
        assert not publishing.done()
        await asyncio.to_thread(rabbitmq.control, "eval", f"ra:restart_server(quorum_queues, {member}).")
        await publishing
        async with broker.consume(queue, prefetch=5) as deliveries:
            assert sorted(delivery.body for delivery in await take(deliveries, 2)) == [b"1", b"2"]


async def test_the_watchdog_consumes_again(broker: RabbitBroker, queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer that RabbitMQ does not have any more, without a word about it, is replaced."""
    monkeypatch.setattr("imageflow.broker.rabbitmq.WATCH_SECONDS", 0.3)
    async with broker.consume(queue, prefetch=2) as deliveries:
        await until(lambda: broker.consuming(queue))
        (channel,) = broker._parts.channels._open
        (tag,) = channel._channel.consumers
        await channel._channel.basic_cancel(tag)
        await broker.publish(Outgoing(queue, b"x"))
        await (await take_one(deliveries)).ack()


async def test_settling_what_rabbitmq_took_back_is_quiet(
    broker: RabbitBroker, foreign: aio_pika.abc.AbstractChannel, queue: str
) -> None:
    """Settling a delivery whose channel is gone raises nothing."""
    async with broker.consume(queue, prefetch=4) as deliveries:
        await broker.publish(*(Outgoing(queue, b"x") for _ in range(4)))
        held = await take(deliveries, 4)
        await foreign.queue_delete(queue)
        await until(lambda: all(delivery._channel.gone for delivery in held))
        await held[0].ack()
        await held[1].retry(1)
        await held[2].park("no")
        await held[3].requeue()


async def test_a_wrong_password_is_refused_and_never_shown(
    rabbitmq: Rabbit, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Entering raises BrokerError with the server's address, without the password; nor is it logged."""
    caplog.set_level(logging.DEBUG)
    scheme, _, rest = rabbitmq.url.partition("://")
    url = f"{scheme}://imageflow:sesam-oeffne-dich@{rest.rpartition('@')[2]}"
    with pytest.raises(BrokerError, match=r"RabbitMQ at 127\.0\.0\.1.*(?i:refused)") as caught:
        async with RabbitBroker(Secret(url)):
            pass
    told = "".join(capsys.readouterr()) + caplog.text + repr(caught.value) + str(caught.value)
    assert "sesam" not in told


async def test_nobody_there(queue: str) -> None:
    """Entering without a server raises BrokerError at once."""
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1:1 cannot be reached"):
        async with RabbitBroker(Secret("amqp://user:password@127.0.0.1:1/")):
            pass


class Proxy:
    """A load balancer in front of RabbitMQ: passes connections on, or accepts and closes them while it is `headless`."""

    def __init__(self, port: int) -> None:
        self.headless = False
        self.accepted = 0
        self._port = port
        self._open: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            self.cut()
            server.close()

    def cut(self) -> None:
        for writer in self._open:
            writer.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        with contextlib.suppress(OSError):
            if not self.headless:
                theirs = await asyncio.open_connection("127.0.0.1", self._port)
                self._open |= {writer, theirs[1]}
                await asyncio.gather(_pump(reader, theirs[1]), _pump(theirs[0], writer))
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_door_that_closes_at_once(run: Callable[[Any], None]) -> None:
    """What accepts and closes is a server that cannot be reached, however the library notices it: every time."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        url = Secret(f"amqp://user:password@127.0.0.1:{port}/")

        def close() -> None:
            for _ in range(100):
                door.accept()[0].close()

        async def knock() -> None:
            for _ in range(100):
                with pytest.raises(BrokerError, match=f"{port} cannot be reached"):
                    await Link(url, "test", unprepared, lambda: None).open()

        closing = threading.Thread(target=close)
        closing.start()
        run(knock())
        closing.join()


async def test_a_load_balancer_without_a_server(rabbitmq: Rabbit, queue: str) -> None:
    """While a load balancer accepts and closes, the broker is not healthy and lives; then it goes on by itself."""
    address = URL(rabbitmq.url)
    proxy = Proxy(address.port or 5672)
    async with (
        proxy.serve() as port,
        RabbitBroker(Secret(str(address.with_port(port))), publish_seconds=1) as broker,
        broker.consume(queue, prefetch=1) as deliveries,
    ):
        await until(lambda: broker.healthy is None)
        proxy.headless = True
        proxy.cut()
        before = proxy.accepted
        await until(lambda: broker.healthy is not None and proxy.accepted > before + 8)
        with pytest.raises(BrokerError):
            await broker.publish(Outgoing(queue, b"x"))
        proxy.headless = False
        await publish_stubbornly(broker, queue, [b"back"], 0)
        delivery = await take_one(deliveries)
        assert delivery.body == b"back"
        await delivery.ack()
        await healed(broker)


async def healed(broker: Broker) -> None:
    async with asyncio.timeout(HEALING_SECONDS):
        while broker.healthy is not None:
            await asyncio.sleep(0.1)


async def publish_stubbornly(broker: Broker, queue: str, bodies: list[bytes], pause: float) -> None:
    for body in bodies:
        while True:
            try:
                await broker.publish(Outgoing(queue, body))
            except BrokerError:
                await asyncio.sleep(0.1)
            else:
                break
        await asyncio.sleep(pause)


async def settle(delivery: Delivery, seen: Counter[bytes]) -> None:
    await asyncio.sleep(0.05)
    if seen[delivery.body] == 0 and hash(delivery.body) % 5 == 0 and "attempts" not in delivery.headers:
        await delivery.retry(1)
        return
    await delivery.ack()
    seen[delivery.body] += 1


@pytest.mark.parametrize("how", ["restart", "kill", "close_connections"])
async def test_nothing_is_lost_when_the_server_goes_away(rabbitmq: Rabbit, queue: str, how: str) -> None:
    """While publishing, consuming and retrying: a restart, a kill -9 and closed connections lose nothing."""
    bodies = [str(i).encode() for i in range(400)]
    seen: Counter[bytes] = Counter()

    def disturb() -> None:
        if how == "restart":
            rabbitmq.restart()
        elif how == "kill":
            rabbitmq.kill()
            rabbitmq.start()
        else:
            rabbitmq.control("close_all_connections", "test")

    async def work(broker: Broker) -> None:
        async with broker.consume(queue, prefetch=20) as deliveries:
            async for delivery in deliveries:
                group.create_task(stubborn(delivery))

    async def stubborn(delivery: Delivery) -> None:
        while True:
            try:
                await settle(delivery, seen)
            except BrokerError:
                await delivery.requeue()
            return

    async with RabbitBroker(Secret(rabbitmq.url), publish_seconds=3) as broker, asyncio.TaskGroup() as group:
        await broker.publish(Outgoing(queue, bodies[0]))
        await asyncio.sleep(
            2
        )  # RabbitMQ 3.10 loses a quorum queue that it made less than half a second before a kill -9
        worker = group.create_task(work(broker))
        publisher = group.create_task(publish_stubbornly(broker, queue, bodies, 0.005))
        await asyncio.sleep(0.7)
        await asyncio.to_thread(disturb)
        await publisher
        async with asyncio.timeout(HEALING_SECONDS):
            while set(seen) != set(bodies):
                await asyncio.sleep(0.1)
        await healed(broker)
        worker.cancel()
    assert set(seen) == set(bodies)


async def test_publishing_has_a_deadline(rabbitmq: Rabbit, queue: str) -> None:
    """A server that stands still makes publish raise BrokerError in time; afterwards everything works again."""
    async with RabbitBroker(Secret(rabbitmq.url), publish_seconds=1) as broker:
        await broker.publish(Outgoing(queue, b"1"))
        rabbitmq.pause()
        try:
            for size in (1, 1 << 20):
                started = time.monotonic()
                with pytest.raises(BrokerError, match="no answer in 1 s"):
                    await broker.publish(*(Outgoing(queue, b"x" * size) for _ in range(20)))
                assert time.monotonic() - started < 3
        finally:
            rabbitmq.resume()
        await publish_stubbornly(broker, queue, [b"2"], 0)
        await healed(broker)


async def test_publishing_while_the_server_is_away(rabbitmq: Rabbit, queue: str) -> None:
    """While the server is down publish raises in time, then at once; health says so; then everything resumes."""
    async with (
        RabbitBroker(Secret(rabbitmq.url), publish_seconds=1) as broker,
        broker.consume(queue, prefetch=1) as deliveries,
    ):
        await until(lambda: broker.healthy is None)
        await asyncio.to_thread(rabbitmq.stop)
        try:
            await until(lambda: broker.healthy is not None)
            with pytest.raises(BrokerError):
                await broker.publish(Outgoing(queue, b"x"))
            await asyncio.sleep(1)
            started = time.monotonic()
            with pytest.raises(BrokerError, match=r"127\.0\.0\.1"):
                await broker.publish(Outgoing(queue, b"x"))
            assert time.monotonic() - started < 0.2
        finally:
            await asyncio.to_thread(rabbitmq.start)
        await publish_stubbornly(broker, queue, [b"back"], 0)
        delivery = await take_one(deliveries)
        assert delivery.body == b"back"
        await delivery.ack()
        await healed(broker)


async def test_an_alarm_stops_publishing_and_delivery(rabbitmq: Rabbit, queue: str) -> None:
    """When RabbitMQ takes no messages (memory alarm), publish raises in time, nothing is delivered, health says why."""
    async with RabbitBroker(Secret(rabbitmq.url), publish_seconds=1) as broker:
        await broker.publish(*(Outgoing(queue, b"x") for _ in range(3)))
        await asyncio.to_thread(rabbitmq.control, "set_vm_memory_high_watermark", "0.0000001")
        try:
            async with asyncio.timeout(HEALING_SECONDS):
                while True:  # the alarm takes a moment
                    try:
                        await broker.publish(Outgoing(queue, b"x"))
                    except BrokerError:
                        break
            await until(lambda: broker.healthy and "takes no messages" in broker.healthy)
            with pytest.raises(BrokerError, match="takes no messages"):
                await broker.publish(Outgoing(queue, b"x"))
            async with broker.consume(queue, prefetch=1) as deliveries:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await anext(deliveries)
        finally:
            await asyncio.to_thread(rabbitmq.control, "set_vm_memory_high_watermark", "absolute", "1GB")
        await healed(broker)
        async with broker.consume(queue, prefetch=1) as deliveries:
            await (await take_one(deliveries)).ack()


async def test_stopping_while_the_server_is_away(rabbitmq: Rabbit, queue: str) -> None:
    """A broker whose server is gone closes in bounded time."""
    async with RabbitBroker(Secret(rabbitmq.url), publish_seconds=1) as broker, broker.consume(queue, prefetch=1):
        await until(lambda: broker.healthy is None)
        await asyncio.to_thread(rabbitmq.kill)
        started = time.monotonic()
    try:
        assert time.monotonic() - started < 15
    finally:
        await asyncio.to_thread(rabbitmq.start)


async def test_many_messages_wait_on_the_server(broker: RabbitBroker, queue: str) -> None:
    """A batch is pipelined: a thousand confirms take far less than a thousand round trips."""
    started = time.monotonic()
    await broker.publish(*(Outgoing(queue, b"x" * 100) for _ in range(1000)))
    assert time.monotonic() - started < 10
    await ready(broker, queue, 1000)
