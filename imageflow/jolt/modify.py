"""The modify operations: from their tree to Python. They change the document in place."""

from __future__ import annotations

from typing import Any

from imageflow.jolt.calls import Call, Constant, Context, Expression
from imageflow.jolt.elements import Lookup, Stars
from imageflow.jolt.functions import ASKING, IN_PLACE, MAKERS, MAKES_NEW
from imageflow.jolt.levels import Level, Levels, UnreachableError, find_expression, way_of
from imageflow.jolt.modify_tree import Entries, Entry, Mode, parse
from imageflow.jolt.source import Function, Source

NESTED = 10
"""So many levels are nested in one function; Python nests at most 20 loops."""


def generate(spec: dict[str, Any], mode: Mode, functions: frozenset[str], source: Source, *, counting: bool) -> None:
    """Add the functions of a modify operation to the source; the first is `operation(root, context, trace)`."""
    shrinks = any(name in str(spec) for name in IN_PLACE)
    _Generator(source, mode, shrinks=shrinks, counting=counting).start(parse(spec, mode, functions, source))


class _Generator:
    """`shrinks`: a function may take entries away while a loop goes through them."""

    def __init__(self, source: Source, mode: Mode, *, shrinks: bool, counting: bool) -> None:
        self._source = source
        self._mode = mode
        self._shrinks = shrinks
        self._counting = counting
        self._function: Function

    def start(self, entries: Entries) -> None:
        names = [f"k{number}" for number in range(2, 2 + NESTED)]
        place = self._source.place("spec")
        self._function = self._source.function("operation", ["v1", "context", "trace"], names)
        root = Level("v1", "root", known=True)
        self._entries(entries, (root, root), place, self._mode)
        self._function.add("return v1", place)

    def _entries(self, entries: Entries, levels: Levels, place: int, mode: Mode) -> None:
        if len(levels) % NESTED == 0:
            self._outsourced(entries, levels, place, mode)
        else:
            self._inline(entries, levels, place, mode)

    def _outsourced(self, entries: Entries, levels: Levels, place: int, mode: Mode) -> None:
        names = [name for level in levels for name in (level.value, level.key if not level.known else "")]
        parameters = list(dict.fromkeys(name for name in names if name.isidentifier()))
        name = self._source.name("deeper")
        self._function.add(f"{name}(context, trace, {', '.join(parameters)})", place)
        here = self._function
        keys = [level.key for level in levels if not level.known]
        deeper = [f"k{number}" for number in range(len(levels), len(levels) + NESTED)]
        self._function = self._source.function(
            name, ["context", "trace", *parameters], list(dict.fromkeys([*keys, *deeper]))
        )
        self._inline(entries, levels, place, mode)
        self._function = here

    def _inline(self, entries: Entries, levels: Levels, place: int, mode: Mode) -> None:
        """What is done with a value whose variable is the innermost level's."""
        value, number = levels[-1].value, len(levels)
        if entries.kind:
            with self._function.block(f"if {value}.__class__ is {entries.kind}:", place):
                self._of_kind(entries, levels, place, mode)
            return
        if entries.patterns:
            keys = f"list({value}) if {value}.__class__ is dict else range(len({value})) if {value}.__class__ is list else ()"
            with self._function.block(f"for k{number} in {keys}:", place):
                self._patterns(entries.patterns, levels, "False")

    def _of_kind(self, entries: Entries, levels: Levels, place: int, mode: Mode) -> None:
        value, number = levels[-1].value, len(levels)
        if entries.kind == "list":
            self._function.add(f"z{number} = len({value})", place)
            self._function.add(f"grow({value}, {entries.size})", place)
        for entry in entries.fixed:
            self._fixed(entry, levels)
        if entries.patterns:
            keys = f"list({value})" if entries.kind == "dict" else f"range(len({value}))"
            if entries.kind == "list" and mode == "define":  # there, in Java, a fixed index is closed to patterns
                keys = f"[k for k in {keys} if k not in {[entry.key for entry in entries.fixed]!r}]"
            absent = f"z{number} <= k{number}" if entries.kind == "list" else "False"
            with self._function.block(f"for k{number} in {keys}:", place):
                self._patterns(entries.patterns, levels, absent)

    def _fixed(self, entry: Entry, levels: Levels) -> None:
        value, number = levels[-1].value, len(levels)
        if isinstance(entry.key, int):
            self._function.add(f"v{number} = {value}[{entry.key}] if {entry.key} < z{number} else MISSING", entry.place)
            absent = f"z{number} <= {entry.key}"
        else:
            self._function.add(f"v{number} = {value}.get({entry.key!r}, MISSING)", entry.place)
            absent = f"v{number} is MISSING"
        level = Level(f"v{number}", str(entry.key), known=True)
        if not entry.optional:
            self._entry(entry, levels, level, repr(entry.key), absent)
            return
        with self._function.block(f"if not {absent}:", entry.place):
            self._entry(entry, levels, level, repr(entry.key), absent)

    def _patterns(self, patterns: list[Entry], levels: Levels, absent: str) -> None:
        """The first pattern that matches takes the key; in a list only `*` matches."""
        value, number = levels[-1].value, len(levels)
        found = f"find({value}, (k{number},))" if self._shrinks else f"{value}[k{number}]"
        self._function.add(f"v{number} = {found}", patterns[0].place)
        word = "if"
        for entry in patterns:
            assert isinstance(entry.key, Stars)
            everything = entry.key.around == ("", "")
            test = f"k{number}.__class__ is str and between(k{number}, {entry.key.around!r})"
            head = f"{word} {test}:" if not everything else "if True:" if word == "if" else "else:"
            with self._function.block(head, entry.place):
                if entry.optional and absent != "False":
                    self._function.add(f"if {absent} and v{number} is None: continue", entry.place)
                self._entry(entry, levels, Level(f"v{number}", f"k{number}", known=False), f"k{number}", absent)
            word = "elif"

    def _entry(self, entry: Entry, levels: Levels, level: Level, key: str, absent: str) -> None:
        """A line of the spec for one key. `absent`: the condition that nothing was there before."""
        self._source.ways[entry.place] = way_of((*levels, level))
        if self._counting:
            self._function.add(f"trace.matched({entry.place}, {levels[-1].value}, {key})", entry.place)
        if entry.children is None:
            self._alternatives(entry, levels, level, key, absent)
            return
        kind = entry.children.kind
        if kind:
            test = f"{level.value} is MISSING or {level.value} is None"
            if entry.mode == "define":
                test = f"({absent}) and ({test})"
            with self._function.block(f"if {test}:", entry.place):
                self._function.add(f"{level.value} = {levels[-1].value}[{key}] = {kind}()", entry.place)
        self._entries(entry.children, (*levels, level), entry.place, entry.mode)

    def _alternatives(self, entry: Entry, levels: Levels, level: Level, key: str, absent: str) -> None:
        missing = f"{level.value} is MISSING or {level.value} is None"
        guard = {
            "overwrite": "",
            "default": missing,
            "define": f"{absent} and ({missing})" if absent.startswith("z") else absent,
        }[entry.mode]
        found = self._source.name("x")
        eager = any(isinstance(each, Call) and each.function in IN_PLACE for each in entry.alternatives or [])
        if not guard or eager:
            self._value(entry, levels, level, found)
            self._set(entry, levels, key, found, f"({guard}) and " if guard else "")
            return
        with self._function.block(f"if {guard}:", entry.place):
            self._value(entry, levels, level, found)
            self._set(entry, levels, key, found, "")

    def _value(self, entry: Entry, levels: Levels, level: Level, found: str) -> None:
        """The first of the alternatives that gives a value, which may be null."""
        for place, each in enumerate(entry.alternatives or []):
            try:
                code = self._expression(each, (*levels, level))
            except UnreachableError as error:
                self._source.warn(entry.place, f"{error}; it never has a value")
                code = "MISSING"
            if not place:
                self._function.add(f"{found} = {code}", entry.place)
                continue
            with self._function.block(f"if {found} is MISSING:", entry.place):
                self._function.add(f"{found} = {code}", entry.place)

    def _set(self, entry: Entry, levels: Levels, key: str, found: str, guard: str) -> None:
        with self._function.block(f"if {guard}{found} is not MISSING:", entry.place):
            self._function.add(f"{levels[-1].value}[{key}] = {found}", entry.place)
            if self._counting:
                self._function.add(f"trace.written({entry.place})", entry.place)
        if self._counting:
            with self._function.block("else:", entry.place):
                keys = ", ".join(repr(each.key) if each.known else each.key for each in levels[2:])
                text = f"trace.dropped({entry.place}, 'it gave no value' if {found} is MISSING else 'there is a value already', ({keys}{',' if keys else ''} {key},))"
                self._function.add(text, entry.place)

    def _expression(self, expression: Expression, levels: Levels) -> str:
        if isinstance(expression, Constant):
            value = expression.value
            return f"copied({value!r})" if isinstance(value, (list, dict)) else repr(value)
        if not isinstance(expression, Call):
            return f"copied({self._argument(expression, levels, asking=True)})"
        name, arguments = expression.function, expression.arguments
        if arguments is None:
            return self._of_this(name, levels[-1].value)
        if name in _QUICK and len(arguments) == 1 and not isinstance(arguments[0], Constant):
            found = self._source.name("a")
            read = f"({found} := {self._read(arguments[0], levels)})"
            return self._quick(name, found, f"f_{name}((or_null({found}),))", read)
        asking = name in ASKING and len(arguments) == 1
        codes = [self._argument(argument, levels, asking=asking) for argument in arguments]
        return _own(name, f"f_{name}(({', '.join(codes)}{',' if codes else ''}))")

    def _of_this(self, name: str, value: str) -> str:
        """A function that is named without arguments: of the value that is there, if one is."""
        if name in MAKERS:
            return f"f_{name}(())"
        code = f"MISSING if {value} is MISSING else f_{name}(({value},))"
        return self._quick(name, value, code) if name in _QUICK else _own(name, f"({code})")

    @staticmethod
    def _quick(name: str, value: str, otherwise: str, read: str = "") -> str:
        """The usual cases of a function in place, without a call; else the function itself."""
        code = f"copied({otherwise})"
        for place, (test, usual) in reversed(list(enumerate(_QUICK[name]))):
            first = value if place or not read else read
            code = f"{usual.format(value)} if {first}.__class__ is {test.format(value)} else {code}"
        return f"({code})"

    def _argument(self, argument: Constant | Lookup | Context | Call, levels: Levels, *, asking: bool) -> str:
        """An argument; what is not there is MISSING for those that ask, and null for the others."""
        if isinstance(argument, Constant):
            return repr(argument.value)
        code = self._read(argument, levels)
        return code if asking else f"or_null({code})"

    @staticmethod
    def _read(argument: Lookup | Context | Call, levels: Levels) -> str:
        if isinstance(argument, Context):
            return f"find(context, {argument.path!r})"
        assert isinstance(argument, Lookup)
        found = find_expression(levels, argument)
        return found if argument.path else f"or_null({found})"


_QUICK = {
    "toLower": [("str and len({0}) < 200", "{0}.lower()")],
    "toUpper": [("str and len({0}) < 200", "{0}.upper()")],
    "trim": [("str and len({0}) < 200", "{0}.strip(BLANKS)")],
    "toInteger": [("int", "({0} + 2147483648) % 4294967296 - 2147483648"), ("str", "integer_of({0})")],
    "toLong": [("str", "long_of({0})")],
    "toDouble": [("float", "{0}"), ("str", "double_of({0})")],
    "toString": [("str", "{0}")],
    "toBoolean": [("bool", "{0}")],
}
"""Functions whose usual cases are quick: the class of the value for which they are, with what else must hold, and the code."""


def _own(name: str, code: str) -> str:
    """A call whose result has no part in common with the document."""
    return code if name in MAKES_NEW else f"copied({code})"
