"""A chain: specs, checked and compiled, and their application to documents."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from imageflow.jolt import default, explain, habits, modify, patterns, runtime, shift, trees, values
from imageflow.jolt.budget import budget
from imageflow.jolt.errors import JoltError, Problem, SpecError
from imageflow.jolt.functions import FUNCTIONS, STRICT, Function, numbers
from imageflow.jolt.functions.texts import BLANKS
from imageflow.jolt.names import OPERATIONS, nearest, only_community, operation_of
from imageflow.jolt.source import Source

MAX_LINES = 60_000
"""The longest code of one operation, in lines. Python takes some kB of memory to compile each."""

Work = Callable[[Any, Any, Any], Any]
"""`(document, context, trace)` to the result. It may change the document."""


@dataclass(frozen=True)
class Operation:
    """One operation of a chain. `work` raises JoltError. `code`: the Python that was generated for it, for those who want to
    read it.
    """

    index: int
    name: str
    source: Source
    work: Work
    code: str = ""


@dataclass(frozen=True)
class Chain:
    """A compiled chain. `warnings`: what its spec says that is allowed, and hardly what is meant."""

    operations: tuple[Operation, ...]
    warnings: tuple[Problem, ...] = ()

    def apply(self, document: Any, context: Mapping[str, Any] | None = None) -> Any:
        """The result. It may hold parts of the document, and the document may be changed.

        Raises JoltError; MemoryError and RecursionError pass.
        """
        budget.renew()
        for operation in self.operations:
            document = operation.work(document, context, None)
        return document

    def trace(
        self, document: Any, context: Mapping[str, Any] | None = None, expected: Any = values.MISSING
    ) -> explain.Explanation:
        """What each operation does, of a chain that was compiled with `counting`; it ends with the one that fails.

        With what is `expected`, also the first difference to it.
        """
        steps: list[explain.Step] = []
        budget.renew()
        for operation in self.operations:
            given = explain.kept(document)
            recorder = explain.Recorder(operation.source.places, given)
            step = explain.Step(operation.index, operation.name, values.describe(given))
            steps.append(step)
            try:
                document = operation.work(given, context, recorder)
            except JoltError as error:
                step.error = str(error)
            step.lines = recorder.lines()
            if step.error:
                break
            if operation.name == "shift":
                step.unread = recorder.unread(given)
            step.output, step.gave = explain.kept(document), values.describe(document)
        found = None if expected is values.MISSING or steps[-1].error else explain.difference(steps, expected)
        return explain.Explanation(steps, found)


def compile_chain(
    spec: Any, *, names: Mapping[str, Function] = FUNCTIONS, strict: bool = False, counting: bool = False
) -> Chain | list[Problem]:
    """The chain of a spec, or all that is wrong with it.

    `names`: the functions that the modify operations know. `strict`: what only jolt-community knows is refused.
    `counting`: operations tell their trace what they do.
    """
    found = problems(spec, strict=strict)
    names = STRICT if strict else names
    operations: list[Operation] = []
    for index, entry in enumerate([] if found else spec):
        try:
            operations.append(_operation(index, entry, names, counting=counting))
        except SpecError as error:
            found.append(
                Problem(f"[{index}]{'.' if error.where else ''}{error.where}", f"{entry['operation']}: {error}")
            )
        except RecursionError:
            found.append(Problem(f"[{index}]", f"{entry['operation']}: nested too deeply"))
    return found or Chain(tuple(operations), (*_noticed(operations), *habits.warnings(spec)))


def _noticed(operations: list[Operation]) -> Iterator[Problem]:
    """What was noticed while the operations were compiled."""
    for entry in operations:
        for place, text in entry.source.warnings:
            yield Problem(f"[{entry.index}].{entry.source.places[place].where}", text)


def problems(spec: Any, *, strict: bool = False) -> list[Problem]:
    """What is wrong with the outline of a spec: no list, an unknown operation, an operation without its spec. `strict`: or an
    operation that only jolt-community calls so.
    """
    if not isinstance(spec, list):
        hint = ""
        if isinstance(spec, dict):
            inner = "this" if "operation" in spec else "{operation: shift, spec: this}"
            hint = f", and this is an object: write [{inner}]"
        return [Problem("", f"must be a list of Jolt operations{hint}")]
    found = ((index, _outline(entry, strict=strict)) for index, entry in enumerate(spec))
    return [Problem(f"[{index}]", text) for index, text in found if text]


def _outline(entry: Any, *, strict: bool) -> str | None:
    if not isinstance(entry, dict):
        return "must be an object with `operation` and `spec`"
    operation = entry.get("operation")
    if not isinstance(operation, str):
        return "has no `operation`"
    name = operation_of(operation)
    if name is None:
        return f"there is no operation {operation!r}; {nearest(operation, OPERATIONS)}"
    if strict and only_community(operation):
        return f"{operation} is a name of jolt-community; Jolt 0.1.8 has {name}"
    if name != "sort" and not isinstance(entry.get("spec"), dict):
        return f"{operation} needs a `spec` that is an object"
    return None


def _operation(index: int, entry: dict[str, Any], names: Mapping[str, Any], *, counting: bool) -> Operation:
    name = operation_of(entry["operation"])
    assert name is not None
    source = Source()
    if name in ("remove", "cardinality", "sort"):
        return Operation(index, name, source, _walking(name, entry.get("spec"), source, counting=counting))
    if name == "shift":
        shift.generate(entry["spec"], source, counting=counting)
    elif name == "default":
        default.generate(entry["spec"], source, counting=counting)
    else:
        mode: Any = name.split("-")[1]
        modify.generate(entry["spec"], mode, frozenset(names), source, counting=counting)
    code, work = _compiled(index, name, source, names)
    return Operation(index, name, source, work, code)


def _compiled(index: int, name: str, source: Source, names: Mapping[str, Any]) -> tuple[str, Work]:
    """The generated code of an operation, as text and as a function."""
    code, places = source.text()
    if len(places) > MAX_LINES:
        raise SpecError(f"the spec is too large: its code has {len(places):,} lines, and {MAX_LINES:,} are the limit")
    copies = runtime.Copies(runtime.MAX_COPIES)
    scope: dict[str, Any] = {word: getattr(runtime, word) for word in dir(runtime) if not word.startswith("_")}
    scope |= {
        "MISSING": values.MISSING,
        "between": patterns.between,
        "copied": copies.copied,
        "BLANKS": BLANKS,
        "integer_of": numbers.to_integer,
        "long_of": numbers.to_long,
        "double_of": numbers.to_double,
        "__builtins__": _BUILTINS,
    }
    scope |= {f"f_{word}": function for word, function in names.items()}
    scope["located"] = lambda error, keys: runtime.located(error, source, places, (index, name), keys)
    exec(compile(code, f"<jolt {index}>", "exec", dont_inherit=True), scope)  # noqa: S102 - made here; texts by repr()
    operation = scope["operation"]

    def work(document: Any, context: Any, trace: Any) -> Any:
        copies.renew()
        return operation(document, context, trace)

    return code, work


_BUILTINS = {
    word: getattr(builtins, word)
    for word in ("Exception", "bool", "dict", "float", "int", "len", "list", "range", "str")
}


def _walking(name: str, spec: Any, source: Source, *, counting: bool) -> Work:
    if name == "sort":
        return lambda document, _context, _trace: trees.sort(document)
    if name == "remove":
        branches = trees.remove_tree(spec, source)
        return _in_place(lambda document, told: trees.remove(branches, document, *told), counting=counting)
    root = trees.cardinality_tree(spec, source)
    return _in_place(lambda document, told: trees.cardinality(root, document, *told), counting=counting)


def _in_place(work: Callable[[Any, tuple[Any, ...]], None], *, counting: bool) -> Work:
    def apply(document: Any, _context: Any, trace: Any) -> Any:
        def told(place: int, parent: Any, key: Any) -> None:
            trace.matched(place, parent, key)
            trace.written(place)

        work(document, (told,) if counting else ())
        return document

    return apply
