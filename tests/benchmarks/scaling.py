"""How rows/s grow with the number of writers: `python -m tests.benchmarks.scaling`.

The sink takes LATENCY for an answer and any number at once; each writer asks for CONCURRENCY at once, so that one writer
can reach CONCURRENCY / LATENCY rows/s, and the growth is linear until the machine is full: its processors are shown, too.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import NamedTuple

import psutil

from tests.benchmarks.bed import (
    Bed,
    Sink,
    Watch,
    end,
    ended_run,
    look_at_sink,
    queue_run,
    require_balance,
    run_async,
    save_flow,
)
from tests.benchmarks.samples import median, pace, table

READY_SECONDS = 3.0
"""All writers consume by then: a share of the rows must not be gone before the last of them begins."""

FIRST, LAST = 0.2, 0.8
BUSY = 0.9


class Result(NamedTuple):
    """`busy`: the share of the machine's processors that was in use, by whomever."""

    rate: float
    cpu: float
    busy: float


def measure(bed: Bed, writers: int, rows: int, latency: float, concurrency: int) -> Result:
    with ExitStack() as stack:
        sink = Sink(stack, f"latency={latency * 1000:g}ms")
        environ = bed.environ()
        run_async(save_flow(environ, sink.url, concurrency=concurrency))
        processes = [bed.start("imageflow", "writer", environ=environ) for _ in range(writers)]
        watch = Watch(bed, processes, look_at_sink(sink))
        watch.during(READY_SECONDS)
        run_id = run_async(queue_run(environ, rows))
        watch.until(int(rows * FIRST))
        psutil.cpu_percent()
        watch.until(int(rows * LAST))
        busy = psutil.cpu_percent() / 100
        watch.until(rows)
        require_balance(run_async(ended_run(environ, run_id)), written=rows)
        for process in processes:
            end(process)
        if (written := sink.counters()["written"]) != rows:
            raise SystemExit(f"{written} writes for {rows} rows")
    seen = pace(watch.samples, rows, FIRST, LAST)
    return Result(seen.rate, seen.cpu, busy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--concurrency", type=int, default=32, help="of each writer")
    parser.add_argument("--latency", type=float, default=0.05, help="of the sink, in seconds")
    parser.add_argument("--seconds", type=float, default=15.0, help="that each measurement takes at full speed")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    possible = options.concurrency / options.latency
    with ExitStack() as stack:
        bed = Bed(stack)
        rounds = []
        for number in range(1, options.rounds + 1):
            rounds.append({})
            for writers in options.writers:
                rows = int(possible * writers * options.seconds)
                result = measure(bed, writers, rows, options.latency, options.concurrency)
                rounds[-1][writers] = result
                print(f"round {number}: {writers} writers {result.rate:>9,.0f} rows/s", flush=True)
    print(f"\n{report(rounds, possible)}")


def report(rounds: list[dict[int, Result]], possible: float) -> str:
    """The growth table. `possible`: what latency and concurrency let one writer reach."""
    first = next(iter(rounds[0]))
    lines = []
    for writers in rounds[0]:
        growth = median(one[writers].rate / one[first].rate for one in rounds)
        reached = median(one[writers].rate for one in rounds)
        busy = median(one[writers].busy for one in rounds)
        lines.append(
            (
                f"{writers}",
                f"{reached:,.0f}",
                f"{reached / (possible * writers):.0%}",
                f"{growth:.2f}",
                f"{growth / (writers / first):.0%}",
                f"{median(one[writers].cpu for one in rounds) * 1e6:,.0f}",
                f"{busy:.0%}" + (" (full)" if busy >= BUSY else ""),
            )
        )
    head = ("writers", "rows/s", "of possible", "growth", "of linear", "CPU us/row", "machine")
    return table(head, lines)


if __name__ == "__main__":
    main()
