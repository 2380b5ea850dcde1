"""JSON values as Java sees them: their texts, their numbers, their order."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from imageflow.jolt.errors import LimitError

MISSING: Any = type("Missing", (), {"__repr__": lambda _: "MISSING"})()
"""What stands for a value that is not there; None is a null that is there."""

INT = 1 << 31
LONG = 1 << 63

_NATURAL = re.compile(r"\+?[0-9]{1,18}")


def describe(value: Any) -> str:
    """What a value is, for an error: `a list of 3`, `"red"`, `nothing`."""
    if value is MISSING:
        return "nothing"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object with " + (", ".join(list(value)[:5]) or "nothing in it")
    if isinstance(value, str):
        return f'"{value[:40]}"'
    return text_of(value)


def text_of(value: Any) -> str:
    """A value as Java prints it."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "[" + ", ".join(map(text_of, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={text_of(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, float):
        return double_text(value)
    return _WORDS[value] if value is None or value is True or value is False else str(value)


_WORDS = {None: "null", True: "true", False: "false"}


def double_text(value: float) -> str:
    """A double as Java prints it: 1.5, 1.0E10."""
    if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - not a number is not equal to itself
        return {True: "NaN"}.get(value != value, "Infinity" if value > 0 else "-Infinity")  # noqa: PLR0124 - the same
    if value == 0:
        return "-0.0" if str(value).startswith("-") else "0.0"
    if 1e-3 <= abs(value) < 1e7:
        plain = format(Decimal(repr(value)), "f")
        return plain if "." in plain else plain + ".0"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    first, rest = str(digits[0]), "".join(map(str, digits[1:])) or "0"
    return f"{'-' if sign else ''}{first}.{rest}E{int(exponent) + len(digits) - 1}"


def natural(text: str) -> int:
    """The number that a text says, as an index of a list; -1 if it says none."""
    number = int(text) if _NATURAL.fullmatch(text) else -1
    return number if number < INT else -1


def key_text(value: Any) -> str | None:
    """A value as a key of an object: texts and numbers; None for what cannot be one."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return str(int(value)) if abs(value) < LONG else None
    if value is None or value is MISSING or isinstance(value, (list, dict)):
        return None
    return text_of(value)


def utf16(text: str) -> bytes:
    """What Java orders texts by."""
    return text.encode("utf-16-be", "surrogatepass")


def size_of(value: Any, limit: int) -> int:
    """How many values a value holds, each as often as it would be written out.

    Raises LimitError for more than `limit`, and for a value that holds itself.
    """
    count = _counted(value, limit)
    return count if count <= limit else _size_by_object(value, limit)


def _counted(value: Any, limit: int) -> int:
    """The size, by going through all of it; a number above `limit` where it is larger or has no end."""
    count, level = 1, [value]
    while level and count <= limit:
        below: list[Any] = []
        for item in level:
            kind = item.__class__
            if kind is dict or kind is list:
                count += len(item)
                if count > limit:
                    break
                below += item.values() if kind is dict else item
        level = below
    return count


def _size_by_object(value: Any, limit: int) -> int:
    """The size, by going through each object once. Raises LimitError, as `size_of`."""
    sizes: dict[int, int] = {}
    pending: list[tuple[Any, bool]] = [(value, False)]
    while pending:
        item, done = pending.pop()
        if item.__class__ is not dict and item.__class__ is not list:
            continue
        entries = item.values() if item.__class__ is dict else item
        if done:
            total = 1 + sum(sizes.get(id(entry), 1) for entry in entries)
            if total > limit:
                raise LimitError(f"the output has more than {limit:,} values")
            sizes[id(item)] = total
        elif id(item) not in sizes:
            sizes[id(item)] = 0
            pending.append((item, True))
            for entry in entries:
                if sizes.get(id(entry)) == 0:
                    raise LimitError("the output holds itself")
                pending.append((entry, False))
    return sizes.get(id(value), 1)
