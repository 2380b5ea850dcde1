"""A dict with a bound: what a process remembers must not grow with what it has seen."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar, overload

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

NEVER = float("inf")


class _Entry(NamedTuple, Generic[V]):
    value: V
    until: float


class Recent(Generic[K, V]):
    """At most `limit` entries. One more pushes out the entry that was not used for longest; with `seconds`, an entry
    expires that long after it was put. `now` is the clock, in seconds.
    """

    def __init__(self, limit: int, seconds: float = NEVER, now: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._seconds = seconds
        self._now = now
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()

    @overload
    def get(self, key: K) -> V | None: ...

    @overload
    def get(self, key: K, default: D) -> V | D: ...

    def get(self, key: K, default: D | None = None) -> V | D | None:
        """The value, or `default` where there is none (any more)."""
        entry = self._entries.get(key)
        if entry is None:
            return default
        if entry.until != NEVER and entry.until <= self._now():
            del self._entries[key]
            return default
        self._entries.move_to_end(key)
        return entry.value

    def put(self, key: K, value: V, seconds: float | None = None) -> V:
        """Remember a value, for `seconds` where they are given; returns the value."""
        lasts = self._seconds if seconds is None else seconds
        self._entries[key] = _Entry(value, NEVER if lasts == NEVER else self._now() + lasts)
        self._entries.move_to_end(key)
        while len(self._entries) > self._limit:
            self._entries.popitem(last=False)
        return value

    def forget(self, key: K) -> None:
        self._entries.pop(key, None)

    def clear(self) -> None:
        self._entries.clear()

    def __contains__(self, key: K) -> bool:
        return self.get(key, _ABSENT) is not _ABSENT

    def __len__(self) -> int:
        """How many entries there are, expired ones included."""
        return len(self._entries)


_ABSENT = object()
