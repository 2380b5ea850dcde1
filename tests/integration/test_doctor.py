"""The doctor at real servers: a healthy site, a sick one, and one where nothing answers."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import pytest

from imageflow import settings as settings_
from imageflow.broker import Outgoing
from imageflow.broker.rabbitmq import RabbitBroker
from imageflow.clock import SystemClock
from imageflow.doctor import checks
from imageflow.doctor.checks import Finding
from imageflow.doctor.visit import visit
from imageflow.secret import Secret
from imageflow.store.connect import connect
from tests.postgres_server import Postgres, open_server
from tests.rabbitmq_server import PrivateRabbit, Rabbit

FLOW = {
    "name": "winter",
    "direction": "inbound",
    "omnitron": {"domain_url": "https://brand.example.com", "username": "d", "password": {"env": "DOCTORS_SECRET"}},
    "erp": {"endpoint_url": "https://erp.example.com/"},
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Management:
    """A server's management API, with an administrator's rights."""

    def __init__(self, rabbitmq: PrivateRabbit, port: int) -> None:
        credentials = urlsplit(rabbitmq.url).netloc.rpartition("@")[0]
        self.url = f"http://127.0.0.1:{port}"
        self._headers = {"Authorization": "Basic " + base64.b64encode(credentials.encode()).decode()}

    def policy(self, vhost: str, name: str, policy: dict | None) -> None:
        """Set a policy, or clear it."""
        request = urllib.request.Request(
            f"{self.url}/api/policies/{vhost}/{name}",
            method="DELETE" if policy is None else "PUT",
            data=None if policy is None else json.dumps(policy).encode(),
            headers={**self._headers, "Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=30).close()


@pytest.fixture
def management(rabbitmq: Rabbit) -> Iterator[Management]:
    """The server's management API, which runs for this test. What `rabbitmq-plugins` does, in one call of a slow tool."""
    if not isinstance(rabbitmq, PrivateRabbit):
        pytest.skip("this RabbitMQ server is not ours to change")
    port, plugins = free_port(), rabbitmq._folder / "plugins"
    plugins.write_text("[rabbitmq_management].\n")
    try:
        rabbitmq.control(
            "eval",
            f'application:set_env(rabbitmq_management, listener, [{{port,{port}}},{{ip,"127.0.0.1"}}]), '
            'rabbit_auth_backend_internal:set_tags(<<"imageflow">>, [administrator], <<"test">>), '
            f'rabbit_plugins:ensure("{plugins}").',
        )
        yield Management(rabbitmq, port)
    finally:
        plugins.write_text("[].\n")
        rabbitmq.control("eval", f'rabbit_plugins:ensure("{plugins}").')


async def examine(
    folder: Path, management: str | None = None, environ: dict | None = None, **urls: str
) -> list[Finding]:
    variables = {f"IMAGEFLOW_{name}": value for name, value in urls.items()}
    settings = settings_.load({"IMAGEFLOW_DATA_DIR": str(folder), "IMAGEFLOW_SECRET_KEY": "k", **variables})
    return checks.findings(await visit(settings, environ or {}, management))


async def examine_until(seen: Callable[[list[Finding]], bool], *arguments: Any, **urls: str) -> list[Finding]:
    """Examine until that is seen, or for a minute: the management API's picture of a queue is seconds old."""
    deadline = time.monotonic() + 60
    while not seen(found := await examine(*arguments, **urls)) and time.monotonic() < deadline:
        pass
    return found


def texts(found: list[Finding], level: str) -> str:
    return "\n".join(finding.text for finding in found if finding.level == level)


@pytest.fixture
def durable_postgres(postgres: Postgres) -> Iterator[Postgres]:
    """A server as one would run it: the others' does not wait for the disk, which the doctor finds wrong."""
    server = open_server()
    assert server is not None
    yield server
    server.close()


