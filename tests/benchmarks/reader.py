"""How fast a read is, and whether it stays flat: `python -m tests.benchmarks.reader [--rows N] [--page N]`.

In one run: (a) a bare aiohttp loop that follows the fake ERP's `next` links and parses each page, (b) the reader over the
embedded store and queue, in a process of its own, which asks, stores and publishes every page; what it publishes is taken
away and forgotten. Memory of (b) is shown for each tenth of the read: the last must be about the first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import orjson
import psutil
import uvloop

from imageflow import bootstrap
from imageflow.actions import runs
from imageflow.actions.actor import Actor
from imageflow.bootstrap import Substrate
from imageflow.model import messages
from imageflow.runtime.substrate import open_substrate
from imageflow.settings import load
from imageflow.store.data_dir import data_dir_lock
from tests.benchmarks.bed import emulate

GROWTH_ALLOWED = 1.25
"""Of the memory at one fifth of the read: caches are full by then."""

FLOOR_BYTES = 16 << 20


def document(erp: str, omnitron: str, page: int) -> dict:
    return {
        "name": "bench",
        "direction": "inbound",
        "omnitron": {"domain_url": omnitron, "username": "demo", "password": {"env": "BENCH_PASSWORD"}},
        "erp": {
            "endpoint_url": f"{erp}/images/next/",
            "extra_params": {"limit": page},
            "rows_path": "results",
            "pagination": {"type": "next"},
        },
    }


async def bare(erp: str, page: int) -> dict:
    """(a): what an engineer would write in ten lines."""
    begun, rows, url = time.perf_counter(), 0, f"{erp}/images/next/?limit={page}"
    async with aiohttp.ClientSession() as session:
        while url:
            async with session.get(url) as answer:
                body = orjson.loads(await answer.read())
            rows += len(body["results"])
            url = body["next"]
    return {"rows": rows, "seconds": time.perf_counter() - begun}


async def reader(erp: str, omnitron: str, rows: int, page: int) -> dict:
    """(b): one run, read to its end. Prints nothing; gives its seconds and its memory at each tenth."""
    settings = load(os.environ)
    stop = asyncio.Event()
    tenths: list[int] = []
    with data_dir_lock(settings):
        async with open_substrate(settings, os.environ, consumer=True) as substrate:
            await substrate.store.save_flow(document(erp, omnitron, page))
            async with asyncio.TaskGroup() as group:
                group.create_task(bootstrap.run_services(substrate, ["reader"], stop))
                sink = group.create_task(forget(substrate))
                begun = time.perf_counter()
                begun_run = await runs.start(
                    substrate.store,
                    substrate.publisher,
                    "bench",
                    (),
                    Actor("benchmark", ""),
                    substrate.clock.now(),
                )
                ended = await watched(substrate, begun_run.run.run_id, rows, page, tenths.append)
                seconds = time.perf_counter() - begun
                sink.cancel()
                stop.set()
    if ended.error is not None or ended.pages != -(-rows // page):
        raise SystemExit(f"the read went wrong: {ended.pages} pages, {ended.error}, {ended.warnings}")
    return {"rows": rows, "seconds": seconds, "rss": tenths}


async def watched(substrate: Substrate, run_id: str, rows: int, page: int, note: Callable[[int], None]):
    process, noted = psutil.Process(), 0
    while True:
        run = await substrate.store.run(run_id)
        while noted < min(10, run.pages * page * 10 // rows):
            noted += 1
            note(process.memory_info().rss)
        if run.read_complete:
            return run
        await asyncio.sleep(0.05)


async def forget(substrate: Substrate) -> None:
    """Take away what the reader publishes, so that it never has to wait."""
    async with substrate.broker.consume(messages.transform_queue("bench"), prefetch=100) as deliveries:
        async for delivery in deliveries:
            await delivery.ack()


def child(*args: str, **environ: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.reader", *args],
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--page", type=int, default=100, help="rows of a page")
    parser.add_argument("--bare", metavar="ERP", help=argparse.SUPPRESS)
    parser.add_argument("--reader", nargs=2, metavar=("ERP", "OMNITRON"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        print(json.dumps(uvloop.run(bare(options.bare, options.page))))
        return
    if options.reader:
        print(json.dumps(uvloop.run(reader(*options.reader, options.rows, options.page))))
        return
    size = ("--rows", str(options.rows), "--page", str(options.page))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        erp, omnitron = emulate(stack, "erp", options.rows), emulate(stack, "omnitron", 0)
        loop = child("--bare", erp, *size)
        if loop["rows"] != options.rows:
            raise SystemExit(f"the bare loop saw {loop['rows']} rows")
        read = child(
            "--reader",
            erp,
            omnitron,
            *size,
            IMAGEFLOW_DATA_DIR=str(folder),
            BENCH_PASSWORD="demo",
            IMAGEFLOW_BROKER_URL="",
            IMAGEFLOW_STORE_URL="",
        )
    report(loop, read)


def report(loop: dict, read: dict) -> None:
    a, b = (one["rows"] / one["seconds"] for one in (loop, read))
    print(f"{read['rows']:,} rows: bare loop {a:,.0f} rows/s, reader {b:,.0f} rows/s, ratio {b / a:.2f}")
    rss = read["rss"]
    print("reader's memory at each tenth, MiB: " + " ".join(f"{size / (1 << 20):.0f}" for size in rss))
    early, late = rss[1], rss[-1]
    flat = late <= max(early * GROWTH_ALLOWED, early + FLOOR_BYTES)
    print(f"early {early / (1 << 20):.0f} MiB, late {late / (1 << 20):.0f} MiB: {'flat' if flat else 'NOT FLAT'}")
    if not flat:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
