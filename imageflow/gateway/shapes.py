"""What the JSON API takes and gives, as types: the OpenAPI document, the validation and the answers come from them.

Instants are texts, UTC ISO 8601 with microseconds (clock.iso). What is taken refuses unknown fields. No answer holds a
secret: flows name secrets and do not contain them; of users and keys only what may be shown is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from imageflow.actions.dead_letters import Parked
from imageflow.clock import iso
from imageflow.model.flow import NAME_PATTERN, Definition, Flow
from imageflow.model.imageset import Image
from imageflow.model.row import RowLog, StageName, State, fields
from imageflow.model.run import Run, Status, TriggerKind
from imageflow.store import Alarm, ApiKey, AuditRecord, FlowVersion, HeldDomain, User

MAX_IDENTIFIERS = 10_000
MAX_NUMBER = (1 << 31) - 1

T = TypeVar("T")

Instant = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
Number = Annotated[int, msgspec.Meta(ge=1, le=MAX_NUMBER)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
RoleName = Literal["viewer", "operator", "admin"]
Identifier = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[^,\s\x00-\x1f](?:[^,\x00-\x1f]*[^,\s\x00-\x1f])?$",
        max_length=255,
        description="A product's; without commas.",
    ),
]
Fingerprint = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$", description="An error group, see errors.")]
Limit = Annotated[int, msgspec.Meta(ge=1, le=1000, description="At most so many.")]
Cursor = Annotated[
    str, msgspec.Meta(max_length=400, pattern="^[A-Za-z0-9_-]+$", description="The `next` of the page before.")
]


class _Taken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a request: unknown fields are refused."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem body (RFC 9457). `problems`: each field of a flow that is wrong."""

    type: str
    title: str
    status: int
    detail: str
    problems: list[FieldProblem] | None = None


class FieldProblem(msgspec.Struct, frozen=True):
    """One thing wrong in a flow: the dotted path of the field and what is wrong with it."""

    path: str
    message: str


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A page of a list. `next`: what to give as `cursor` for the page after; null: there is none."""

    items: list[T]
    next: str | None = None


# sessions -------------------------------------------------------------------------------------------------------------


class Credentials(msgspec.Struct, frozen=True):
    """Who logs in."""

    username: str
    password: str


class LoggedIn(msgspec.Struct, frozen=True):
    """A token, to be sent as `Authorization: Bearer TOKEN`, and until when it is good."""

    token: str
    expires_at: Instant


class Me(msgspec.Struct, frozen=True):
    """A user and their role."""

    name: str
    role: RoleName


def me(user: User) -> Me:
    return Me(user.name, user.role)


# flows ----------------------------------------------------------------------------------------------------------------


class FlowLine(msgspec.Struct, frozen=True):
    """A flow in a list."""

    name: str
    version: int
    direction: Literal["inbound", "outbound"]
    enabled: bool
    schedule: str | None


class Watermark(msgspec.Struct, frozen=True):
    """The instant since which an inbound flow asks for changes. `asks_since`: the overlap before it, or the flow's
    initial_since; null: the next run asks for everything. `reading`: runs that move it when their read is complete.
    """

    flow: str
    watermark: Instant | None
    asks_since: Instant | None
    reading: list[str]


class FlowShown(FlowLine, frozen=True):
    """A flow: its newest version, when it runs next, its newest runs. `document` is what its flow file says."""

    next_fires: list[Instant]
    watermark: Instant | None
    runs: list[RunShown]
    document: dict[str, Any]


class VersionLine(msgspec.Struct, frozen=True):
    """A saved version of a flow, by whom and when."""

    version: int
    author: str
    saved_at: Instant


class VersionShown(msgspec.Struct, frozen=True):
    """A version of a flow, as its flow file would say it."""

    name: str
    version: int
    document: dict[str, Any]


class Checked(msgspec.Struct, frozen=True):
    """What is wrong with a flow; nothing: it can be saved."""

    problems: list[FieldProblem]


class Since(_Taken, frozen=True):
    """A watermark to set: an ISO date, without an offset in the flow's timezone; null: ask for everything."""

    since: Annotated[str, msgspec.Meta(max_length=64)] | None


def schedule_text(definition: Definition) -> str | None:
    """When a flow runs, in a few words."""
    schedule = definition.schedule
    if schedule is None:
        return None
    if schedule.cron is not None:
        return f"cron {schedule.cron} ({definition.timezone})"
    return f"after {schedule.after}" if schedule.after is not None else f"every {schedule.every:g}s"


