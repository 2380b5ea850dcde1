"""How many requests may be in flight to a domain at once. Pure: it is told the time and never reads a clock.

Theory of operation. `Limiter` is AIMD (additive increase, multiplicative decrease) with two additions.

Increase. Each good answer adds one to the limit, as in TCP's slow start, until Omnitron asks for less for the first time
(429, 503, or no answer in time). The limit grows only while it is used, at 80 % or more.

Decrease. The limit is halved, once for all requests that were in flight at that moment: a burst of 429 is one sign. The
limit at which it happened, less one for each request of that burst that was refused, is the *observed limit*: what Omnitron
takes. The limit climbs back quickly to NEAR of the observed limit. From there it takes CAREFUL_ANSWERS answers or more per
step, so that hardly a request is refused while it probes for more. Once it is PAST the observed limit, Omnitron takes more
than it did: the observed limit is dropped and growth is quick again.

First addition: latency. A server that queues instead of refusing never says 429, it only gets slower. So while the mean of
the last FEW_ANSWERS answers exceeds SLOW times the best mean of the last BASELINE_SECONDS, the limit does not grow and sinks
a little with each answer. Only means count: single answers of a healthy server differ widely.

Second addition: measuring the best latency anew. A server may get slower for good, so the baseline expires. But under full
load we would measure our own queueing and call it normal. Therefore the limit dips to DIP of itself for DIP_SECONDS while
the baseline is measured. DIP times SLOW is below 1: if the latency was our own queue after all, the limit shrinks from one
baseline to the next.

`TokenBucket` is the rate that a flow may set for itself.
"""

from __future__ import annotations

START_LIMIT = 16.0
MAX_LIMIT = 1024.0
DECREASE = 0.5
FIRST_GROWTH, GROWTH = 1.0, 0.2
"""What a good answer adds to the limit while there is no observed limit: in the beginning, and after one was passed. Growth
shows in the latency only a round of answers later, so the second is smaller and does not overshoot far."""
NEAR = 0.95
"""The share of the observed limit up to which growth is quick."""
PAST = 1.05
"""The share of the observed limit (plus one) from which it no longer counts."""
CAREFUL_ANSWERS = 300
CAREFUL_ROUNDS = 25
"""The way from NEAR to the observed limit takes at least so many answers, and so many times the limit's number of answers."""
FEW_ANSWERS = 30
MANY_ANSWERS = 120
"""Answers in the mean latency of now, and in the best one, which must not be a stroke of luck."""
SLOW = 2.0
"""A mean latency above so many times the best one is slow."""
BASELINE_SECONDS = 10.0
"""How long a best mean latency counts."""
DIP = 0.4
DIP_SECONDS = 1.0
DIP_ANSWERS = 10
SAME_LATENCY = 1.25
"""No dip is needed while the best latency of the last window is within this factor of the baseline."""


