"""Marks what is at fault in texts: the values of JSON that hold it. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from markupsafe import Markup, escape

_VALUE = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*')


def marked(text: str, guilty: Collection[str]) -> Markup:
    """The text with a mark around each JSON value that is one of these, or ends with one as a URL ends with its file's name."""
    wanted = [one for one in guilty if one]
    done, at = Markup(""), 0
    for found in _VALUE.finditer(text):
        value = found[0].strip('"')
        if any(value == one or value.endswith(f"/{one}") for one in wanted):
            done += escape(text[at : found.start()]) + Markup('<span class="hit">{}</span>').format(found[0])
            at = found.end()
    return done + escape(text[at:])


def names(url: str) -> tuple[str, ...]:
    """What a picture is called on its way: its URL, and its file's name."""
    name = url.partition("?")[0].rstrip("/").rpartition("/")[2]
    return (url, name) if name and name != url else (url,)
