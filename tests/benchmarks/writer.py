"""How fast one writer process is, beside others on the same sink: `python -m tests.benchmarks.writer [--peers]`.

In one run, in turns, on one fast sink: (a) a bare aiohttp loop, (b) one `imageflow writer` over RabbitMQ with the ledger
and a log per row in PostgreSQL, (b2) the same rows once more, which the ledger knows, so that nothing is sent; with
`--peers` also FastStream, Celery and taskiq that do the POSTs and nothing else (see `peers/`), one process each.

Rates are of the steady part: between the first and the last tenth of the rows, as the sink (of b2: the run) counts them.
Absolute figures are of this machine; ratios are of one round, and their median is what is compared. The processor time
of the process under test is the steadier figure where others use the machine too.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import subprocess
import sys
from contextlib import ExitStack
from typing import NamedTuple

import aiohttp
import msgspec
import uvloop

from tests.benchmarks.bed import (
    Bed,
    Sink,
    Watch,
    end,
    ended_run,
    look_at_sink,
    looking_at_run,
    new_salt,
    queue_run,
    require_balance,
    run_async,
    save_flow,
)
from tests.benchmarks.catalogue import images
from tests.benchmarks.samples import Pace, median, pace, table

IMAGES_PATH = "/api/v1/downloadable-image/"
BARE, WRITER, UNCHANGED = "bare aiohttp loop", "imageflow writer", "imageflow, unchanged"
PEERS = "tests.benchmarks.peers"
UNCHANGED_REPEAT = 5
"""How often the rows that are known come again: they are quick, and the pace is to be seen."""

AIM_OF_BARE, AIM_UNCHANGED = 0.8, 5.0


class Peer(NamedTuple):
    """A framework: the module that publishes, and the command that works."""

    name: str
    module: str
    command: tuple[str, ...]


def peers(concurrency: int) -> list[Peer]:
    celery = f"celery -A {PEERS}.celery_app worker --pool gevent --without-gossip --without-mingle --without-heartbeat"
    taskiq = f"taskiq worker {PEERS}.taskiq_app:broker --workers 1 --no-parse --log-level WARNING --max-async-tasks"
    return [
        Peer("FastStream", f"{PEERS}.faststream_app", (f"{PEERS}.faststream_app",)),
        Peer("Celery", f"{PEERS}.celery_app", (*celery.split(), "--loglevel", "WARNING", "-c", str(concurrency))),
        Peer("taskiq", f"{PEERS}.taskiq_app", (*taskiq.split(), str(concurrency))),
    ]


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


class Course:
    """One sink, and the ways to fill it."""

    def __init__(self, bed: Bed, rows: int, concurrency: int) -> None:
        self.bed = bed
        self.rows = rows
        self.concurrency = concurrency
        self.sink = Sink(bed.stack)
        self.salt = ""
        self.environ: dict[str, str] = {}

    def bare(self) -> Pace:
        command = ("tests.benchmarks.writer", "--bare", self.sink.url, "--rows", str(self.rows))
        return self._sunk(*command, "--concurrency", str(self.concurrency), environ=dict(os.environ))

    def writer(self) -> Pace:
        self.salt, self.environ = new_salt(), self.bed.environ()
        run_async(save_flow(self.environ, self.sink.url))
        run_id = run_async(queue_run(self.environ, self.rows, salt=self.salt))
        return self._sunk("imageflow", "writer", environ=self.environ, run_id=run_id)

    def unchanged(self) -> Pace:
        """After `writer`: its rows again."""
        rows, before = self.rows * UNCHANGED_REPEAT, self.sink.counters()["written"]
        run_id = run_async(queue_run(self.environ, self.rows, salt=self.salt, repeat=UNCHANGED_REPEAT))
        with looking_at_run(self.environ, run_id) as look:
            process = self.bed.start("imageflow", "writer", environ=self.environ)
            watch = Watch(self.bed, [process], look)
            watch.until(rows)
        require_balance(run_async(ended_run(self.environ, run_id)), unchanged=rows)
        end(process)
        if (sent := self.sink.counters()["written"] - before) != 0:
            raise SystemExit(f"{sent} unchanged rows were sent")
        return pace(watch.samples, rows)

    def peer(self, peer: Peer) -> Pace:
        environ = {
            **os.environ,
            "BENCH_BROKER_URL": self.bed.rabbit.url,
            "BENCH_SINK": self.sink.url,
            "BENCH_CONCURRENCY": str(self.concurrency),
        }
        publish = [sys.executable, "-m", peer.module, "publish", str(self.rows), new_salt()]
        subprocess.run(publish, env=environ, check=True)
        return self._sunk(*peer.command, environ=environ)

    def _sunk(self, *command: str, environ: dict[str, str], run_id: str | None = None) -> Pace:
        """Run a process until the sink has all rows, and not one more."""
        look = look_at_sink(self.sink)
        process = self.bed.start(*command, environ=environ)
        watch = Watch(self.bed, [process], look)
        watch.until(self.rows)
        if run_id is not None:
            require_balance(run_async(ended_run(environ, run_id)), written=self.rows)
        end(process)
        if (written := look()[0]) != self.rows:
            raise SystemExit(f"{command[0]}: {written} writes for {self.rows} rows")
        return pace(watch.samples, self.rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=64, help="of the bare loop and the peers")
    parser.add_argument("--peers", action="store_true", help="compare with FastStream, Celery and taskiq")
    parser.add_argument("--bare", metavar="SINK", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        uvloop.run(bare(options.bare, options.rows, options.concurrency))
        return
    with ExitStack() as stack:
        course = Course(Bed(stack), options.rows, options.concurrency)
        ways = {BARE: course.bare, WRITER: course.writer, UNCHANGED: course.unchanged}
        if options.peers:
            for peer in peers(options.concurrency):
                ways[peer.name] = lambda peer=peer: course.peer(peer)
        rounds: list[dict[str, Pace]] = []
        for number in range(1, options.rounds + 1):
            rounds.append({})
            for name in in_turn(list(ways), number):
                rounds[-1][name] = ways[name]()
                print(f"round {number}: {name:<20} {rounds[-1][name].rate:>9,.0f} rows/s", flush=True)
    print()
    print(report(rounds))


def in_turn(names: list[str], number: int) -> list[str]:
    """The order of a round: forth and back, since a machine's speed drifts; what is unchanged comes after what wrote it."""
    if number % 2:
        return names
    back = [name for name in reversed(names) if name != UNCHANGED]
    back.insert(back.index(WRITER) + 1, UNCHANGED)
    return back


