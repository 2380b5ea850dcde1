"""Paths into JSON."""

from __future__ import annotations

from typing import Any

import pytest

from imageflow import pointer
from imageflow.pointer import MISSING

DOCUMENT = {"a": {"b": [{"c": 1}, None]}, "x.y": 2, "a__b": 3, "": {"~/": 4}, "attributes": {"erp_code": "E", "n.o": 5}}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("", DOCUMENT),
        ("a.b.0.c", 1),
        ("/a/b/0/c", 1),
        ("a.b.1", None),
        ("a.b.2", MISSING),
        ("a.b.-1", MISSING),
        ("a.b.c", MISSING),
        ("a.b.0.c.d", MISSING),
        ("x.y", 2),
        ("attributes.n.o", 5),
        ("//~0~1", 4),
        ("a..b", MISSING),
    ],
)
def test_find(path: str, value: Any):
    """Dotted paths and JSON Pointers, through objects and lists, names with dots included."""
    assert pointer.find(DOCUMENT, path) == value


@pytest.mark.parametrize(
    ("path", "value"), [("a__b", 3), ("attributes__erp_code", "E"), ("attributes.erp_code", "E"), ("b__c", MISSING)]
)
def test_find_identifier(path: str, value: Any):
    """Two underscores lead inwards too, unless a field is called just that."""
    assert pointer.find_identifier(DOCUMENT, path) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (MISSING, "nothing"),
        (True, "a boolean"),
        (1, "a number"),
        ("x", "a text"),
        ([1, 2], "a list of 2"),
        ({}, "an object without fields"),
        ({"a": "secret", "b": 1}, "an object with the fields a, b"),
    ],
)
def test_describe(value: Any, text: str):
    """What a value is, in words that give away no content."""
    assert pointer.describe(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [({"a": 1}, "an object"), ([1, 2], "a list of 2"), ((), "tuple"), (b"", "bytes"), (1.5, "a number")],
)
def test_describe_without_fields(value: Any, text: str):
    """Where even a field's name may be a secret, an object is only that; what is no JSON is named by its type."""
    assert pointer.describe(value, fields=False) == text


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("", []),
        ("a", [{"b.c": [7]}]),
        ("a.b.c", [{"b.c": [7]}, [7]]),
        ("a.b.c.0", [{"b.c": [7]}]),
        ("/a/b.c/0", [{"b.c": [7]}, [7], 7]),
        ("x.y", []),
        ("n.y", [None]),
    ],
)
def test_the_way(path: str, values: list[Any]):
    """The values that a path leads through, as far as it leads."""
    document = {"a": {"b.c": [7]}, "n": None}
    assert pointer.way(document, path) == [document, *values]
