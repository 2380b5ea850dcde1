"""The shift operation: from its tree to Python.

One variable holds the value of each level, another its key. A list's keys stay numbers; they become texts where a text is
needed. A scalar counts as one key with a null. Where several lines write into the same container, it is walked to once per
round of the loop that decides which container it is (`cursor`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from imageflow.jolt.elements import Amp, Here, Index, Key, Literal, Lookup, Name, Stars, Step, Text
from imageflow.jolt.levels import (
    IndexCode,
    Level,
    Levels,
    UnreachableError,
    find_expression,
    index_code,
    key_expression,
    reach,
    template_expression,
    way_of,
)
from imageflow.jolt.overlap import Conflicts
from imageflow.jolt.shift_tree import Node, Write, mixed, parse
from imageflow.jolt.source import Function, Slot, Source

NESTED = 10
"""So many levels are nested in one function; Python nests at most 20 loops."""


def generate(spec: dict[str, Any], source: Source, *, counting: bool) -> None:
    """Add the functions of a shift to the source; the first is `operation(root, context, trace)`."""
    root = parse(spec, source)
    _Generator(source, Conflicts(root), counting=counting).start(root)


class _Generator:
    def __init__(self, source: Source, conflicts: Conflicts, *, counting: bool) -> None:
        self._source = source
        self._conflicts = conflicts
        self._counting = counting
        self._finding = "trace." if counting else ""
        self._function: Function
        self._slots: list[tuple[int, Slot]] = []
        self._cursors: dict[tuple[int, tuple[Step, ...], int, str], str] = {}

    def start(self, root: Node) -> None:
        names = [f"k{number}" for number in range(2, 2 + NESTED)]
        self._function = self._source.function("operation", ["v1", "context", "trace"], names)
        self._function.add("o = {}", root.place)
        self._enter(0)
        outer, inner = Level("v1", "root", known=True), Level("v1", "root", known=True, count=self._count(1))
        self._children(root, (outer, inner))
        self._function.add("return bounded(o)" if self._conflicts.spreads else "return o.get('root')", root.place)

    def _enter(self, known: int) -> Slot:
        """A body begins in which so many levels are known; cursors that are bound there get their first value there."""
        slot = self._function.slot()
        self._slots = [*(entry for entry in self._slots if entry[0] < known), (known, slot)]
        return slot

    def _count(self, number: int) -> str:
        if not self._conflicts.counted:
            return ""
        self._function.add(f"n{number} = [0]", 0)
        return f"n{number}"

    # children ------------------------------------------------------------------------------------------------------------

    def _children(self, node: Node, levels: Levels) -> None:
        if len(levels) % NESTED == 0:
            self._outsourced(node, levels)
        else:
            self._inline(node, levels)

    def _outsourced(self, node: Node, levels: Levels) -> None:
        """The children in a function of their own, which gets all that it may refer to."""
        parameters = list(dict.fromkeys(name for level in levels for name in _names(level)))
        here = self._function, self._slots, self._cursors
        name = self._source.name("deeper")
        self._function.add(f"{name}(o, trace, {', '.join(parameters)})", node.place)
        keys = [level.key for level in levels if not level.known]
        deeper = [f"k{number}" for number in range(len(levels), len(levels) + NESTED)]
        self._function = self._source.function(name, ["o", "trace", *parameters], list(dict.fromkeys([*keys, *deeper])))
        self._slots, self._cursors = [], {}
        self._enter(0)
        self._inline(node, levels)
        self._function, self._slots, self._cursors = here

    def _inline(self, node: Node, levels: Levels) -> None:
        for child in node.specials:
            self._special(child, levels)
        if not mixed(node):
            self._literals(node, levels)
            self._loop(node, node.computed, levels)
        else:
            self._loop(node, [*node.literals, *node.computed], levels)

    def _literals(self, node: Node, levels: Levels) -> None:
        if not node.literals:
            return
        parent, number = levels[-1], len(levels)
        get = self._source.name("g")
        self._function.add(
            f"{get} = {parent.value}.get if {parent.value}.__class__ is dict else getter({parent.value})", node.place
        )
        for child in node.literals:
            assert isinstance(child.element, Literal)
            self._function.add(f"v{number} = {get}({child.element.text!r}, MISSING)", child.place)
            with self._function.block(f"if v{number} is not MISSING:", child.place):
                self._child(child, levels, Level(f"v{number}", child.element.text, known=True))

    def _loop(self, node: Node, children: list[Node], levels: Levels) -> None:
        if not children:
            return
        parent, number = levels[-1], len(levels)
        items = f"{parent.value}.items() if {parent.value}.__class__ is dict else pairs({parent.value})"
        if self._conflicts.shares:
            items = f"copied_pairs({parent.value})"
        key = f"k{number}"
        with self._function.block(f"for {key}, v{number} in {items}:", node.place):
            plain = children[0].element == Stars(("", ""))
            if not plain:
                self._function.add(f"t{number} = {key} if {key}.__class__ is str else str({key})", node.place)
            self._alternatives(children, levels, number)

    def _alternatives(self, children: list[Node], levels: Levels, number: int) -> None:
        """The first child that matches takes the key."""
        word = "if"
        for child in children:
            test, level = self._test(child, levels, number)
            with self._function.block(
                f"{word} {test}:" if test else "if True:" if word == "if" else "else:", child.place
            ):
                self._child(child, levels, level)
            word = "elif"

    def _test(self, child: Node, levels: Levels, number: int) -> tuple[str, Level]:
        """The condition under which a key matches, and the level that it makes."""
        key, value, text = f"k{number}", f"v{number}", f"t{number}"
        match child.element:
            case Literal(word):
                return f"{text} == {word!r}", Level(value, word, known=True)
            case Amp(template):
                try:
                    return f"{text} == {template_expression(levels, template)}", Level(value, key, known=False)
                except UnreachableError as error:
                    self._source.warn(child.place, str(error))
                    return f"raised({str(error)!r})", Level(value, key, known=False)
            case Stars(("", "")):
                return "", Level(value, key, known=False)
            case Stars((before, "")):
                test = f"{text}.startswith({before!r}) and len({text}) > {len(before)}"
                return test, Level(value, key, known=False, parts=(f"{text}[{len(before)}:]",))
            case Stars(around):
                parts = self._source.name("p")
                names = tuple(f"{parts}[{place}]" for place in range(len(around) - 1))
                return f"({parts} := between({text}, {around!r}))", Level(value, key, known=False, parts=names)
        raise AssertionError(child.element)

    def _child(self, child: Node, levels: Levels, level: Level) -> None:
        """A child that matched the value and key of a level: what it writes, or its own children."""
        if self._counting:
            self._function.add(f"trace.matched({child.place}, {levels[-1].value}, {_key_of(level)})", child.place)
        if child.writes is None:
            made = Level(level.value, level.key, level.known, level.parts, self._count(len(levels)))
            self._enter(len(levels) + 1)
            self._children(child, (*levels, made))
        else:
            self._enter(len(levels) + 1)
            self._writes(child, (*levels, level), level.value)
        if levels[-1].count:
            self._function.add(f"{levels[-1].count}[0] += 1", child.place)

    # specials ------------------------------------------------------------------------------------------------------------

    def _special(self, child: Node, levels: Levels) -> None:
        """`@`, `$` and `#` match once, whatever keys there are."""
        try:
            self._once(child, levels)
        except UnreachableError as error:
            self._function.add(f"raised({str(error)!r})", child.place)
            self._source.ways[child.place] = way_of(levels)
            self._source.warn(child.place, str(error))

    def _once(self, child: Node, levels: Levels) -> None:
        parent, number = levels[-1], len(levels)
        match child.element:
            case Here():
                self._special_writes(child, (*levels, parent), parent.value)
            case Text(text):
                level = Level(parent.value, text, known=True)
                if child.writes is None:
                    self._special_children(child, levels, level)
                else:
                    self._special_writes(child, (*levels, level), repr(text))
            case Key(ref):
                self._function.add(f"k{number} = {key_expression(levels, ref, '$')}", child.place)
                level = Level(parent.value, f"k{number}", known=False)
                self._special_writes(child, (*levels, level), f"k{number}")
            case Lookup():
                self._function.add(
                    f"v{number} = {find_expression(levels, child.element, f'{self._finding}find')}", child.place
                )
                level = Level(f"v{number}", parent.key, parent.known, parent.parts, parent.count)
                with self._function.block(f"if v{number} is not MISSING:", child.place):
                    if child.writes is None:
                        self._special_children(child, levels, level)
                    else:
                        self._special_writes(child, (*levels, parent), f"v{number}")

    def _special_writes(self, child: Node, levels: Levels, value: str) -> None:
        if self._counting:
            self._function.add(f"trace.special({child.place}, {value})", child.place)
        slots = self._slots
        self._enter(len(levels))
        self._writes(child, levels, value)
        self._slots = slots

    def _special_children(self, child: Node, levels: Levels, level: Level) -> None:
        if self._counting:
            self._function.add(f"trace.special({child.place}, None)", child.place)
        slots = self._slots
        if isinstance(child.element, Text):
            level = Level(level.value, level.key, level.known, level.parts, self._count(len(levels)))
        self._enter(len(levels) + 1)
        self._children(child, (*levels, level))
        self._slots = slots
        if levels[-1].count:
            self._function.add(f"{levels[-1].count}[0] += 1", child.place)

    # writes --------------------------------------------------------------------------------------------------------------

    def _writes(self, child: Node, levels: Levels, value: str) -> None:
        for write in child.writes or []:
            self._source.ways[write.place] = way_of(levels)
            try:
                self._write(write, levels, value)
            except UnreachableError as error:
                self._function.add(f"raised({str(error)!r})", write.place)
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
            with self._function.block("else:", write.place):
                self._dropped(write, f"trace.no_key({write.text!r}, {', '.join(filter(None, names))})", levels)

    def _named(self, write: Write, codes: list[_StepCode]) -> tuple[list[str], list[str]]:
        """Variables for keys and indexes that may turn out to be none, and the tests that they are some."""
        names: list[str] = []
        tests: list[str] = []
        for code in codes:
            name = code.text
            if code.test:
                name = self._source.name("s")
                self._function.add(f"{name} = {code.text}", write.place)
                tests.append(f"{name} {code.test}")
            names.append(name)
        return names, tests

    @contextlib.contextmanager
    def _if(self, tests: list[str], write: Write) -> Iterator[None]:
        if not tests:
            yield
            return
        with self._function.block(f"if {' and '.join(tests)}:", write.place):
            yield

    def _cursor_of(self, write: Write, levels: Levels) -> str:
        kind = "list" if isinstance(write.steps[-1], Index) else "dict"
        return self._cursor(levels, (Name(("root",)), *write.steps[:-1]), kind)

    def _through(self, write: Write, levels: Levels, codes: list[_StepCode], cursor: str, value: str) -> None:
        """Write into a container that is kept. Keys on the way to it are worked out once, when it is walked to."""
        way = (Name(("root",)), *write.steps[:-1])
        (last,), tests = self._named(write, codes[-1:])
        with self._if(tests, write):
            with self._function.block(f"if {cursor} is None:", write.place):
                self._function.add(f"{cursor} = False", write.place)
                names, needed = self._named(write, codes[:-1])
                texts = ["'root'", *names]
                with self._if(needed, write):
                    parent = self._container(write, levels, way, texts)
                    kind = "list" if isinstance(write.steps[-1], Index) else "dict"
                    self._function.add(f"{cursor} = {_into(way[-1], parent, texts[-1], kind)}", write.place)
            with self._function.block(f"if {cursor} is not False:", write.place):
                self._last(write, write.steps[-1], cursor, last, value)

    def _dropped(self, write: Write, reason: str, levels: Levels) -> None:
        if self._counting:
            keys = ", ".join(_key_of(level) for level in levels[2:])
            self._function.add(f"trace.dropped({write.place}, {reason}, ({keys}{',' if keys else ''}))", write.place)

    def _walk(self, write: Write, levels: Levels, names: list[str], value: str) -> None:
        steps: tuple[Step, ...] = (Name(("root",)), *write.steps)
        texts = ["'root'", *names]
        container = self._container(write, levels, steps, texts)
        if len(steps) == 1:
            self._last(write, steps[-1], container, texts[-1], value)
            return
        with self._function.block(f"if {container} is not False:", write.place):
            self._last(write, steps[-1], container, texts[-1], value)
        if self._counting:
            with self._function.block("else:", write.place):
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
            self._function.add(f"{name} = {call}", write.place)
            return name
        with self._function.block(f"if {name} is None:", write.place):
            call = _into(way[-1], self._container(write, levels, tuple(way), texts), texts[len(way) - 1], kind)
            self._function.add(f"{name} = {call}", write.place)
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
            with self._function.block(f"if {value}.__class__ is dict or {value}.__class__ is list:", write.place):
                self._function.add("o['spreads'] = True", write.place)
        if isinstance(step, Index) and step.of is None:
            self._function.add(f"{container}.append({value})", write.place)
        elif isinstance(step, Index):
            with self._function.block(f"if {key} == len({container}):", write.place):
                self._function.add(f"{container}.append({value})", write.place)
            with self._function.block("else:", write.place):
                self._function.add(f"at({container}, {key}, {value})", write.place)
        else:
            found = self._source.name("e")
            self._function.add(f"{found} = {container}.get({key})", write.place)
            with self._function.block(f"if {found} is None:", write.place):
                self._function.add(f"{container}[{key}] = {value}", write.place)
            with self._function.block("else:", write.place):
                self._function.add(f"again({container}, {key}, {found}, {value})", write.place)
        if self._counting:
            self._function.add(f"trace.written({write.place})", write.place)


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


def _names(level: Level) -> list[str]:
    """The variables that tell of a level."""
    parts = [found[0] for part in level.parts if (found := re.match(r"\w+", part))]
    return [level.value, *([] if level.known else [level.key]), *parts, *([level.count] if level.count else [])]


def _key_of(level: Level) -> str:
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
