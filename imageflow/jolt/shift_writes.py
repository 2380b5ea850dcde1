"""Where a shift writes: the paths on the right side, to Python.

Where several lines write into the same container, it is walked to once per round of the loop that decides which container it is
(`cursor`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from imageflow.jolt.elements import Index, Lookup, Name, Step
from imageflow.jolt.levels import (
    IndexCode,
    Level,
    Levels,
    UnreachableError,
    find_expression,
    index_code,
    reach,
    template_expression,
    way_of,
)
from imageflow.jolt.overlap import Conflicts
from imageflow.jolt.shift_tree import Node, Write
from imageflow.jolt.source import Function, Slot, Source


class Writer:
    """Adds writes to one function of the source."""

    def __init__(self, function: Function, source: Source, conflicts: Conflicts, *, counting: bool) -> None:
        self.function = function
        self._source = source
        self._conflicts = conflicts
        self._counting = counting
        self._finding = "trace." if counting else ""
        self._slots: list[tuple[int, Slot]] = []
        self._cursors: dict[tuple[int, tuple[Step, ...], int, str], str] = {}

    def enter(self, known: int) -> None:
        """A body begins in which so many levels are known; cursors that are bound there get their first value there."""
        slot = self.function.slot()
        self._slots = [*(entry for entry in self._slots if entry[0] < known), (known, slot)]

    @contextlib.contextmanager
    def aside(self, known: int) -> Iterator[None]:
        """A body that is left again: what comes after it is as if it had not been."""
        slots = self._slots
        self.enter(known)
        yield
        self._slots = slots

    def writes(self, child: Node, levels: Levels, value: str) -> None:
        """All that a line of the spec writes."""
        for write in child.writes or []:
            self._source.ways[write.place] = way_of(levels)
            try:
                self._write(write, levels, value)
            except UnreachableError as error:
                self.function.add(f"raised({str(error)!r})", write.place)
                self._source.warn(write.place, str(error))

    def _write(self, write: Write, levels: Levels, value: str) -> None:
        codes = [_StepCode.of(levels, step, f"{self._finding}find_key") for step in write.steps]
        never = next((code.never for code in codes if code.never), "")
        if never:
            self._source.warn(write.place, f"{write.text}: {never}; nothing is ever written")
            self._dropped(write, repr(never), levels)
            return
        cursor = "" if self._counting or not codes else self._cursor_of(write, levels)
        if cursor:
            self._through(write, levels, codes, cursor, value)
            return
        names, tests = self._named(write, codes)
        with self._if(tests, write):
            self._walk(write, levels, names, value)
        if self._counting and tests:
            with self.function.block("else:", write.place):
                self._dropped(write, f"trace.no_key({write.text!r}, {', '.join(filter(None, names))})", levels)

    def _named(self, write: Write, codes: list[_StepCode]) -> tuple[list[str], list[str]]:
        """Variables for keys and indexes that may turn out to be none, and the tests that they are some."""
        names: list[str] = []
        tests: list[str] = []
        for code in codes:
            name = code.text
            if code.test:
                name = self._source.name("s")
                self.function.add(f"{name} = {code.text}", write.place)
                tests.append(f"{name} {code.test}")
            names.append(name)
        return names, tests

    @contextlib.contextmanager
    def _if(self, tests: list[str], write: Write) -> Iterator[None]:
        if not tests:
            yield
            return
        with self.function.block(f"if {' and '.join(tests)}:", write.place):
            yield

    def _cursor_of(self, write: Write, levels: Levels) -> str:
        kind = "list" if isinstance(write.steps[-1], Index) else "dict"
        return self._cursor(levels, (Name(("root",)), *write.steps[:-1]), kind)

    def _through(self, write: Write, levels: Levels, codes: list[_StepCode], cursor: str, value: str) -> None:
        """Write into a container that is kept. Keys on the way to it are worked out once, when it is walked to."""
        way = (Name(("root",)), *write.steps[:-1])
        (last,), tests = self._named(write, codes[-1:])
        with self._if(tests, write):
            with self.function.block(f"if {cursor} is None:", write.place):
                self.function.add(f"{cursor} = False", write.place)
                names, needed = self._named(write, codes[:-1])
                texts = ["'root'", *names]
                with self._if(needed, write):
                    parent = self._container(write, levels, way, texts)
                    kind = "list" if isinstance(write.steps[-1], Index) else "dict"
                    self.function.add(f"{cursor} = {_into(way[-1], parent, texts[-1], kind)}", write.place)
            with self.function.block(f"if {cursor} is not False:", write.place):
                self._last(write, write.steps[-1], cursor, last, value)

    def _dropped(self, write: Write, reason: str, levels: Levels) -> None:
        if self._counting:
            keys = ", ".join(key_of(level) for level in levels[2:])
            self.function.add(f"trace.dropped({write.place}, {reason}, ({keys}{',' if keys else ''}))", write.place)

    def _walk(self, write: Write, levels: Levels, names: list[str], value: str) -> None:
        steps: tuple[Step, ...] = (Name(("root",)), *write.steps)
        texts = ["'root'", *names]
        container = self._container(write, levels, steps, texts)
        if len(steps) == 1:
            self._last(write, steps[-1], container, texts[-1], value)
            return
        with self.function.block(f"if {container} is not False:", write.place):
            self._last(write, steps[-1], container, texts[-1], value)
        if self._counting:
            with self.function.block("else:", write.place):
                self._dropped(write, "'something of another kind is there already'", levels)

    def _container(self, write: Write, levels: Levels, steps: tuple[Step, ...], texts: list[str]) -> str:
        """The name of the container of a path's last step; it is walked to once where that is safe."""
        if len(steps) == 1:
            return "o"
        *way, last = steps
        kind = "list" if isinstance(last, Index) else "dict"
        name = self._cursor(levels, tuple(way), kind)
        if not name:
            name = self._source.name("c")
            call = _into(way[-1], self._container(write, levels, tuple(way), texts), texts[len(way) - 1], kind)
            self.function.add(f"{name} = {call}", write.place)
            return name
        with self.function.block(f"if {name} is None:", write.place):
            call = _into(way[-1], self._container(write, levels, tuple(way), texts), texts[len(way) - 1], kind)
            self.function.add(f"{name} = {call}", write.place)
        return name

    def _cursor(self, levels: Levels, way: tuple[Step, ...], kind: str) -> str:
        """The variable that keeps the container at a path, if it is safe to keep it."""
        if not self._conflicts.stays(way):
            return ""
        known = max(*(reach(levels, step) for step in way), self._slots[0][0])
        bound, slot = next(entry for entry in reversed(self._slots) if entry[0] <= known)
        key = (id(slot), tuple(_fixed(levels, step) for step in way), bound, kind)
        if key not in self._cursors:
            self._cursors[key] = self._source.name("q")
            slot.lines.append(f"{self._cursors[key]} = None")
        return self._cursors[key]

    def _last(self, write: Write, step: Step, container: str, key: str, value: str) -> None:
        if self._conflicts.spreads and value.startswith("v"):
            with self.function.block(f"if {value}.__class__ is dict or {value}.__class__ is list:", write.place):
                self.function.add("o['spreads'] = True", write.place)
        if isinstance(step, Index) and step.of is None:
            self.function.add(f"{container}.append({value})", write.place)
        elif isinstance(step, Index):
            with self.function.block(f"if {key} == len({container}):", write.place):
                self.function.add(f"{container}.append({value})", write.place)
            with self.function.block("else:", write.place):
                self.function.add(f"at({container}, {key}, {value})", write.place)
        else:
            found = self._source.name("e")
            self.function.add(f"{found} = {container}.get({key})", write.place)
            with self.function.block(f"if {found} is None:", write.place):
                self.function.add(f"{container}[{key}] = {value}", write.place)
            with self.function.block("else:", write.place):
                self.function.add(f"again({container}, {key}, {found}, {value})", write.place)
        if self._counting:
            self.function.add(f"trace.written({write.place})", write.place)


