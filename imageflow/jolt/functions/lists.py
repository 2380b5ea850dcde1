"""Functions of lists, and those that ask whether something is there."""

from __future__ import annotations

from typing import Any

from imageflow.jolt.functions.numbers import kind_of
from imageflow.jolt.functions.shapes import Function, of_list, told_list
from imageflow.jolt.values import MISSING, utf16


def _size(arguments: tuple[Any, ...]) -> Any:
    if len(arguments) != 1:
        return len(arguments) if arguments else MISSING
    return len(arguments[0]) if arguments[0].__class__ in (list, dict, str) else MISSING


def _sort(arguments: tuple[Any, ...]) -> Any:
    """Texts in Java's order, numbers of one kind; of all else nothing."""
    if len(arguments) == 1 and arguments[0].__class__ is not list:
        return MISSING if arguments[0] is None else arguments[0]
    values = list(arguments[0] if len(arguments) == 1 else arguments)
    kinds = {value.__class__ for value in values}
    if kinds == {int} and len({kind_of(value) for value in values}) > 1:
        return MISSING
    if not values or (len(values) > 1 and (len(kinds) != 1 or not kinds <= {str, int, float, bool})):
        return MISSING
    return sorted(values, key=utf16) if kinds == {str} else sorted(values) if len(values) > 1 else values


def _squash_nulls(arguments: tuple[Any, ...]) -> Any:
    """In place, as in Java. Several arguments count as a list that cannot shrink: with a null in it there is no value."""
    if len(arguments) != 1:
        return MISSING if None in arguments or not arguments else list(arguments)
    value = arguments[0]
    if value.__class__ is list:
        value[:] = [element for element in value if element is not None]
    elif value.__class__ is dict:
        for key in [key for key, entry in value.items() if entry is None]:
            del value[key]
    return MISSING if value is None or arguments == ([],) else value


def _squash_deep(arguments: tuple[Any, ...]) -> Any:
    if arguments == ([],):
        return MISSING
    value = _squash_nulls(arguments)
    pending = [value]
    while pending:
        here = pending.pop()
        if isinstance(here, (list, dict)):
            _squash_nulls((here,))
            pending += here if isinstance(here, list) else here.values()
    return value


def _squash_duplicates(arguments: tuple[Any, ...]) -> Any:
    if len(arguments) == 1 and arguments[0].__class__ is not list:
        return MISSING if arguments[0] is None else arguments[0]
    values = arguments[0] if len(arguments) == 1 else arguments
    if not values:
        return MISSING
    seen: dict[Any, Any] = {}
    for value in values:
        seen.setdefault(_identity(value), value)
    return list(seen.values())


def _identity(value: Any) -> Any:
    """What equal values have in common: 1 and 1.0 and true are not equal in Java."""
    if value.__class__ is list:
        return list, tuple(map(_identity, value))
    if value.__class__ is dict:
        return dict, frozenset((key, _identity(entry)) for key, entry in value.items())
    return value.__class__, value


def _to_list(arguments: tuple[Any, ...]) -> Any:
    if len(arguments) != 1:
        return list(arguments) if arguments else MISSING
    value = arguments[0]
    return MISSING if value is None or value == [] else value if value.__class__ is list else [value]


def _element(place: int, values: list[Any]) -> Any:
    return values[place] if 0 <= place < len(values) else MISSING


def _not_null(arguments: tuple[Any, ...]) -> Any:
    return _present(arguments) if _present(arguments) is not None else MISSING


def _is_null(arguments: tuple[Any, ...]) -> Any:
    return None if _present(arguments) is None else MISSING


def _present(arguments: tuple[Any, ...]) -> Any:
    return arguments[0] if arguments else MISSING


ASKING: dict[str, Function] = {
    "notNull": _not_null,
    "isNull": _is_null,
    "isPresent": _present,
    "noop": lambda _arguments: MISSING,
}
"""Functions that ask what is there: they tell nothing (MISSING) from null."""

LISTS: dict[str, Function] = {
    "size": _size,
    "sort": _sort,
    "toList": _to_list,
    "squashNulls": _squash_nulls,
    "recursivelySquashNulls": _squash_deep,
    "squashDuplicates": _squash_duplicates,
    "firstElement": of_list(lambda values: values[0]),
    "lastElement": of_list(lambda values: values[-1]),
    "elementAt": told_list(int, _element),
}
