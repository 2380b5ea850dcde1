"""How fast the outbound door is, beside a bare handler that only parses the body: `python -m tests.benchmarks.gateway`.

In one run, in turns: (a) a bare aiohttp handler that parses the JSON and answers, (b) one `imageflow gateway` over
RabbitMQ with PostgreSQL, which answers when the rows are durable and the transformer is told. One client process posts to
either over as many connections. Absolute figures are of this machine and of whatever else it does; the ratio b/a is what is
compared; and the CPU time that the process itself spends on a post, which a busy machine hardly changes. Memory is that of
the gateway's process.

Then, with a transformer and a writer, posts of one row of different products through to a fast Omnitron: rows/s from the
first post to the last row settled, and what each process spends on a row.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import aiohttp
import asyncpg
import msgspec
import psutil
import uvloop
from aiohttp import web

from imageflow.actions import users
from imageflow.actions.actor import Actor
from imageflow.broker.connect import connect as connect_broker
from imageflow.clock import SystemClock
from imageflow.model import messages
from imageflow.secret import Secret
from imageflow.store.connect import connect as connect_store
from tests import postgres_server, rabbitmq_server
from tests.benchmarks.bed import Sink, cpu_of_all, document
from tests.draining import drain

FLOW = "bench"
THROUGH = "through"
PASSWORD = "correct horse"
ARRIVED: set[str] = set()
"""The runs whose pages have been seen in the queue."""


class Measured(NamedTuple):
    """What a client saw."""

    seconds: float
    p50: float
    p99: float
    cpu: float = 0.0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def body(rows: int, first: int = 0) -> bytes:
    return msgspec.json.encode(
        [
            {"sku": f"SKU-{n:07}", "images": [f"https://img.example.com/catalog/{n:07}/{k}.jpg" for k in range(3)]}
            for n in range(first, first + rows)
        ]
    )


async def bare(port: int) -> None:
    """(a): what an engineer would write in ten lines."""

    async def handle(request: web.Request) -> web.Response:
        rows = msgspec.json.decode(await request.read())
        return web.json_response({"rows": len(rows)}, status=202)

    app = web.Application(client_max_size=20 << 20)
    app.router.add_post("/api/outbound/{flow}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


async def load(url: str, token: str, posts: int, rows: int, concurrency: int, flow: str) -> Measured:
    """Post as fast as the other side answers, other products each time."""
    contents = [body(rows, n * rows) for n in range(posts)]
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    taken: list[float] = []
    left = iter(contents)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:

        async def loop() -> None:
            for content in left:
                begun = time.perf_counter()
                async with session.post(f"{url}/api/outbound/{flow}", data=content, headers=headers) as answer:
                    await answer.read()
                    assert answer.status == 202, answer.status
                taken.append(time.perf_counter() - begun)

        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(loop())
        seconds = time.perf_counter() - started
    taken.sort()
    return Measured(seconds, taken[len(taken) // 2], taken[min(len(taken) - 1, int(len(taken) * 0.99))])


async def prepare(environ: dict[str, str], sink: str) -> None:
    async with connect_store(Secret(environ["IMAGEFLOW_STORE_URL"]), SystemClock()) as store:
        await store.upgrade()
        for name, domain in ((FLOW, "http://127.0.0.1:9"), (THROUGH, sink)):
            await store.save_flow(document(domain, name, {}))
        await users.save(store, "erp", PASSWORD, "operator", Actor("bench", "bench"))


async def arrive(environ: dict[str, str]) -> None:
    """Wait until all rows that were posted wait to be transformed; they are thrown away: the gateway refuses more than 10,000
    messages. What an overloaded broker did not take in time comes from the outbox a little later.
    """
    async with (
        asyncio.timeout(120),
        connect_broker(Secret(environ["IMAGEFLOW_BROKER_URL"]), consumer=False) as broker,
        connect_store(Secret(environ["IMAGEFLOW_STORE_URL"]), SystemClock()) as store,
    ):
        waiting = {run.run_id for run in await store.runs(limit=100_000, active=True)} - ARRIVED
        while waiting - ARRIVED:
            for body in await drain(broker, messages.transform_queue(FLOW)):
                ARRIVED.add(messages.decode(body).run_id)
            await asyncio.sleep(0.2)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return answer.status == 200
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def wait(url: str, process: subprocess.Popen) -> None:
    while not answers(url):
        if process.poll() is not None:
            raise SystemExit("the process under test ended early")
        time.sleep(0.1)


def login(url: str) -> str:
    data = json.dumps({"username": "erp", "password": PASSWORD}).encode()
    request = urllib.request.Request(f"{url}/api/login", data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())["token"]


def client(url: str, token: str, posts: int, rows: int, concurrency: int, flow: str = FLOW) -> Measured:
    """Run `load` in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.gateway", "--load", url, str(posts), str(rows), flow]
    command += ["--concurrency", str(concurrency)]
    environ = os.environ | {"BENCH_TOKEN": token}  # a token may begin with a dash, as an option does
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return Measured(*json.loads(done.stdout))


def cpu(process: subprocess.Popen) -> float:
    used = psutil.Process(process.pid).cpu_times()
    return used.user + used.system


