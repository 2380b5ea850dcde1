"""The operations that need no code of their own: remove, cardinality and sort walk their trees. They work in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from imageflow.jolt import elements
from imageflow.jolt.elements import Element, Literal, Stars
from imageflow.jolt.errors import SpecError
from imageflow.jolt.patterns import between
from imageflow.jolt.shift_tree import MAX_DEPTH, precedence
from imageflow.jolt.source import Source
from imageflow.jolt.values import natural, utf16


@dataclass
class Branch:
    """A line of the spec: what it matches, and what it does there, or its children."""

    element: Element
    place: int
    action: str = ""
    children: list[Branch] = field(default_factory=list)
    whole: str = ""


Counter = Callable[[int, Any, Any], None]
"""Told of each match: the place, the container and the key."""


def _ignore(_place: int, _parent: Any, _key: Any) -> None:
    pass


# remove ------------------------------------------------------------------------------------------------------------------


def remove_tree(spec: dict[str, Any], source: Source, where: str = "spec", depth: int = 0) -> list[Branch]:
    """The tree of a remove. Raises SpecError."""
    if not depth:
        source.place(where)
    if depth > MAX_DEPTH:
        raise SpecError("nested too deeply", where)
    found: list[Branch] = []
    for raw, value in spec.items():
        path = f"{where}.{raw}"
        if value != "" and not isinstance(value, dict):
            raise SpecError('the right side must be "" or an object', path)
        for text in raw.split("|"):
            branch = Branch(
                Stars(tuple(text.split("*"))) if "*" in text else Literal(text),
                source.place(path, parent=where, leaf=value == ""),
            )
            if isinstance(value, dict):
                branch.children = remove_tree(value, source, path, depth + 1)
            else:
                branch.action = "remove"
            found.append(branch)
    return found


def remove(branches: list[Branch], value: Any, told: Counter = _ignore) -> None:
    """Remove what the branches name from a value."""
    if value.__class__ is not dict and value.__class__ is not list:
        return
    doomed: list[Any] = []
    for branch in branches:
        for key in list(_keys(branch.element, value)):
            told(branch.place, value, key)
            if branch.action:
                doomed.append(key)
            else:
                remove(branch.children, value[key], told)
    for key in sorted(set(doomed), reverse=True) if value.__class__ is list else set(doomed):
        del value[key]


def _keys(element: Element, value: Any) -> Iterator[Any]:
    """The keys or indexes of a value that an element names; in a list only numbers and `*` name any."""
    if isinstance(element, Literal):
        key = element.text if value.__class__ is dict else natural(element.text)
        if key in value if isinstance(key, str) else 0 <= key < len(value):
            yield key
    elif isinstance(element, Stars):
        if element.around == ("", ""):
            yield from value if value.__class__ is dict else range(len(value))
        elif value.__class__ is dict:
            yield from (key for key in value if between(key, element.around) is not None)


# cardinality ---------------------------------------------------------------------------------------------------------------


def cardinality_tree(
    spec: dict[str, Any], source: Source, where: str = "spec", depth: int = 0, parent: str = ""
) -> Branch:
    """The tree of a cardinality, as the branch of its root. Raises SpecError."""
    if depth > MAX_DEPTH:
        raise SpecError("nested too deeply", where)
    if not spec:
        raise SpecError("an empty {} changes nothing", where)
    root = Branch(Literal("root"), source.place(where, parent=parent))
    for raw, value in spec.items():
        path = f"{where}.{raw}"
        if raw == "@":
            root.whole = _word(value, path)
            continue
        root.children.append(_cardinality(raw, value, source, (where, path), depth))
    root.children.sort(key=_order)
    return root


def _cardinality(text: str, value: Any, source: Source, place: tuple[str, str], depth: int) -> Branch:
    parent, path = place
    try:
        element = elements.element(text)
    except SpecError as error:
        raise error.at(path) from None
    if isinstance(element, elements.Lookup):
        raise SpecError("only a single @ can stand here", path)
    if not isinstance(value, dict):
        return Branch(element, source.place(path, value, parent, leaf=True), _word(value, path))
    branch = cardinality_tree(value, source, path, depth + 1, parent)
    branch.element = element
    return branch


def _word(value: Any, where: str) -> str:
    if value not in ("ONE", "MANY"):
        raise SpecError("must be ONE or MANY", where)
    return str(value)


def _order(branch: Branch) -> tuple[int, int, str]:
    return (-1, 0, "") if isinstance(branch.element, Literal) else precedence(branch.element)


def cardinality(root: Branch, value: Any, told: Counter = _ignore) -> None:
    """Change values within a value: the first branch that matches a key takes it."""
    if value.__class__ is not dict and value.__class__ is not list:
        return
    for key in list(value) if value.__class__ is dict else range(len(value)):
        for branch in root.children:
            if _takes(branch.element, str(key)):
                told(branch.place, value, key)
                _change(branch, value, key, told)
                break


def _takes(element: Element, key: str) -> bool:
    if isinstance(element, Literal):
        return element.text == key
    return isinstance(element, Stars) and (element.around == ("", "") or between(key, element.around) is not None)


def _change(branch: Branch, parent: Any, key: Any, told: Counter) -> None:
    how = branch.action or branch.whole
    if how == "ONE" and parent[key].__class__ is not list:
        return  # Java leaves the children alone, too
    if how:
        parent[key] = _one_or_many(parent[key], how)
    if branch.children:
        cardinality(branch, parent[key], told)


def _one_or_many(value: Any, how: str) -> Any:
    if how == "MANY":
        return value if value.__class__ is list else [] if value is None else [value]
    return (value[0] if value else None) if value.__class__ is list else value


# sort ----------------------------------------------------------------------------------------------------------------------


def sort(value: Any) -> Any:
    """A value with the keys of its objects in order: those with a ~ first."""
    if value.__class__ is dict:
        ordered = sorted(value, key=lambda key: (not key.startswith("~"), utf16(key)))
        return {key: sort(value[key]) for key in ordered}
    return [sort(entry) for entry in value] if value.__class__ is list else value
