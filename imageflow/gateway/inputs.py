"""What requests hold, as types: paths, queries and bodies. They validate, and the OpenAPI document is made from them.

Bodies and queries refuse unknown fields. What the API answers is in actions/shapes.py.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
import msgspec.inspect
from msgspec import UNSET, UnsetType

from imageflow.actions import bench, comparison, keys, users
from imageflow.actions.actor import Role
from imageflow.clock import INSTANT, instant
from imageflow.gateway.problem_details import Refusal
from imageflow.model.flow import NAME_PATTERN
from imageflow.model.row import StageName, State
from imageflow.model.run import Status, TriggerKind

JSON = "application/json"
YAML = "application/yaml"
EVENT_STREAM = "text/event-stream"

MAX_IDENTIFIERS = 10_000
MAX_NUMBER = (1 << 31) - 1

Number = Annotated[int, msgspec.Meta(ge=1, le=MAX_NUMBER)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
Identifier = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[^,\s\x00-\x1f](?:[^,\x00-\x1f]*[^,\s\x00-\x1f])?$",
        max_length=255,
        description="A product's; without commas.",
    ),
]
Moment = Annotated[str, msgspec.Meta(max_length=64, description=f"{INSTANT[0].upper()}{INSTANT[1:]}.")]
"""An instant as text, which `moment` parses: msgspec would take a number in a query for an instant, too."""
Fingerprint = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$", description="An error group, see errors.")]
Limit = Annotated[int, msgspec.Meta(ge=1, le=1000, description="At most so many.")]
Cursor = Annotated[
    str, msgspec.Meta(max_length=400, pattern="^[A-Za-z0-9_-]+$", description="The `next` of the page before.")
]


_NOT_ONE_OF = re.compile(r"Invalid enum value .* - at `\$\.(\w+)`", re.DOTALL)


def complaint(error: Exception, kind: Any) -> str:
    """What is wrong with a part of a request of that kind; where a field must be one of a few words, with the words."""
    found = _NOT_ONE_OF.fullmatch(str(error))
    types = msgspec.inspect.type_info(kind) if found else None
    if found is None or not isinstance(types, msgspec.inspect.StructType):
        return str(error)
    words = [word for field in types.fields if field.encode_name == found[1] for word in _words(field.type)]
    return f"{error}; there are: {', '.join(words)}" if words else str(error)


def _words(kind: msgspec.inspect.Type) -> list[str]:
    if isinstance(kind, msgspec.inspect.LiteralType):
        return [str(value) for value in kind.values]
    if isinstance(kind, msgspec.inspect.Metadata):
        return _words(kind.type)
    return [word for one in kind.types for word in _words(one)] if isinstance(kind, msgspec.inspect.UnionType) else []


class _Taken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a request: unknown fields are refused."""


# bodies ---------------------------------------------------------------------------------------------------------------


class Credentials(msgspec.Struct, frozen=True):
    """Who logs in."""

    username: str
    password: str


class Since(_Taken, frozen=True):
    """A watermark to set, without an offset in the flow's timezone; null: ask for everything."""

    since: Moment | None


class Try(_Taken, frozen=True):
    """An answer to try, and the script and mapping to try it with: the flow's own where they are not given; null: none."""

    input: Any
    script: Annotated[str, msgspec.Meta(max_length=1 << 20)] | UnsetType | None = UNSET
    mapping: list[dict[str, Any]] | UnsetType | None = UNSET


class TryWrite(Try, frozen=True, kw_only=True):
    """The same, and whose flow it is."""

    flow: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]


class Draft(_Taken, frozen=True):
    """A script and a mapping: the flow's own where they are not given; null: none."""

    script: Annotated[str, msgspec.Meta(max_length=1 << 20)] | UnsetType | None = UNSET
    mapping: list[dict[str, Any]] | UnsetType | None = UNSET


class Compare(_Taken, frozen=True):
    """A draft, and over how many of the last kept pages it is compared with the version in force."""

    draft: Draft = msgspec.field(default_factory=Draft)
    pages: Annotated[int, msgspec.Meta(ge=1, le=comparison.MAX_PAGES)] = comparison.PAGES


class Ask(_Taken, frozen=True):
    """Which page of the ERP is asked for, and how many of its elements are given."""

    page: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    elements: Annotated[int, msgspec.Meta(ge=1, le=1000)] = bench.ELEMENTS


