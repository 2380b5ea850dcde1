"""The queue of rows in front of one domain: sends as many at once as the limiter says, taking from flows in turn.

Theory of operation. A chunk's rows enter as one batch, and the caller waits for the batch. Rows wait here as items of a
deque, not as tasks: a chunk of 100 rows costs one future. There are at most `limit` senders. A sender is a task that sends
a row, takes the next row, and ends when nothing may be sent. So tasks are created only while the limit grows or the queue
was empty, not per row.

Which row is next: flows take turns, each with its oldest batch, so a large flow does not starve a small one. A flow at its
cap is passed over. A flow whose token bucket is empty is passed over too, and a timer wakes the queue when the next token
is there.

Who may send is decided when a row is taken, in one step without an await: `_take` looks at the limit and counts the row as
in flight. So the limit is never exceeded, however many senders run at once.

A batch ends when each of its rows is sent or rejected. Rows are rejected, all at once, when the circuit opens, when a lease
ends, and when this process stops; the rows of a single batch are rejected after QUEUE_SECONDS. Rows in flight are never
rejected.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from imageflow.clock import Clock
from imageflow.telemetry.metrics import Requests
from imageflow.write.circuit_breaker import CircuitBreaker
from imageflow.write.limiter import Limiter, TokenBucket
from imageflow.write.outcome import Outcome, Unavailable

VERDICT_SECONDS = 1.0
"""How long a chunk waits at most until it is known whether a failure is one row's or an outage."""
QUEUE_SECONDS = 600.0
"""How long rows wait at most. RabbitMQ closes the channel of a delivery that is unacknowledged for 30 minutes."""

T = TypeVar("T")


def _ignoring(call: Callable[[], None]) -> Callable[[object], None]:
    """The call as a callback that ignores its argument."""
    return lambda _: call()


class Batch(Generic[T]):
    """Rows of one flow in the queue. `left` counts those that are neither sent nor rejected; `done` ends with the last."""

    __slots__ = ("done", "flow", "left", "send", "waiting")

    def __init__(self, flow: str, rows: Sequence[T], send: Callable[[T], Awaitable[None]]) -> None:
        self.flow = flow
        self.waiting = deque(rows)
        self.left = len(rows)
        self.send = send
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def count_off(self, count: int = 1) -> None:
        """So many rows were sent or rejected."""
        self.left -= count
        if not self.left and not self.done.done():
            self.done.set_result(None)

    def reject(self) -> None:
        """Send no more of its rows."""
        count = len(self.waiting)
        self.waiting.clear()
        self.count_off(count)


