"""Comments in the text of a spec."""

from __future__ import annotations

import json

import pytest

from imageflow.jolt.comments import without_comments


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1, // one\n2]", [1, 2]),
        ('/* a\n b */ {"a": 1 /* c */}', {"a": 1}),
        ('{"u": "http://x/*y*/"}', {"u": "http://x/*y*/"}),
        ('{"u": "a\\"//b"} // "c', {"u": 'a"//b'}),
    ],
)
def test_comments_are_read_over(text: str, value: object) -> None:
    """They vanish, and what looks like one within a text stays."""
    assert json.loads(without_comments(text)) == value


def test_lines_and_columns_stay() -> None:
    """An error after a comment names the line that the author sees."""
    assert without_comments("/* a\nb */ x // y\nz") == "    \n     x     \nz"
