"""The gate in front of a domain: lets requests through as its Limiter says, taking from flows in turn."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from imageflow.clock import Clock
from imageflow.write.limiter import Bucket, Hold, Limiter
from imageflow.write.outcome import Outcome, Unavailable


class Held(Exception):
    """The domain is held: the row shall come back later."""


class Gate:
    """One per domain and process. `limiter` and `hold` decide; this only waits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._by_flow: Counter[str] = Counter()
        self._caps: dict[str, int] = {}
        self.limiter = Limiter()
        self.hold = Hold()
        self.in_flight = 0

    @asynccontextmanager
    async def slot(self, flow: str, cap: int, rate: float | None = None, *, probe: bool = False) -> AsyncIterator[None]:
        """A place among the requests under way: of the domain, and at most `cap` and `rate` per second of this flow.

        Raises Held where the domain is held and this is not the `probe`.
        """
        if rate is not None:
            await asyncio.sleep(
                self._buckets.setdefault(flow, Bucket(rate, self._clock.monotonic())).wait(self._clock.monotonic())
            )
        if not probe:
            await self._enter(flow, cap)
        self.in_flight += 1
        self._by_flow[flow] += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            self._by_flow[flow] -= 1
            self._wake()

    def learn(self, product: str, outcome: Outcome, seconds: float) -> None:
        """Tell what came of a request that took `seconds`."""
        now = self._clock.monotonic()
        if not isinstance(outcome, Unavailable):
            self.limiter.good(seconds, self.in_flight, now)
            self.hold.good()
            return
        if outcome.slow_down:
            self.limiter.overloaded(now)
        self.hold.bad(product, outcome.reason, now, away=outcome.away)
        if self.hold.held:
            self._turn_away()

    async def _enter(self, flow: str, cap: int) -> None:
        while True:
            if self.hold.held:
                raise Held
            if self.in_flight < self.limiter.limit and self._by_flow[flow] < cap:
                return
            self._caps[flow] = cap
            turn = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(flow, deque()).append(turn)
            await turn

    def _wake(self) -> None:
        """Let as many in as there are free places, from each flow in turn while it is below its cap."""
        free = self.limiter.limit - self.in_flight
        room = {flow: self._caps[flow] - self._by_flow[flow] for flow in self._waiting}
        while free > 0 and (flow := next((flow for flow in self._waiting if room[flow] > 0), None)) is not None:
            queue = self._waiting.pop(flow)
            turn = queue.popleft()
            if queue:
                self._waiting[flow] = queue  # to the end of the line of flows
            if not turn.done():
                turn.set_result(None)
                free -= 1
                room[flow] -= 1

    def _turn_away(self) -> None:
        for queue in self._waiting.values():
            for turn in queue:
                if not turn.done():
                    turn.set_exception(Held())
        self._waiting.clear()
