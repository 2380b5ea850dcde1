"""How fast the whole path is, from the ERP to Omnitron, beside a hand-written script: `python -m tests.benchmarks.whole`.

In turns, over the same fake ERP and the same fast Omnitron, each in a process of its own: (a) the script (`peers/script.py`), on
uvloop and on asyncio's own loop, (b) `imageflow run --wait`, embedded, (c) the same once more, when nothing has changed, (d) with
a script and a mapping. With `--distributed` then, beside the scripts, (e) reader, transformer and writer as processes over RabbitMQ
and PostgreSQL, (f) the same once more, and (g) with a script and a mapping; of these three, what a row costs stage by stage. The two
parts are apart because RabbitMQ takes its part of a machine while it is idle, too. With `--peers` also pipelines of three such processes on FastStream, taskiq and Celery, with messages of a page and of a row to the writer (see
`peers/stages.py`).

Rates are from the start of the run to its end. The processor time is that of all our processes, embedded with their start, but
without `imageflow db upgrade`, which has made the database before; what RabbitMQ and PostgreSQL took stands beside it. Ratios are of one round, and their median is what is compared.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import aio_pika
from aio_pika.exceptions import ChannelNotFoundEntity

from imageflow.commands.demo import MAPPING, SCRIPT
from tests.benchmarks.bed import Bed, Sink, cpu_of_all, emulate, end, plain_environ
from tests.benchmarks.peers.stages import STAGES
from tests.benchmarks.samples import median, table

HAND_WRITTEN, ON_ASYNCIO = "hand-written script", "the same on asyncio's loop"
EMBEDDED, UNCHANGED = "embedded", "embedded, unchanged"
MAPPED, DISTRIBUTED, AGAIN = "embedded, script and mapping", "distributed", "distributed, unchanged"
DISTRIBUTED_MAPPED = "distributed, script and mapping"
AFTER = {UNCHANGED: EMBEDDED, AGAIN: DISTRIBUTED}
"""What must have run just before."""
SERVICES = ("reader", "transformer", "writer")
ON_LOOP = " beside the script on asyncio's loop"
CONCURRENCY = 32
PEER_SECONDS = 300.0
ROW_BY_ROW = "{}, a row a message"


PEERS = "tests.benchmarks.peers"
PIPELINES = {
    "FastStream": ("faststream", f"{PEERS}.faststream_pipeline"),
    "taskiq": (
        "taskiq",
        (
            f"taskiq worker {PEERS}.taskiq_pipeline:broker --workers 1 --no-parse --log-level WARNING"
            f" --max-async-tasks {CONCURRENCY}"
        ),
    ),
    "Celery": (
        "celery",
        (
            f"celery -A {PEERS}.celery_pipeline worker --pool gevent -c {CONCURRENCY} -Q bench.celery.{{stage}}"
            " --without-gossip --without-mingle --without-heartbeat --loglevel WARNING"
        ),
    ),
}
"""By its name, what its queues and its module are called, and the command of a stage."""


class Cost(NamedTuple):
    """Rows per second; processor time per row in seconds, of our processes, and of each service and server by its name."""

    rate: float
    cpu: float
    stages: dict[str, float] = {}  # noqa: RUF012 - nobody changes it

    @property
    def servers(self) -> float:
        return sum(used for name, used in self.stages.items() if name not in SERVICES)


class Aim(NamedTuple):
    """What is wanted of the median of ratios within a round: at least, or at most. `ratio`: of a round, and of the script's cost."""

    text: str
    ratio: Callable[[dict[str, Cost], Cost], float]
    wanted: float
    most: bool = False
    scripts: Sequence[str] = (HAND_WRITTEN, ON_ASYNCIO)


