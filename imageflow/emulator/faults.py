"""Faults as data, and the script that decides which of them apply to a request.

Nothing here does I/O: `FaultScript.judge` gives a `Verdict`, and the emulators act on it.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ms|s|m)?", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing that goes wrong. The fields mean what `parse_fault` says; times are seconds."""

    status: int | None = None
    retry_after: float | str | None = None
    html: bool = False
    down: bool = False
    drop: bool = False
    lost: bool = False
    hang: bool = False
    latency: float = 0.0
    jitter: float = 0.0
    capacity: int | None = None
    token_uses: int | None = None
    mode: str | None = None

    first: int | None = None
    after: int = 0
    every: int = 1
    each: bool = False
    rate: float = 1.0
    seed: int = 0
    match: str | None = None
    path: str | None = None
    from_: float = msgspec.field(default=0.0, name="from")
    until: float | None = None

    def __post_init__(self) -> None:
        if not (self.answers or self.delays or self.lost or self.token_uses or self.mode):
            raise ValueError(f"says when but not what: give one of {', '.join(WHAT)}")
        _require(self.status is None or 200 <= self.status <= 599, "status must be between 200 and 599")
        _require(0 <= self.rate <= 1, "rate must be between 0 and 1")
        _require(self.every >= 1, "every must be at least 1")
        _require(self.after >= 0 and (self.first is None or self.first >= 1), "first and after count requests")
        _require(self.capacity is None or self.capacity >= 0, "capacity must not be negative")
        _require(self.token_uses is None or self.token_uses >= 1, "token_uses must be at least 1")
        _require(self.latency >= 0 and self.jitter >= 0 and self.from_ >= 0, "times must not be negative")
        _require(self.until is None or self.until > self.from_, "until must be later than from")

    @property
    def answers(self) -> bool:
        """Whether the emulator answers by this fault instead of doing what it was asked."""
        if self.lost:
            return False
        return bool(self.status or self.html or self.down or self.drop or self.hang or self.capacity is not None)

    @property
    def delays(self) -> bool:
        return bool(self.latency or self.jitter)

    @property
    def answer_status(self) -> int:
        """The status of the answer: as given, or 429 beyond the capacity, 502 in HTML, 503 when down."""
        return self.status or (429 if self.capacity is not None else 502 if self.html else 503)


WHAT = (
    "status", "html", "down", "drop", "lost", "hang", "latency", "jitter", "capacity", "token_uses", "mode",
)  # fmt: skip
"""The fields of a fault of which there must be at least one."""


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def parse_fault(spec: str) -> Fault:
    """A fault from its text: `key=value` pairs and flags, joined by commas.

    What happens (at least one of these):

        status=503            answer with this status and an error body
        retry_after=1         with that Retry-After header (a number, or any text: a date, nonsense)
        html                  the error body is an HTML page (status 502 unless given)
        down                  refuse everything with 503, the login too
        drop                  close the connection without an answer, having done nothing
        lost                  do what was asked, then close the connection without an answer
        hang                  never answer
        lost,hang             do what was asked, then never answer
        latency=50ms          wait before doing anything (a number of seconds, or 50ms, 2s, 1m)
        jitter=20ms           wait up to so much longer, at random
        capacity=200          429 for every request beyond that many at once
        token_uses=500        a token is good for so many requests, then it is a 401
        mode=repeated_page    a way for the ERP to be hostile, see `imageflow.emulator.hostile`

    When (all that are given must hold; none: always):

        first=20              the first 20 requests
        after=100             not the first 100; `first` and `every` count from there
        every=10              every tenth request
        each                  first, after and every count per product instead of overall
        rate=0.05             at random, for this share of the requests; seed=7 for other dice
        match=SKU-1*          requests for these products only (`*`, `?`, `[…]`; `A*|B*` for either)
        path=/api/v1/*        requests to these paths only
        from=2,until=10       only in these seconds since the fault was set

    Without `path` a fault does not meet logins, except `down`. Several faults may meet one request: waiting adds up,
    the first that has an answer gives it. Raises ValueError that names what is wrong with the text.
    """
    try:
        return msgspec.convert(dict(_pair(part) for part in spec.split(",") if part.strip()), Fault)
    except ValueError as error:
        raise ValueError(f"fault {spec!r}: {error}") from error


def _pair(part: str) -> tuple[str, Any]:
    name, equals, text = (piece.strip() for piece in part.partition("="))
    if name not in _KINDS:
        raise ValueError(f"there is no {name!r}; there are: {', '.join(_KINDS)}")
    kind = _KINDS[name]
    if (kind is _flag) != (not equals):
        raise ValueError(f"{name} takes no value" if kind is _flag else f"{name} needs a value: {name}=…")
    try:
        return name, kind(text)
    except ValueError:
        raise ValueError(f"{name} must be {_WORDS[kind]}, not {text!r}") from None


def _flag(_: str) -> bool:
    return True


def _number(text: str) -> float:
    if not _DURATION.fullmatch(text) or text.endswith(("s", "m")):
        raise ValueError(text)
    return float(text)


