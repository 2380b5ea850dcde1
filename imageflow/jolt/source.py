"""Python source as it is generated: lines, their indentation, and the place in the spec that each belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Place:
    """A line of a spec. `where`: its path within the operation, `parent`: that of the line above; `text`: what stands on its
    right, or nothing. `leaf`: it has no children.
    """

    where: str
    text: str = ""
    parent: str = ""
    leaf: bool = False


@dataclass
class Slot:
    """A place in a function for lines that turn out to be needed later."""

    depth: int
    lines: list[str] = field(default_factory=list)


@dataclass
class Function:
    """One function of the generated module. `keys`: names of the variables that hold keys of the input."""

    name: str
    parameters: list[str]
    keys: list[str]
    lines: list[tuple[int, str, int] | Slot] = field(default_factory=list)
    depth: int = 2

    def add(self, text: str, place: int) -> None:
        """A line at the present depth, which belongs to a place by its number."""
        self.lines.append((self.depth, text, place))

    @contextmanager
    def block(self, head: str, place: int) -> Iterator[None]:
        """A compound statement: its head, and deeper lines."""
        self.add(head, place)
        self.depth += 1
        before = len(self.lines)
        yield
        if not any(not isinstance(line, Slot) for line in self.lines[before:]):
            self.add("pass", place)
        self.depth -= 1

    def slot(self) -> Slot:
        """Room at the present position."""
        slot = Slot(self.depth)
        self.lines.append(slot)
        return slot


@dataclass
class Source:
    """A module that is generated for one operation: its functions, and its places by number.

    `ways`: how a place is reached in the input, as keys: known ones, and names of the variables that hold the others.
    """

    places: list[Place] = field(default_factory=list)
    warnings: list[tuple[int, str]] = field(default_factory=list)
    ways: dict[int, tuple[tuple[str, bool], ...]] = field(default_factory=dict)
    functions: list[Function] = field(default_factory=list)
    names: int = 0

    def place(self, where: str, text: str = "", parent: str = "", *, leaf: bool = False) -> int:
        """The number of a place."""
        self.places.append(Place(where, text, parent, leaf))
        return len(self.places) - 1

    def warn(self, place: int, text: str) -> None:
        """What is allowed at a place, and hardly what is meant."""
        if (place, text) not in self.warnings:
            self.warnings.append((place, text))

    def function(self, name: str, parameters: list[str], keys: list[str]) -> Function:
        made = Function(name, parameters, keys)
        self.functions.append(made)
        return made

    def name(self, letter: str) -> str:
        """A name that no other line uses."""
        self.names += 1
        return f"{letter}_{self.names}"

    def text(self) -> tuple[str, list[int]]:
        """The source, and for each of its lines the number of its place."""
        lines: list[tuple[str, int]] = []
        for function in self.functions:
            lines += _lines(function)
        return "\n".join(line for line, _ in lines) + "\n", [place for _, place in lines]


def _lines(function: Function) -> Iterator[tuple[str, int]]:
    yield f"def {function.name}({', '.join(function.parameters)}):", 0
    own = [key for key in function.keys if key not in function.parameters]
    yield f"    {' = '.join([*own, 'None'])}" if own else "    pass", 0
    yield "    try:", 0
    place = 0
    for line in function.lines:
        if isinstance(line, Slot):
            yield from ((" " * 4 * line.depth + text, place) for text in line.lines)
        else:
            place = line[2]
            yield " " * 4 * line[0] + line[1], place
    yield "        pass", 0
    yield "    except Exception as error:", 0
    keys = ", ".join(f"{key!r}: {key}" for key in function.keys)
    yield f"        raise located(error, {{{keys}}}) from None", 0
