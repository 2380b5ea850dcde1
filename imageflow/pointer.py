"""Paths into JSON: dotted (`data.items.0.id`) or a JSON Pointer (`/data/items/0/id`, RFC 6901)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

SHOWN_FIELDS = 12


class Missing:
    """The value of a path that leads nowhere."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()


def find(document: Any, path: str) -> Any:
    """What is at `path`, or MISSING. The empty path is the document itself; numbers index lists.

    A field whose name holds dots is found too: where the rest of a dotted path is a field as it stands, that wins.
    """
    if not path:
        return document
    if path.startswith("/"):
        return _walk(document, [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")])
    return _walk(document, path.split("."), joint=".")


def way(document: Any, path: str) -> list[Any]:
    """The values on the way from the document to what is at `path`, with both ends; as far as it leads."""
    values = [document]
    if path.startswith("/"):
        parts, joint = [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")], None
    else:
        parts, joint = path.split(".") if path else [], "."
    for index, part in enumerate(parts):
        here, rest = values[-1], ".".join(parts[index:])
        whole = joint is not None and isinstance(here, dict) and rest in here
        value = here[rest] if whole else _step(here, part)
        if value is MISSING:
            break
        values.append(value)
        if whole:
            break
    return values


def find_identifier(document: Any, path: str) -> Any:
    """Like `find`, and `attributes__erp_code` is understood as `attributes.erp_code` where no field is called that."""
    value = find(document, path)
    if value is MISSING and "__" in path and not path.startswith("/"):
        return _walk(document, re.split(r"__|\.", path))
    return value


def _walk(value: Any, parts: Sequence[str], joint: str | None = None) -> Any:
    for index, part in enumerate(parts):
        if joint is not None and isinstance(value, dict) and (rest := joint.join(parts[index:])) in value:
            return value[rest]
        value = _step(value, part)
        if value is MISSING:
            break
    return value


def _step(value: Any, part: str) -> Any:
    if isinstance(value, dict):
        return value.get(part, MISSING)
    if isinstance(value, list) and re.fullmatch(r"[0-9]{1,9}", part) and int(part) < len(value):
        return value[int(part)]
    return MISSING


def describe(value: Any, *, fields: bool = True) -> str:
    """What a value is, for people: never its content, but an object's field names unless not `fields`."""
    if value is MISSING:
        return "nothing"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, dict):
        return _object(value) if fields else "an object"
    return f"a list of {len(value)}" if isinstance(value, list) else _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, int | float):
        return "a number"
    return "a text" if isinstance(value, str) else type(value).__name__


def _object(value: dict[str, Any]) -> str:
    if not value:
        return "an object without fields"
    names = ", ".join(name[:40] for name in list(value)[:SHOWN_FIELDS])
    return f"an object with the fields {names}" + (", …" if len(value) > SHOWN_FIELDS else "")
