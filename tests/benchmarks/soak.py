"""Whether it just runs, for an hour: `python -m tests.benchmarks.soak [--minutes 60] [--distributed] [--svg FILE]`.

`imageflow up` (or each service as a process over RabbitMQ and PostgreSQL) takes a post every second, of products of which a part
was posted before with the same images, and reads another flow's ERP from its start every minute, which has nothing new. The
fake Omnitron of the posts is in this process: it refuses a request now and then (503), and counts what it takes. At the end
each product must have been written once. What is compared over time: memory, open files and threads of each process, how long
a picture takes from its post to the door, and what is stored.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import psutil
import uvloop
from aiohttp import web

from tests.benchmarks import plot
from tests.benchmarks.gateway import login
from tests.benchmarks.latency import BULK, ONE, Door, Installation, call, install, percentile
from tests.benchmarks.samples import table
from tests.benchmarks.whole import machine

NEW, REPEATED = 15, 5
"""Products of a post."""
REFUSED_EVERY = 200
LOOK_SECONDS = 5.0
PARTS = 4
MIB = 2**20
MOST = 1.2
"""The highest memory of the last part of the time by that of the second: the first is spent on warming up."""
SETTLED_SECONDS = 120.0


class Counting(Door):
    """A fake Omnitron that counts what it takes of each product."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: Counter[str] = Counter()
        self._asked = 0

    async def _write(self, request: web.Request) -> web.Response:
        self._asked += 1
        if self._asked % REFUSED_EVERY == 0:
            return web.json_response({"detail": "busy"}, status=503)
        self.taken[(await request.json())["product_sku"]] += 1
        return await super()._write(request)


class Look(NamedTuple):
    """What a process has at an instant, in seconds since the start; `memory` in MiB."""

    at: float
    memory: float
    files: int
    threads: int


class Soak:
    """What was seen."""

    def __init__(self) -> None:
        self.looks: dict[str, list[Look]] = {}
        self.took: list[tuple[float, float]] = []
        """When a post was sent, and after how many milliseconds the first of its products was at the door."""
        self.stored: list[tuple[float, float]] = []

    def look(self, at: float, product: Installation, folder: Path | None) -> None:
        for name, process in product.processes.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                parent = psutil.Process(process.pid)
                tree = (parent, *parent.children(recursive=True))
                memory = sum(one.memory_info().rss for one in tree) / MIB
                files = sum(one.num_fds() for one in tree)
                self.looks.setdefault(name, []).append(Look(at, memory, files, sum(one.num_threads() for one in tree)))
        if folder is not None:
            self.stored.append((at, sum(one.stat().st_size for one in folder.iterdir() if one.is_file()) / MIB))


