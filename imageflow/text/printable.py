"""Texts of strangers, made fit for a terminal and a log line. Pure.

What steers a terminal (C0 and C1 controls, and with them every escape), what reorders what is read (marks of direction), and
what breaks a line where none was meant becomes U+FFFD or a blank.
"""

from __future__ import annotations

import re

_STEERING = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_IN_LINES = re.compile(f"[{_STEERING}]")
_BREAKS = re.compile(r"[\t\n\r\x0b\x0c\x85\u2028\u2029]+")
_IN_JSON = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def one_line(text: str) -> str:
    """The text in one line."""
    return text if text.isascii() and text.isprintable() else _IN_LINES.sub("\ufffd", _BREAKS.sub(" ", text))


def lines(text: str) -> str:
    """The text with its lines and tabs."""
    return text if text.isascii() and text.isprintable() else _IN_LINES.sub("\ufffd", text.replace("\r\n", "\n"))


def in_json(text: str) -> str:
    """JSON text with what would steer a terminal escaped: the same values."""
    return text if text.isascii() else _IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
