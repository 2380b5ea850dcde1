"""Charsets of JSON."""

from __future__ import annotations

import pytest

from imageflow.model.charset import codec


@pytest.mark.parametrize(
    ("name", "found"), [("windows-1254", "cp1254"), ("latin5", "iso8859-9"), ("US-ASCII", "utf-8"), ("utf8", "utf-8")]
)
def test_charsets(name: str, found: str):
    """Names as servers write them; ASCII is a part of UTF-8."""
    assert codec(name) == found


@pytest.mark.parametrize("name", ["klingon", "hex", "idna", "utf-7", "a\0b"])
def test_no_charsets(name: str):
    """What is none, or none of texts, is refused with its name."""
    with pytest.raises(ValueError, match=r"is (not known|no charset of texts)"):
        codec(name)
