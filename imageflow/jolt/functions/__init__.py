"""The functions of the modify operations, by name."""

from __future__ import annotations

from imageflow.jolt.functions.community import COMMUNITY, MAKERS
from imageflow.jolt.functions.lists import ASKING, LISTS
from imageflow.jolt.functions.numbers import NUMBERS
from imageflow.jolt.functions.shapes import Function
from imageflow.jolt.functions.texts import TEXTS

STRICT: dict[str, Function] = {**TEXTS, **NUMBERS, **LISTS, **ASKING}
"""What Java's Jolt 0.1.8 has."""
FUNCTIONS: dict[str, Function] = {**STRICT, **COMMUNITY}
"""With what jolt-community adds."""

IN_PLACE = frozenset({"squashNulls", "recursivelySquashNulls"})
"""They change the value that they are given: they are called even where nothing is written."""
MAKES_NEW = frozenset(
    [
        "concat",
        "join",
        "substring",
        "leftPad",
        "rightPad",
        "size",
        "max",
        "min",
        "avg",
        "intSum",
        "longSum",
        "doubleSum",
        "intSubtract",
        "longSubtract",
        "doubleSubtract",
        "divide",
        "divideAndRound",
        "toString",
        "replace",
        "replaceAll",
        "multiply",
        "multiplyAndRound",
        "uuid",
        "now",
        "nowEpochMillis",
        "formatDate",
        "fromEpochMilli",
        "toEpochMilli",
        "dateAdd",
        "dateSubstract",
    ]
)
"""Their result has no part in common with what they are given."""

__all__ = ["ASKING", "COMMUNITY", "FUNCTIONS", "IN_PLACE", "MAKERS", "MAKES_NEW", "STRICT", "Function"]
