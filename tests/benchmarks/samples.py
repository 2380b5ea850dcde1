"""What was seen of a process under test over time, and what follows from it. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple


class Sample(NamedTuple):
    """`done` and `refused` count up; `cpu` is the processor time of the process under test in seconds."""

    at: float
    done: int
    refused: int = 0
    in_flight: int = 0
    cpu: float = 0.0
    limit: float | None = None


class Pace(NamedTuple):
    """Rows per second, and processor time per row in seconds."""

    rate: float
    cpu: float


def pace(samples: Sequence[Sample], rows: int, start: float = 0.1, end: float = 0.9) -> Pace:
    """The pace of the steady part: from the first sample with the share `start` of `rows` done to the first with `end`."""
    first = next(sample for sample in samples if sample.done >= rows * start)
    last = next(sample for sample in samples if sample.done >= rows * end)
    done = last.done - first.done
    if not done or last.at <= first.at:
        raise ValueError("too few samples to tell a pace: more rows are needed")
    return Pace(done / (last.at - first.at), (last.cpu - first.cpu) / done)


def rate(samples: Sequence[Sample], start: float, end: float) -> float:
    """Rows per second between two instants, counts between samples taken as growing evenly."""
    return (_done_at(samples, end) - _done_at(samples, start)) / (end - start)


def rates(samples: Sequence[Sample], step: float = 0.5) -> list[tuple[float, float]]:
    """Rows per second over time: of each `step` seconds, at its middle."""
    begin, end = samples[0].at, samples[-1].at
    edges = [begin + step * n for n in range(int((end - begin) / step) + 1)]
    return [((a + b) / 2, rate(samples, a, b)) for a, b in pairwise(edges)]


def back_at(samples: Sequence[Sample], since: float, wanted: float, window: float = 1.0) -> float | None:
    """The first instant from `since` on that begins a `window` with at least `wanted` rows per second; None: never."""
    end = samples[-1].at - window
    starts = [since, *(sample.at for sample in samples if sample.at > since)]
    return next((at for at in starts if at <= end and rate(samples, at, at + window) >= wanted), None)


def refused_share(samples: Sequence[Sample]) -> float:
    """Of all answers."""
    last = samples[-1]
    return last.refused / max(1, last.refused + last.done)


def median(values: Iterable[float]) -> float:
    return statistics.median(list(values))


def _done_at(samples: Sequence[Sample], at: float) -> float:
    if at <= samples[0].at:
        return samples[0].done
    for before, after in pairwise(samples):
        if before.at <= at <= after.at:
            share = (at - before.at) / (after.at - before.at) if after.at > before.at else 1.0
            return before.done + (after.done - before.done) * share
    return samples[-1].done


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table of text: the first column to the left, the others to the right."""
    shown = [list(head), *(list(line) for line in lines)]
    widths = [max(len(line[column]) for line in shown) for column in range(len(head))]
    shown.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            text.rjust(width) if n else text.ljust(width)
            for n, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in shown
    )
