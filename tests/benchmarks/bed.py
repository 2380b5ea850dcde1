"""What the benchmarks of writing stand on: servers and a sink, runs whose rows wait, and a watch over what works on them."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psutil
import uvloop

from imageflow.broker import Outgoing
from imageflow.broker.connect import connect as connect_broker
from imageflow.clock import SystemClock
from imageflow.model import messages
from imageflow.model.imageset import digest
from imageflow.model.page import row_version
from imageflow.model.row import STATES, Row
from imageflow.model.run import Run, Trigger, new_run_id
from imageflow.secret import Secret
from imageflow.store.connect import connect as connect_store
from tests import postgres_server, rabbitmq_server
from tests.benchmarks.catalogue import PAGE, images
from tests.benchmarks.samples import Sample
from tests.posting import accept_post

STALLED_SECONDS = 60.0
SETTLE_SECONDS = 60.0
LIMIT_METRIC = re.compile(r"^imageflow_concurrency_limit\{[^}]*\} (\S+)$", re.MULTILINE)


class Sink:
    """A fake Omnitron in a process of its own."""

    def __init__(self, stack: ExitStack, *faults: str) -> None:
        command = [sys.executable, "-m", "imageflow", "emulate", "omnitron", "--rows", "0", "--fast"]
        process = subprocess.Popen(
            [*command, *(f"--fault={fault}" for fault in faults)], stdout=subprocess.PIPE, text=True
        )
        stack.callback(end, process)
        self.url = process.stdout.readline().strip()
        self._connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        self._lock = threading.Lock()

    def counters(self) -> dict[str, Any]:
        return self._ask("GET", "/_emulator/state?sku=-")["counters"]

    def set_faults(self, *faults: str) -> None:
        """These are the faults from now on."""
        self._ask("POST", "/_emulator/faults", json.dumps(list(faults)))

    def _ask(self, method: str, path: str, body: str | None = None) -> Any:
        with self._lock:
            try:
                self._connection.request(method, path, body)
                return json.loads(self._connection.getresponse().read())
            except (OSError, http.client.HTTPException):
                self._connection.close()
                raise


class Bed:
    """RabbitMQ and PostgreSQL; `stack` ends everything that is started here."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended then, too
        self.rabbit, self.postgres = rabbitmq_server.open_server(), postgres_server.open_server()
        if self.rabbit is None or self.postgres is None:
            raise SystemExit(
                "needs RabbitMQ and PostgreSQL: installed, or at IMAGEFLOW_TEST_AMQP_URL and IMAGEFLOW_TEST_POSTGRES_URL"
            )
        stack.callback(self.rabbit.close)
        stack.callback(self.postgres.close)
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.log = stack.enter_context((self._folder / "log.txt").open("ab"))

    def environ(self) -> dict[str, str]:
        """An environment with a new, empty database."""
        return {
            **plain_environ(),
            "IMAGEFLOW_BROKER_URL": self.rabbit.url,
            "IMAGEFLOW_STORE_URL": self.postgres.new_database(),
            "IMAGEFLOW_DATA_DIR": str(self._folder),
            "BENCH_PASSWORD": "demo",
        }

    def start(self, *command: str, environ: dict[str, str]) -> subprocess.Popen:
        """A Python module as a process; what it logs goes to a file that is shown when something goes wrong."""
        process = subprocess.Popen([sys.executable, "-m", *command], env=environ, stdout=self.log, stderr=self.log)
        self.stack.callback(end, process)
        return process

    def logged(self) -> str:
        return (self._folder / "log.txt").read_text(errors="replace")[-3000:]


def emulate(stack: ExitStack, which: str, rows: int) -> str:
    """An emulator in a process of its own; its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "imageflow", "emulate", which, "--rows", str(rows)], stdout=subprocess.PIPE, text=True
    )
    stack.callback(end, process)
    return process.stdout.readline().strip()


def plain_environ() -> dict[str, str]:
    """The environment without settings of ImageFlow."""
    return {name: value for name, value in os.environ.items() if not name.startswith("IMAGEFLOW_")}


def end(process: subprocess.Popen) -> None:
    """Ask politely, then not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def cpu_of_all(processes: Mapping[str, subprocess.Popen]) -> dict[str, float]:
    """Processor time of the services with their children, and of the servers."""
    used = {}
    for name, process in processes.items():
        parent = psutil.Process(process.pid)
        used[name] = sum(sum(one.cpu_times()[:2]) for one in (parent, *parent.children(recursive=True)))
    for name, program in (("PostgreSQL", "postgres"), ("RabbitMQ", "beam")):
        ours = [one for one in psutil.Process().children(recursive=True) if program in one.name()]
        used[name] = sum(sum(one.cpu_times()[:2]) for one in ours)
    return used


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# runs --------------------------------------------------------------------------------------------------------------


def document(sink: str, name: str, write: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "direction": "outbound",
        "omnitron": {"domain_url": sink, "username": "demo", "password": {"env": "BENCH_PASSWORD"}},
        "write": write,
    }


async def save_flow(environ: dict[str, str], sink: str, name: str = "bench", **write: Any) -> None:
    async with connect_store(Secret(environ["IMAGEFLOW_STORE_URL"]), SystemClock()) as store:
        await store.upgrade()
        await store.save_flow(document(sink, name, write))