def _duration(text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return float(match[1]) * _SECONDS[match[2]]


def _number_or_text(text: str) -> float | str:
    try:
        return _number(text)
    except ValueError:
        return text


_KINDS: dict[str, Callable[[str], Any]] = {
    "status": int,
    "retry_after": _number_or_text,
    "html": _flag,
    "down": _flag,
    "drop": _flag,
    "lost": _flag,
    "hang": _flag,
    "latency": _duration,
    "jitter": _duration,
    "capacity": int,
    "token_uses": int,
    "mode": str,
    "first": int,
    "after": int,
    "every": int,
    "each": _flag,
    "rate": _number,
    "seed": int,
    "match": str,
    "path": str,
    "from": _duration,
    "until": _duration,
}
_WORDS: dict[Callable[[str], Any], str] = {
    int: "a whole number",
    _number: "a number",
    _duration: "a duration like 0.05, 50ms, 2s or 1m",
    _number_or_text: "a number or text",
    str: "text",
}


def fault(value: Fault | str | Mapping[str, Any]) -> Fault:
    """A fault from however it is given: itself, its text, or a JSON object of its fields. Raises ValueError."""
    if isinstance(value, Fault):
        return value
    if isinstance(value, str):
        return parse_fault(value)
    try:
        return msgspec.convert(value, Fault)
    except ValueError as error:
        raise ValueError(f"fault {value!r}: {error}") from error


class Verdict(msgspec.Struct, frozen=True):
    """What meets one request: wait `delay` seconds; then answer by `fault`, if any; `lost`: do it but do not answer, and
    close the connection unless it `hangs`.

    `mode` is a way to be hostile, `strike` how often (with this time) it has come up.
    """

    delay: float = 0.0
    fault: Fault | None = None
    lost: bool = False
    hangs: bool = False
    mode: str | None = None
    strike: int = 0


CLEAN = Verdict()


class _Watch:
    """One fault with what it has seen so far."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.fired = 0
        self._seen: Counter[str] = Counter()
        self._dice = random.Random(fault.seed)

    def meets(self, path: str, products: Sequence[str], in_flight: int, elapsed: float, *, login: bool) -> bool:
        """Whether the fault meets this request; counts it."""
        fault = self.fault
        if not self._concerns(path, products, elapsed, login=login):
            return False
        if fault.capacity is not None and in_flight <= fault.capacity:
            return False
        who = products[0] if fault.each and products else ""
        self._seen[who] += 1
        number = self._seen[who] - fault.after
        if number < 1 or (fault.first is not None and number > fault.first) or number % fault.every:
            return False
        if fault.rate < 1 and self._dice.random() >= fault.rate:
            return False
        self.fired += 1
        return True

    def delay(self) -> float:
        return self.fault.latency + (self._dice.random() * self.fault.jitter if self.fault.jitter else 0.0)

    def _concerns(self, path: str, products: Sequence[str], elapsed: float, *, login: bool) -> bool:
        fault = self.fault
        if elapsed < fault.from_ or (fault.until is not None and elapsed >= fault.until):
            return False
        if fault.path is None:
            if login and not fault.down:
                return False
        elif not fnmatchcase(path, fault.path):
            return False
        if fault.match is None:
            return True
        return any(fnmatchcase(product, glob) for glob in fault.match.split("|") for product in products)


class FaultScript:
    """The faults that are set, with their counters. Time starts when the script is made."""

    def __init__(
        self, faults: Iterable[Fault | str | Mapping[str, Any]] = (), *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.faults = tuple(fault(one) for one in faults)
        self.token_uses = min((one.token_uses for one in self.faults if one.token_uses), default=None)
        self._watches = [_Watch(one) for one in self.faults if one.answers or one.delays or one.lost or one.mode]
        self._clock = clock
        self._started = clock()

    @property
    def quiet(self) -> bool:
        """Whether no fault can apply to any request."""
        return not self._watches

    @property
    def fired(self) -> list[int]:
        """How often each fault applied to a request, in their order."""
        counts = {id(watch.fault): watch.fired for watch in self._watches}
        return [counts.get(id(one), 0) for one in self.faults]

    def judge(self, path: str, products: Sequence[str] = (), in_flight: int = 1, *, login: bool = False) -> Verdict:
        """What meets this request. `in_flight` counts the requests in hand, this one included."""
        if not self._watches:
            return CLEAN
        elapsed = self._clock() - self._started
        delay, answer, lost, hangs, mode, strike = 0.0, None, False, False, None, 0
        for watch in self._watches:
            if answer is not None or not watch.meets(path, products, in_flight, elapsed, login=login):
                continue
            delay += watch.delay()
            lost = lost or watch.fault.lost
            hangs = hangs or (watch.fault.lost and watch.fault.hang)
            if watch.fault.mode and mode is None:
                mode, strike = watch.fault.mode, watch.fired
            if watch.fault.answers:
                answer = watch.fault
        return Verdict(delay, answer, lost, hangs, mode, strike)
