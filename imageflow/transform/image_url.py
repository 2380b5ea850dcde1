"""The URL of an image, as it is sent: what a browser would ask for. Pure.

Blanks around it are cut off. Blanks in it and what is not ASCII are percent-encoded as UTF-8; nothing else changes: what is
encoded already stays, letters are not composed anew, and the host stays as it is, for the client that looks it up
(`görsel.example`).
"""

from __future__ import annotations

import re
from urllib.parse import quote

import msgspec

MAX_CHARS = 4096

_PLAIN = re.compile(r"https?://[a-z0-9][a-z0-9.-]*(?:/[\x21-\x7e]*)?")
"""What nearly all URLs are: nothing about them has to be looked at or changed."""
_URL = re.compile(r"(https?://)([^/?#\\]*)(.*)", re.IGNORECASE | re.DOTALL)
_NO_HOST = re.compile(r"[@:]|$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_BLANK = re.compile(r"\s")
_ENCODE = re.compile(r"[^\x21-\x7e]+")


class ImageUrl(msgspec.Struct, frozen=True):
    """A URL as it is sent. `encoded`: whether something in it had to be percent-encoded."""

    text: str
    encoded: bool


def image_url(given: str) -> ImageUrl:
    """The URL as it is sent. Raises ValueError that says what is wrong with it; it does not name the URL."""
    if _PLAIN.fullmatch(given) and len(given) <= MAX_CHARS:
        return ImageUrl(given, encoded=False)
    text = given.strip()
    parts = _URL.fullmatch(text)
    if parts is None or _NO_HOST.match(parts[2]):
        raise ValueError("is not an http(s) URL")
    if _CONTROL.search(text):
        raise ValueError("has control characters in it")
    if _BLANK.search(parts[2]):
        raise ValueError("has a blank in its host")
    sent = parts[1] + parts[2] + _ENCODE.sub(lambda found: quote(found[0], safe=""), parts[3])
    if len(sent) > MAX_CHARS:
        raise ValueError(f"is longer than {MAX_CHARS} characters")
    return ImageUrl(sent, sent != text)
