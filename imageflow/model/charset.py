"""Charsets that an answer or a post may come in. Pure."""

from __future__ import annotations

import codecs

_NOT_FOR_TEXT = frozenset(
    ("unicode-escape", "unicode_escape", "raw-unicode-escape", "idna", "punycode", "undefined", "utf-7")
)


def codec(charset: str) -> str:
    """Python's name of a charset's codec. Raises ValueError that says what is wrong with it."""
    try:
        found = codecs.lookup(charset)
        "".encode(found.name)  # a codec that is not of text (zip, hex) raises LookupError
    except (LookupError, ValueError) as error:
        raise ValueError(f"{charset[:40]!r} is not known") from error
    if found.name in _NOT_FOR_TEXT:
        raise ValueError(f"{charset[:40]!r} is no charset of texts")
    return "utf-8" if found.name == "ascii" else found.name
