"""How fast one writer process is, beside a bare client loop on the same sink: `python -m tests.benchmarks.writer`.

In one run, in turns: (a) a bare aiohttp loop that posts rows to a fast sink, (b) one `imageflow writer` over RabbitMQ
with the ledger and a log per row in PostgreSQL. Rates are of the steady part: what the sink counted between the first
and the last tenth of the rows. Absolute figures are of this machine; the ratio b/a is what is compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import msgspec
import uvloop

from imageflow import messages
from imageflow.broker import Outgoing
from imageflow.broker.connect import connect as connect_broker
from imageflow.clock import SystemClock
from imageflow.imageset import Image
from imageflow.page import row_version
from imageflow.row import Row
from imageflow.run import Run, Trigger, new_run_id
from imageflow.secret import Secret
from imageflow.store.connect import connect as connect_store
from tests import postgres_server, rabbitmq_server

PAGE = 100
IMAGES_PATH = "/api/v1/downloadable-image/"


def images(n: int) -> tuple[Image, ...]:
    return tuple(Image(f"https://img.example.com/catalog/{n:07}/{order}.jpg", order) for order in range(3))


def get(url: str, data: bytes | None = None, headers: dict[str, str] | None = None):
    with urllib.request.urlopen(urllib.request.Request(url, data=data, headers=headers or {}), timeout=30) as answer:
        return json.loads(answer.read())


def written(sink: str) -> int:
    return get(f"{sink}/_emulator/state?sku=-")["counters"]["written"]


def steady_rate(sink: str, rows: int, alive) -> float:
    """Rows per second between 10% and 90% of `rows` more at the sink."""
    base, begun = written(sink), None
    while True:
        now, count = time.perf_counter(), written(sink) - base
        if begun is None and count >= rows * 0.1:
            begun = (now, count)
        if begun is not None and count >= rows * 0.9:
            return (count - begun[1]) / (now - begun[0])
        if not alive():
            raise SystemExit("the process under test ended early")
        time.sleep(0.05)


async def bare(sink: str, rows: int, concurrency: int) -> None:
    """(a): what an engineer would write in ten lines; bodies are made beforehand."""
    bodies = [msgspec.json.encode({"product_sku": f"SKU-{n:07}", "images": images(n)}) for n in range(rows)]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:
        async with session.post(f"{sink}/api/v1/auth/login/", json={"username": "demo", "password": "demo"}) as answer:
            token = (await answer.json())["key"]
        headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}
        work = iter(bodies)

        async def loop() -> None:
            for body in work:
                async with session.post(sink + IMAGES_PATH, data=body, headers=headers) as answer:
                    await answer.read()
                    assert answer.status < 300

        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(loop())


def document(sink: str) -> dict:
    return {
        "name": "bench",
        "direction": "outbound",
        "omnitron": {"domain_url": sink, "username": "demo", "password": {"env": "BENCH_PASSWORD"}},
    }


async def prepare(environ: dict[str, str], sink: str, rows: int) -> str:
    """A run whose rows wait in the write queue."""
    clock = SystemClock()
    async with (
        connect_store(Secret(environ["IMAGEFLOW_STORE_URL"]), clock) as store,
        connect_broker(Secret(environ["IMAGEFLOW_BROKER_URL"]), consumer=False) as broker,
    ):
        await store.upgrade()
        flow = await store.save_flow(document(sink))
        now = datetime.now(UTC)
        run = Run(
            run_id=new_run_id(now),
            flow="bench",
            version=flow.version,
            trigger=Trigger("outbound"),
            status="draining",
            created_at=now,
            pages=1,
            read_complete=True,
        )
        accepted = await store.accept_post(run, b"[]", rows=rows, key=None)
        await store.sent([item.id for item in accepted.outbox])
        registered = await store.register_page(run.run_id, 1, rows, [])
        salt = secrets.token_hex(3)
        made = [
            Row(registered.numbers[n], row_version(accepted.seq, n), f"{salt}-{n:07}", images(n)) for n in range(rows)
        ]
        outgoing = [
            Outgoing(
                messages.write_queue("bench"),
                messages.encode(messages.RowsReady(run.run_id, "bench", flow.version, chunk)),
            )
            for chunk in messages.chunked(made, PAGE)
        ]
        for start in range(0, len(outgoing), 50):
            await broker.publish(*outgoing[start : start + 50])
        return run.run_id


async def check(environ: dict[str, str], run_id: str, rows: int) -> None:
    async with connect_store(Secret(environ["IMAGEFLOW_STORE_URL"]), SystemClock()) as store:
        for _ in range(600):
            run = await store.run(run_id)
            if run.ended:
                break
            await asyncio.sleep(0.1)
        assert run.status == "success", run
        assert run.counts.written == rows, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=64, help="of the bare loop")
    parser.add_argument("--bare", metavar="SINK", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        uvloop.run(bare(options.bare, options.rows, options.concurrency))
        return
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
        server = subprocess.Popen(
            [sys.executable, "-m", "imageflow", "emulate", "omnitron", "--rows", "0", "--fast"],
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(server.wait)
        stack.callback(server.terminate)
        sink = server.stdout.readline().strip()
        ratios = []
        print(f"{'round':>5}  {'bare loop':>12}  {'writer':>12}  {'ratio':>6}")
        for number in range(1, options.rounds + 1):
            loop = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.benchmarks.writer",
                    "--bare",
                    sink,
                    "--rows",
                    str(options.rows),
                    "--concurrency",
                    str(options.concurrency),
                ]
            )
            a = steady_rate(sink, options.rows, lambda loop=loop: loop.poll() in (None, 0))
            loop.wait()
            run_id = uvloop.run(prepare(environ, sink, options.rows))
            writer = subprocess.Popen([sys.executable, "-m", "imageflow", "writer"], env=environ)
            try:
                b = steady_rate(sink, options.rows, lambda writer=writer: writer.poll() is None)
                uvloop.run(check(environ, run_id, options.rows))
            finally:
                writer.terminate()
                writer.wait()
            ratios.append(b / a)
            print(f"{number:>5}  {a:>10.0f}/s  {b:>10.0f}/s  {b / a:>6.2f}", flush=True)
        print(f"median ratio writer / bare loop: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
