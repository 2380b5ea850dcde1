"""What an absence of Omnitron costs: `python -m tests.benchmarks.outage [--rows N] [--seconds S]`.

In the middle of the rows Omnitron is away for some seconds (`down`: 503 for everything, the login too). No row may fail, no
row may lose one of its attempts, and the rate must be back soon after the return. One writer process over RabbitMQ and
PostgreSQL; the sink takes 50 ms for an answer and the flow asks for a fixed number at once, so that the rate before and
after is the same by design, and not a matter of what else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import asyncpg

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
from tests.benchmarks.plot import Band, Line, plot
from tests.benchmarks.samples import Sample, back_at, rate, rates, table

BACK_SECONDS = 15.0
SHARES = (0.8, 0.9)
"""Of the rate before: what counts as being back. The first is required within BACK_SECONDS."""


class Outage(NamedTuple):
    """What was seen; instants in seconds since the watch began. `attempts`: how many rows needed how many."""

    samples: list[Sample]
    gone: float
    back: float
    attempts: dict[int, int]
    written: int


def outage(bed: Bed, rows: int, seconds: float, latency: float, concurrency: int | str, fault: str) -> Outage:
    with ExitStack() as stack:
        usual = f"latency={latency * 1000:g}ms"
        sink = Sink(stack, usual)
        environ = bed.environ()
        run_async(save_flow(environ, sink.url, concurrency=concurrency))
        run_id = run_async(queue_run(environ, rows))
        process = bed.start("imageflow", "writer", environ=environ)
        watch = Watch(bed, [process], look_at_sink(sink))
        watch.until(rows // 2)
        sink.set_faults(usual, fault)
        gone = watch.now
        watch.during(seconds)
        sink.set_faults(usual)
        back = watch.now
        watch.until(rows)
        require_balance(run_async(ended_run(environ, run_id)), written=rows)
        end(process)
        attempts = asyncio.run(attempts_of(environ["IMAGEFLOW_STORE_URL"], run_id))
        return Outage(watch.samples, gone, back, attempts, sink.counters()["written"])


async def attempts_of(store_url: str, run_id: str) -> dict[int, int]:
    """How many rows of the run needed how many attempts, as their logs say."""
    connection = await asyncpg.connect(store_url)
    try:
        found = await connection.fetch(
            "SELECT attempts, count(*) AS rows FROM rows WHERE run_id = $1 GROUP BY 1 ORDER BY 1", run_id
        )
    finally:
        await connection.close()
    return {one["attempts"]: one["rows"] for one in found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=120.0, help="how long Omnitron is away")
    parser.add_argument("--latency", type=float, default=0.05, help="of the sink, in seconds")
    parser.add_argument("--concurrency", default="64", help="a number, or auto")
    parser.add_argument("--fault", default="down", help="how it is away, as in `imageflow emulate --fault`")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", default=None)
    options = parser.parse_args()
    concurrency = options.concurrency if options.concurrency == "auto" else int(options.concurrency)
    with ExitStack() as stack:
        seen = outage(Bed(stack), options.rows, options.seconds, options.latency, concurrency, options.fault)
    text, good = report(seen, options.rows)
    print(text)
    if options.plots is not None:
        options.plots.mkdir(parents=True, exist_ok=True)
        (options.plots / "outage.svg").write_text(drawn(seen))
        print(options.plots / "outage.svg")
    if not good:
        raise SystemExit(1)


def report(seen: Outage, rows: int) -> tuple[str, bool]:
    """The table, and whether everything is as it must be."""
    samples, gone, back = seen.samples, seen.gone, seen.back
    begun = next(sample.at for sample in samples if sample.done >= rows * 0.1)
    before = rate(samples, begun, gone)
    first = next(sample.at for sample in samples if sample.at > back and sample.done > _done(samples, back))
    again = {share: back_at(samples, first, before * share) for share in SHARES}
    burnt = sum(count for attempts, count in seen.attempts.items() if attempts != 1)
    probes = _refused(samples, back) - _refused(samples, gone)
    lines = [
        ("rows written", f"{rows:,}", "all"),
        ("writes that Omnitron took", f"{seen.written:,}", f"{rows:,}"),
        ("rows that lost an attempt", f"{burnt:,}", "0"),
        ("requests while it was away", f"{probes:,}", ""),
        ("rate before", f"{before:,.0f} rows/s", ""),
        ("first row after its return", f"{first - back:.1f} s", ""),
    ]
    for share in SHARES:
        at = again[share]
        wanted = f"{BACK_SECONDS:g} s" if share == SHARES[0] else ""
        lines.append((f"back at {share:.0%} of the rate", "never" if at is None else f"{at - back:.1f} s", wanted))
    at = again[SHARES[0]]
    good = seen.written == rows and not burnt and at is not None and at - back <= BACK_SECONDS
    shown = table((f"Omnitron away for {back - gone:.0f} s", "seen", "wanted"), lines)
    return f"{shown}\n\n{'all as wanted' if good else 'NOT AS WANTED'}", good


def drawn(seen: Outage) -> str:
    bands = [Band(seen.gone, seen.back, "Omnitron is away")]
    return plot("Omnitron goes and returns", "seconds", "rows/s", [Line("written", rates(seen.samples))], bands)


def _done(samples: list[Sample], at: float) -> int:
    return [sample for sample in samples if sample.at <= at][-1].done


def _refused(samples: list[Sample], at: float) -> int:
    return [sample for sample in samples if sample.at <= at][-1].refused


if __name__ == "__main__":
    main()