async def settled(environ: dict[str, str], rows: int) -> None:
    """Wait until that many rows of THROUGH are settled, none of them failed."""
    query = "SELECT sum(failed), sum(written + unchanged + superseded), count(*) FROM runs WHERE flow = $1"
    connection = await asyncpg.connect(environ["IMAGEFLOW_STORE_URL"])
    try:
        async with asyncio.timeout(300):
            while (found := await connection.fetchrow(query, THROUGH))[1] != rows:
                if found[0]:
                    raise SystemExit(f"{found[0]} rows failed")
                await asyncio.sleep(0.1)
    finally:
        await connection.close()
    print(f"  {rows:,} rows were posted one by one; they are in {found[2]:,} runs")


def line(name: str, unit: str, per_post: int, posts: int, found: list[Measured]) -> float:
    rate = statistics.median(posts * per_post / one.seconds for one in found)
    p50, p99 = (statistics.median(getattr(one, which) for one in found) * 1000 for which in ("p50", "p99"))
    used = statistics.median(one.cpu / posts for one in found) * 1000
    print(f"  {name:14} {rate:>10,.0f} {unit:8} {p50:>9.1f} {p99:>9.1f} {used:>16.2f}", flush=True)
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=3000, help="of 1 row, each round")
    parser.add_argument("--large-posts", type=int, default=100, help="of 1,000 rows, each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--bare", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--through", type=int, default=3000, help="posts of 1 row through to Omnitron")
    parser.add_argument("--load", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        uvloop.run(bare(options.bare))
    if options.load:
        url, posts, rows, flow = options.load
        work = load(url, os.environ["BENCH_TOKEN"], int(posts), int(rows), options.concurrency, flow)
        print(json.dumps(uvloop.run(work)))
        return
    if options.posts >= 10_000:
        raise SystemExit("--posts: fewer than 10,000, after which the gateway tells the ERP to wait")
    with ExitStack() as stack:
        rabbit, postgres = rabbitmq_server.open_server(), postgres_server.open_server()
        if rabbit is None or postgres is None:
            raise SystemExit(
                "needs RabbitMQ and PostgreSQL: installed, or at IMAGEFLOW_TEST_AMQP_URL and IMAGEFLOW_TEST_POSTGRES_URL"
            )
        stack.callback(rabbit.close)
        stack.callback(postgres.close)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environ = {
            **os.environ,
            "IMAGEFLOW_BROKER_URL": rabbit.url,
            "IMAGEFLOW_STORE_URL": postgres.new_database(),
            "IMAGEFLOW_DATA_DIR": str(folder),
            "BENCH_PASSWORD": "demo",
        }
        uvloop.run(prepare(environ, Sink(stack).url))

        def start(*command: str) -> subprocess.Popen:
            process = subprocess.Popen([sys.executable, "-m", *command], env=environ, stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return process

        def spawn(*command: str) -> tuple[subprocess.Popen, str]:
            port = free_port()
            process = start(*command, str(port))
            url = f"http://127.0.0.1:{port}"
            wait(url, process)
            return process, url

        bare_process, bare_url = spawn("tests.benchmarks.gateway", "--bare")
        gateway, url = spawn("imageflow", "gateway", "--port")
        memory = psutil.Process(gateway.pid).memory_info
        token = login(url)
        kinds = {"1 row": (1, options.posts, "posts/s"), "1,000 rows": (1000, options.large_posts, "rows/s")}
        found: dict[tuple[str, str], list[Measured]] = {}
        used = [("before", memory().rss)]
        for number in range(1, options.rounds + 1):
            for kind, (rows, posts, _) in kinds.items():
                for side, process, where in (("bare handler", bare_process, bare_url), ("gateway", gateway, url)):
                    before = cpu(process)
                    seen = client(where, token, posts, rows, options.concurrency)
                    found.setdefault((kind, side), []).append(seen._replace(cpu=cpu(process) - before))
                uvloop.run(arrive(environ))
                used.append((f"round {number}, {kind}", memory().rss))
        print(f"median of {options.rounds} rounds, {options.concurrency} connections\n")
        for kind, (rows, posts, unit) in kinds.items():
            print(f"posts of {kind:9}                          p50 ms    p99 ms  its CPU, ms/post")
            a, b = (line(side, unit, rows, posts, found[kind, side]) for side in ("bare handler", "gateway"))
            print(f"  ratio          {b / a:>10.2f}\n")
        print("memory of the gateway, MiB: " + ", ".join(f"{rss / 2**20:.0f} {when}" for when, rss in used))
        if options.through:
            services = {"gateway": gateway, **{name: start("imageflow", name) for name in ("transformer", "writer")}}
            through(
                environ,
                services,
                lambda posts: client(url, token, posts, 1, options.concurrency, THROUGH),
                options.through,
            )


def through(
    environ: dict[str, str], services: dict[str, subprocess.Popen], post: Callable[[int], Measured], posts: int
) -> None:
    """Posts of one row, from the door to a fast Omnitron."""
    print("\nposts of 1 row, through to Omnitron")
    post(1)
    uvloop.run(settled(environ, 1))
    before, begun = cpu_of_all(services), time.perf_counter()
    seen = post(posts)
    uvloop.run(settled(environ, posts + 1))
    took = time.perf_counter() - begun
    print(f"  accepted {posts / seen.seconds:,.0f} posts/s, p50 {seen.p50 * 1000:.1f} ms, p99 {seen.p99 * 1000:.1f} ms")
    print(f"  settled  {posts / took:,.0f} rows/s")
    spent = {name: (used - before[name]) / posts * 1000 for name, used in cpu_of_all(services).items()}
    print("  CPU, ms/row: " + ", ".join(f"{name} {used:.2f}" for name, used in spent.items()))


if __name__ == "__main__":
    main()
