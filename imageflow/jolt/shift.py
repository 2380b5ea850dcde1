"""The shift operation: from its tree to Python.

One variable holds the value of each level, another its key. A list's keys stay numbers; they become texts where a text is
needed. A scalar counts as one key with a null. `shift_writes.py` does the right side.
"""

from __future__ import annotations

import re
from typing import Any

from imageflow.jolt.elements import Amp, Here, Key, Literal, Lookup, Stars, Text
from imageflow.jolt.levels import (
    Level,
    Levels,
    UnreachableError,
    find_expression,
    key_expression,
    template_expression,
    way_of,
)
from imageflow.jolt.overlap import Conflicts
from imageflow.jolt.shift_tree import Node, mixed, parse
from imageflow.jolt.shift_writes import Writer, key_of
from imageflow.jolt.source import Source

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
        self._out: Writer

    def start(self, root: Node) -> None:
        names = [f"k{number}" for number in range(2, 2 + NESTED)]
        self._out = self._writer("operation", ["v1", "context", "trace"], names)
        self._out.function.add("o = {}", root.place)
        self._out.enter(0)
        outer, inner = Level("v1", "root", known=True), Level("v1", "root", known=True, count=self._count(1))
        self._children(root, (outer, inner))
        self._out.function.add("return bounded(o)" if self._conflicts.spreads else "return o.get('root')", root.place)

    def _writer(self, name: str, parameters: list[str], keys: list[str]) -> Writer:
        """Another function of the source."""
        function = self._source.function(name, parameters, keys)
        return Writer(function, self._source, self._conflicts, counting=self._counting)

    def _count(self, number: int) -> str:
        if not self._conflicts.counted:
            return ""
        self._out.function.add(f"n{number} = [0]", 0)
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
        here = self._out
        name = self._source.name("deeper")
        self._out.function.add(f"{name}(o, trace, {', '.join(parameters)})", node.place)
        keys = [level.key for level in levels if not level.known]
        deeper = [f"k{number}" for number in range(len(levels), len(levels) + NESTED)]
        self._out = self._writer(name, ["o", "trace", *parameters], list(dict.fromkeys([*keys, *deeper])))
        self._out.enter(0)
        self._inline(node, levels)
        self._out = here

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
        self._out.function.add(
            f"{get} = {parent.value}.get if {parent.value}.__class__ is dict else getter({parent.value})", node.place
        )
        for child in node.literals:
            assert isinstance(child.element, Literal)
            self._out.function.add(f"v{number} = {get}({child.element.text!r}, MISSING)", child.place)
            with self._out.function.block(f"if v{number} is not MISSING:", child.place):
                self._child(child, levels, Level(f"v{number}", child.element.text, known=True))

    def _loop(self, node: Node, children: list[Node], levels: Levels) -> None:
        if not children:
            return
        parent, number = levels[-1], len(levels)
        items = f"{parent.value}.items() if {parent.value}.__class__ is dict else pairs({parent.value})"
        if self._conflicts.shares:
            items = f"copied_pairs({parent.value})"
        key = f"k{number}"
        with self._out.function.block(f"for {key}, v{number} in {items}:", node.place):
            plain = children[0].element == Stars(("", ""))
            if not plain:
                self._out.function.add(f"t{number} = {key} if {key}.__class__ is str else str({key})", node.place)
            self._alternatives(children, levels, number)

    def _alternatives(self, children: list[Node], levels: Levels, number: int) -> None:
        """The first child that matches takes the key."""
        word = "if"
        for child in children:
            test, level = self._test(child, levels, number)
            with self._out.function.block(
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
            self._out.function.add(f"trace.matched({child.place}, {levels[-1].value}, {key_of(level)})", child.place)
        if child.writes is None:
            made = Level(level.value, level.key, level.known, level.parts, self._count(len(levels)))
            self._out.enter(len(levels) + 1)
            self._children(child, (*levels, made))
        else:
            self._out.enter(len(levels) + 1)
            self._out.writes(child, (*levels, level), level.value)
        if levels[-1].count:
            self._out.function.add(f"{levels[-1].count}[0] += 1", child.place)

    # specials ------------------------------------------------------------------------------------------------------------

    def _special(self, child: Node, levels: Levels) -> None:
        """`@`, `$` and `#` match once, whatever keys there are."""
        try:
            self._once(child, levels)
        except UnreachableError as error:
            self._out.function.add(f"raised({str(error)!r})", child.place)
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
                self._out.function.add(f"k{number} = {key_expression(levels, ref, '$')}", child.place)
                level = Level(parent.value, f"k{number}", known=False)
                self._special_writes(child, (*levels, level), f"k{number}")
            case Lookup():
                self._out.function.add(
                    f"v{number} = {find_expression(levels, child.element, f'{self._finding}find')}", child.place
                )
                level = Level(f"v{number}", parent.key, parent.known, parent.parts, parent.count)
                with self._out.function.block(f"if v{number} is not MISSING:", child.place):
                    if child.writes is None:
                        self._special_children(child, levels, level)
                    else:
                        self._special_writes(child, (*levels, parent), f"v{number}")

    def _special_writes(self, child: Node, levels: Levels, value: str) -> None:
        if self._counting:
            self._out.function.add(f"trace.special({child.place}, {value})", child.place)
        with self._out.aside(len(levels)):
            self._out.writes(child, levels, value)

    def _special_children(self, child: Node, levels: Levels, level: Level) -> None:
        if self._counting:
            self._out.function.add(f"trace.special({child.place}, None)", child.place)
        if isinstance(child.element, Text):
            level = Level(level.value, level.key, level.known, level.parts, self._count(len(levels)))
        with self._out.aside(len(levels) + 1):
            self._children(child, (*levels, level))
        if levels[-1].count:
            self._out.function.add(f"{levels[-1].count}[0] += 1", child.place)


def _names(level: Level) -> list[str]:
    """The variables that tell of a level."""
    parts = [found[0] for part in level.parts if (found := re.match(r"\w+", part))]
    return [level.value, *([] if level.known else [level.key]), *parts, *([level.count] if level.count else [])]
