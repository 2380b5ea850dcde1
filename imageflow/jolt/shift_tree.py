"""The shift operation's spec as a checked tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from imageflow.jolt import elements
from imageflow.jolt.elements import Amp, Element, Here, InList, Key, Literal, Stars, Step, Text
from imageflow.jolt.errors import SpecError
from imageflow.jolt.patterns import between
from imageflow.jolt.source import Source

MAX_DEPTH = 100
"""How deep a spec may be nested."""


@dataclass
class Write:
    """A path to write to. `place`: its number in the source."""

    steps: tuple[Step, ...]
    text: str
    place: int


@dataclass
class Node:
    """An element of the left side, with what it writes or with its children, sorted by how they match.

    `indexed`: there is a child `[…]` too; it matches nothing, and has each key of the input tried in turn.
    """

    element: Element
    place: int
    writes: list[Write] | None = None
    specials: list[Node] = field(default_factory=list)
    literals: list[Node] = field(default_factory=list)
    computed: list[Node] = field(default_factory=list)
    indexed: bool = False

    def nodes(self) -> Iterator[Node]:
        """All children."""
        return iter([*self.specials, *self.literals, *self.computed])


def parse(spec: dict[str, Any], source: Source) -> Node:
    """The tree of a spec. Raises SpecError."""
    root = Node(Literal("root"), source.place("spec"))
    _fill(root, spec, "spec", source, 0)
    return root


def _fill(node: Node, spec: dict[str, Any], where: str, source: Source, depth: int) -> None:
    if not spec:
        raise SpecError("an empty {} writes nothing", where)
    if depth > MAX_DEPTH:
        raise SpecError("nested too deeply", where)
    seen: dict[str, str] = {}
    for raw, value in spec.items():
        path = f"{where}.{raw}"
        try:
            for text in raw.split("|"):
                _add(node, _child(text, value, (where, path), source, depth), seen, raw)
        except SpecError as error:
            raise error.at(path) from None
    node.computed.sort(key=lambda child: precedence(child.element))


def _child(text: str, value: Any, place: tuple[str, str], source: Source, depth: int) -> Node:
    parent, where = place
    leaf = not isinstance(value, dict)
    child = Node(elements.element(text), source.place(where, _shown(value), parent, leaf=leaf))
    if isinstance(value, dict):
        if isinstance(child.element, (Here, Key)):
            raise SpecError(f"{text!r} stands for a value and can have no children", where)
        _fill(child, value, where, source, depth + 1)
    else:
        child.writes = [_write(path, parent, where, source) for path in _paths(value, where)]
    return child


def _paths(value: Any, where: str) -> list[str]:
    paths = [] if value is None else value if isinstance(value, list) else [value]
    for path in paths:
        if not isinstance(path, str):
            raise SpecError("the right side must be a path, a list of paths or an object", where)
    return paths


def _write(path: str, parent: str, where: str, source: Source) -> Write:
    try:
        return Write(elements.path(path), path, source.place(where, path, parent, leaf=True))
    except SpecError as error:
        raise error.at(where) from None


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _add(parent: Node, child: Node, seen: dict[str, str], raw: str) -> None:
    name = canonical(child.element)
    if name in seen:
        raise SpecError(f"{raw!r} is the same as {seen[name]!r}")
    seen[name] = raw
    if isinstance(child.element, Literal):
        parent.literals.append(child)
    elif isinstance(child.element, (Stars, Amp)):
        parent.computed.append(child)
    elif isinstance(child.element, InList):
        parent.indexed = True
    else:
        parent.specials.append(child)


def canonical(element: Element) -> str:
    """What two elements have in common that are the same to Java."""
    match element:
        case Literal(text) | Text(text):
            return text if isinstance(element, Literal) else f"#{text}"
        case Stars(around):
            return "*".join(around)
        case Amp(template):
            return "".join(part if isinstance(part, str) else f"&({part.level},{part.part})" for part in template)
    return repr(element)


def precedence(element: Element) -> tuple[int, int, str]:
    """Which of several patterns is tried first."""
    name = canonical(element)
    if isinstance(element, Amp):
        return 0, -len(name), name
    return (5 if name == "*" else max(1, 4 - name.count("*"))), -len(name), name


def mixed(node: Node) -> bool:
    """Whether a pattern may match a key that stands beside it literally: then each key of the input is tried in turn."""
    texts = [child.element.text for child in node.literals if isinstance(child.element, Literal)]
    return node.indexed or any(
        isinstance(child.element, Amp) or any(_matches(child.element, text) for text in texts)
        for child in node.computed
    )


def _matches(element: Element, text: str) -> bool:
    return isinstance(element, Stars) and (element.around == ("", "") or between(text, element.around) is not None)
