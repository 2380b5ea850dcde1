"""What a stranger's text may do to a terminal, a log line or a reader: nothing."""

import json

import pytest

from imageflow.text.printable import in_json, lines, one_line

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m"
BIDI = "\u202egnp.exe\u2066\u200f"


@pytest.mark.parametrize("text", [ESCAPES, BIDI, "a\x00b", "a\x7fb", "\ud800", "a\u2028b"])
def test_nothing_steers(text):
    """Controls of either kind, marks of direction and half surrogates are gone, whatever is asked for."""
    for fit in (one_line, lines):
        done = fit(text)
        assert not any(ord(char) < 32 or 127 <= ord(char) < 160 or char in BIDI[:1] + BIDI[-2:] for char in done)
        done.encode()


def test_lines():
    """One line is one line, however it was broken; lines keep their breaks and tabs."""
    assert one_line("a\nb\r\nc\x85d\te\u2028f") == "a b c d e f"
    assert lines("a\nb\r\nc\td\re") == "a\nb\nc\td\ufffde"
    assert one_line("çok güzel 日本 👩‍👩‍👧") == lines("çok güzel 日本 👩‍👩‍👧") == "çok güzel 日本 👩‍👩‍👧"


def test_json_stays_what_it_is():
    """What would steer is escaped: the values are the same."""
    text = json.dumps({"a": BIDI + "\x9b", "b": "ç"}, ensure_ascii=False)
    assert json.loads(in_json(text)) == json.loads(text)
    assert in_json(text).isprintable()
