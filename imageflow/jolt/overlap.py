"""Which of the places that a shift writes to may coincide, and so what generated code may remember of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from imageflow.jolt.elements import Count, Here, Index, Lookup, Name, Step
from imageflow.jolt.shift_tree import Node

_ANY_KEY, _ANY_INDEX, _END = object(), object(), object()


class Conflicts:
    """`counted`: a `#` refers to counts. `shares`: a value may be written that is still being walked through.
    `spreads`: a value may be written to more than one place.
    """

    def __init__(self, root: Node) -> None:
        nodes = list(_all(root))
        writes = [write for node in nodes for write in node.writes or []]
        self.counted = any(_counts(step) for write in writes for step in write.steps)
        self._aliased = any(isinstance(node.element, Lookup) and node.writes is None for node in nodes)
        self.shares = any(isinstance(node.element, (Here, Lookup)) for node in nodes)
        self.spreads = self.shares or any(len(node.writes or []) > 1 for node in nodes)
        self._ends: dict[Any, Any] = {}
        for write in writes:
            here = self._ends
            for step in (Name(("root",)), *write.steps):
                here = here.setdefault(_token(step), {})
            here[_END] = True

    def stays(self, steps: tuple[Step, ...]) -> bool:
        """Whether the container at a path is the same for as long as its keys are: no value is written to the path itself
        or to a part of it, and it is not a new one each time.
        """
        if any(isinstance(step, Index) and step.of is None for step in steps):
            return False
        if self._aliased and any(_counts(step) for step in steps):
            return False
        here = [self._ends]
        for step in steps:
            token = _token(step)
            here = [found for place in here for found in _following(place, token)]
            if any(_END in place for place in here):
                return False
        return True


def _all(node: Node) -> Iterator[Node]:
    yield node
    for child in node.nodes():
        yield from _all(child)


def _counts(step: Step) -> bool:
    return isinstance(step, Index) and isinstance(step.of, Count)


def _token(step: Step) -> object:
    """What a step goes to, as far as it is known before the input is."""
    if isinstance(step, Name):
        return "".join(map(str, step.template)) if all(isinstance(part, str) for part in step.template) else _ANY_KEY
    if isinstance(step, Lookup):
        return _ANY_KEY
    return step.of if isinstance(step.of, int) else _ANY_INDEX


def _following(place: dict[Any, Any], token: object) -> list[Any]:
    wide = _ANY_KEY if isinstance(token, str) or token is _ANY_KEY else _ANY_INDEX
    if token is wide:
        kind = str if wide is _ANY_KEY else int
        return [value for key, value in place.items() if key is wide or isinstance(key, kind)]
    return [place[key] for key in (token, wide) if key in place]