class Limiter:
    """The number of requests that may be in flight at once: `limit`, from 1 to `maximum`."""

    def __init__(self, start: float = START_LIMIT, maximum: float = MAX_LIMIT) -> None:
        self._limit = self._start = start
        self._maximum = maximum
        self._observed: float | None = None
        self._growth = FIRST_GROWTH
        self._lowered_at = self._lowered_before = float("-inf")
        self._forget()

    @property
    def limit(self) -> int:
        return max(1, int(self._limit))

    def good(self, latency: float, in_flight: int, now: float) -> None:
        """Record an answer that was not Omnitron's fault: it took `latency` seconds, with `in_flight` requests in flight."""
        if now - latency >= self._lowered_at:  # an older request shows the latency under the limit of before
            self._judge(latency)
            self._learn(latency, now)
        if self._slow:
            self._sink()
        elif in_flight >= self.limit * 0.8 and not self._dipped:
            self._limit = min(self._maximum, self._limit + self._step())

    def overloaded(self, begun: float, now: float) -> bool:
        """Record that Omnitron asked for less (429, 503) or did not answer in time. Returns whether that is news.

        A request from before the limit was last lowered is no news: it was sent under the old limit. But one request
        fewer of that burst was taken, so the observed limit is corrected. A request from before the burst corrects
        nothing.
        """
        if begun < self._lowered_at:
            if self._observed is not None and begun >= self._lowered_before:
                self._observed = min(self._observed, max(self._limit, self._observed - 1))
            return False
        self._lower(now)
        return True

    def restart(self) -> None:
        """Forget what was learnt of Omnitron and start anew, after an outage."""
        self._limit, self._observed, self._growth = self._start, None, FIRST_GROWTH
        self._forget()

    def _sink(self) -> None:
        """Lower the limit while answers are slow: by a little per answer, and at once by what quick growth has overshot."""
        if self._observed is None:
            if self._growth == FIRST_GROWTH:
                self._limit = max(1.0, self._limit * DECREASE)
            self._observed = float(self.limit)
        self._limit = max(1.0, self._limit - 0.5 / self._limit)

    def _step(self) -> float:
        """What one good answer adds to the limit."""
        if self._observed is not None and self._limit >= self._observed * PAST + 1:
            self._observed, self._growth = None, GROWTH
        if self._observed is None:
            return self._growth
        if self._limit < self._observed * NEAR:
            return min(1.0, self._observed * NEAR - self._limit)
        return max(1.0, self._observed * (1 - NEAR)) / max(CAREFUL_ANSWERS, CAREFUL_ROUNDS * self._limit)

    def _lower(self, now: float, share: float = DECREASE) -> None:
        self._observed = float(self.limit)
        self._limit = max(1.0, self._limit * share)
        self._lowered_before, self._lowered_at = self._lowered_at, now
        self._slow = False
        self._few, self._many = Mean(), Mean()

    def _forget(self) -> None:
        """Forget all latencies."""
        self._best = self._lately = float("inf")
        self._until = 0.0
        self._dipped = self._slow = False
        self._few, self._many = Mean(), Mean()

    def _judge(self, latency: float) -> None:
        """Answers are slow while the mean of the last few is."""
        self._few.add(latency)
        if self._few.count >= FEW_ANSWERS:
            self._slow = self._few.value > self._best * SLOW + 0.005
            self._few = Mean()

    def _learn(self, latency: float, now: float) -> None:
        """Keep the best mean of the present window (`_lately`) and the baseline (`_best`)."""
        self._many.add(latency)
        over = now >= self._until
        if self._many.count < (DIP_ANSWERS if over else MANY_ANSWERS):
            return
        self._lately = min(self._lately, self._many.value)
        self._best = min(self._best, self._many.value)
        self._many = Mean()
        if over:
            self._renew(now)

    def _renew(self, now: float) -> None:
        """Begin a new window: with the last one's best mean as the baseline, or with a dip to measure it."""
        if self._dipped or self._lately <= self._best * SAME_LATENCY:
            self._best, self._until, self._dipped = self._lately, now + BASELINE_SECONDS, False
        else:
            self._lower(now, DIP)
            self._until, self._dipped = now + DIP_SECONDS, True
        self._lately = float("inf")


class Mean:
    """The mean of latencies."""

    __slots__ = ("_sum", "count")

    def __init__(self) -> None:
        self._sum = 0.0
        self.count = 0

    def add(self, value: float) -> None:
        self._sum += value
        self.count += 1

    @property
    def value(self) -> float:
        return self._sum / self.count


class TokenBucket:
    """At most `rate` tokens per second, in bursts of at most a tenth of a second's worth (at least one)."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._burst = max(1.0, rate / 10)
        self._tokens = self._burst
        self._at = now

    def take(self, now: float) -> float:
        """Take a token and return 0, or take none and return the seconds until the next one."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1.0 - 1e-9:
            return (1.0 - self._tokens) / self.rate
        self._tokens -= 1.0
        return 0.0
