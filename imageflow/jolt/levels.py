"""What is known, while code is generated, of the levels on the way into the input: where their keys and values are."""

from __future__ import annotations

from dataclasses import dataclass

from imageflow.jolt.elements import Count, Index, Lookup, Name, Ref, Template
from imageflow.jolt.values import natural


class UnreachableError(Exception):
    """A reference leads nowhere, whatever the input is; the text says why."""


@dataclass(frozen=True)
class Level:
    """A level. `key`: a text that is known, or the name of a variable that holds a text or the index in a list.

    `parts`: expressions for what the stars stand for. `count`: the variable whose only element counts matches.
    """

    value: str
    key: str
    known: bool
    parts: tuple[str, ...] = ()
    count: str = ""


Levels = tuple[Level, ...]
"""From the outermost to the innermost."""


def up(levels: Levels, level: int, what: str) -> Level:
    """The level that is so many above. Raises UnreachableError."""
    if level >= len(levels):
        raise UnreachableError(f"{what} goes {level} levels up, and here are only {len(levels)}, the root included")
    return levels[-1 - level]


def key_expression(levels: Levels, ref: Ref, mark: str = "&") -> str:
    """An expression for the text of a reference. Raises UnreachableError."""
    level = up(levels, ref.level, f"{mark}{ref.level}")
    if ref.part:
        if ref.part > len(level.parts):
            raise UnreachableError(
                f"{mark}({ref.level},{ref.part}): the key there has {len(level.parts)} stars with a text"
            )
        return level.parts[ref.part - 1]
    if level.known:
        return repr(level.key)
    return f"({level.key} if {level.key}.__class__ is str else str({level.key}))"


def template_expression(levels: Levels, template: Template, mark: str = "&") -> str:
    """An expression for the text of a template. Raises UnreachableError."""
    parts = [repr(part) if isinstance(part, str) else key_expression(levels, part, mark) for part in template]
    return " + ".join(parts)


@dataclass(frozen=True)
class IndexCode:
    """How an index is had: an expression, and whether it may turn out to be none (then it is -1)."""

    text: str
    may_fail: bool
    never: str = ""


def index_code(levels: Levels, of: int | Ref | Count | Lookup, find_key: str = "find_key") -> IndexCode:
    """Raises UnreachableError."""
    if isinstance(of, int):
        return IndexCode(f"index_of({str(of)!r})" if of > 1000 else str(of), may_fail=False)
    if isinstance(of, Count):
        count = up(levels, of.level, f"#{of.level}").count
        return IndexCode(f"{count}[0]" if count else "0", may_fail=False)
    if isinstance(of, Lookup):
        return IndexCode(f"index_of({find_expression(levels, of, find_key)})", may_fail=True)
    level = up(levels, of.level, f"&{of.level}")
    if of.part:
        return IndexCode(f"index_of({key_expression(levels, of)})", may_fail=True)
    if level.known:
        number = natural(level.key)
        never = "" if number >= 0 else f'&{of.level} is "{level.key}", not a number'
        return IndexCode(f"index_of({level.key!r})" if number >= 0 else "-1", may_fail=number < 0, never=never)
    return IndexCode(f"({level.key} if {level.key}.__class__ is int else index_of({level.key}))", may_fail=True)


def find_expression(levels: Levels, of: Lookup, function: str = "find") -> str:
    """An expression for the value that is looked up; it gives MISSING where nothing is. Raises UnreachableError."""
    value = up(levels, of.level, f"@({of.level},…)").value
    steps = [_read_step(levels, step) for step in of.path]
    if len(steps) == 1 and isinstance(of.path[0], Name) and function == "find":
        return f"({value}.get({steps[0]}, MISSING) if {value}.__class__ is dict else MISSING)"
    return f"{function}({value}, ({', '.join(steps)}{',' if steps else ''}))"


def _read_step(levels: Levels, step: Name | Index) -> str:
    if isinstance(step, Name):
        return template_expression(levels, step.template)
    assert step.of is not None
    return index_code(levels, step.of).text


def reach(levels: Levels, step: Name | Index | Lookup) -> int:
    """How many of the levels must be known before a step can be told: 0 if none."""
    refs = _references(step)
    return max((len(levels) - level for level in refs), default=0)


def _references(step: Name | Index | Lookup) -> list[int]:
    if isinstance(step, Name):
        return [part.level for part in step.template if isinstance(part, Ref)]
    if isinstance(step, Lookup):
        return [step.level, *(level for inner in step.path for level in _references(inner))]
    if isinstance(step.of, Count):
        return [step.of.level - 1]
    if isinstance(step.of, Lookup):
        return _references(step.of)
    return [step.of.level] if isinstance(step.of, Ref) else []


def way_of(levels: Levels) -> tuple[tuple[str, bool], ...]:
    """How the innermost level is reached in the input, for errors (see Source)."""
    return tuple((level.key, level.known) for level in levels[2:])
