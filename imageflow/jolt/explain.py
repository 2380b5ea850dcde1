"""What a chain did to one document: counts for each line of each operation, and what came out of it, as data."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from imageflow.jolt.runtime import find, place_of
from imageflow.jolt.source import Place
from imageflow.jolt.values import MISSING, describe, key_text, natural

MAX_KEYS = 20
MAX_VALUES = 200_000
"""Limits of what is looked at and kept."""


@dataclass
class Line:
    """A line of a spec. `where`: its path in the operation. `matched`: how often a key of the input matched it; `written`: how
    often it wrote. `dropped`: why it did not, with how often and where that was first. `there`: if it never matched, the keys
    or the kind of value that were there instead, and `near` the nearest of them.
    """

    where: str
    text: str
    matched: int = 0
    written: int = 0
    dropped: dict[str, tuple[int, str]] = field(default_factory=dict)
    there: tuple[str, ...] = ()
    near: str = ""


@dataclass
class Step:
    """An operation. `error`: it failed. `unread`: what no line of a shift read, by pattern, with how often."""

    index: int
    name: str
    given: str
    output: Any = None
    gave: str = ""
    lines: list[Line] = field(default_factory=list)
    unread: list[tuple[str, int]] = field(default_factory=list)
    error: str = ""


@dataclass
class Difference:
    """The first place where the result is not what was expected. `step`: the operation that last changed it."""

    at: str
    expected: str
    found: str
    step: int | None = None


@dataclass
class Explanation:
    """What each operation did, in order; the last one may have failed."""

    steps: list[Step]
    difference: Difference | None = None


def explanation_of(data: dict[str, Any]) -> Explanation:
    """An explanation from its data, as `dataclasses.asdict` and JSON have it."""
    steps = [Step(**{**step, "lines": [_line_of(line) for line in step["lines"]]}) for step in data["steps"]]
    for step in steps:
        step.unread = [(pattern, count) for pattern, count in step.unread]
    return Explanation(steps, Difference(**data["difference"]) if data["difference"] else None)


def _line_of(data: dict[str, Any]) -> Line:
    dropped = {reason: (count, first) for reason, (count, first) in data["dropped"].items()}
    return Line(**{**data, "dropped": dropped, "there": tuple(data["there"])})


class Recorder:
    """What generated code tells of what it does."""

    def __init__(self, places: list[Place], document: Any) -> None:
        self._places = places
        self._lines: dict[str, Line] = {}
        self._keys: dict[str, dict[str, None]] = {}
        self._read: set[tuple[int, Any]] = set()
        self._whole: set[int] = set()
        for place in places:
            line = self._lines.setdefault(place.where, Line(place.where, place.text))
            line.text = line.text or place.text
        if places:
            self._came(places[0].where, document)

    # what generated code calls -------------------------------------------------------------------------------------------

    def matched(self, place: int, parent: Any, key: Any) -> None:
        """A key of the input matched a line."""
        where = self._places[place].where
        self._lines[where].matched += 1
        value = find(parent, (natural(key) if isinstance(parent, list) and isinstance(key, str) else key,))
        if value is MISSING:
            return
        if self._places[place].leaf:
            self._read.add((id(parent), key))
        else:
            self._came(where, value)

    def special(self, place: int, value: Any) -> None:
        """A line that matches without a key."""
        where = self._places[place].where
        self._lines[where].matched += 1
        if isinstance(value, (dict, list)):
            self._came(where, value)
            if self._places[place].leaf:
                self._whole.add(id(value))

    def find(self, value: Any, steps: tuple[Any, ...]) -> Any:
        """A look-up."""
        if steps:
            self._read.add((id(find(value, steps[:-1])), steps[-1]))
        return find(value, steps)

    def find_key(self, value: Any, steps: tuple[Any, ...]) -> str | None:
        """A look-up of a key."""
        return key_text(self.find(value, steps))

    def written(self, place: int) -> None:
        self._lines[self._places[place].where].written += 1

    def dropped(self, place: int, reason: str, keys: tuple[Any, ...]) -> None:
        """A line did not write."""
        if reason.startswith("&"):
            indexes = [len(keys) - 1 - level for level, key in enumerate(keys) if isinstance(key, int)]
            reason += "; a list index is at " + ", ".join(f"&{level}" for level in indexes) if indexes else ""
        dropped = self._lines[self._places[place].where].dropped
        count, first = dropped.get(reason, (0, place_of(keys)))
        dropped[reason] = (count + 1, first)

    @staticmethod
    def no_key(text: str, *found: Any) -> str:
        """Why a path cannot be written to: what was found for its references."""
        return f"a part of {text} has no value to go by" if None in found else f"an index in {text} is not a number"

    # the end -------------------------------------------------------------------------------------------------------------

    def _came(self, where: str, value: Any) -> None:
        keys = self._keys.setdefault(where, {})
        words = list(value)[:MAX_KEYS] if isinstance(value, dict) else [describe(value)]
        if isinstance(value, list):
            words = [f"a list of {len(value)}"]
        for word in words:
            if len(keys) < MAX_KEYS:
                keys[word] = None

    def lines(self) -> list[Line]:
        """All lines of the spec, in its order; those that never matched with what was there."""
        parents = {place.where: place.parent for place in self._places}
        for where, line in self._lines.items():
            if not line.matched and where in parents:
                there = tuple(self._keys.get(parents[where], ()))
                name = where.removeprefix(parents[where] + ".").split("|")[0]
                line.there, line.near = there, next(iter(difflib.get_close_matches(name, there, 1)), "")
        return [line for where, line in self._lines.items() if parents[where]]

    def unread(self, document: Any) -> list[tuple[str, int]]:
        """Scalars of the document that no line read, by pattern."""
        counts: dict[str, int] = {}
        for place, (pattern, parent, key, value) in enumerate(_walk(document, self._whole, self._read)):
            if place >= MAX_VALUES:
                break
            if (id(parent), key) not in self._read and not isinstance(value, (dict, list)):
                counts[pattern] = counts.get(pattern, 0) + 1
        return list(counts.items())[:MAX_KEYS]


def _walk(document: Any, whole: set[int], read: set[tuple[int, Any]]) -> Iterator[tuple[str, Any, Any, Any]]:
    """Each entry of a document, but for what is below something that was read: pattern, parent, key, value."""
    pending = [("", document)]
    while pending:
        pattern, parent = pending.pop()
        if id(parent) in whole or not isinstance(parent, (dict, list)):
            continue
        below = []
        for key, value in parent.items() if isinstance(parent, dict) else enumerate(parent):
            path = f"{pattern}[*]" if isinstance(parent, list) else f"{pattern}.{key}".removeprefix(".")
            yield path, parent, key, value
            if (id(parent), key) not in read:
                below.append((path, value))
        pending += reversed(below)


# differences ---------------------------------------------------------------------------------------------------------------


def difference(steps: list[Step], expected: Any) -> Difference | None:
    """The first place where the last output is not as expected, and the operation that last changed it."""
    result = steps[-1].output if steps else None
    found = first_difference(result, expected)
    if found is None:
        return None
    keys, want, have = found
    return Difference(place_of(keys) or "the whole", describe(want), describe(have), _last_change(steps, keys))


def _last_change(steps: list[Step], keys: tuple[Any, ...]) -> int | None:
    """The operation that gave a place its last value, or that did not make it."""
    values = [find(step.output, keys) for step in steps]
    for place in range(len(values) - 1, 0, -1):
        if not _same(values[place], values[place - 1]):
            return steps[place].index
    return steps[0].index if steps else None


def first_difference(value: Any, expected: Any, keys: tuple[Any, ...] = ()) -> tuple[tuple[Any, ...], Any, Any] | None:
    """Where two values differ first: the way to it, what was expected there, and what is there."""
    if isinstance(value, dict) and isinstance(expected, dict):
        names = [*expected, *(key for key in value if key not in expected)]
    elif isinstance(value, list) and isinstance(expected, list):
        names = list(range(max(len(value), len(expected))))
    else:
        return None if _same(value, expected) else (keys, expected, value)
    for name in names:
        want, have = find(expected, (name,)), find(value, (name,))
        found = ((*keys, name), want, have) if MISSING in (want, have) else first_difference(have, want, (*keys, name))
        if found is not None:
            return found
    return None


def _same(value: Any, other: Any) -> bool:
    return value is other or (value == other and isinstance(value, bool) == isinstance(other, bool))


def kept(value: Any) -> Any:
    """A copy of an output, before the next operation changes it."""
    return copy.deepcopy(value)
