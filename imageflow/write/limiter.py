"""How much a domain of Omnitron is asked at once, and whether at all. Pure: told the time, never asks.

`Limiter`: grows by one with each good answer until Omnitron first asks for less; that limit, without those of its requests
that were refused, is the ceiling. Then it is halved (DESIGN: 9), comes back as quickly to just below the ceiling, and feels
its way up from there so slowly that hardly a request is refused; past the ceiling, Omnitron takes more than it did, and
growth is quick again. A second brake: while answers on the whole take much longer than at best lately, more at once would
only wait in Omnitron's queue, so the limit does not grow and sinks a little. What counts are means of many answers: single
ones differ widely, of a healthy server too. The limit grows only while it is used.

`CircuitBreaker`: whether rows go out at all. When most answers of the last WINDOW are Omnitron's fault, it holds: one probe at a
time, at growing pauses; the first good answer ends it. Waiting burns no row's attempts.
"""

from __future__ import annotations

from collections import deque

START_LIMIT = 16.0
MAX_LIMIT = 1024.0
DECREASE = 0.5
FIRST_GROWTH, GROWTH = 1.0, 0.2
"""How much a good answer adds to the limit where there is no ceiling: at the beginning, and past one that was found. What
growth does to latency is seen a round of answers later, so the second is not to overshoot far."""
NEAR = 0.95
"""The share of the ceiling up to which growth is quick."""
PAST = 1.05
"""The share of the ceiling (and one more) from which it counts no more."""
CAREFUL_ANSWERS = 300
CAREFUL_ROUNDS = 25
"""How many answers, and how many times the limit's worth of answers, the way from NEAR to the ceiling (or one more) takes at least."""
FEW_ANSWERS = 30
MANY_ANSWERS = 120
"""How many answers the mean latency of now is taken of, and the best one, which must not be a stroke of luck."""
PATIENCE = 2.0
"""How many times the best mean latency is still taken for good."""
BASELINE_SECONDS = 10.0
"""How long a best mean latency counts. Then one measured anew takes its place, so that a domain that got slower is not held
down; it is measured at DIP of the limit for DIP_SECONDS, because in a queue that we fill every answer is slow. DIP times
PATIENCE is below 1: where it is our queue after all, the limit shrinks from one time to the next."""
DIP = 0.4
DIP_SECONDS = 1.0
DIP_ANSWERS = 10
SAME_LATENCY = 1.25

WINDOW = 20
AWAY_LIMIT = 5
PRODUCTS_LIMIT = 5
PROBE_SECONDS = (0.5, 1.0, 2.0, 4.0, 5.0)
"""Pauses between probes. The last, and as long again until the rows that were put off are back, must stay well below the 15 s
in which the full rate is to be back."""


class Limiter:
    """The number of requests that may be under way at once."""

    def __init__(self, start: float = START_LIMIT, maximum: float = MAX_LIMIT) -> None:
        self._limit = self._start = start
        self._maximum = maximum
        self._ceiling: float | None = None
        self._growth = FIRST_GROWTH
        self._lowered_at = self._lowered_before = float("-inf")
        self._forget()

    @property
    def limit(self) -> int:
        return max(1, int(self._limit))

    def good(self, latency: float, in_flight: int, now: float) -> None:
        """An answer that was not Omnitron's fault came after `latency` seconds, with `in_flight` under way."""
        if now - latency >= self._lowered_at:
            self._judge(latency)
            self._learn(latency, now)
        if self._slow:
            self._sink()
        elif in_flight >= self.limit * 0.8 and not self._dipped:
            self._limit = min(self._maximum, self._limit + self._step())

    def overloaded(self, begun: float, now: float) -> bool:
        """Omnitron asked for less (429, 503) or did not answer in time. Requests that were begun before the limit was
        last lowered say nothing of the new one: False, that is no news. But so many fewer of the old one were taken."""
        if begun < self._lowered_at:
            if self._ceiling is not None and begun >= self._lowered_before:
                self._ceiling = min(self._ceiling, max(self._limit, self._ceiling - 1))
            return False
        self._lower(now)
        return True

    def restart(self) -> None:
        """Omnitron was away: what was learnt of it counts no more."""
        self._limit, self._ceiling, self._growth = self._start, None, FIRST_GROWTH
        self._forget()

    def _sink(self) -> None:
        """A little with each answer; what quick growth has overshot meanwhile, at once."""
        if self._ceiling is None:
            if self._growth == FIRST_GROWTH:
                self._limit = max(1.0, self._limit * DECREASE)
            self._ceiling = float(self.limit)
        self._limit = max(1.0, self._limit - 0.5 / self._limit)

    def _step(self) -> float:
        """How much one good answer adds."""
        if self._ceiling is not None and self._limit >= self._ceiling * PAST + 1:
            self._ceiling, self._growth = None, GROWTH
        if self._ceiling is None:
            return self._growth
        if self._limit < self._ceiling * NEAR:
            return min(1.0, self._ceiling * NEAR - self._limit)
        return max(1.0, self._ceiling * (1 - NEAR)) / max(CAREFUL_ANSWERS, CAREFUL_ROUNDS * self._limit)

    def _lower(self, now: float, share: float = DECREASE) -> None:
        self._ceiling = float(self.limit)
        self._limit = max(1.0, self._limit * share)
        self._lowered_before, self._lowered_at = self._lowered_at, now
        self._slow = False
        self._few, self._many = Mean(), Mean()

    def _forget(self) -> None:
        """Nothing is known of latencies."""
        self._best = self._lately = float("inf")
        self._until = 0.0
        self._dipped = self._slow = False
        self._few, self._many = Mean(), Mean()

    def _judge(self, latency: float) -> None:
        """Answers are slow now if the mean of a few is."""
        self._few.add(latency)
        if self._few.count >= FEW_ANSWERS:
            self._slow = self._few.value > self._best * PATIENCE + 0.005
            self._few = Mean()

    def _learn(self, latency: float, now: float) -> None:
        """Keep the best mean of the present window (`_lately`) and the one that counts (`_best`)."""
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
        """The window is over: what was seen in it is the best from now on, or is to be measured at a lower limit."""
        if self._dipped or self._lately <= self._best * SAME_LATENCY:
            self._best, self._until, self._dipped = self._lately, now + BASELINE_SECONDS, False
        else:
            self._lower(now, DIP)
            self._until, self._dipped = now + DIP_SECONDS, True
        self._lately = float("inf")


