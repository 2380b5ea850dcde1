"""The gate in front of a domain: sends rows, as many at once as its Limiter says, taking from flows in turn.

Rows wait in line here, not as tasks: a few senders, as many as the limit, take the next row from the flow whose turn it
is. A flow may have a cap and a rate of its own. When the domain is held, everything in line is turned away at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from imageflow.clock import Clock
from imageflow.telemetry.metrics import Requests
from imageflow.write.limiter import Bucket, CircuitBreaker, Limiter
from imageflow.write.outcome import Outcome, Unavailable

SUSPICION_SECONDS = 1.0
LINE_SECONDS = 600.0
"""How long rows wait in line at most: RabbitMQ ends a loan after 30 minutes, with the channel that it was made on."""

Send = Callable[[Any], Awaitable[None]]


class Batch:
    """Rows of one flow in line. `left` counts those that are neither sent nor turned away."""

    __slots__ = ("done", "flow", "left", "send", "waiting")

    def __init__(self, flow: str, works: Sequence[Any], send: Send) -> None:
        self.flow = flow
        self.waiting = deque(works)
        self.left = len(works)
        self.send = send
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle(self, count: int = 1) -> None:
        self.left -= count
        if not self.left and not self.done.done():
            self.done.set_result(None)

    def turn_away(self) -> None:
        """Send no more of it."""
        count = len(self.waiting)
        self.waiting.clear()
        self.settle(count)


class DomainQueue:
    """One per domain and process. `limiter` and `hold` decide; `senders` is the group its tasks live in."""

    def __init__(self, clock: Clock, senders: asyncio.TaskGroup, requests: Requests | None = None) -> None:
        self._clock = clock
        self._senders = senders
        self._requests = requests
        self._lines: dict[str, deque[Batch]] = {}
        self._by_flow: Counter[str] = Counter()
        self._caps: dict[str, int] = {}
        self._buckets: dict[str, Bucket] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._certain: asyncio.Event | None = None
        self.limiter = Limiter()
        self.hold = CircuitBreaker()
        self.in_flight = 0
        self.closed = False

    def close(self) -> None:
        """Begin no request any more: everything in line is turned away."""
        self.closed = True
        self._turn_away()

    async def send_all(
        self, flow: str, works: Sequence[Any], send: Send, *, cap: int, rate: float | None = None
    ) -> None:
        """Run `send` for each of `works`; returns when all have run or were turned away, because the domain is held, the
        gate closed, or their turn did not come within LINE_SECONDS.

        At most `cap` of the flow run at once, and at most `rate` begin per second. `send` must not raise.
        """
        if not works or self.hold.held or self.closed:
            return
        batch = Batch(flow, works, send)
        self._caps[flow] = cap
        self._set_rate(flow, rate)
        self._lines.setdefault(flow, deque()).append(batch)
        self._fill()
        late = asyncio.get_running_loop().call_later(LINE_SECONDS, batch.turn_away)
        try:
            await batch.done
        finally:
            late.cancel()
            batch.waiting.clear()

    def learn(self, product: str, outcome: Outcome, seconds: float) -> None:
        """Tell what came of a request that took `seconds`."""
        if self._requests is not None:
            self._requests.count(outcome.status, seconds)
        now = self._clock.monotonic()
        if self.hold.outdated(now - seconds):
            return
        if not isinstance(outcome, Unavailable):
            self.limiter.good(seconds, self.in_flight, now)
            self.hold.good(now)
            self._be_certain()
            return
        if outcome.slow_down and not self.limiter.overloaded(now - seconds, now) and outcome.status == 429:
            return  # one of a burst: Omnitron is there, and has been heard
        self.hold.bad(product, outcome.reason, now, away=outcome.away)
        if self.hold.held:
            self.limiter.restart()
            self._turn_away()
        self._be_certain()

    async def sure(self) -> None:
        """Wait, but not for long, while a failure may be one row's or the first sign that Omnitron is away."""
        if not self.hold.suspected:
            return
        if self._certain is None:
            self._certain = asyncio.Event()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SUSPICION_SECONDS):
                await self._certain.wait()

    def _be_certain(self) -> None:
        if self._certain is not None and not self.hold.suspected:
            self._certain.set()
            self._certain = None

    def _set_rate(self, flow: str, rate: float | None) -> None:
        if rate is None:
            self._buckets.pop(flow, None)
        elif flow not in self._buckets or self._buckets[flow].rate != rate:
            self._buckets[flow] = Bucket(rate, self._clock.monotonic())

    def _fill(self) -> None:
        """Start senders while the limit leaves room and rows are in line."""
        while (taken := self._take()) is not None:
            self._senders.create_task(self._sender(*taken))

    async def _sender(self, batch: Batch, work: Any) -> None:
        """Send one row after the other while the limit leaves room for this sender."""
        while True:
            try:
                await batch.send(work)
            finally:
                self.in_flight -= 1
                self._by_flow[batch.flow] -= 1
                batch.settle()
            taken = self._take()
            if taken is None:
                return
            batch, work = taken
            if self._lines and self.in_flight < self.limiter.limit:
                self._fill()

    def _take(self) -> tuple[Batch, Any] | None:
        """The row to send next, counted as in flight; None where nothing may be sent now."""
        if self.in_flight >= self.limiter.limit or (batch := self._next()) is None:
            return None
        self.in_flight += 1
        self._by_flow[batch.flow] += 1
        return batch, batch.waiting.popleft()

    def _next(self) -> Batch | None:
        """The batch whose turn it is."""
        for flow in list(self._lines) if len(self._lines) > 1 else tuple(self._lines):
            line = self._lines[flow]
            while line and not line[0].waiting:
                line.popleft()
            if not line:
                del self._lines[flow]
            elif self._by_flow[flow] < self._caps[flow] and self._may_begin(flow):
                if len(self._lines) > 1:
                    self._lines[flow] = self._lines.pop(flow)  # to the end of the line of flows
                return line[0]
        return None

    def _may_begin(self, flow: str) -> bool:
        bucket = self._buckets.get(flow)
        if bucket is None:
            return True
        wait = bucket.take(self._clock.monotonic())
        if wait and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(wait, self._wake)
        return not wait

    def _wake(self) -> None:
        self._timer = None
        self._fill()

    def _turn_away(self) -> None:
        lines, self._lines = self._lines, {}
        for line in lines.values():
            for batch in line:
                batch.turn_away()
