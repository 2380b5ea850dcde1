"""Functions of texts."""

from __future__ import annotations

from typing import Any

from imageflow.jolt.budget import budget
from imageflow.jolt.errors import LimitError
from imageflow.jolt.functions.shapes import Function, each, of_list, told_each, told_list
from imageflow.jolt.patterns import split_by
from imageflow.jolt.values import MISSING, text_of

MAX_TEXT = 4_000_000
"""The longest text that a function makes, in characters."""

BLANKS = "".join(map(chr, range(0x21)))
"""What `trim` takes away, as in Java."""


def bounded(text: str) -> str:
    """The text, which is new. Raises LimitError for one that is too long, and for too many."""
    allow(len(text))
    return text


def allow(size: int) -> None:
    """Raises LimitError for a text that is too long, and for too many."""
    if size > MAX_TEXT:
        raise LimitError(f"a text of {size:,} characters; the limit is {MAX_TEXT:,}")
    budget.characters(size)


def _lower(value: Any) -> Any:
    return bounded(value.lower()) if value.__class__ is str else MISSING


def _upper(value: Any) -> Any:
    return bounded(value.upper()) if value.__class__ is str else MISSING


def _trim(value: Any) -> Any:
    return bounded(value.strip(BLANKS)) if value.__class__ is str else MISSING


def _to_string(value: Any) -> Any:
    return bounded(text_of(value))


def _concat(values: list[Any]) -> str:
    return bounded("".join([text_of(value) for value in values if value is not None]))


def _join(separator: str, values: list[Any]) -> str:
    """As Java: nothing of what is null or empty, but a separator after each text that is not the last value."""
    words = ["" if value is None else text_of(value) for value in values]
    last = len(words) - 1
    return bounded("".join([word + (separator if place < last else "") for place, word in enumerate(words) if word]))


def _split(pattern: str, value: Any) -> Any:
    return split_by(pattern, value) if value.__class__ is str else MISSING


def _substring(arguments: list[Any]) -> Any:
    if len(arguments) != 3 or [argument.__class__ for argument in arguments] != [str, int, int]:
        return MISSING
    text, start, end = arguments
    return bounded(text[start:end]) if 0 <= start < end <= len(text) else MISSING


def _padded(arguments: list[Any], *, left: bool) -> Any:
    if [argument.__class__ for argument in arguments[:3]] != [str, int, str]:
        return MISSING
    text, width, filler = arguments[:3]
    if len(filler) != 1 or width <= 0:
        return MISSING
    allow(max(width, len(text)))
    return text.rjust(width, filler) if left else text.ljust(width, filler)


TEXTS: dict[str, Function] = {
    "toLower": each(_lower),
    "toUpper": each(_upper),
    "trim": each(_trim),
    "toString": each(_to_string),
    "concat": of_list(_concat),
    "join": told_list(str, _join),
    "split": told_each(str, _split),
    "substring": of_list(_substring),
    "leftPad": of_list(lambda arguments: _padded(arguments, left=True)),
    "rightPad": of_list(lambda arguments: _padded(arguments, left=False)),
}
