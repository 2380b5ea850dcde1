"""The door while things die: what was answered 202, or confirmed by RabbitMQ, reaches Omnitron exactly as it was sent."""

import asyncio
import json
import time
from contextlib import AsyncExitStack, suppress

import aio_pika
import aiohttp
import pytest
from yarl import URL

from tests.acceptance.harness import balanced, free_port, get, kill, site, wait_for

POSTS = 200
MESSAGES = 50
KEPT_BACK = 10
ROWS = 2
PATIENCE = 150.0


def rows(name):
    """The rows of one post: products that no other post has."""
    return [
        {"sku": f"{name}-{n}", "images": [f"https://img.example.com/{name}/{n}/{k}.jpg" for k in range(2)]}
        for n in range(ROWS)
    ]


SENT = {name: rows(name) for name in [f"H{n}" for n in range(POSTS)] + [f"Q{n}" for n in range(MESSAGES)]}


@pytest.fixture
def door(tmp_path, rabbitmq_vhost, postgres):
    """The services of an outbound flow as processes of their own, and a machine's token."""
    with site(tmp_path, IMAGEFLOW_BROKER_URL=rabbitmq_vhost, IMAGEFLOW_STORE_URL=postgres.new_database()) as here:
        here.omnitron = here.emulate("omnitron", "--rows", "0")
        here.erp = "http://127.0.0.1:9"
        here.flow("posts", direction="outbound", erp=None, script=None, mapping=None)
        here.call("flow", "apply", str(here.flows / "posts.yaml"))
        here.call("user", "add", "erp", stdin="correct horse\n")
        for name in ("transformer", "writer"):
            here.spawn(name)
        here.port = free_port()
        here.url = f"http://127.0.0.1:{here.port}"
        here.gateway = start_gateway(here)
        status, token = get(f"{here.url}/api/nifi/login", data=b"username=erp&password=correct+horse")
        assert status == 200
        here.bearer = f"Bearer {token.decode()}"
        yield here


def start_gateway(here):
    gateway = here.spawn("gateway", "--port", str(here.port))
    wait_for(lambda: get(f"{here.url}/health")[0] == 200, what="the gateway")
    return gateway


class Erp:
    """Sends all that is to be sent, each again and again with its key until it is taken."""

    def __init__(self, here, amqp):
        self.here, self.amqp = here, amqp
        self.answers = {}
        self.confirmed = set()
        self.statuses = set()
        self.may_end = asyncio.Event()
        """Until then the last messages are kept back: what happens meanwhile happens in the middle."""

    async def post_all(self):
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
            asyncio.TaskGroup() as group,
        ):
            for name in SENT:
                if name.startswith("H"):
                    group.create_task(self.post(session, name))

    async def post(self, session, name):
        headers = {"Authorization": self.here.bearer, "Idempotency-Key": name}
        while True:
            with suppress(aiohttp.ClientError, OSError):
                url = f"{self.here.url}/api/outbound/posts"
                async with session.post(url, json=SENT[name], headers=headers) as answer:
                    body = await answer.json()
                    self.statuses.add(answer.status)
                    if answer.status == 202:
                        assert self.answers.setdefault(name, body) == body, "a repeat gets the first answer"
                        return
            await asyncio.sleep(0.2)

    async def publish_all(self):
        left = [name for name in SENT if name.startswith("Q")]
        while left:
            try:
                await self.publish(left)
            except (aio_pika.exceptions.AMQPError, OSError, RuntimeError, asyncio.CancelledError):
                if (task := asyncio.current_task()) and task.cancelling():
                    raise
                await asyncio.sleep(0.2)

    async def publish(self, left):
        async with AsyncExitStack() as stack:
            connection = aio_pika.Connection(URL(self.amqp))
            stack.push_async_callback(
                connection.close
            )  # one that never came about, too, or it closes itself without a loop
            await connection.connect(timeout=5)
            channel = await connection.channel(on_return_raises=True)
            while left:
                if len(left) <= KEPT_BACK:
                    await self.may_end.wait()
                name = left[0]
                body = json.dumps(SENT[name]).encode()
                message = aio_pika.Message(body, headers={"flow": "posts"}, message_id=name, delivery_mode=2)
                await channel.default_exchange.publish(message, routing_key="imageflow.outbound", timeout=5)
                self.confirmed.add(left.pop(0))
                await asyncio.sleep(0.02)


@pytest.mark.timeout(400)
async def test_kill_the_gateway_and_restart_rabbitmq(door, rabbitmq, rabbitmq_vhost):
    """200 posts in parallel and 50 published messages, with kill -9 of the gateway and a restart of RabbitMQ in between:
    all that was taken is on Omnitron as it was sent, once; sending everything again adds nothing.
    """
    erp = Erp(door, rabbitmq_vhost)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        group.create_task(erp.post_all())
        group.create_task(erp.publish_all())
        await progress(erp, 20, 5)
        kill(door.gateway)
        door.gateway = await asyncio.to_thread(start_gateway, door)
        await progress(erp, 40, 15)
        restarting = asyncio.create_task(asyncio.to_thread(rabbitmq.restart))
        erp.may_end.set()
        await restarting
    assert erp.statuses <= {202, 503}
    assert len(erp.answers) == POSTS
    assert len(erp.confirmed) == MESSAGES
    first = dict(erp.answers)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        group.create_task(erp.post_all())
        group.create_task(erp.publish_all())
    assert erp.answers == first
    runs = await asyncio.to_thread(wait_for, lambda: all_ended(door), PATIENCE, "all runs to end")
    assert len(runs) <= POSTS + MESSAGES, "posts that came together share a run"
    assert {run["run_id"] for run in runs} >= {answer["run_id"] for answer in erp.answers.values()}
    assert all(run["status"] == "success" and balanced(run) for run in runs)
    assert sum(run["rows"]["total"] for run in runs) == sum(map(len, SENT.values()))
    assert door.images() == {
        row["sku"]: [(k, url, "default") for k, url in enumerate(row["images"])]
        for posted in SENT.values()
        for row in posted
    }


async def progress(erp, posts, messages):
    """Wait until so many posts are answered and so many messages confirmed."""
    while len(erp.answers) < posts or len(erp.confirmed) < messages:
        await asyncio.sleep(0.005)


def all_ended(here):
    time.sleep(0.5)
    runs = json.loads(here.call("runs", "posts", "--limit", "1000", "--json").stdout)
    done = sum(run["rows"]["total"] for run in runs) >= sum(map(len, SENT.values()))
    done = done and all(run["status"] not in ("queued", "reading", "draining") for run in runs)
    return runs if done else None
