"""Functions of numbers, with Java's kinds of numbers: int and long wrap around, double is a float."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import (
    ROUND_CEILING,
    ROUND_DOWN,
    ROUND_FLOOR,
    ROUND_HALF_DOWN,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    ROUND_UP,
    Context,
    Decimal,
)
from typing import Any

from imageflow.jolt.functions.shapes import Function, each, of_list, told_list
from imageflow.jolt.values import INT, LONG, MISSING

ROUNDINGS = {
    "UP": ROUND_UP,
    "DOWN": ROUND_DOWN,
    "CEILING": ROUND_CEILING,
    "FLOOR": ROUND_FLOOR,
    "HALF_UP": ROUND_HALF_UP,
    "HALF_DOWN": ROUND_HALF_DOWN,
    "HALF_EVEN": ROUND_HALF_EVEN,
}
"""Java's names of the ways to round."""

_LONG = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_DOUBLE = re.compile(r"[+-]?(?:NaN|Infinity|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fFdD]?)", re.ASCII)


def number(value: Any) -> int | float | None:
    """A number, or what a text says; None for all else."""
    if value.__class__ is int or value.__class__ is float:
        return value
    return _parsed(value) if value.__class__ is str else None


def _parsed(text: str) -> int | float | None:
    if _LONG.fullmatch(text) and -LONG <= int(text) < LONG:
        return int(text)
    word = text.strip("".join(map(chr, range(0x21))))
    return (
        float(word.rstrip("fFdD") if word[-1:] in "fFdD" and word[-3:] != "inf" else word)
        if _DOUBLE.fullmatch(word)
        else None
    )


def wrapped(value: float, half: int) -> int:
    """A number as an int (`half`: 2**31) or a long (2**63): whole numbers wrap around, doubles stop at the ends."""
    if value.__class__ is float:
        if math.isnan(value):
            return 0
        return max(-half, min(half - 1, int(value) if math.isfinite(value) else int(math.copysign(half, value))))
    return (int(value) + half) % (2 * half) - half


def to_integer(value: Any) -> Any:
    """An int; MISSING for what is no number and says none."""
    if value.__class__ is str and len(value) < 10 and value.isdecimal() and value.isascii():
        return int(value)
    found = number(value)
    return MISSING if found is None else wrapped(found, INT)


def to_long(value: Any) -> Any:
    """A long; MISSING for what is no number and says none."""
    found = number(value)
    return MISSING if found is None else wrapped(found, LONG)


def to_double(value: Any) -> Any:
    """A double; MISSING for what is no number and says none."""
    found = number(value)
    return MISSING if found is None else float(found)


def _to_boolean(value: Any) -> Any:
    if value.__class__ is bool:
        return value
    words = {"true": True, "false": False}
    return words.get(value.lower(), MISSING) if value.__class__ is str else MISSING


def _abs(value: Any) -> Any:
    found = number(value)
    return MISSING if found is None else abs(found)


def _best(values: list[Any], choose: Callable[..., Any]) -> Any:
    """The largest or smallest; of equal ones the narrower kind."""
    found = [value for value in map(number, values) if value is not None]
    return choose(sorted(found, key=kind_of)) if found else MISSING


def _largest(values: list[Any]) -> Any:
    """Java starts from the smallest int, whatever kind the numbers are."""
    found = _best(values, max)
    return -INT if found is not MISSING and found < -INT else found


def _smallest(values: list[Any]) -> Any:
    """Java starts from the largest int, whatever kind the numbers are."""
    found = _best(values, min)
    return INT - 1 if found is not MISSING and found > INT - 1 else found


def kind_of(value: float) -> int:
    """Of a number: 0 for an int, 1 for a long, 2 for a double."""
    return 2 if value.__class__ is float else 0 if -INT <= value < INT else 1


def _many(work: Callable[[list[Any]], Any]) -> Function:
    """Of a list or of many values; one number is its own result."""

    def apply(arguments: tuple[Any, ...]) -> Any:
        if len(arguments) == 1 and arguments[0].__class__ in (int, float):
            return arguments[0]
        return of_list(work)(arguments)

    return apply


def _average(values: list[Any]) -> Any:
    found = [value for value in map(number, values) if value is not None]
    return sum(found, 0.0) / len(found) if found else MISSING


def _sum(values: list[Any], convert: Callable[[Any], Any], start: float) -> Any:
    total = start
    for value in values:
        found = convert(value)
        total += 0 if found is MISSING else found
    return total


def _subtract(values: list[Any], fits: Callable[[Any], bool], half: int) -> Any:
    if len(values) != 2 or not all(map(fits, values)):
        return MISSING
    return wrapped(values[0] - values[1], half) if half else values[0] - values[1]


def _is_int(value: Any) -> bool:
    return value.__class__ is int and -INT <= value < INT


def _is_long(value: Any) -> bool:
    return value.__class__ is int and not -INT <= value < INT


def quotient(values: list[Any]) -> Any:
    """The first of two numbers divided by the second."""
    found = [number(value) for value in values]
    if len(found) != 2 or found[0] is None or not found[1]:
        return MISSING
    return float(found[0]) / float(found[1])


def rounded(value: float, digits: int, mode: str = ROUND_HALF_UP) -> Any:
    """A double, rounded at so many digits after the point."""
    if not math.isfinite(value) or abs(digits) > 400:
        return MISSING
    context = Context(prec=1200, rounding=mode)
    return float(Decimal(value).quantize(Decimal(1).scaleb(-digits), context=context))


def _divide_and_round(digits: int, values: list[Any]) -> Any:
    result = quotient(values)
    return MISSING if result is MISSING else rounded(result, digits)


NUMBERS: dict[str, Function] = {
    "toInteger": each(to_integer),
    "toLong": each(to_long),
    "toDouble": each(to_double),
    "toBoolean": each(_to_boolean),
    "abs": each(_abs),
    "max": _many(_largest),
    "min": _many(_smallest),
    "avg": of_list(_average),
    "intSum": of_list(lambda values: wrapped(_sum(values, to_integer, 0), INT)),
    "longSum": of_list(lambda values: wrapped(_sum(values, to_long, 0), LONG)),
    "doubleSum": of_list(lambda values: _sum(values, to_double, 0.0)),
    "intSubtract": of_list(lambda values: _subtract(values, _is_int, INT)),
    "longSubtract": of_list(lambda values: _subtract(values, _is_long, LONG)),
    "doubleSubtract": of_list(lambda values: _subtract(values, lambda value: value.__class__ is float, 0)),
    "divide": of_list(quotient),
    "divideAndRound": told_list(int, _divide_and_round),
}
