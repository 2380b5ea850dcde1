"""Values as Java sees them."""

from __future__ import annotations

from typing import Any

import pytest

from imageflow.jolt.errors import JoltError, LimitError, Problem
from imageflow.jolt.functions.lists import LISTS
from imageflow.jolt.functions.numbers import number, wrapped
from imageflow.jolt.values import MISSING, describe, double_text, key_text, natural, size_of, text_of


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *[
            (1.5, "1.5"),
            (2.0, "2.0"),
            (1e10, "1.0E10"),
            (1.25e-5, "1.25E-5"),
            (1e-3, "0.001"),
            (-0.0, "-0.0"),
            (0.0, "0.0"),
        ],
        *[(float("nan"), "NaN"), (float("inf"), "Infinity"), (float("-inf"), "-Infinity"), (-1.5e300, "-1.5E300")],
    ],
)
def test_doubles(value: float, text: str) -> None:
    """Doubles are printed as Java prints them."""
    assert double_text(value) == text


def test_texts_of_containers() -> None:
    """Lists and objects, too."""
    assert text_of([1, None, {"a": True, "b": [2.0]}]) == "[1, null, {a=true, b=[2.0]}]"


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("a", "a"),
        (5.7, "5"),
        (5000000000, "5000000000"),
        (True, "true"),
        (None, None),
        ([], None),
        (1e30, None),
        (MISSING, None),
    ],
)
def test_keys(value: Any, key: str | None) -> None:
    """Texts, numbers and booleans can be keys."""
    assert key_text(value) == key


def test_indexes_and_numbers() -> None:
    """What a text says as an index, and as a number."""
    assert [natural(text) for text in ("7", "+7", "-7", "x", "3000000000")] == [7, 7, -1, -1, -1]
    assert [number(text) for text in ("7", "1.5d", " 2 ", "x", True, None)] == [7, 1.5, 2.0, None, None, None]
    assert [wrapped(value, 1 << 31) for value in (1 << 31, 1e20, -1e20, float("nan"))] == [
        -(1 << 31),
        (1 << 31) - 1,
        -(1 << 31),
        0,
    ]


def test_descriptions() -> None:
    """What was found, in a few words."""
    found = [describe(value) for value in (MISSING, [1], {}, {"a": 1}, "x" * 50, None)]
    assert found == [
        "nothing",
        "a list of 1",
        "an object with nothing in it",
        "an object with a",
        f'"{"x" * 40}"',
        "null",
    ]


def test_sizes() -> None:
    """Shared parts count each time; what holds itself, and what is too much, is an error."""
    shared = [1, 2]
    assert size_of({"a": shared, "b": shared}, 100) == 7
    with pytest.raises(LimitError, match="more than 5 values"):
        size_of([shared, shared], 5)
    shared.append(shared)
    with pytest.raises(LimitError, match="holds itself"):
        size_of(shared, 100)


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("squashNulls", ({"a": None, "b": 1},), {"b": 1}),
        ("squashNulls", (None,), MISSING),
        ("squashNulls", (1, 2), [1, 2]),
        ("squashNulls", (1, None), MISSING),
        ("recursivelySquashNulls", ({"a": [None, {"b": None}]},), {"a": [{}]}),
        ("recursivelySquashNulls", ([],), MISSING),
        ("squashDuplicates", ([1, 1.0, True, [1], [1], {"a": 1}, {"a": 1}],), [1, 1.0, True, [1], {"a": 1}]),
        ("squashDuplicates", ([],), MISSING),
        ("sort", ([True, False],), [False, True]),
    ],
)
def test_functions_of_lists(name: str, arguments: tuple[Any, ...], result: Any) -> None:
    """Corners that the observed answers do not reach."""
    assert LISTS[name](arguments) == result


def test_errors_in_words() -> None:
    """A problem and an error say where they are."""
    assert str(Problem("", "must be a list")) == "must be a list"
    assert str(JoltError("too much", (1, "sort"))) == "[1] (sort): too much"
    assert str(JoltError("no", (0, "shift"), "spec.a", "[1].a")) == "[0] (shift): spec.a at input [1].a: no"
