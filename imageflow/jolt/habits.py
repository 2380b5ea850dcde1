"""Warnings: what a chain says that is allowed, and hardly what is meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from imageflow.jolt import call_habits
from imageflow.jolt.elements import Index, Name, Step
from imageflow.jolt.errors import Problem
from imageflow.jolt.names import operation_of
from imageflow.jolt.shift_tree import Node, parse
from imageflow.jolt.source import Source


def warnings(spec: list[dict[str, Any]]) -> Iterator[Problem]:
    """Warnings about a chain that compiles, by line."""
    lists: set[str] = set()
    for index, entry in enumerate(spec):
        name = operation_of(entry["operation"])
        if name == "shift":
            source = Source()
            root = parse(entry["spec"], source)
            yield from (Problem(f"[{index}].{source.places[place].where}", text) for place, text in _shift(root))
            yield from _texts(entry["spec"], f"[{index}].spec")
            lists |= _written_as_lists(root)
        elif name == "default":
            yield from _default(entry["spec"], f"[{index}].spec", lists)
        elif name in ("remove", "cardinality"):
            yield from _without_effect(entry["spec"], f"[{index}].spec", name)
        elif name != "sort":
            yield from call_habits.warnings(entry["spec"], f"[{index}].spec")


# `[].a` beside `[].b`, ------------------------------------------------------------------------------------------------------


def _shift(node: Node) -> Iterator[tuple[int, str]]:
    ends: dict[str, int] = {}
    for child in node.nodes():
        for write in child.writes or []:
            start = _until_new(write.steps)
            if start and ends.setdefault(start, child.place) != child.place:
                text = f"{write.text}: each [] makes an entry of its own; lines that belong together need the same index: [&1]"
                yield child.place, text
        yield from _shift(child)


def _until_new(steps: tuple[Step, ...]) -> str:
    """The path up to a `[]` that is not at its end."""
    for place, step in enumerate(steps[:-1]):
        if isinstance(step, Index) and step.of is None:
            return repr(steps[: place + 1])
    return ""


def _texts(value: Any, where: str) -> Iterator[Problem]:
    """What the texts of a shift say that hardly anybody means, on both sides."""
    if isinstance(value, dict):
        for key, below in value.items():
            found = [*call_habits.dotted_level(key), *(_INDEXED if key.startswith("[") else ())]
            yield from (Problem(f"{where}.{key}", text) for text in found)
            yield from _texts(below, f"{where}.{key}")
        return
    for text in value if isinstance(value, list) else [value]:
        yield from (Problem(where, said) for said in call_habits.dotted_level(str(text)))


_INDEXED = ["an index in brackets matches nothing on the left of a shift; an element of a list is just its number: 0"]


# a default on a list ----------------------------------------------------------------------------------------------------------


def _written_as_lists(node: Node) -> set[str]:
    """The names that are followed by an index in a path that is written to."""
    found: set[str] = set()
    for child in node.nodes():
        for write in child.writes or []:
            pairs = zip(write.steps, write.steps[1:], strict=False)
            found |= {
                str(step.template[-1]) for step, after in pairs if isinstance(step, Name) and isinstance(after, Index)
            }
        found |= _written_as_lists(child)
    return found


def _default(spec: dict[str, Any], where: str, lists: set[str]) -> Iterator[Problem]:
    for key, value in spec.items():
        if not isinstance(value, dict):
            continue
        if key in lists:
            yield Problem(f"{where}.{key}", f'a shift before makes a list of it; in a default that is "{key}[]"')
        yield from _default(value, f"{where}.{key}", lists)


# marks that mean nothing ----------------------------------------------------------------------------------------------------


def _without_effect(spec: dict[str, Any], where: str, name: str) -> Iterator[Problem]:
    marks = "$&#[\\" if name == "remove" else "$&#[|"
    for key, value in spec.items():
        mark = next((mark for mark in marks if mark in key), "")
        if mark:
            yield Problem(
                f"{where}.{key}", f"{mark} has no meaning in {name}: only a key of just this name would match"
            )
        if isinstance(value, dict):
            yield from _without_effect(value, f"{where}.{key}", name)
