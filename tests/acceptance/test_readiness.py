"""/ready is green only once everything is there, and from then on."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from pathlib import Path

import aio_pika
import pytest

from imageflow.model.messages import OUTBOUND_QUEUE
from tests.acceptance.harness import free_port, get, site, wait_for

STEADY_SECONDS = 1.0


async def _publish(url: str) -> None:
    """Raises where the message has no queue."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(on_return_raises=True)
        message = aio_pika.Message(json.dumps([{"sku": "A", "images": ["https://c.example/1.jpg"]}]).encode())
        message.headers = {"flow": "posted"}
        await channel.default_exchange.publish(message, routing_key=OUTBOUND_QUEUE, mandatory=True)


@pytest.mark.parametrize("service", ["gateway", "up"])
def test_the_first_green_answer_is_true(tmp_path: Path, postgres, rabbitmq_vhost: str, service: str) -> None:
    """Asked all the while from a cold start: what is published at the first 200 has its queue, and no red answer follows."""
    environ = {"IMAGEFLOW_BROKER_URL": rabbitmq_vhost, "IMAGEFLOW_STORE_URL": postgres.new_database()}
    with site(tmp_path, **environ) as place:
        place.omnitron = "http://127.0.0.1:9"
        place.call("db", "upgrade")
        for name in ("posted", "other"):
            place.flow(name, direction="outbound", erp=None, script=None, mapping=None)
        port = free_port()
        process = place.spawn(service, "--port", str(port))
        _wait_until_green(port, process)
        asyncio.run(_publish(rabbitmq_vhost))
        until = time.monotonic() + STEADY_SECONDS
        while time.monotonic() < until:
            status, body = get(f"http://127.0.0.1:{port}/ready")
            assert status == 200, body


def _wait_until_green(port: int, process: subprocess.Popen[bytes]) -> None:
    """Polls without a pause."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None
        try:
            status, _ = get(f"http://127.0.0.1:{port}/ready")
        except OSError:
            continue
        if status == 200:
            return
    raise AssertionError("never green")


def test_a_new_flow_is_no_loss(tmp_path: Path, postgres, rabbitmq_vhost: str) -> None:
    """While services run, a flow that is saved gets its queues without a red answer."""
    environ = {"IMAGEFLOW_BROKER_URL": rabbitmq_vhost, "IMAGEFLOW_STORE_URL": postgres.new_database()}
    with site(tmp_path, **environ) as place:
        place.erp = place.omnitron = "http://127.0.0.1:9"
        place.call("db", "upgrade")
        port = free_port()
        process = place.spawn("up", "--port", str(port))
        _wait_until_green(port, process)
        place.flow("new")
        place.call("flow", "apply", str(place.flows / "new.yaml"))
        until = time.monotonic() + 3 * STEADY_SECONDS
        while time.monotonic() < until:
            status, body = get(f"http://127.0.0.1:{port}/ready")
            assert status == 200, body
        lines = wait_for(lambda: get(f"http://127.0.0.1:{port}/metrics")[1], what="metrics")
        assert b"imageflow_ready 1" in lines