async def queue_run(
    environ: dict[str, str], rows: int, *, name: str = "bench", salt: str | None = None, repeat: int = 1
) -> str:
    """A run of a saved flow whose rows wait in the write queue: `rows` products of this `salt`, `repeat` times over."""
    async with (
        connect_store(Secret(environ["IMAGEFLOW_STORE_URL"]), SystemClock()) as store,
        connect_broker(Secret(environ["IMAGEFLOW_BROKER_URL"]), consumer=False) as broker,
    ):
        now, salt, total = datetime.now(UTC), salt or new_salt(), rows * repeat
        flow = await store.flow(name)
        run = Run(
            run_id=new_run_id(now),
            flow=name,
            version=flow.version,
            trigger=Trigger("outbound"),
            status="draining",
            created_at=now,
            pages=1,
            read_complete=True,
        )
        accepted = await accept_post(store, run, b"[]", rows=total, key=None)
        await store.sent([item.id for item in accepted.outbox])
        registered = await store.register_page(run.run_id, 1, total, [])
        made = [
            Row(
                registered.numbers[n],
                row_version(accepted.seq, n),
                f"{salt}-{n % rows:07}",
                images(n % rows),
                digest=digest(images(n % rows)),
            )
            for n in range(total)
        ]
        outgoing = [
            Outgoing(
                messages.write_queue(name), messages.encode(messages.RowsReady(run.run_id, name, flow.version, chunk))
            )
            for chunk in messages.chunked(made, PAGE)
        ]
        for start in range(0, len(outgoing), 50):
            await broker.publish(*outgoing[start : start + 50])
        return run.run_id


def new_salt() -> str:
    return secrets.token_hex(3)


async def ended_run(environ: dict[str, str], run_id: str, seconds: float = SETTLE_SECONDS) -> Run:
    """The run, once it has ended. Raises SystemExit if it does not."""
    deadline = time.monotonic() + seconds
    async with connect_store(Secret(environ["IMAGEFLOW_STORE_URL"]), SystemClock()) as store:
        while not (run := await store.run(run_id)).ended:
            if time.monotonic() > deadline:
                raise SystemExit(f"the run does not end: {run.status}, {run.counts}")
            await asyncio.sleep(0.1)
    return run


def require_balance(run: Run, **expected: int) -> None:
    """Raises SystemExit unless the run succeeded with exactly these counts and no others."""
    counts = {state: getattr(run.counts, state) for state in STATES}
    if run.status != "success" or any(counts[state] != expected.get(state, 0) for state in counts):
        raise SystemExit(f"the run does not balance: {run.status}, {counts}, but expected were {expected}")


# watching ----------------------------------------------------------------------------------------------------------

Look = Callable[[], tuple[int, int, int]]
"""What is done, refused and in flight now."""


def look_at_sink(sink: Sink) -> Look:
    """What was written to the sink since now."""
    base = sink.counters()

    def look() -> tuple[int, int, int]:
        now = sink.counters()
        return now["written"] - base["written"], now["faulted"] - base["faulted"], now["in_flight"]

    return look


@contextlib.contextmanager
def looking_at_run(environ: dict[str, str], run_id: str):
    """What of a run is settled: for rows that the sink never sees."""
    url = environ["IMAGEFLOW_STORE_URL"]
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(url))
        query = "SELECT written + unchanged + superseded + failed FROM runs WHERE run_id = $1"

        def look() -> tuple[int, int, int]:
            return runner.run(connection.fetchval(query, run_id)), 0, 0

        try:
            yield look
        finally:
            runner.run(connection.close())


class Watch:
    """Takes samples of processes under test. Times are seconds since the watch began."""

    def __init__(
        self,
        bed: Bed,
        processes: Sequence[subprocess.Popen],
        look: Look,
        *,
        pause: float = 0.05,
        metrics_port: int | None = None,
    ) -> None:
        self.samples: list[Sample] = []
        self._bed = bed
        self.processes = processes
        self._look = look
        self._pause = pause
        self._metrics_port = metrics_port
        self._tree: list[psutil.Process] = []
        self._begun = time.perf_counter()

    @property
    def now(self) -> float:
        return time.perf_counter() - self._begun

    @property
    def done(self) -> int:
        return self.samples[-1].done if self.samples else 0

    def until(self, rows: int, *, seconds: float | None = None) -> bool:
        """Watch until `rows` are done, at most `seconds`; whether they are. Raises SystemExit when the process ends early
        or nothing moves any more."""
        moved_at, last = self.now, self.done
        give_up_at = float("inf") if seconds is None else self.now + seconds
        while self.done < rows:
            if self.now > give_up_at:
                return False
            self._take()
            if self.done != last:
                moved_at, last = self.now, self.done
            if any(process.poll() not in (None, 0) for process in self.processes):
                raise SystemExit(f"the process under test ended early\n{self._bed.logged()}")
            if self.now - moved_at > STALLED_SECONDS:
                raise SystemExit(f"nothing moves any more: {last} of {rows} rows\n{self._bed.logged()}")
        return True

    def during(self, seconds: float) -> None:
        """Watch for so long."""
        until = self.now + seconds
        while self.now < until:
            self._take()

    def _take(self) -> None:
        at = self.now
        done, refused, in_flight = self._look()
        self.samples.append(Sample(self.now, done, refused, in_flight, self._cpu(done), self._limit()))
        time.sleep(max(0.0, self._pause - (self.now - at)))

    def _cpu(self, done: int) -> float:
        """Processor time of the processes and their children, which are looked for when the first row is done."""
        if not self._tree and done:
            for process in self.processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    parent = psutil.Process(process.pid)
                    self._tree += [parent, *parent.children(recursive=True)]
        total = 0.0
        for process in self._tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def _limit(self) -> float | None:
        """What the writer's metric of its limit says; None where it says nothing."""
        if self._metrics_port is None:
            return None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics_port}/metrics", timeout=5) as answer:
                found = LIMIT_METRIC.search(answer.read().decode())
        except OSError:
            return None
        return float(found[1]) if found else None


run_async = uvloop.run