class RollBack(_Taken, frozen=True):
    """The version to go back to."""

    version: Annotated[int, msgspec.Meta(ge=1, le=MAX_NUMBER)]


class Start(_Taken, frozen=True):
    """A run to start: of everything since the watermark, of these products only, or of a window, whatever the watermark is:
    instants, without an offset in the flow's timezone.
    """

    identifiers: Annotated[list[Identifier], msgspec.Meta(min_length=1, max_length=MAX_IDENTIFIERS)] | None = None
    since: Moment | None = None
    until: Moment | None = None


class Retry(_Taken, frozen=True):
    """Which rows that failed or were cancelled are retried: all, one row or some, or one error group."""

    row: Number | None = None
    rows: Annotated[tuple[Number, ...], msgspec.Meta(max_length=100)] = ()
    group: Fingerprint | None = None


class RetryFlow(_Taken, frozen=True):
    """Which open failures are retried: all, or one error group."""

    group: Fingerprint | None = None


class RetryCause(_Taken, frozen=True):
    """In which flow the open failures of a cause are retried; null: in all."""

    flow: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)] | None = None


class NewUser(_Taken, frozen=True):
    """A user to add, or whose password and role to change."""

    password: Annotated[str, msgspec.Meta(min_length=users.MIN_PASSWORD_CHARS, max_length=users.MAX_PASSWORD_CHARS)]
    role: Role


class NewRole(_Taken, frozen=True):
    """Another role."""

    role: Role