async def post_on(door: Counting, product: Installation, token: str, seconds: float, soak: Soak) -> int:
    """Post every second; how many products there are in the end."""
    posted, begun = 0, time.monotonic()
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        while (at := time.monotonic() - begun) < seconds:
            first = f"soak-{posted}"
            arrival = door.expect(first)
            numbers = [*range(posted, posted + NEW), *range(max(0, posted // 2 - REPEATED), posted // 2)]
            body: Any = [{"sku": f"soak-{n}", "images": [f"https://img.example.com/{n}.jpg"]} for n in numbers]
            sent = time.perf_counter()
            async with session.post(f"{product.url}/api/outbound/{ONE}", json=body) as answer:
                if answer.status != 202:
                    raise SystemExit(f"the post was answered {answer.status}: {await answer.text()}")
            posted += NEW
            soak.took.append((at, (await asyncio.wait_for(arrival, SETTLED_SECONDS) - sent) * 1000))
            door.forget(first)
            await asyncio.sleep(max(0.0, 1.0 - (time.monotonic() - begun - at)))
    return posted


async def watch(product: Installation, folder: Path | None, soak: Soak) -> None:
    begun = time.monotonic()
    while True:
        await asyncio.to_thread(soak.look, time.monotonic() - begun, product, folder)
        await asyncio.sleep(LOOK_SECONDS)


async def course(stack: ExitStack, seconds: float, rows: int, *, distributed: bool) -> Soak:
    door = Counting()
    runner, url = await door.serve()
    product = await asyncio.to_thread(
        lambda: install(stack, url, rows, distributed=distributed, schedule={"every": "1m"})
    )
    token = await asyncio.to_thread(login, product.url)
    folder = None if distributed else Path(product.environ["IMAGEFLOW_DATA_DIR"])
    soak = Soak()
    watching = asyncio.create_task(watch(product, folder, soak))
    try:
        posted = await post_on(door, product, token, seconds, soak)
    finally:
        watching.cancel()
    await _balanced(door, product, posted)
    await runner.cleanup()
    return soak


async def _balanced(door: Counting, product: Installation, posted: int) -> None:
    """Raises SystemExit unless each product was written once, and all runs but the one under way ended well."""
    deadline = time.monotonic() + SETTLED_SECONDS
    while len(door.taken) < posted and time.monotonic() < deadline:
        await asyncio.sleep(0.5)
    twice = [sku for sku, times in door.taken.items() if times > 1]
    if len(door.taken) != posted or twice:
        raise SystemExit(f"{posted - len(door.taken)} products are lost, {len(twice)} were written twice: {twice[:5]}")
    parked = json.loads(await asyncio.to_thread(call, product.environ, "parked", "list", "--json"))
    runs = json.loads(await asyncio.to_thread(call, product.environ, "runs", BULK, "--json", "--limit", "1000"))
    wrong = [run["run_id"] for run in runs[1:] if run["status"] != "success"]
    if parked or wrong:
        raise SystemExit(f"{len(parked)} messages are parked; runs that did not succeed: {wrong[:5]}")
    print(f"{posted:,} products posted, each written once; {len(runs):,} runs of the other flow, nothing parked")


def report(soak: Soak, seconds: float) -> str:
    """By part of the time: the highest memory, files, threads of each process; the median and p99 of the way to the door."""
    edges = [(seconds * n / PARTS, seconds * (n + 1) / PARTS) for n in range(PARTS)]
    lines, judged = [], []
    for name, looks in soak.looks.items():
        parts = [[look for look in looks if a <= look.at < b] for a, b in edges]
        lines += [
            (f"{name}, {what}", *(f"{max(getattr(look, field) for look in part):.0f}" for part in parts))
            for what, field in (("MiB", "memory"), ("open files", "files"), ("threads", "threads"))
        ]
        ratio = max(look.memory for look in parts[-1]) / max(look.memory for look in parts[1])
        judged.append(
            f"{name}: last part by the second at most {MOST}: {ratio:.2f} {'met' if ratio <= MOST else 'NOT MET'}"
        )
    took = [[ms for at, ms in soak.took if a <= at < b] for a, b in edges]
    lines += [
        (f"post to door, p{which} ms", *(f"{percentile(part, which):.0f}" for part in took)) for which in (50, 99)
    ]
    if soak.stored:
        lines.append(
            ("stored, MiB", *(f"{max(size for at, size in soak.stored if a <= at < b):.1f}" for a, b in edges))
        )
    head = ("highest of each part", *(f"to {b / 60:g} min" for _, b in edges))
    return "\n".join([table(head, lines), *judged])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rows", type=int, default=10_000, help="of the flow that is read every minute")
    parser.add_argument("--distributed", action="store_true")
    parser.add_argument("--svg", type=Path, help="draw the memory over time")
    options = parser.parse_args()
    print(machine(), flush=True)
    seconds = options.minutes * 60
    with ExitStack() as stack:
        soak = uvloop.run(course(stack, seconds, options.rows, distributed=options.distributed))
    print(report(soak, seconds))
    if options.svg:
        lines = [
            plot.Line(name, plot.thinned([(look.at / 60, look.memory) for look in looks]))
            for name, looks in soak.looks.items()
        ]
        options.svg.write_text(plot.plot(f"{options.minutes:g} minutes", "minutes", "MiB", lines))


if __name__ == "__main__":
    main()