class DomainQueue(Generic[T]):
    """One per domain and process. `senders` is the group that its tasks live in; `closed` once this process stops."""

    def __init__(self, clock: Clock, senders: asyncio.TaskGroup, requests: Requests | None = None) -> None:
        self._clock = clock
        self._senders = senders
        self._requests = requests
        self._queued: dict[str, deque[Batch[T]]] = {}
        """Batches by flow, the oldest first. The first flow is the next in turn."""
        self._by_flow: Counter[str] = Counter()
        """Rows in flight."""
        self._caps: dict[str, int] = {}
        self._buckets: dict[str, TokenBucket] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._verdict: asyncio.Event | None = None
        self.limiter = Limiter()
        self.breaker = CircuitBreaker()
        self.in_flight = 0
        self.closed = False

    def close(self) -> None:
        """Begin no more requests: all rows in the queue are rejected."""
        self.closed = True
        self.reject_all()

    def reject_all(self) -> None:
        """Turn all rows in the queue into held ones, which are requeued."""
        queued, self._queued = self._queued, {}
        for batches in queued.values():
            for batch in batches:
                batch.reject()

    async def send_all(
        self,
        flow: str,
        rows: Sequence[T],
        send: Callable[[T], Awaitable[None]],
        *,
        cap: int,
        rate: float | None = None,
        until: asyncio.Future[None] | None = None,
    ) -> None:
        """Run `send` for each row; returns when all have run or were rejected.

        At most `cap` of the flow's rows run at once, and at most `rate` begin per second. `send` must not raise. Once
        `until` is done, no more are sent.
        """
        if not rows or self.breaker.open or self.closed:
            return
        batch = Batch(flow, rows, send)
        self._caps[flow] = cap
        self._set_rate(flow, rate)
        self._queued.setdefault(flow, deque()).append(batch)
        self._fill()
        late = asyncio.get_running_loop().call_later(QUEUE_SECONDS, batch.reject)
        withdraw = _ignoring(batch.reject)
        if until is not None:
            until.add_done_callback(withdraw)
        try:
            await batch.done
        finally:
            late.cancel()
            if until is not None:
                until.remove_done_callback(withdraw)
            batch.waiting.clear()  # the caller was cancelled: its rows must not go out any more

    def record(self, product: str, outcome: Outcome, seconds: float) -> None:
        """Record the outcome of a request that took `seconds`: the limiter and the circuit breaker learn from it."""
        if self._requests is not None:
            self._requests.count(outcome.status, seconds)
        now = self._clock.monotonic()
        if self.breaker.predates_change(now - seconds):
            return
        if not isinstance(outcome, Unavailable):
            self.limiter.good(seconds, self.in_flight, now)
            self.breaker.good(now)
            self._give_verdict()
            return
        if outcome.slow_down and not self.limiter.overloaded(now - seconds, now) and outcome.status == 429:
            return  # one of a burst of 429, whose first has been recorded: Omnitron is there
        self.breaker.bad(product, outcome.reason, now, unreached=outcome.unreached)
        if self.breaker.open:
            self.limiter.restart()
            self.reject_all()
        self._give_verdict()

    async def verdict(self) -> None:
        """Wait, at most VERDICT_SECONDS, while a failure may be one row's or the first sign of an outage."""
        if not self.breaker.suspected:
            return
        if self._verdict is None:
            self._verdict = asyncio.Event()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(VERDICT_SECONDS):
                await self._verdict.wait()

    def _give_verdict(self) -> None:
        if self._verdict is not None and not self.breaker.suspected:
            self._verdict.set()
            self._verdict = None

    def _set_rate(self, flow: str, rate: float | None) -> None:
        if rate is None:
            self._buckets.pop(flow, None)
        elif flow not in self._buckets or self._buckets[flow].rate != rate:
            self._buckets[flow] = TokenBucket(rate, self._clock.monotonic())

    def _fill(self) -> None:
        """Start senders while the limit leaves room and rows wait."""
        while (taken := self._take()) is not None:
            self._senders.create_task(self._sender(*taken))

    async def _sender(self, batch: Batch[T], row: T) -> None:
        """Send one row after the other while the limit leaves room for this sender."""
        while True:
            try:
                await batch.send(row)
            finally:
                self.in_flight -= 1
                self._by_flow[batch.flow] -= 1
                batch.count_off()
            taken = self._take()
            if taken is None:
                return
            batch, row = taken
            # The limit may have grown by this answer: then one sender that goes on is not enough.
            if self._queued and self.in_flight < self.limiter.limit:
                self._fill()

    def _take(self) -> tuple[Batch[T], T] | None:
        """The row to send next, counted as in flight; None while nothing may be sent."""
        if self.in_flight >= self.limiter.limit or (batch := self._next()) is None:
            return None
        self.in_flight += 1
        self._by_flow[batch.flow] += 1
        return batch, batch.waiting.popleft()

    def _next(self) -> Batch[T] | None:
        """The batch whose turn it is."""
        for flow in tuple(self._queued):
            batches = self._queued[flow]
            while batches and not batches[0].waiting:
                batches.popleft()
            if not batches:
                del self._queued[flow]
            elif self._by_flow[flow] < self._caps[flow] and self._may_begin(flow):
                if len(self._queued) > 1:
                    self._queued[flow] = self._queued.pop(flow)  # the flow goes to the end of the dict: others are next
                return batches[0]
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