def flow_line(flow: Flow) -> FlowLine:
    definition = flow.definition
    return FlowLine(flow.name, flow.version, definition.direction, definition.enabled, schedule_text(definition))


def version_line(version: FlowVersion) -> VersionLine:
    return VersionLine(version.version, version.author, _at(version.saved_at))


def version_shown(flow: Flow) -> VersionShown:
    return VersionShown(flow.name, flow.version, flow.document)


# runs -----------------------------------------------------------------------------------------------------------------


class RowCounts(msgspec.Struct, frozen=True):
    """total = written + unchanged + superseded + failed + in flight."""

    total: int
    written: int
    unchanged: int
    superseded: int
    failed: int


class TriggerShown(msgspec.Struct, frozen=True):
    """What started a run. `identifiers`: it asks for these products only."""

    kind: TriggerKind
    by: str
    identifiers: list[str]


class RunShown(msgspec.Struct, frozen=True):
    """A run. `watermark` is its flow's now; `since` and `until` are the bounds that the run reads between."""

    run_id: str
    flow: str
    status: Status
    error: str | None
    pages: int
    rows: RowCounts
    watermark: Instant | None
    warnings: list[str]
    version: int
    trigger: TriggerShown
    created_at: Instant
    started_at: Instant | None
    finished_at: Instant | None
    since: Instant | None
    until: Instant | None
    read_complete: bool
    error_stage: str | None


class Start(_Taken, frozen=True):
    """A run to start: of everything since the watermark, or of these products only."""

    identifiers: Annotated[list[Identifier], msgspec.Meta(min_length=1, max_length=MAX_IDENTIFIERS)] | None = None


class MissingRuns(msgspec.Struct, frozen=True):
    """The runs that ask for products without images; none where nothing is missing."""

    runs: list[RunShown]
    warnings: list[str]


class Retry(_Taken, frozen=True):
    """Which failed rows are written again: all that can be, one row, or one error group."""

    row: Number | None = None
    group: Fingerprint | None = None


class Resumed(msgspec.Struct, frozen=True):
    """How many messages were published anew."""

    run_id: str
    messages: int


class Retried(msgspec.Struct, frozen=True):
    """How many rows of the run are in flight again."""

    run_id: str
    rows: int


class RowShown(msgspec.Struct, frozen=True):
    """What became of a row. `stage`: where that was decided. `http_status`: what Omnitron answered."""

    run_id: str
    row: int
    product: str | None
    state: State
    stage: StageName
    reason: str | None
    http_status: int | None
    attempts: int
    images: list[Image]


class RowDetail(RowShown, frozen=True):
    """A row with what failed (`payload`), the page it is of, and whether Omnitron may take it later (`retryable`)."""

    page: int | None
    retryable: bool
    payload: Any


def run_shown(run: Run, watermark: datetime | None) -> RunShown:
    counts = run.counts
    return RunShown(
        run_id=run.run_id,
        flow=run.flow,
        status=run.status,
        error=run.error,
        pages=run.pages,
        rows=RowCounts(counts.total, counts.written, counts.unchanged, counts.superseded, counts.failed),
        watermark=iso(watermark),
        warnings=list(run.warnings),
        version=run.version,
        trigger=TriggerShown(run.trigger.kind, run.trigger.by, list(run.trigger.ids)),
        created_at=_at(run.created_at),
        started_at=iso(run.started_at),
        finished_at=iso(run.finished_at),
        since=iso(run.since),
        until=iso(run.until),
        read_complete=run.read_complete,
        error_stage=run.error_stage,
    )


def row_shown(log: RowLog) -> RowShown:
    return RowShown(**_row(log))


def row_detail(log: RowLog) -> RowDetail:
    return RowDetail(**_row(log), page=log.page, retryable=log.retryable, payload=log.payload)


def _row(log: RowLog) -> dict[str, Any]:
    return {**fields(log), "images": list(log.images)}


# alarms, holds, parked messages ---------------------------------------------------------------------------------------


class AlarmShown(msgspec.Struct, frozen=True):
    """Something worth waking somebody; open until it has passed. `notice`: what became of its post to the webhook."""

    id: int
    flow: str
    kind: str
    text: str
    opened_at: Instant
    closed_at: Instant | None
    notice: str | None


class Hold(msgspec.Struct, frozen=True):
    """An Omnitron domain that `writers` processes hold back from, since when and why."""

    domain: str
    reason: str
    since: Instant
    writers: int


class ParkedShown(Parked, frozen=True):
    """A parked message with its whole body, as text."""

    body: str


def parked_shown(message: Parked, body: bytes) -> ParkedShown:
    return ParkedShown(**msgspec.structs.asdict(message), body=body.decode("utf-8", "replace"))


