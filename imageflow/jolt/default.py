"""The default operation: from its spec to Python. It fills in what is missing or null, in place."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from imageflow.jolt.errors import SpecError
from imageflow.jolt.shift_tree import MAX_DEPTH
from imageflow.jolt.source import Function, Source

NESTED = 8
"""So many levels are nested in one function; Python nests at most 20 loops."""


@dataclass
class Entry:
    """A line of the spec. `keys`: the alternatives, none for `*`; numbers where the parent is a list. `kind`: what is made
    for its children, where it has any.
    """

    keys: list[str] | list[int]
    place: int
    value: Any = None
    kind: str = ""
    children: list[Entry] = field(default_factory=list)

    @property
    def size(self) -> int:
        """How long a list must be for the indexes of the children."""
        return max((int(child.keys[0]) + 1 for child in self.children if len(child.keys) == 1), default=0)


def generate(spec: dict[str, Any], source: Source, *, counting: bool) -> None:
    """Add the functions of a default to the source; the first is `operation(root, context, trace)`."""
    place = source.place("spec")
    of_object = Entry([], place, kind="dict", children=_entries(spec, "spec", "dict", source, 0))
    try:
        of_list: Entry | None = Entry([], place, kind="list", children=_entries(spec, "spec", "list", source, 0))
    except SpecError:
        of_list = None
    _Generator(source, counting=counting).start(of_object, of_list)


def _entries(spec: dict[str, Any], where: str, parent: str, source: Source, depth: int) -> list[Entry]:
    if depth > MAX_DEPTH:
        raise SpecError("nested too deeply", where)
    return sorted((_entry(raw, value, where, parent, source, depth) for raw, value in spec.items()), key=_precedence)


def _entry(raw: str, value: Any, where: str, parent: str, source: Source, depth: int) -> Entry:
    path = f"{where}.{raw}"
    name = raw.removesuffix("[]")
    if "*" in name and name != "*":
        raise SpecError("a * stands alone here: it is every key", path)
    keys: Any = [] if name == "*" else name.split("|")
    if parent == "list":
        keys = [_index(key, path) for key in keys]
    entry = Entry(keys, source.place(path, parent=where, leaf=not isinstance(value, dict)), value)
    if isinstance(value, dict):
        entry.kind = "list" if raw.endswith("[]") else "dict"
        entry.children = _entries(value, path, entry.kind, source, depth + 1)
    return entry


def _index(key: str, where: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,10}", key):
        raise SpecError(f"{key!r} is no index, and the key above says by its [] that this is a list", where)
    return int(key)


def _precedence(entry: Entry) -> tuple[bool, int, str]:
    """Names first, as they stand, then alternatives, then `*`."""
    return not entry.keys, len(entry.keys), "|".join(map(str, entry.keys)) if len(entry.keys) > 1 else ""


class _Generator:
    def __init__(self, source: Source, *, counting: bool) -> None:
        self._source = source
        self._counting = counting
        self._function: Function

    def start(self, of_object: Entry, of_list: Entry | None) -> None:
        place = of_object.place
        names = [f"k{number}" for number in range(2, 2 + NESTED)]
        self._function = self._source.function("operation", ["v1", "context", "trace"], names)
        with self._function.block("if v1 is None:", place):
            self._function.add("v1 = {}", place)
        self._children(of_object, 1)
        if of_list is not None:
            self._children(of_list, 1)
        else:
            with self._function.block("if v1.__class__ is list:", place):
                text = "the input is a list, and the spec names keys of an object; begin it with *"
                self._function.add(f"raised({text!r})", place)
        self._function.add("return v1", place)

    def _children(self, entry: Entry, number: int) -> None:
        """The children of an entry, whose value is in a variable."""
        if not entry.children:
            return
        if number % NESTED == 0:
            self._outsourced(entry, number)
            return
        self._inline(entry, number)

    def _inline(self, entry: Entry, number: int) -> None:
        with self._function.block(f"if v{number}.__class__ is {entry.kind}:", entry.place):
            if entry.kind == "list" and entry.size > 0:
                self._function.add(f"grow(v{number}, {entry.size})", entry.place)
            for child in entry.children:
                self._child(child, entry.kind, number)

    def _outsourced(self, entry: Entry, number: int) -> None:
        name = self._source.name("deeper")
        self._function.add(f"{name}(trace, v{number})", entry.place)
        here = self._function
        names = [f"k{place}" for place in range(number + 1, number + 1 + NESTED)]
        self._function = self._source.function(name, ["trace", f"v{number}"], names)
        self._inline(entry, number)
        self._function = here

    def _child(self, child: Entry, kind: str, number: int) -> None:
        value = f"v{number}"
        if len(child.keys) == 1:
            if kind == "dict" or int(child.keys[0]) >= 0:
                self._one(child, kind, number, repr(child.keys[0]))
            return
        every = f"list({value})" if kind == "dict" else f"range(len({value}))"
        keys = every if not child.keys else f"[k for k in {child.keys!r} if {self._there(kind, value)}]"
        with self._function.block(f"for k{number + 1} in {keys}:", child.place):
            self._one(child, kind, number, f"k{number + 1}")

    @staticmethod
    def _there(kind: str, value: str) -> str:
        return f"k in {value}" if kind == "dict" else f"0 <= k < len({value})"

    def _one(self, child: Entry, kind: str, number: int, key: str) -> None:
        """One key of one child."""
        parent, value = f"v{number}", f"v{number + 1}"
        found = f"{parent}.get({key})" if kind == "dict" else f"{parent}[{key}]"
        if self._counting:
            self._function.add(f"trace.matched({child.place}, {parent}, {key})", child.place)
        self._function.add(f"{value} = {found}", child.place)
        with self._function.block(f"if {value} is None:", child.place):
            made = f"{child.kind}()" if child.kind else _constant(child.value)
            self._function.add(f"{value} = {parent}[{key}] = {made}", child.place)
            if self._counting:
                self._function.add(f"trace.written({child.place})", child.place)
        self._children(child, number + 1)


def _constant(value: Any) -> str:
    return f"copied({value!r})" if isinstance(value, (list, dict)) else repr(value)
