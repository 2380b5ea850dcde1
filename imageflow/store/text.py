"""Texts from outside, made fit for a database: PostgreSQL refuses NUL, and UTF-8 has no lone surrogates."""

from __future__ import annotations

import hashlib
from typing import Any, overload

import msgspec

from imageflow.text.masking import mask
from imageflow.text.printable import one_line

KEY_BYTES = 500
_UNFIT = (TypeError, ValueError, OverflowError, RecursionError)
"""What encoding raises, UnicodeEncodeError among them."""


@overload
def clean(text: str) -> str: ...
@overload
def clean(text: None) -> None: ...
def clean(text: str | None) -> str | None:
    """The text with what cannot be stored replaced by U+FFFD."""
    if text is None or (text.isascii() and "\0" not in text):
        return text
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def said(text: str | None) -> str | None:
    """A text that tells people something, in one line, fit for a database and without secrets: a server may have repeated one."""
    return None if text is None else clean(one_line(mask(text)))


def keyed(text: str) -> str:
    """The text as a key of an index, which takes no more than 2.7 kB: of a longer one, its beginning and a digest."""
    text = clean(text)
    if len(text) <= KEY_BYTES // 4 or len(data := text.encode()) <= KEY_BYTES:
        return text
    return text[: KEY_BYTES // 8] + "…" + hashlib.blake2b(data, digest_size=16).hexdigest()


def to_json(value: Any) -> str:
    """The value as JSON text that any database takes, whatever is in it."""
    try:
        return msgspec.json.encode(value).decode()
    except _UNFIT:
        pass
    try:
        return msgspec.json.encode(_cleaned(msgspec.to_builtins(value))).decode()
    except _UNFIT:
        return msgspec.json.encode({"not_json": type(value).__name__}).decode()


def from_json(text: str) -> Any:
    """What `to_json` made; nested deeper than Python can follow from here, only that it is."""
    try:
        return msgspec.json.decode(text)
    except RecursionError:
        return {"not_json": "nested too deeply"}


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(key)): _cleaned(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cleaned(item) for item in value]
    return value