class Mean:
    """Of latencies."""

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


class CircuitBreaker:
    """Whether a domain is held, and when to probe it.

    Held when Omnitron was not reached AWAY_LIMIT times in a row, or when most of the last WINDOW answers, over several
    products, were its fault: one product that always gives 500 holds nobody.
    """

    def __init__(self) -> None:
        self._recent: deque[str | None] = deque(maxlen=WINDOW)
        self._away = 0
        self._probes = 0
        self._probe_at = 0.0
        self._changed_at = float("-inf")
        self.held = False
        self.since = 0.0
        self.reason = ""

    @property
    def suspected(self) -> bool:
        """Omnitron was not reached just now, but not often enough yet to hold."""
        return not self.held and self._away > 0

    def outdated(self, begun: float) -> bool:
        """Whether a request is from before the hold began or ended: what comes of it says nothing of now."""
        return begun < self._changed_at

    def spares(self, begun: float) -> bool:
        """Whether a request that failed did so because Omnitron as a whole was away: no row pays for that."""
        return self.held or self.outdated(begun)

    def good(self, now: float) -> None:
        """An answer that was not Omnitron's fault: a held domain is back."""
        if self.held:
            self.held, self._changed_at = False, now
            self._recent.clear()
        self._away = 0
        self._recent.append(None)

    def bad(self, product: str, reason: str, now: float, *, away: bool) -> None:
        """An answer that was Omnitron's fault, or none (`away`)."""
        self._recent.append(product)
        self._away = self._away + 1 if away else 0
        self.reason = reason
        if not self.held and (self._away >= AWAY_LIMIT or self._mostly_bad()):
            self.held, self.since, self._changed_at, self._probes = True, now, now, 0
            self._probe_at = now + PROBE_SECONDS[0]

    def may_probe(self, now: float) -> bool:
        """Whether a row may go out as the probe now; the next probe waits longer."""
        if now < self._probe_at:
            return False
        self._probes += 1
        self._probe_at = now + PROBE_SECONDS[min(self._probes, len(PROBE_SECONDS) - 1)]
        return True

    def not_probed(self, now: float) -> None:
        """The probe was not sent: the next row may go out at once."""
        self._probes, self._probe_at = max(0, self._probes - 1), now

    def _mostly_bad(self) -> bool:
        failures = [product for product in self._recent if product is not None]
        return len(failures) >= WINDOW // 2 and len(set(failures)) >= PRODUCTS_LIMIT


class Bucket:
    """A token bucket: at most `rate` per second, bursts of a tenth of a second's worth (at least one)."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._burst = max(1.0, rate / 10)
        self._tokens = self._burst
        self._at = now

    def take(self, now: float) -> float:
        """Take a token and give 0, or take none and give the seconds until there is one."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1.0 - 1e-9:
            return (1.0 - self._tokens) / self.rate
        self._tokens -= 1.0
        return 0.0
