"""Excerpts of answers, and who sees them. Pure.

An error says how the answer began that came instead of JSON. What stands there may be anything that the flow's server can
reach: an internal page, say, whose address an administrator put into the flow. Operators need it, viewers do not get it.
So an excerpt stands between marks, wherever the text goes, and what is shown to a viewer has a note in its place.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

OPEN, CLOSE = "\u27e6", "\u27e7"
HIDDEN = f"{OPEN}an excerpt of the answer: operators see it{CLOSE}"
_EXCERPT = re.compile(f"{OPEN}[^{CLOSE}]*(?:{CLOSE}|$)")
_IN_HTML = re.compile(f'{OPEN}[^{CLOSE}<"]*{CLOSE}?')
UNMARKED = str.maketrans({OPEN: "[", CLOSE: "]"})


def quoted(text: str) -> str:
    """An excerpt between its marks; nothing where it is empty."""
    return f"{OPEN}{text.translate(UNMARKED)}{CLOSE}" if text else ""


def hidden(text: str) -> str:
    """The text without its excerpts. One that was cut off ends with the text."""
    return _EXCERPT.sub(HIDDEN, text) if OPEN in text else text


def hidden_in_html(html: str) -> str:
    """HTML without its excerpts: each is within one text, in which `<` and quotation marks are escaped."""
    return _IN_HTML.sub(HIDDEN, html) if OPEN in html else html


def hidden_in_json(body: bytes) -> bytes:
    """JSON without the excerpts in its texts."""
    return msgspec.json.encode(_within(msgspec.json.decode(body))) if OPEN.encode() in body else body


def _within(value: Any) -> Any:
    match value:
        case str():
            return hidden(value)
        case list():
            return [_within(item) for item in value]
        case dict():
            return {name: _within(item) for name, item in value.items()}
    return value
