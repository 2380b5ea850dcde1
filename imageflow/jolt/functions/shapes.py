"""How functions take their arguments, as Java's do: one value, a list for each of whose elements they work, or many values.

A function gets a tuple of values; a value that is not there comes as None. It returns MISSING for "no value".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from imageflow.jolt.values import MISSING

Function: TypeAlias = Callable[[tuple[Any, ...]], Any]


def each(work: Callable[[Any], Any]) -> Function:
    """A function of one value. Of a list, or of many values, it gives the list of results; what has none stays as it is."""

    def apply(arguments: tuple[Any, ...]) -> Any:
        if len(arguments) == 1 and arguments[0].__class__ is not list:
            return MISSING if arguments[0] is None else work(arguments[0])
        values = arguments[0] if len(arguments) == 1 else arguments
        return [_kept(work(value), value) for value in values] if values else MISSING

    return apply


def _kept(result: Any, value: Any) -> Any:
    return value if result is MISSING else result


def of_list(work: Callable[[list[Any]], Any], *, empty: bool = False) -> Function:
    """A function of a list, or of many values. `empty`: also of an empty list."""

    def apply(arguments: tuple[Any, ...]) -> Any:
        if len(arguments) == 1:
            values = arguments[0]
            return work(values) if values.__class__ is list and (values or empty) else MISSING
        return work(list(arguments)) if arguments else MISSING

    return apply


def told_each(kind: type, work: Callable[[Any, Any], Any]) -> Function:
    """A function that is told how to work by its first argument, and works on each of the others."""

    def apply(arguments: tuple[Any, ...]) -> Any:
        first, rest = _told(arguments)
        if first.__class__ is not kind or not rest:
            return MISSING
        if len(rest) == 1 and rest[0].__class__ is not list:
            return work(first, rest[0])
        return [_kept(work(first, value), value) for value in (rest[0] if len(rest) == 1 else rest)]

    return apply


def told_list(kind: type, work: Callable[[Any, list[Any]], Any]) -> Function:
    """A function that is told how to work by its first argument, and works on the list of the others."""

    def apply(arguments: tuple[Any, ...]) -> Any:
        first, rest = _told(arguments)
        if first.__class__ is not kind or not rest:
            return MISSING
        if len(rest) == 1:
            return work(first, rest[0]) if rest[0].__class__ is list else MISSING
        return work(first, list(rest))

    return apply


def _told(arguments: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    if len(arguments) == 1 and arguments[0].__class__ is list:
        arguments = tuple(arguments[0])
    return (arguments[0], arguments[1:]) if arguments else (MISSING, ())