AIMS = (
    Aim("embedded / script, rows/s at least", lambda r, script: r[EMBEDDED].rate / script.rate, 0.9),
    Aim("embedded / script, processor a row at most", lambda r, script: r[EMBEDDED].cpu / script.cpu, 1.2, most=True),
    Aim("with script and mapping / script, rows/s at least", lambda r, script: r[MAPPED].rate / script.rate, 0.7),
    Aim("embedded unchanged / script, rows/s at least", lambda r, script: r[UNCHANGED].rate / script.rate, 3.0),
)
DISTRIBUTED_AIMS = (
    Aim(
        "distributed / script, processor a row at most",
        lambda r, script: r[DISTRIBUTED].cpu / script.cpu,
        1.0,
        most=True,
    ),
    Aim(
        "distributed unchanged / script, processor a row at most",
        lambda r, script: r[AGAIN].cpu / script.cpu,
        0.35,
        most=True,
    ),
)
PEER_AIMS = (
    Aim(
        "distributed / best pipeline of three stages, a row a message, rows/s at least",
        lambda r, _: r[DISTRIBUTED].rate / max(r[ROW_BY_ROW.format(name)].rate for name in PIPELINES),
        3.0,
        scripts=(HAND_WRITTEN,),
    ),
    Aim(
        "distributed / best pipeline of three stages, a page a message, rows/s at least",
        lambda r, _: r[DISTRIBUTED].rate / max(r[name].rate for name in PIPELINES),
        3.0,
        scripts=(HAND_WRITTEN,),
    ),
)


