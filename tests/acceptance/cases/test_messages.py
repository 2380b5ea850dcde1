"""Messages for the queue imageflow.outbound, as the clients of RabbitMQ make them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import aio_pika
import pytest
from aio_pika.exceptions import DeliveryError

from imageflow.actions import dead_letters
from imageflow.model.messages import OUTBOUND_QUEUE
from tests.acceptance.cases.erp import DATA
from tests.acceptance.cases.site import Site, services

CASE = "amqp_content_encoding"
MESSAGES: list[dict[str, Any]] = json.loads((DATA / CASE / "messages.json").read_text("utf-8"))


SETTLED_SECONDS = 180.0
"""A busy machine makes queues and elects their leaders slowly; what could not be published until then comes from the outbox."""


async def until(condition: Callable[[], Any]) -> Any:
    """The first true value of `condition`."""
    async with asyncio.timeout(SETTLED_SECONDS):
        while not (value := await condition()):
            await asyncio.sleep(0.05)
    return value


def body(message: dict[str, Any]) -> bytes:
    return base64.b64decode(message["base64"]) if "base64" in message else message["text"].encode()


async def publish(url: str, flow: str) -> None:
    """Publish all messages as they are; the flow's name stands in the place of `posts`."""
    async with await aio_pika.connect(url) as connection, connection.channel(on_return_raises=True) as channel:
        for message in MESSAGES:
            properties = dict(message["properties"])
            if "expiration" in properties:
                properties["expiration"] = int(properties["expiration"]) / 1000
            headers = {
                name: value.replace("posts", flow) if isinstance(value, str) else value
                for name, value in message["headers"].items()
            }
            made = aio_pika.Message(body(message), headers=headers, **properties)
            await taken(channel, made)


async def taken(channel: aio_pika.abc.AbstractChannel, message: aio_pika.Message) -> None:
    """Publish until it is confirmed: RabbitMQ returns what comes before the gateway has made the queue, and a quorum queue
    that was just made refuses what comes before it has a leader.
    """
    for _ in range(150):
        try:
            await channel.default_exchange.publish(message, routing_key=OUTBOUND_QUEUE)
        except DeliveryError:
            await asyncio.sleep(0.2)
        else:
            return
    raise AssertionError("RabbitMQ refuses the message")


async def settled(site: Site, flow: str) -> dict[bytes, str]:
    """Why messages are parked, by body, once each message is a row of a run that has ended, or parked."""
    s = site.substrate

    async def ended() -> dict[bytes, str] | None:
        rows = sum(run.counts.total for run in await s.store.runs(flow) if run.ended)
        parked = await dead_letters.look(s.broker, 100)
        done = rows + len(parked) >= len(MESSAGES)
        return {item.excerpt.encode()[:200]: item.reason for item in parked} if done else None

    return await until(ended)


@pytest.fixture
def rabbit_site(tmp_path, rabbitmq_vhost):
    with services(tmp_path, rabbitmq_vhost) as site:
        yield site


def test_amqp_content_encoding(rabbit_site: Site, rabbitmq_vhost: str):
    """smallrye-reactive-messaging#3370, celery/kombu#649: a content_encoding that names a charset is no compression."""
    with rabbit_site.stage(CASE, answers=[]) as stage:
        flow = stage.flow("posts.yaml")
        rabbit_site.call(publish(rabbitmq_vhost, flow))
        parked = rabbit_site.call(settled(rabbit_site, flow))
        pictures = stage.pictures
    for message in MESSAGES:
        right, text = message["right"], body(message)
        reason = parked.get(text.decode("utf-8", "replace").encode()[:200])
        if right == "written":
            assert reason is None
            (row,) = json.loads(text)
            assert pictures[row["sku"]] == row["images"]
        elif right.startswith("parked: "):
            assert reason is not None
            assert right.removeprefix("parked: ").split(" '")[0] in reason
        else:
            assert reason is None or "compress" in reason
