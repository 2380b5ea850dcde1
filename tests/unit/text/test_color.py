"""Whether people see colours."""

import pytest

from imageflow.text.color import wanted


@pytest.mark.parametrize(
    ("environ", "terminal", "colors"),
    [
        ({}, True, True),
        ({"NO_COLOR": ""}, True, True),
        ({"NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
        ({"TERM": "xterm"}, False, False),
    ],
)
def test_colours(environ, terminal, colors):
    """Only on a terminal that has them, and that nobody asked to have none."""
    assert wanted(environ, terminal=terminal) is colors
