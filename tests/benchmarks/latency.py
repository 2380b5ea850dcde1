"""How long a picture takes from the ERP's post to Omnitron's door: `python -m tests.benchmarks.latency [--distributed]`.

Posts of one row, one after the other, to `imageflow up` (embedded), or to a gateway, a transformer and a writer over RabbitMQ
and PostgreSQL. The receiver is a fake Omnitron in this process, so one clock has both ends: the time runs from before the post
is sent until its request is at the door. Measured idle, and while another flow moves many rows to a sink of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import uvloop
from aiohttp import web

from tests.benchmarks.bed import Bed, Sink, document, emulate, end, free_port, plain_environ
from tests.benchmarks.gateway import PASSWORD, login, wait
from tests.benchmarks.samples import table
from tests.benchmarks.whole import flow_file, machine

ONE, BULK = "one", "bulk"
SERVICES = ("scheduler", "reader", "transformer", "writer")
ARRIVAL_SECONDS = 30.0
PAUSE_SECONDS = 0.1
AIMS = (("idle", 50, 15.0), ("idle", 99, 60.0), ("under load", 99, 1000.0))
"""Embedded: when, which percentile, at most so many milliseconds."""


class Door:
    """A fake Omnitron that knows when the request for a product came."""

    def __init__(self) -> None:
        self._came: dict[str, asyncio.Future[float]] = {}

    def expect(self, sku: str) -> asyncio.Future[float]:
        """The instant at which the product's request comes."""
        return self._came.setdefault(sku, asyncio.get_running_loop().create_future())

    def forget(self, sku: str) -> None:
        self._came.pop(sku, None)

    async def serve(self) -> tuple[web.AppRunner, str]:
        app = web.Application()
        app.router.add_post("/api/v1/auth/login/", self._login)
        app.router.add_post("/api/v1/downloadable-image/", self._write)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        return runner, f"http://127.0.0.1:{port}"

    async def _login(self, request: web.Request) -> web.Response:
        return web.json_response({"key": "demo"})

    async def _write(self, request: web.Request) -> web.Response:
        at = time.perf_counter()
        sku = (await request.json())["product_sku"]
        if sku in self._came and not self._came[sku].done():
            self._came[sku].set_result(at)
        return web.json_response({"status": "ok"}, status=201)


class Installation(NamedTuple):
    """A running product: its environment, its gateway's address, its processes."""

    environ: dict[str, str]
    url: str
    processes: dict[str, subprocess.Popen]


def install(stack: ExitStack, door: str, rows: int, *, distributed: bool, **bulk: Any) -> Installation:
    """Start the product with the flow `one`, and the flow `bulk` beside it, which has the fields `bulk`, too."""
    sink = Sink(stack).url
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    flow_file(folder, emulate(stack, "erp", rows), sink, name=BULK, **bulk)
    (folder / "flows" / f"{ONE}.yaml").write_text(json.dumps(document(door, ONE, {})))
    bed = Bed(stack) if distributed else None
    environ = bed.environ() if bed else {**plain_environ(), "IMAGEFLOW_DATA_DIR": str(folder / "data")}
    environ["BENCH_PASSWORD"] = "demo"
    for command in (("db", "upgrade"), ("flow", "apply", str(folder / "flows"))):
        call(environ, *command)
    call(environ, "user", "add", "erp", "--role", "operator", said=PASSWORD)
    port = free_port()
    commands = (
        [("gateway", "--port", str(port)), *((name,) for name in SERVICES)] if bed else [("up", "--port", str(port))]
    )
    processes = {}
    for command in commands:
        process = subprocess.Popen(
            [sys.executable, "-m", "imageflow", *command],
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(end, process)
        processes[command[0]] = process
    url = f"http://127.0.0.1:{port}"
    wait(url, processes[commands[0][0]])
    return Installation(environ, url, processes)


def call(environ: dict[str, str], *command: str, said: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-m", "imageflow", *command],
        env=environ,
        input=said + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


async def measure(door: Door, product: Installation, token: str, posts: int, name: str) -> list[float]:
    """Post one by one, with pauses; the milliseconds that each took."""
    headers = {"Authorization": f"Bearer {token}"}
    taken: list[float] = []
    async with aiohttp.ClientSession() as session:
        for number in range(posts):
            sku = f"{name}-{number}"
            arrival = door.expect(sku)
            body: Any = [{"sku": sku, "images": ["https://img.example.com/1.jpg"]}]
            begun = time.perf_counter()
            async with session.post(f"{product.url}/api/outbound/{ONE}", json=body, headers=headers) as answer:
                if answer.status != 202:
                    raise SystemExit(f"the post was answered {answer.status}: {await answer.text()}")
            taken.append((await asyncio.wait_for(arrival, ARRIVAL_SECONDS) - begun) * 1000)
            await asyncio.sleep(random.uniform(0.0, PAUSE_SECONDS))
    return taken


async def _moved(product: Installation, least: int) -> str:
    """Wait until the bulk run has settled so many rows; its status."""
    while True:
        said = await asyncio.to_thread(call, product.environ, "runs", BULK, "--json")
        runs = json.loads(said)
        if runs and runs[0]["rows"]["written"] >= least:
            return str(runs[0]["status"])
        await asyncio.sleep(0.2)


def percentile(values: list[float], which: int) -> float:
    """By the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * which // 100)]


async def course(stack: ExitStack, posts: int, rows: int, *, distributed: bool) -> dict[str, list[float]]:
    door = Door()
    runner, url = await door.serve()
    product = await asyncio.to_thread(lambda: install(stack, url, rows, distributed=distributed))
    token = await asyncio.to_thread(login, product.url)
    await measure(door, product, token, 20, "warm")
    found = {"idle": await measure(door, product, token, posts, "idle")}
    await asyncio.to_thread(call, product.environ, "run", BULK)
    await _moved(product, 1000)
    found["under load"] = await measure(door, product, token, posts, "load")
    if await _moved(product, 1000) != "reading":
        print("the other flow had been read to its end before the last post: more --rows are needed")
    await runner.cleanup()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=300)
    parser.add_argument("--rows", type=int, default=100_000, help="of the other flow")
    parser.add_argument("--distributed", action="store_true")
    options = parser.parse_args()
    print(machine(), flush=True)
    with ExitStack() as stack:
        found = uvloop.run(course(stack, options.posts, options.rows, distributed=options.distributed))
    lines = [
        (when, *(f"{value:,.1f}" for value in (statistics.median(taken), percentile(taken, 99), max(taken))))
        for when, taken in found.items()
    ]
    print(table(("post to door", "p50 ms", "p99 ms", "most ms"), lines))
    if not options.distributed:
        for when, which, most in AIMS:
            value = percentile(found[when], which)
            print(f"{when}, p{which} at most {most:g} ms: {value:.1f} {'met' if value <= most else 'NOT MET'}")


if __name__ == "__main__":
    main()