class Course:
    """The ways to move the same rows: the embedded ones, or with a bed the distributed ones, each beside the scripts. Each gives what
    it cost, and ends the benchmark where the result is wrong.
    """

    def __init__(self, stack: ExitStack, rows: int, bed: Bed | None) -> None:
        self._stack = stack
        self._rows = rows
        self._bed = bed
        self._sink = Sink(stack)
        self._erp = emulate(stack, "erp", rows)
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self._environ: dict[str, str] = {}
        self._services: dict[str, subprocess.Popen] = {}

    def ways(self, *, peers: bool = False) -> dict[str, Callable[[], Cost]]:
        scripts: dict[str, Callable[[], Cost]] = {
            HAND_WRITTEN: lambda: self._script("uvloop"),
            ON_ASYNCIO: lambda: self._script("asyncio"),
        }
        if self._bed is None:
            return scripts | {
                EMBEDDED: lambda: self._embedded(new=True),
                UNCHANGED: lambda: self._embedded(new=False),
                MAPPED: lambda: self._embedded(new=True, script=SCRIPT, mapping=MAPPING),
            }
        ways = scripts | {
            DISTRIBUTED: lambda: self._distributed(new=True),
            AGAIN: lambda: self._distributed(new=False),
            DISTRIBUTED_MAPPED: lambda: self._distributed(new=True, script=SCRIPT, mapping=MAPPING),
        }
        if peers:
            ways |= {name: functools.partial(self._pipeline, *how) for name, how in PIPELINES.items()}
            ways |= {
                ROW_BY_ROW.format(name): functools.partial(self._pipeline, *how, BENCH_MESSAGE="row")
                for name, how in PIPELINES.items()
            }
        return ways

    def _script(self, loop: str) -> Cost:
        before = _children_cpu()
        with self._writes(self._rows):
            command = [sys.executable, "-m", "tests.benchmarks.peers.script", self._erp, self._sink.url]
            command += [str(CONCURRENCY), loop]
            said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        done, seconds = said.split()
        if int(done) != self._rows:
            raise SystemExit(f"the script wrote {done} of {self._rows} rows")
        return Cost(self._rows / float(seconds), (_children_cpu() - before) / self._rows)

    def _embedded(self, *, new: bool, **more: Any) -> Cost:
        if new:
            folder = Path(tempfile.mkdtemp(dir=self._folder))
            flow_file(folder, self._erp, self._sink.url, **more)
            self._environ = self._environment(IMAGEFLOW_DATA_DIR=str(folder / "data"), FLOWS=str(folder / "flows"))
            self._command("db", "upgrade")
        before = _children_cpu()
        with self._writes(self._rows if new else 0):
            run = self._run(self._environ, "--flows", self._environ["FLOWS"], new=new)
        return Cost(self._rows / _seconds(run), (_children_cpu() - before) / self._rows)

    def _distributed(self, *, new: bool, **more: Any) -> Cost:
        """All services run before the run begins; the second one finds them warm, as a fleet is."""
        bed = self._bed
        assert bed is not None
        if new:
            self._end_services()
            folder = Path(tempfile.mkdtemp(dir=self._folder))
            flow_file(folder, self._erp, self._sink.url, **more)
            self._environ = bed.environ()
            self._command("db", "upgrade")
            self._command("flow", "apply", str(folder / "flows"))
            self._services = {name: bed.start("imageflow", name, environ=self._environ) for name in SERVICES}
            time.sleep(3)
        before = cpu_of_all(self._services)
        with self._writes(self._rows if new else 0):
            run = self._run(self._environ, new=new)
        stages = {name: (used - before[name]) / self._rows for name, used in cpu_of_all(self._services).items()}
        if not new:
            self._end_services()
        return Cost(self._rows / _seconds(run), sum(stages[name] for name in SERVICES), stages)

    def _command(self, *command: str) -> None:
        subprocess.run([sys.executable, "-m", "imageflow", *command], env=self._environ, check=True, **QUIET)

    def _pipeline(self, name: str, command: str, **more: str) -> Cost:
        """All stages run before the first message comes."""
        bed = self._bed
        assert bed is not None
        environ = self._environment(
            BENCH_BROKER_URL=bed.rabbit.url,
            BENCH_SINK=self._sink.url,
            BENCH_ERP=self._erp,
            BENCH_CONCURRENCY=str(CONCURRENCY),
            **more,
        )
        stages = {
            service: bed.start(*command.format(stage=stage).split(), environ={**environ, "BENCH_STAGE": stage})
            for service, stage in zip(SERVICES, STAGES, strict=True)
        }
        asyncio.run(_consumed(bed.rabbit.url, [f"bench.{name}.{stage}" for stage in STAGES]))
        before, written = cpu_of_all(stages), self._sink.counters()["written"]
        with self._writes(self._rows):
            subprocess.run(
                [sys.executable, "-m", f"{PEERS}.{name}_pipeline", "start"], env=environ, check=True, **QUIET
            )
            begun = time.monotonic()
            while self._sink.counters()["written"] < written + self._rows:
                if time.monotonic() > begun + PEER_SECONDS:
                    raise SystemExit(f"{name} does not come to an end: {bed.logged()}")
                time.sleep(0.02)
            seconds = time.monotonic() - begun
        used = {one: (now - before[one]) / self._rows for one, now in cpu_of_all(stages).items()}
        for process in stages.values():
            end(process)
        return Cost(self._rows / seconds, sum(used[service] for service in SERVICES), used)

    def _end_services(self) -> None:
        for process in self._services.values():
            end(process)
        self._services = {}

    def _environment(self, **more: str) -> dict[str, str]:
        return {**plain_environ(), "BENCH_PASSWORD": "demo", **more}

    def _run(self, environ: dict[str, str], *options: str, new: bool) -> dict[str, Any]:
        command = [sys.executable, "-m", "imageflow", "run", "bench", *options, "--wait", "--json"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{done.stdout}{done.stderr[-3000:]}")
        run = json.loads(done.stdout.splitlines()[-1])
        expected = "written" if new else "unchanged"
        if run["rows"][expected] != self._rows or run["rows"]["total"] != self._rows:
            raise SystemExit(f"the run does not balance: {run['rows']}")
        return run

    def _writes(self, expected: int) -> _Writes:
        return _Writes(self._sink, expected)


def flow_file(folder: Path, erp: str, sink: str, **more: Any) -> None:
    """A folder `flows` with the flow `bench`, which reads pages of 100 rows."""
    document = {
        "name": "bench",
        "direction": "inbound",
        "omnitron": {"domain_url": sink, "username": "demo", "password": {"env": "BENCH_PASSWORD"}},
        "erp": {
            "endpoint_url": f"{erp}/images/next/",
            "extra_params": {"limit": 100},
            "rows_path": "results",
            "pagination": {"type": "next", "field": "next"},
        },
        **more,
    }
    (folder / "flows").mkdir()
    (folder / "flows" / "bench.yaml").write_text(json.dumps(document))


async def _consumed(url: str, queues: Sequence[str]) -> None:
    """Wait until each queue has a consumer."""
    async with asyncio.timeout(60), await aio_pika.connect(url) as connection:
        for queue in queues:
            consumers = 0
            while not consumers:
                await asyncio.sleep(0.2)
                with contextlib.suppress(ChannelNotFoundEntity):
                    async with connection.channel() as channel:
                        found = await channel.declare_queue(queue, passive=True)
                        consumers = found.declaration_result.consumer_count or 0


class _Writes:
    """What the sink takes within the body must be so many rows."""

    def __init__(self, sink: Sink, expected: int) -> None:
        self._sink = sink
        self._expected = expected

    def __enter__(self) -> None:
        self._before = self._sink.counters()["written"]

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        written = self._sink.counters()["written"] - self._before
        if kind is None and written != self._expected:
            raise SystemExit(f"{written} writes reached Omnitron instead of {self._expected}")


QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _seconds(run: dict[str, Any]) -> float:
    begun, ended = (datetime.fromisoformat(run[name]) for name in ("created_at", "finished_at"))
    return (ended - begun).total_seconds()


def in_turn(names: Sequence[str], number: int) -> list[str]:
    """The order of a round: forth and back, since a machine's speed drifts; some come after another, see AFTER."""
    if number % 2:
        return list(names)
    back = [name for name in reversed(names) if name not in AFTER]
    for name in names:
        if name in AFTER:
            back.insert(back.index(AFTER[name]) + 1, name)
    return back


def report(rounds: list[dict[str, Cost]], aims: Sequence[Aim]) -> str:
    """The table: medians over the rounds; ratios are taken within a round. Then the aims."""
    lines = []
    for name in rounds[0]:
        costs = [one[name] for one in rounds]
        ratios = [one[name].rate / one[HAND_WRITTEN].rate for one in rounds]
        lines.append(
            (
                name,
                f"{median(cost.rate for cost in costs):,.0f}",
                f"{median(ratios):.2f}",
                f"{min(ratios):.2f}-{max(ratios):.2f}",
                f"{median(cost.cpu for cost in costs) * 1e6:,.0f}",
                f"{median(one[name].cpu / one[HAND_WRITTEN].cpu for one in rounds):.2f}",
                f"{median(cost.servers for cost in costs) * 1e6:,.0f}",
            )
        )
    head = ("median of rounds", "rows/s", "of script", "least-most", "CPU us/row", "of script", "servers us/row")
    return "\n".join([table(head, lines), "", *by_stage(rounds), *(_judged(aim, rounds) for aim in aims)])


def by_stage(rounds: list[dict[str, Cost]]) -> list[str]:
    """What a row costs in each service and server, where these are processes of their own."""
    staged = [name for name, cost in rounds[0].items() if cost.stages]
    if not staged:
        return []
    stages = list(rounds[0][staged[0]].stages)
    lines = [
        (name, *(f"{median(one[name].stages[stage] for one in rounds) * 1e6:,.0f}" for stage in stages))
        for name in staged
    ]
    return [table(("CPU us/row by stage", *stages), lines), ""]


def _judged(aim: Aim, rounds: Sequence[dict[str, Cost]]) -> str:
    found = []
    for script in aim.scripts:
        value = median(aim.ratio(one, one[script]) for one in rounds)
        met = value <= aim.wanted if aim.most else value >= aim.wanted
        found.append(f"{value:.2f} {'met' if met else 'NOT MET'}{ON_LOOP if script == ON_ASYNCIO else ''}")
    return f"{aim.text} {aim.wanted:g}: {', '.join(found)}"


def machine() -> str:
    """What the figures are of."""
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load before {load}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--distributed", action="store_true", help="also over RabbitMQ and PostgreSQL")
    parser.add_argument("--peers", action="store_true", help="also pipelines on FastStream, taskiq and Celery")
    options = parser.parse_args()
    print(machine(), flush=True)
    with ExitStack() as stack:
        compare(Course(stack, options.rows, None).ways(), options.rounds, AIMS)
    if options.distributed or options.peers:
        with ExitStack() as stack:
            ways = Course(stack, options.rows, Bed(stack)).ways(peers=options.peers)
            compare(ways, options.rounds, DISTRIBUTED_AIMS + (PEER_AIMS if options.peers else ()))


def compare(ways: dict[str, Callable[[], Cost]], number_of_rounds: int, aims: Sequence[Aim]) -> None:
    """Go all ways in turns, and print what each cost."""
    rounds: list[dict[str, Cost]] = []
    for number in range(1, number_of_rounds + 1):
        found: dict[str, Cost] = {}
        for name in in_turn(list(ways), number):
            found[name] = ways[name]()
            cost = found[name]
            print(f"round {number}: {name:<30} {cost.rate:>7,.0f} rows/s {cost.cpu * 1e6:>6,.0f} us", flush=True)
        rounds.append({name: found[name] for name in ways})
    print(f"\n{report(rounds, aims)}\n", flush=True)


if __name__ == "__main__":
    main()
