"""Pages of lists: a cursor says where a page ends."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import UnsetType

from imageflow.gateway.problem_details import Refusal

T = TypeVar("T")
U = TypeVar("U")

Microseconds = Annotated[int, msgspec.Meta(ge=0, le=4_000_000_000_000_000)]
"""An instant in a cursor, since 1970."""
RowNumber = Annotated[int, msgspec.Meta(ge=0, le=(1 << 31) - 1)]
Long = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A page of a list. `next`: what to give as `cursor` for the page after; null: there is none."""

    items: list[T]
    next: str | None = None


def cursor(*position: int | str) -> str:
    """Where a page ends, as people shall not read it."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def microseconds(instant: datetime) -> int:
    """An instant as a cursor has it."""
    return (instant - _EPOCH) // _MICROSECOND


def instant(since_1970: int) -> datetime:
    """What `microseconds` made."""
    return _EPOCH + since_1970 * _MICROSECOND


def position(text: str | UnsetType, kind: type[T]) -> T | None:
    """What `cursor` made, a tuple of type `kind`; None where none is given. Refusal 400 for anything else."""
    if isinstance(text, UnsetType):
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=kind)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "cursor: none of this list; give `next` of the page before") from error


def page(found: Sequence[T], limit: int, show: Callable[[T], U], place: Callable[[T], str]) -> Page[U]:
    """A page of what was found, which is one more than `limit` where there is more; `place` is an item's cursor."""
    items = found[:limit]
    return Page([show(item) for item in items], place(items[-1]) if len(found) > limit else None)