def alarm_shown(alarm: Alarm) -> AlarmShown:
    opened, closed = _at(alarm.opened_at), iso(alarm.closed_at)
    return AlarmShown(alarm.id, alarm.flow, alarm.kind, alarm.text, opened, closed, alarm.notice)


def hold_shown(held: HeldDomain) -> Hold:
    return Hold(held.domain, held.reason, _at(held.since), held.writers)


# users, keys, audit log -----------------------------------------------------------------------------------------------


class NewUser(_Taken, frozen=True):
    """A user to add, or whose password and role to change."""

    password: Annotated[str, msgspec.Meta(min_length=8, max_length=1024)]
    role: RoleName


class NewRole(_Taken, frozen=True):
    """Another role."""

    role: RoleName


class NewKey(_Taken, frozen=True):
    """A key to make: what it is called, and for how many days it is good; null: until it is revoked."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    days: Annotated[int, msgspec.Meta(ge=1, le=3650)] | None = None


class KeyShown(msgspec.Struct, frozen=True):
    """A machine's key: it opens the outbound door of one flow. Its text is not kept."""

    id: str
    flow: str
    name: str
    created_by: str
    created_at: Instant
    expires_at: Instant | None


class KeyMade(msgspec.Struct, frozen=True):
    """A new key and, this once, its text: to be sent as `Authorization: Bearer KEY`."""

    key: str
    id: str
    flow: str
    name: str
    expires_at: Instant | None


class Change(msgspec.Struct, frozen=True):
    """An entry of the audit log: who changed what on which object, when and from where."""

    id: int
    at: Instant
    who: str
    what: str
    object: str
    origin: str
    detail: dict[str, Any]


def key_shown(key: ApiKey) -> KeyShown:
    return KeyShown(key.id, key.flow, key.name, key.created_by, _at(key.created_at), iso(key.expires_at))


def key_made(key: ApiKey, text: str) -> KeyMade:
    return KeyMade(text, key.id, key.flow, key.name, iso(key.expires_at))


def change(entry: AuditRecord) -> Change:
    it = entry.entry
    return Change(entry.id, _at(entry.at), it.who, it.what, it.object, it.origin, it.detail)


# outbound -------------------------------------------------------------------------------------------------------------


class Accepted(msgspec.Struct, frozen=True):
    """The post is durable: its run, and how many rows it holds before script and mapping."""

    run_id: str
    rows: int


def _at(instant: datetime) -> str:
    text = iso(instant)
    assert text is not None
    return text


# what paths and queries hold ------------------------------------------------------------------------------------------

PATHS: Mapping[str, Any] = {
    "flow": Annotated[str, msgspec.Meta(pattern=NAME_PATTERN, description="A flow's name.")],
    "version": Annotated[int, msgspec.Meta(ge=1, le=MAX_NUMBER, description="A version's number.")],
    "run": Annotated[str, msgspec.Meta(min_length=1, max_length=100, description="A run's id.")],
    "row": Annotated[int, msgspec.Meta(ge=1, le=MAX_NUMBER, description="A row's number within the run.")],
    "page": Annotated[int, msgspec.Meta(ge=1, le=MAX_NUMBER, description="A page's number within the run.")],
    "user": Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._@+-]{1,150}$", description="A user's name.")],
    "message": Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{12}$", description="A parked message's id.")],
    "key": Annotated[str, msgspec.Meta(min_length=1, max_length=100, description="A key's id.")],
}
"""The types of what stands in braces in an endpoint's path."""


class Paged(_Taken, frozen=True):
    """What every list takes. What is not given is UNSET, which is false: a query cannot say null."""

    cursor: Cursor | UnsetType = UNSET
    limit: Limit = 100


class RunQuery(Paged, frozen=True):
    flow: Annotated[Name, msgspec.Meta(description="Runs of this flow.")] | UnsetType = UNSET
    status: Annotated[Status, msgspec.Meta(description="Runs of this status.")] | UnsetType = UNSET
    active: Annotated[bool, msgspec.Meta(description="Only runs that have not ended.")] = False


class RowQuery(Paged, frozen=True):
    state: State | UnsetType = UNSET
    stage: StageName | UnsetType = UNSET
    product: Annotated[Name, msgspec.Meta(description="Rows of this SKU or base code.")] | UnsetType = UNSET
    group: Fingerprint | UnsetType = UNSET


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


class VersionQuery(_Taken, frozen=True):
    version: Annotated[Number, msgspec.Meta(description="The newest unless given.")] | UnsetType = UNSET