class NewKey(_Taken, frozen=True):
    """A key to make: what it is called, and for how many days it is good; null: until it is revoked."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=keys.MAX_NAME_CHARS)]
    days: Annotated[int, msgspec.Meta(ge=1, le=keys.MAX_DAYS)] | None = None


# paths ----------------------------------------------------------------------------------------------------------------


class FlowPath(msgspec.Struct, frozen=True):
    flow: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN, description="A flow's name.")]


class VersionPath(FlowPath, frozen=True):
    version: Annotated[int, msgspec.Meta(ge=1, le=MAX_NUMBER, description="A version's number.")]


class RunPath(msgspec.Struct, frozen=True):
    run: Annotated[str, msgspec.Meta(min_length=1, max_length=100, description="A run's id.")]


class RowPath(RunPath, frozen=True):
    row: Annotated[int, msgspec.Meta(ge=1, le=MAX_NUMBER, description="A row's number within the run.")]


class PagePath(RunPath, frozen=True):
    page: Annotated[int, msgspec.Meta(ge=1, le=MAX_NUMBER, description="A page's number within the run.")]


class CausePath(msgspec.Struct, frozen=True):
    cause: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$", description="A cause, as `group` names it.")]


class UserPath(msgspec.Struct, frozen=True):
    user: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._@+-]{1,150}$", description="A user's name.")]


class MessagePath(msgspec.Struct, frozen=True):
    message: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{12}$", description="A parked message's id.")]


class KeyPath(msgspec.Struct, frozen=True):
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=100, description="A key's id.")]


def moment(name: str, text: str | UnsetType, now: datetime) -> datetime | None:
    """The instant that a parameter of a query says, in UTC unless it has an offset; None where it is not given. Refusal 400."""
    if isinstance(text, UnsetType):
        return None
    try:
        return instant(text, UTC, now)
    except ValueError as error:
        raise Refusal(400, f"{name}: {error}") from error


def matched(text: str) -> int | None:
    """The version that an If-Match names, as in `"7"`; None where it is not given, or any will do. Refusal 400."""
    bare = text.strip().removeprefix("W/").strip('"')
    if bare in ("", "*"):
        return None
    if not (bare.isascii() and bare.isdigit() and len(bare) < 10):
        raise Refusal(400, 'If-Match: must be the number of a version, as in "7"')
    return int(bare)


# queries --------------------------------------------------------------------------------------------------------------


class Paged(_Taken, frozen=True):
    """What every list takes. What is not given is UNSET, which is false: a query cannot say null."""

    cursor: Cursor | UnsetType = UNSET
    limit: Limit = 100


class RunQuery(Paged, frozen=True):
    flow: Annotated[Name, msgspec.Meta(description="Runs of this flow.")] | UnsetType = UNSET
    status: Annotated[Status, msgspec.Meta(description="Runs of this status.")] | UnsetType = UNSET
    active: Annotated[bool, msgspec.Meta(description="Only runs that have not ended.")] = False
    trigger: Annotated[TriggerKind, msgspec.Meta(description="Runs that were started so.")] | UnsetType = UNSET
    since: Annotated[Moment, msgspec.Meta(description=f"Runs created then or later: {INSTANT}.")] | UnsetType = UNSET
    until: Annotated[Moment, msgspec.Meta(description=f"Runs created before then: {INSTANT}.")] | UnsetType = UNSET


class RowQuery(Paged, frozen=True):
    state: State | UnsetType = UNSET
    stage: StageName | UnsetType = UNSET
    product: Annotated[Name, msgspec.Meta(description="Rows of this SKU or base code.")] | UnsetType = UNSET
    group: Fingerprint | UnsetType = UNSET
    page: Annotated[int, msgspec.Meta(ge=1, le=1_000_000, description="Rows that came of this page.")] | UnsetType = (
        UNSET
    )


class CauseQuery(Paged, frozen=True):
    flow: Annotated[Name, msgspec.Meta(description="Causes of this flow.")] | UnsetType = UNSET
    state: Literal["open", "closed"] = "open"


class SinceQuery(_Taken, frozen=True):
    since: Annotated[Moment, msgspec.Meta(description=f"A day ago unless given: {INSTANT}.")] | UnsetType = UNSET


class SearchQuery(_Taken, frozen=True):
    q: Annotated[str, msgspec.Meta(min_length=1, max_length=200, description="What to look for.")]


class SeriesQuery(_Taken, frozen=True):
    step: Literal["5m", "1h", "1d"] = "5m"
    since: Annotated[Moment, msgspec.Meta(description=f"A day ago unless given: {INSTANT}.")] | UnsetType = UNSET


class OpenRowQuery(Paged, frozen=True):
    flow: Annotated[Name, msgspec.Meta(description="Rows of this flow.")] | UnsetType = UNSET


class TraceQuery(_Taken, frozen=True):
    product: Annotated[Name, msgspec.Meta(description="A SKU or base code.")]
    limit: Limit = 100


class StoryQuery(_Taken, frozen=True):
    product: Annotated[Name, msgspec.Meta(description="A SKU or base code.")]
    limit: Annotated[int, msgspec.Meta(ge=1, le=100, description="At most so many rows.")] = 20


class LimitQuery(_Taken, frozen=True):
    limit: Limit = 100


class AlarmQuery(Paged, frozen=True):
    flow: Annotated[Name, msgspec.Meta(description="Alarms of this flow.")] | UnsetType = UNSET
    state: Literal["open", "closed"] | UnsetType = UNSET


class AuditQuery(Paged, frozen=True):
    who: Annotated[Name, msgspec.Meta(description="Changes by this user.")] | UnsetType = UNSET
    what: Annotated[Name, msgspec.Meta(description="Changes of this kind, as in flow.save.")] | UnsetType = UNSET


class DiffQuery(_Taken, frozen=True):
    a: Annotated[Number, msgspec.Meta(description="The version before.")]
    b: Annotated[Number, msgspec.Meta(description="The version after.")]


class EventQuery(_Taken, frozen=True):
    topics: (
        Annotated[
            str,
            msgspec.Meta(
                pattern=r"^(flows|runs|errors|holds|alarms|system|run:[A-Za-z0-9-]{1,100})?(,(flows|runs|errors|holds|alarms|system|run:[A-Za-z0-9-]{1,100}))*$",
                max_length=1000,
                description="Only these, with commas between them, as in `flows,run:ID`; all unless given.",
            ),
        ]
        | UnsetType
    ) = UNSET


class InputQuery(_Taken, frozen=True):
    run: Annotated[Name, msgspec.Meta(description="A run of the flow; its newest unless given.")] | UnsetType = UNSET
    row: Annotated[Number, msgspec.Meta(description="A row of that run: what it came from.")] | UnsetType = UNSET


class VersionQuery(_Taken, frozen=True):
    version: Annotated[Number, msgspec.Meta(description="The newest unless given.")] | UnsetType = UNSET
