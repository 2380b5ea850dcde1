"""The types of single fields of a flow file, and what their values must look like beyond their type. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import msgspec
from msgspec import inspect

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Duration(float):
    """Seconds, written as `90s`, `5m`, `1h30m`, `250ms`, or a bare number of seconds."""

    @classmethod
    def parse(cls, value: object) -> Duration:
        """Raises ValueError that says how a duration is written."""
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            seconds = float(value)
        elif isinstance(value, str) and re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h|d))+", value):
            seconds = sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", value))
        else:
            raise ValueError(f"must be a duration like 30s, 5m or 24h, not {value!r}")
        if not 0 <= seconds < 10 * 365 * 86_400:
            raise ValueError(f"must be a duration between 0 and 10 years, not {value!r}")
        return cls(seconds)


class Rate(float):
    """Events per second, written as `10/s`, `300/m` or `5000/h`."""

    @classmethod
    def parse(cls, value: object) -> Rate:
        """Raises ValueError that says how a rate is written."""
        if isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)/(s|m|h)", value)):
            rate = float(match[1]) / _UNITS[match[2]]
            if 0 < rate <= 1_000_000:
                return cls(rate)
        raise ValueError(f"must be a rate above 0 like 10/s, 300/m or 5000/h, not {value!r}")


Text = Annotated[str, msgspec.Meta(min_length=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]
HttpUrl = Annotated[str, msgspec.Meta(pattern=r"^https?://[^/\s?#]+\S*$")]
UrlPath = Annotated[str, msgspec.Meta(pattern=r"^/\S*$")]


def bare(kind: inspect.Type) -> inspect.Type:
    """A field's type without what is said of the field."""
    return kind.type if isinstance(kind, inspect.Metadata) else kind


Complaints = Iterator[tuple[str, str]]
"""What is wrong with a field's value: what to add to the field's path (often nothing), and the message."""

Meaning = Callable[[Any], Complaints]
"""Checks a value whose type is right."""


def json_path(path: str) -> Complaints:
    """How a path into JSON is written (see `pointer`)."""
    if path.startswith("/"):
        if re.search(r"~(?![01])", path):
            yield "", "is no JSON Pointer: ~ is written ~0 and / is written ~1"
    elif path and (re.match(r"\$(\.|\[|$)", path) or re.search(r"\[(\d+|\*)\]|\s$|^\s", path)):
        yield (
            "",
            "must be a dotted path like data.items (numbers index lists: items.0.id) or a JSON Pointer like /data/items",
        )
    elif path and not all(path.split(".")):
        yield "", "has an empty part: a dotted path is written like data.items"