class _StepCode:
    """How a step's key or index is had, and the test that it can be used."""

    def __init__(self, text: str, test: str = "", never: str = "") -> None:
        self.text, self.test, self.never = text, test, never

    @classmethod
    def of(cls, levels: Levels, step: Step, find_key: str) -> _StepCode:
        """Raises UnreachableError."""
        if isinstance(step, Name):
            return cls(template_expression(levels, step.template))
        if isinstance(step, Lookup):
            return cls(find_expression(levels, step, find_key), "is not None")
        if step.of is None:
            return cls("")
        code: IndexCode = index_code(levels, step.of, find_key)
        return cls(code.text, ">= 0" if code.may_fail else "", code.never)


def _into(step: Step, container: str, key: str, kind: str) -> str:
    if isinstance(step, Index):
        return f"into_new({container}, {kind})" if step.of is None else f"into_list({container}, {key}, {kind})"
    return f"into({container}, {key}, {kind})"


def key_of(level: Level) -> str:
    """An expression for the key of a level."""
    return repr(level.key) if level.known else level.key


def _fixed(levels: Levels, step: Step) -> Any:
    """A step with levels counted from the root: the same for lines of different depth."""
    depth = len(levels)
    if isinstance(step, Name):
        return Name(
            tuple(part if isinstance(part, str) else replace(part, level=depth - part.level) for part in step.template)
        )
    if isinstance(step, Lookup):
        return Lookup(depth - step.level, tuple(_fixed(levels, inner) for inner in step.path))
    of = step.of
    if isinstance(of, Lookup):
        return Index(_fixed(levels, of))
    return Index(of if of is None or isinstance(of, int) else replace(of, level=depth - of.level))
