"""The spec of a modify operation as a checked tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from imageflow.jolt import elements
from imageflow.jolt.calls import Expression, expression
from imageflow.jolt.elements import InList, Stars
from imageflow.jolt.errors import SpecError
from imageflow.jolt.shift_tree import MAX_DEPTH, canonical, precedence
from imageflow.jolt.source import Source

Mode = Literal["overwrite", "default", "define"]
MARKS: dict[str, Mode] = {"+": "overwrite", "~": "default", "_": "define"}


@dataclass
class Entry:
    """A line of the spec. `key`: a name, an index, or a pattern. `optional`: only where the key is there already.

    It has alternatives to write, or children.
    """

    key: str | int | Stars
    mode: Mode
    optional: bool
    place: int
    alternatives: list[Expression] | None = None
    children: Entries | None = None


@dataclass
class Entries:
    """The lines of an object of the spec: fixed keys first, then patterns in the order in which they are tried."""

    fixed: list[Entry] = field(default_factory=list)
    patterns: list[Entry] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """What they work on: `dict`, `list`, or nothing if they work on both: `*` alone does."""
        if any(isinstance(entry.key, int) for entry in self.fixed):
            return "list"
        return "dict" if self.fixed or any(entry.key != Stars(("", "")) for entry in self.patterns) else ""

    @property
    def size(self) -> int:
        """How long a list must be for all indexes."""
        needed = [entry.key + 1 for entry in self.fixed if isinstance(entry.key, int) and not entry.optional]
        return max(needed, default=0)


def parse(spec: dict[str, Any], mode: Mode, functions: frozenset[str], source: Source) -> Entries:
    """The tree of a spec. Raises SpecError."""
    return _Parser(mode, functions, source).entries(spec, "spec", 0)


class _Parser:
    def __init__(self, mode: Mode, functions: frozenset[str], source: Source) -> None:
        self._mode, self._functions, self._source = mode, functions, source

    def entries(self, spec: dict[str, Any], where: str, depth: int) -> Entries:
        if depth > MAX_DEPTH:
            raise SpecError("nested too deeply", where)
        made = Entries()
        seen: dict[str, str] = {}
        for raw, value in spec.items():
            path = f"{where}.{raw}"
            try:
                for text in raw.split("|"):
                    self._add(made, self._entry(text, value, (where, path), depth), seen, raw)
            except SpecError as error:
                raise error.at(path) from None
        made.patterns.sort(key=lambda entry: precedence(_pattern(entry)))
        return made

    def _entry(self, text: str, value: Any, place: tuple[str, str], depth: int) -> Entry:
        mode = MARKS.get(text[:1], self._mode)
        bare = text[1:] if text[:1] in MARKS else text
        optional = bare.endswith("?")
        parent, where = place
        leaf = not (isinstance(value, dict) and value)
        number = self._source.place(where, value if isinstance(value, str) else "", parent, leaf=leaf)
        entry = Entry(_key(bare.removesuffix("?")), mode, optional, number)
        if isinstance(value, dict) and value:
            entry.children = self.entries(value, where, depth + 1)
        else:
            values = value if isinstance(value, list) and value else [value]
            entry.alternatives = [expression(each, self._functions) for each in values]
        return entry

    @staticmethod
    def _add(made: Entries, entry: Entry, seen: dict[str, str], raw: str) -> None:
        name = canonical(entry.key) if isinstance(entry.key, Stars) else str(entry.key)
        if name in seen:
            raise SpecError(f"{raw!r} is the same as {seen[name]!r}")
        seen[name] = raw
        (made.patterns if isinstance(entry.key, Stars) else made.fixed).append(entry)
        kinds = {isinstance(each.key, int) for each in (*made.fixed, *made.patterns) if each.key != Stars(("", ""))}
        if len(kinds) > 1:
            raise SpecError("indexes of a list and keys of an object stand side by side")


def _pattern(entry: Entry) -> Stars:
    assert isinstance(entry.key, Stars)
    return entry.key


def _key(text: str) -> str | int | Stars:
    found = elements.element(text)
    match found:
        case elements.Literal(word):
            return word
        case Stars():
            return found
        case InList(elements.Index(int(number))):
            return number
    raise SpecError(f"{text!r} cannot stand on the left side here; names, patterns with * and [3] can")
