"""Whether memory stays flat: `python -m tests.benchmarks.memory [--rows 1000000] [--distributed] [--svg FILE]`.

A small run and a large one, each in new processes with an empty store, from the same fake ERP to the same fast Omnitron. The
resident memory of each process is looked at four times a second; what is compared is the highest, large by small. At the
end, the size of what is stored stands beside it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.benchmarks import plot
from tests.benchmarks.bed import Bed, Sink, emulate, end, plain_environ
from tests.benchmarks.samples import table
from tests.benchmarks.whole import SERVICES, flow_file, machine

LOOK_SECONDS = 0.25
MOST = 1.2
"""The highest memory of the large run by that of the small one."""
MIB = 2**20


class Seen(NamedTuple):
    """By process: seconds since the run began, and MiB. `stored`: MiB on disk at the end, where it is ours."""

    memory: dict[str, list[tuple[float, float]]]
    seconds: float
    stored: float | None = None

    def highest(self, name: str) -> float:
        return max(size for _, size in self.memory[name])


def moved(stack: ExitStack, rows: int, sink: str, bed: Bed | None) -> Seen:
    """Run so many rows through, and watch."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    flow_file(folder, emulate(stack, "erp", rows), sink)
    environ = bed.environ() if bed else {**plain_environ(), "IMAGEFLOW_DATA_DIR": str(folder / "data")}
    environ["BENCH_PASSWORD"] = "demo"
    command = [sys.executable, "-m", "imageflow", "run", "bench", "--wait", "--json"]
    services: dict[str, subprocess.Popen] = {}
    if bed:
        for prepare in (("db", "upgrade"), ("flow", "apply", str(folder / "flows"))):
            subprocess.run([sys.executable, "-m", "imageflow", *prepare], env=environ, check=True, capture_output=True)
        services = {name: bed.start("imageflow", name, environ=environ) for name in SERVICES}
    else:
        command += ["--flows", str(folder / "flows")]
    run = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    stack.callback(end, run)
    memory, seconds = watch(services or {"embedded": run}, run)
    counts = json.loads(run.stdout.read().splitlines()[-1])["rows"]
    if counts["written"] != rows:
        raise SystemExit(f"the run does not balance: {counts}")
    for process in services.values():
        end(process)
    stored = None if bed else sum(one.stat().st_size for one in (folder / "data").iterdir()) / MIB
    return Seen(memory, seconds, stored)


def watch(
    processes: Mapping[str, subprocess.Popen], run: subprocess.Popen
) -> tuple[dict[str, list[tuple[float, float]]], float]:
    """The memory of the processes until the run has ended, and how long that took."""
    begun = time.perf_counter()
    trees = {name: psutil.Process(process.pid) for name, process in processes.items()}
    memory: dict[str, list[tuple[float, float]]] = {name: [] for name in trees}
    while run.poll() is None:
        for name, process in trees.items():
            try:
                tree = (process, *process.children(recursive=True))
                size = sum(one.memory_info().rss for one in tree) / MIB
            except psutil.NoSuchProcess:
                continue
            memory[name].append((time.perf_counter() - begun, size))
        time.sleep(LOOK_SECONDS)
    if run.returncode:
        raise SystemExit(f"the run ended with exit status {run.returncode}")
    return memory, time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--distributed", action="store_true")
    parser.add_argument("--svg", type=Path, help="draw the large run's memory over time")
    options = parser.parse_args()
    print(machine(), flush=True)
    with ExitStack() as stack:
        bed = Bed(stack) if options.distributed else None
        sink = Sink(stack).url
        seen = []
        for rows in (options.small, options.rows):
            with ExitStack() as course:
                seen.append(moved(course, rows, sink, bed))
        small, large = seen
    lines = []
    for name in large.memory:
        ratio = large.highest(name) / small.highest(name)
        judged = "met" if ratio <= MOST else "NOT MET"
        lines.append((name, f"{small.highest(name):.0f}", f"{large.highest(name):.0f}", f"{ratio:.2f}", judged))
    head = ("highest, MiB", f"{options.small:,} rows", f"{options.rows:,} rows", "ratio", f"at most {MOST}")
    print(table(head, lines))
    print(f"{options.rows:,} rows took {large.seconds:.0f} s")
    if large.stored is not None:
        print(f"stored: {large.stored:.0f} MiB, {large.stored * MIB / options.rows:.0f} bytes a row")
    if options.svg:
        drawn = [plot.Line(name, plot.thinned(points)) for name, points in large.memory.items()]
        options.svg.write_text(plot.plot(f"{options.rows:,} rows", "seconds", "MiB", drawn))


if __name__ == "__main__":
    main()
