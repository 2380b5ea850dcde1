"""A sink in simulated time, for the limiter: rows without end, as many under way as it says."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable

from imageflow.write.limiter import Limiter

CLIENT_RATE = 6_000.0
"""How many requests a second the simulated client can begin."""


class Report:
    """What came of a simulation: good answers and refusals, and the limit over time."""

    def __init__(self) -> None:
        self.good: list[float] = []
        self.refused: list[float] = []
        self.limits: list[tuple[float, int]] = []

    def rate(self, start: float, end: float) -> float:
        return sum(start <= at < end for at in self.good) / (end - start)

    def refused_share(self, start: float, end: float) -> float:
        refused = sum(start <= at < end for at in self.refused)
        return refused / max(1, refused + sum(start <= at < end for at in self.good))


def simulate(
    limiter: Limiter,
    seconds: float,
    *,
    latency: Callable[[float], float],
    capacity: Callable[[float], int],
    refuses: bool,
    client_rate: float = CLIENT_RATE,
    spread: float | None = None,
) -> Report:
    """Run `limiter` against a sink that works on `capacity` requests at once for `latency` seconds each (both may change
    over time); beyond that it answers 429 within a millisecond (`refuses`) or lets them wait in line. The client itself
    begins at most `client_rate` requests a second. `spread`: latencies differ as those of real servers do, few of them by
    much (log-normal, their mean as said); without it, by a tenth.
    """
    report, dice = Report(), random.Random(1)
    events: list[tuple[float, int, float, bool]] = []  # when, tie-break, begun, good
    waiting: deque[float] = deque()
    in_flight = working = n = 0
    now = next_begin = 0.0

    def work(begun: float) -> None:
        nonlocal working, n
        working += 1
        n += 1
        luck = dice.uniform(0.9, 1.1) if spread is None else dice.lognormvariate(-spread * spread / 2, spread)
        heapq.heappush(events, (now + latency(now) * luck, n, begun, True))

    while now < seconds:
        while in_flight < limiter.limit and next_begin <= now:
            next_begin = max(next_begin, now - 0.005) + 1 / client_rate
            in_flight += 1
            if working < capacity(now):
                work(now)
            elif refuses:
                n += 1
                heapq.heappush(events, (now + 0.001, n, now, False))
            else:
                waiting.append(now)
        if events and (events[0][0] <= next_begin or in_flight >= limiter.limit):
            now, _, begun, good = heapq.heappop(events)
            if good:
                working -= 1
                limiter.good(now - begun, in_flight, now)
                report.good.append(now)
            else:
                limiter.overloaded(begun, now)
                report.refused.append(now)
            in_flight -= 1
            while waiting and working < capacity(now):
                work(waiting.popleft())
        else:
            now = max(now, next_begin)
        if not report.limits or report.limits[-1][1] != limiter.limit:
            report.limits.append((now, limiter.limit))
    return report
