"""Where the rows are in an answer."""

from __future__ import annotations

from typing import Any

import pytest

from imageflow.sandbox.answer import elements, rows_at


@pytest.mark.parametrize(
    ("document", "path", "rows"),
    [
        ([1, 2], "", [1, 2]),
        ([1, 2], "results", [1, 2]),
        ({"a": 1}, "", {"a": 1}),
        ({"results": [1]}, "results", [1]),
        ({"data": {"items": [1]}}, "data.items", [1]),
        ({"data": [{"rows": []}]}, "/data/0/rows", []),
    ],
)
def test_finds_the_rows(document: Any, path: str, rows: Any) -> None:
    """A list is taken as it is; of an object, what is at the path."""
    assert rows_at(document, path) == rows


@pytest.mark.parametrize(
    ("document", "path", "words"),
    [
        (None, "", "neither a list nor an object but null"),
        (7, "results", "neither a list nor an object but a number"),
        ({"error": "x"}, "results", "no list at 'results' but nothing"),
        ({"results": {"a": 1}}, "results", "no list at 'results' but an object with the fields a"),
    ],
)
def test_says_what_is_there_instead(document: Any, path: str, words: str) -> None:
    """An answer that lacks its list is an error that describes it, never an empty page."""
    with pytest.raises(ValueError, match=words):
        rows_at(document, path)


@pytest.mark.parametrize(
    ("body", "path", "count"),
    [
        (b"[1,2,3]", "", 3),
        (b"[1,2,3]", "results", 3),
        (b'{"results":[1,2]}', "results", 2),
        (b'{"results":[]}', "results", 1),
        (b"[]", "", 1),
        (b'{"a":1}', "", 1),
        (b'{"a":1}', "results", 1),
        (b"null", "", 1),
        (b"no json", "results", 1),
        (b"\xff\xfe", "", 1),
        (b"[" * 100_000, "", 1),
    ],
)
def test_counts_a_failed_page(body: bytes, path: str, count: int) -> None:
    """A page that fails as a whole counts one row per element, at least one, whatever its body is."""
    assert len(elements(body, path)) == count