async def test_a_sick_site_over_rabbitmq_and_postgresql(
    rabbitmq_vhost: str, management: Management, durable_postgres: Postgres, tmp_path: Path
) -> None:
    """No consumers, a policy that shadows, a classic queue in the place of ours, a secret that is not set; mended, all
    of it is gone."""
    database = durable_postgres.new_database()
    urls = {"BROKER_URL": rabbitmq_vhost, "STORE_URL": database}
    async with connect(Secret(database), SystemClock()) as store:
        await store.upgrade()
        await store.save_flow(FLOW)
    vhost = rabbitmq_vhost.rpartition("/")[2]
    async with await aio_pika.connect(rabbitmq_vhost) as connection:
        channel = await connection.channel()
        await channel.declare_queue("imageflow.write.winter", durable=True)
        async with RabbitBroker(Secret(rabbitmq_vhost)) as broker:
            await broker.publish(Outgoing("imageflow.read", b"{}"))
            short = {"pattern": "^imageflow", "definition": {"max-length": 5}, "apply-to": "queues"}
            await asyncio.to_thread(management.policy, vhost, "short", short)
            expected = [
                "imageflow.write.winter is a classic queue",
                "imageflow.read: it has no consumer; 1 messages wait",
                "imageflow.read: short sets max-length = 5 instead of 20000",
                "imageflow.transform.winter does not exist",
                "DOCTORS_SECRET is not set",
            ]

            def all_found(found: list[Finding]) -> bool:  # RabbitMQ applies a policy to one queue after the other
                return all(text in texts(found, "wrong") for text in expected)

            found = await examine_until(all_found, tmp_path, management.url, **urls)
            assert [text for text in expected if text not in texts(found, "wrong")] == []
            assert not checks.ok(found)
            assert f"rabbitmqctl clear_policy -p {vhost} short" in {finding.mend for finding in found}
            # mended, with the commands' effects
            await asyncio.to_thread(management.policy, vhost, "short", None)
            await channel.queue_delete("imageflow.write.winter")
            async with (
                broker.consume("imageflow.read", prefetch=1) as reader,
                broker.consume("imageflow.transform.winter", prefetch=1),
                broker.consume("imageflow.write.winter", prefetch=1),
            ):
                await (await anext(reader)).ack()
                found = await examine_until(checks.ok, tmp_path, management.url, {"DOCTORS_SECRET": "x"}, **urls)
    assert texts(found, "wrong") == ""
    assert checks.ok(found)
    assert "no alarms" in texts(found, "ok")
    assert "the database and this machine agree" in texts(found, "ok")


async def test_over_amqp_alone(rabbitmq_vhost: str, tmp_path: Path) -> None:
    """Without the management API a queue with other arguments is found all the same, and what was not seen is said."""
    async with await aio_pika.connect(rabbitmq_vhost) as connection:
        channel = await connection.channel()
        await channel.declare_queue("imageflow.read", durable=True, arguments={"x-queue-type": "quorum"})
        found = await examine(tmp_path, "http://127.0.0.1:1", BROKER_URL=rabbitmq_vhost)
    assert "imageflow.read was declared with other settings" in texts(found, "wrong")
    assert "alarms, policies, limits" in texts(found, "unseen")
    assert "RabbitMQ 3" in texts(found, "ok") or "RabbitMQ 4" in texts(found, "ok")


async def test_the_wrong_folder(tmp_path: Path) -> None:
    """It says what other commands say there, names no command that would make data in it, and makes none."""
    found = [one for one in await examine(tmp_path / "data") if one.about in ("broker", "database", "flows")]
    said = f"there is no data in {tmp_path}/data yet; IMAGEFLOW_DATA_DIR says which folder is meant"
    assert [(one.level, one.text) for one in found if one.about == "database"] == [("warning", said)]
    assert not any("db upgrade" in (one.mend or "") for one in found)
    assert {one.level for one in found} == {"warning", "unseen"}
    assert list(tmp_path.iterdir()) == []


async def test_nothing_answers(tmp_path: Path) -> None:
    """Both are said to be away, without their passwords, and nothing is raised."""
    port = free_port()
    found = await examine(
        tmp_path,
        BROKER_URL=f"amqp://flow:s3cret@127.0.0.1:{port}/",
        STORE_URL=f"postgresql://flow:s3cret@127.0.0.1:{port}/db",
    )
    wrong = texts(found, "wrong")
    assert f"RabbitMQ at 127.0.0.1:{port} cannot be used" in wrong
    assert wrong.count(f"PostgreSQL at 127.0.0.1:{port}/db") == 1
    assert "s3cret" not in str(found)
