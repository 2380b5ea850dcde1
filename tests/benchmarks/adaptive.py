"""Whether `concurrency: auto` finds what Omnitron takes, and follows it: `python -m tests.benchmarks.adaptive`.

The sink takes LATENCY for an answer and CAPACITY requests at once; beyond that it answers 429 at once. One writer process
over RabbitMQ and PostgreSQL writes to it:

1. with `auto`, and with fixed numbers (the same writer with a limit that never adapts), in turns;
2. with `auto`, while the sink becomes ten times as slow for some seconds, and then as it was.

Plots are written as SVG files into the folder `--plots`. A fixed number beyond the capacity may be refused for ever: it is
given `--patience` seconds.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.bed import (
    Bed,
    Sink,
    Watch,
    end,
    ended_run,
    free_port,
    look_at_sink,
    queue_run,
    require_balance,
    run_async,
    save_flow,
)
from tests.benchmarks.plot import Band, Line, plot
from tests.benchmarks.samples import Sample, back_at, median, pace, rate, rates, refused_share, table

AUTO = "auto"
SLOWER = 10
SETTLING_SECONDS = 3.0
"""After the sink has changed, before its rate counts."""

AIM_RATE, AIM_REFUSED, AIM_BACK, AIM_BACK_SECONDS = 0.9, 0.02, 0.9, 10.0


class Limits(NamedTuple):
    """What the sink takes."""

    latency: float
    capacity: int

    def faults(self) -> tuple[str, str]:
        """Refusals come first, so that they are not delayed."""
        return f"capacity={self.capacity}", f"latency={self.latency * 1000:g}ms"

    @property
    def rate(self) -> float:
        return self.capacity / self.latency


class Result(NamedTuple):
    """What one way of writing reached. `done` of `rows` were written when the watch ended."""

    rate: float
    cpu: float
    refused: float
    most: int
    done: bool


def steady(bed: Bed, limits: Limits, way: str, rows: int, patience: float) -> Result:
    """Write `rows` with `auto` or a fixed number."""
    with ExitStack() as stack:
        sink = Sink(stack, *limits.faults())
        environ, name = bed.environ(), f"bench-{way}"
        run_async(save_flow(environ, sink.url, name))
        run_id = run_async(queue_run(environ, rows, name=name))
        command = ("imageflow", "writer") if way == AUTO else ("tests.benchmarks.fixed_writer", way)
        watch = Watch(bed, [bed.start(*command, environ=environ)], look_at_sink(sink), pause=0.02)
        watch.until(1)
        done = watch.until(rows, seconds=None if way == AUTO else patience)
        if done:
            require_balance(run_async(ended_run(environ, run_id)), written=rows)
        end(watch.processes[0])
        most = sink.counters()["max_in_flight"]
    seen = pace(watch.samples, watch.done)
    return Result(seen.rate, seen.cpu, refused_share(watch.samples), most, done)


class Followed(NamedTuple):
    """What was seen while the sink slowed and recovered; instants in seconds since the watch began."""

    samples: list[Sample]
    slowed: float
    recovered: float
    ended: float


def follow(bed: Bed, limits: Limits, rows: int, seconds: tuple[float, float, float]) -> Followed:
    """Write with `auto` while the sink is quick, slow, and quick again for so many seconds each."""
    with ExitStack() as stack:
        sink = Sink(stack, *limits.faults())
        port = free_port()
        environ = {**bed.environ(), "IMAGEFLOW_METRICS_PORT": str(port)}
        run_async(save_flow(environ, sink.url))
        run_id = run_async(queue_run(environ, rows))
        process = bed.start("imageflow", "writer", environ=environ)
        watch = Watch(bed, [process], look_at_sink(sink), metrics_port=port)
        watch.until(1)
        watch.during(seconds[0])
        sink.set_faults(*limits._replace(latency=limits.latency * SLOWER).faults())
        slowed = watch.now
        watch.during(seconds[1])
        sink.set_faults(*limits.faults())
        recovered = watch.now
        watch.during(seconds[2])
        ended = watch.now
        if watch.done >= rows:
            ended = next(sample.at for sample in watch.samples if sample.done >= rows * 0.99)
        watch.until(rows)
        require_balance(run_async(ended_run(environ, run_id)), written=rows)
        end(process)
    return Followed(watch.samples, slowed, recovered, ended)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000, help="of each way in part 1")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--fixed", type=int, nargs="+", default=[50, 100, 150, 200, 250, 300])
    parser.add_argument("--latency", type=float, default=0.05, help="of the sink, in seconds")
    parser.add_argument("--capacity", type=int, default=200, help="of the sink")
    parser.add_argument("--patience", type=float, default=30.0, help="for a fixed number, in seconds")
    parser.add_argument("--seconds", type=float, nargs=3, default=[10.0, 10.0, 15.0], help="quick, slow, quick")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", default=None)
    options = parser.parse_args()
    limits = Limits(options.latency, options.capacity)
    with ExitStack() as stack:
        bed = Bed(stack)
        rounds = []
        for number in range(1, options.rounds + 1):
            rounds.append({})
            for way in (AUTO, *map(str, options.fixed)):
                rounds[-1][way] = result = steady(bed, limits, way, options.rows, options.patience)
                print(f"round {number}: {way:>5} {result.rate:>9,.0f} rows/s", flush=True)
        print(f"\n{fixed_report(rounds)}\n", flush=True)
        quick, slow, again = options.seconds
        reached = median(one[AUTO].rate for one in rounds)
        rows = int(reached * (quick + again) + min(reached, limits.rate / SLOWER) * slow)
        followed = follow(bed, limits, rows, (quick, slow, again))
        print(follow_report(followed, limits))
    if options.plots is not None:
        options.plots.mkdir(parents=True, exist_ok=True)
        for name, svg in {"fixed": fixed_plot(rounds), **follow_plots(followed, limits)}.items():
            (options.plots / f"adaptive-{name}.svg").write_text(svg)
            print(options.plots / f"adaptive-{name}.svg")


def fixed_report(rounds: list[dict[str, Result]]) -> str:
    best = max((way for way in rounds[0] if way != AUTO), key=lambda way: median(one[way].rate for one in rounds))
    lines = []
    for way in rounds[0]:
        results = [one[way] for one in rounds]
        lines.append(
            (
                way,
                f"{median(result.rate for result in results):,.0f}",
                f"{median(one[way].rate / one[best].rate for one in rounds):.2f}",
                f"{median(result.refused for result in results):.2%}",
                f"{max(result.most for result in results)}",
                f"{median(result.cpu for result in results) * 1e6:,.0f}",
                "all" if all(result.done for result in results) else "cut short",
            )
        )
    ratio = median(one[AUTO].rate / one[best].rate for one in rounds)
    refused = max(one[AUTO].refused for one in rounds)
    head = ("concurrency", "rows/s", "of best fixed", "refused", "most at once", "CPU us/row", "rows")
    return "\n".join(
        [
            table(head, lines),
            "",
            _aim(f"auto / best fixed number ({best}) at least {AIM_RATE}", f"{ratio:.2f}", met=ratio >= AIM_RATE),
            _aim(f"auto: refused less than {AIM_REFUSED:.0%}", f"{refused:.2%}", met=refused < AIM_REFUSED),
        ]
    )


def follow_report(followed: Followed, limits: Limits) -> str:
    samples, slowed, recovered, ended = followed
    started = next(sample.at for sample in samples if sample.done)
    before = rate(samples, min(started + 2.0, slowed - 1.0), slowed)
    possible = min(before, limits.rate / SLOWER)
    slow = rate(samples, min(slowed + SETTLING_SECONDS, recovered - 1.0), recovered)
    after = rate(samples, min(recovered + SETTLING_SECONDS, ended - 1.0), ended)
    back = back_at(samples, recovered, before * AIM_BACK)
    refused = refused_share(samples)
    shown = "never" if back is None else f"{back - recovered:.1f} s"
    lines = [
        ("quick", f"{before:,.0f}", f"{min(limits.rate, before):,.0f}", _limit_at(samples, slowed)),
        (f"{SLOWER} times as slow", f"{slow:,.0f}", f"{possible:,.0f}", _limit_at(samples, recovered)),
        ("quick again", f"{after:,.0f}", f"{min(limits.rate, before):,.0f}", _limit_at(samples, ended)),
    ]
    what = "limit at its end" if _has_limit(samples) else "in flight at its end (no metric of the limit)"
    return "\n".join(
        [
            table(("sink", "rows/s", "to be had", what), lines),
            "",
            _aim(
                f"back at {AIM_BACK:.0%} of the rate within {AIM_BACK_SECONDS:g} s of the recovery",
                shown,
                met=back is not None and back - recovered <= AIM_BACK_SECONDS,
            ),
            _aim(f"refused less than {AIM_REFUSED:.0%}", f"{refused:.2%}", met=refused < AIM_REFUSED),
        ]
    )


def fixed_plot(rounds: list[dict[str, Result]]) -> str:
    numbers = sorted(int(way) for way in rounds[0] if way != AUTO)
    auto = median(one[AUTO].rate for one in rounds)
    fixed = [(float(number), median(one[str(number)].rate for one in rounds)) for number in numbers]
    lines = [Line("fixed number", fixed, dots=True), Line("auto", [(0, auto), (numbers[-1], auto)], dashed=True)]
    return plot("Rows written, by concurrency", "requests at once", "rows/s", lines)


def follow_plots(followed: Followed, limits: Limits) -> dict[str, str]:
    samples = followed.samples
    bands = [Band(followed.slowed, followed.recovered, f"the sink is {SLOWER} times as slow")]
    at_once = [Line("in flight at the sink", [(sample.at, sample.in_flight) for sample in samples])]
    if _has_limit(samples):
        limit = [(sample.at, sample.limit) for sample in samples if sample.limit is not None]
        at_once.append(Line("limit of the writer", limit))
    at_once.append(Line("capacity", [(0, limits.capacity), (samples[-1].at, limits.capacity)], dashed=True))
    return {
        "rate": plot("A sink that slows and recovers", "seconds", "rows/s", [Line("written", rates(samples))], bands),
        "limit": plot("A sink that slows and recovers", "seconds", "requests at once", at_once, bands),
    }


def _has_limit(samples: list[Sample]) -> bool:
    """Whether the metric is there and moves: it begins somewhere else than it ends up."""
    return len({sample.limit for sample in samples if sample.limit is not None}) > 1


def _limit_at(samples: list[Sample], at: float) -> str:
    sample = [sample for sample in samples if sample.at <= at][-1]
    return f"{sample.limit:.0f}" if _has_limit(samples) and sample.limit is not None else f"{sample.in_flight}"


def _aim(text: str, value: str, *, met: bool) -> str:
    return f"{text}: {value} {'met' if met else 'NOT MET'}"


if __name__ == "__main__":
    main()
