"""The rows of an answer of the ERP, or of an outbound post. Pure, and light: the worker imports it, too."""

from __future__ import annotations

from typing import Any

import msgspec

from imageflow.pointer import describe, find

EXCERPT_CHARS = 2000


def rows_at(document: Any, rows_path: str) -> Any:
    """A list is taken as it is, of an object the list at `rows_path`, or with an empty path the object itself.

    Raises ValueError that says what is there instead.
    """
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        raise ValueError(f"neither a list nor an object but {describe(document)}")  # noqa: TRY004 - one error for both
    if not rows_path:
        return document
    found = find(document, rows_path)
    if isinstance(found, list):
        return found
    raise ValueError(f"no list at {rows_path!r} but {describe(found)}")


def elements(body: bytes, rows_path: str) -> list[Any]:
    """What a page counts as when it fails as a whole: its elements at `rows_path`, or the answer itself; never empty."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return [body[:EXCERPT_CHARS].decode(errors="replace")]
    found = document if isinstance(document, list) else find(document, rows_path)
    return found if isinstance(found, list) and found else [document]