def report(rounds: list[dict[str, Pace]]) -> str:
    """The table: medians over the rounds; ratios are taken within a round. Then the aims."""
    lines = []
    for name in rounds[0]:
        ratios = [one[name].rate / one[BARE].rate for one in rounds]
        spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
        rate, cpu = (median(values) for values in itertools.zip_longest(*(one[name] for one in rounds)))
        lines.append((name, f"{rate:,.0f}", f"{median(ratios):.2f}", spread, f"{cpu * 1e6:,.0f}"))
    head = ("median of rounds", "rows/s", "of bare", "least-most", "CPU us/row")
    return "\n".join([table(head, lines), "", *_aims(rounds)])


def _aims(rounds: list[dict[str, Pace]]) -> list[str]:
    def ratio(one: str, other: str) -> float:
        return median(paces[one].rate / paces[other].rate for paces in rounds)

    aims = [
        (f"writer / bare loop at least {AIM_OF_BARE}", ratio(WRITER, BARE), AIM_OF_BARE),
        (f"unchanged / written at least {AIM_UNCHANGED:g}", ratio(UNCHANGED, WRITER), AIM_UNCHANGED),
    ]
    others = [name for name in rounds[0] if name not in (BARE, WRITER, UNCHANGED)]
    aims += [(f"writer ahead of {name}", ratio(WRITER, name), 1.0) for name in others]
    return [f"{text}: {value:.2f} {'met' if value >= aim else 'NOT MET'}" for text, value, aim in aims]


if __name__ == "__main__":
    main()
