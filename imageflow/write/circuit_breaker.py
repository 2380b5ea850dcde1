"""Whether rows go out to a domain at all: a circuit breaker. Pure: it is told the time and never reads a clock.

Theory of operation. The circuit has three states:

    closed      rows go out. Every answer is recorded, see below.
    open        no row goes out: writers put rows off, and no row loses an attempt by that.
    half-open   still open, but one row goes out as a probe. PROBE_SECONDS are the pauses between probes. The first answer
                that is not Omnitron's fault closes the circuit, whether it came to a probe or to a straggler.

The circuit opens on either of two signs. UNREACHED_LIMIT requests in a row did not reach Omnitron (no connection, time-out,
502, 503, 504): no product can be the cause of that. Or most of the last WINDOW answers were Omnitron's fault, over at least
PRODUCTS_LIMIT products: a single product that is always answered 500 opens nothing.

Requests overlap. When the circuit opens or closes, requests from before that moment are still in flight, and their answers
speak of a time that is over: a late time-out must not open a circuit that has just closed. `predates_change` finds them, and
the caller records nothing of them. For the rows it is the other way round: a request that failed around such a change failed
because of the outage, see `is_outage`.

Between the first unreached request and the UNREACHED_LIMIT-th, the circuit is closed but `suspected`. The caller may wait
a moment then before it charges a row with a failure.
"""

from __future__ import annotations

from collections import deque

WINDOW = 20
UNREACHED_LIMIT = 5
PRODUCTS_LIMIT = 5
PROBE_SECONDS = (0.5, 1.0, 2.0, 4.0, 5.0)
"""Pauses between probes. The full rate must be back within 15 s of Omnitron's recovery: that takes the last of these pauses,
and about as long again until the rows that were put off come back."""


class CircuitBreaker:
    """One per domain and process. `open` says whether rows are put off, `reason` what failed last."""

    def __init__(self) -> None:
        self._recent: deque[str | None] = deque(maxlen=WINDOW)
        """The products of failed requests, None for each good answer."""
        self._unreached = 0
        self._probes = 0
        self._probe_at = 0.0
        self._changed_at = float("-inf")
        self.open = False
        self.reason = ""

    @property
    def suspected(self) -> bool:
        """Omnitron was not reached just now, but not often enough yet to open the circuit."""
        return not self.open and self._unreached > 0

    def predates_change(self, begun: float) -> bool:
        """Whether a request began before the circuit last opened or closed: its answer says nothing of now."""
        return begun < self._changed_at

    def is_outage(self, begun: float) -> bool:
        """Whether a request that began then and failed did so because of an outage, which costs its row no attempt."""
        return self.open or self.predates_change(begun)

    def good(self, now: float) -> None:
        """Record an answer that was not Omnitron's fault. It closes an open circuit."""
        if self.open:
            self.open, self._changed_at = False, now
            self._recent.clear()
        self._unreached = 0
        self._recent.append(None)

    def bad(self, product: str, reason: str, now: float, *, unreached: bool) -> None:
        """Record an answer that was Omnitron's fault, or (`unreached`) that Omnitron was not reached."""
        self._recent.append(product)
        self._unreached = self._unreached + 1 if unreached else 0
        self.reason = reason
        if not self.open and (self._unreached >= UNREACHED_LIMIT or self._mostly_bad()):
            self.open, self._changed_at, self._probes = True, now, 0
            self._probe_at = now + PROBE_SECONDS[0]

    def take_probe(self, now: float) -> bool:
        """Whether a row may go out as the probe now. If so, the next probe waits longer."""
        if now < self._probe_at:
            return False
        self._probes += 1
        self._probe_at = now + PROBE_SECONDS[min(self._probes, len(PROBE_SECONDS) - 1)]
        return True

    def return_probe(self, now: float) -> None:
        """The probe was not sent: the next row may go out at once."""
        self._probes, self._probe_at = max(0, self._probes - 1), now

    def _mostly_bad(self) -> bool:
        failures = [product for product in self._recent if product is not None]
        return len(failures) >= WINDOW // 2 and len(set(failures)) >= PRODUCTS_LIMIT
