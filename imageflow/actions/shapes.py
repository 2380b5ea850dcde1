"""What `--json` prints and the API answers, as types: the only place where a result becomes JSON.

The OpenAPI document is made from these types. Instants are texts, UTC ISO 8601 with microseconds (text.instant.iso). No type
holds a secret: flows name secrets and do not contain them; of users and keys there is only what may be shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from imageflow.actions import watermarks
from imageflow.actions.actor import Role
from imageflow.actions.bench import EFFECTS, Effect, Input, Tried, Write
from imageflow.actions.comparison import Compared
from imageflow.actions.dead_letters import Parked
from imageflow.actions.flows import FlowSeen
from imageflow.actions.keys import NewKey
from imageflow.actions.run_log import Entry, EntryKind
from imageflow.actions.runs import Retried as RetriedRows
from imageflow.actions.runs import Seen
from imageflow.actions.system import System
from imageflow.actions.ways_out import LEFT, about, again, command, to_mend
from imageflow.errors import Problem
from imageflow.inspect.comparison import Kind
from imageflow.inspect.dry_run import DryRow, DryRun, StepError, StepName
from imageflow.inspect.product_history import Sent, Source, Standing, Trace, TracedRow, sent, sku_of
from imageflow.model.filename_template import Key
from imageflow.model.flow import Definition, Flow
from imageflow.model.imageset import Image
from imageflow.model.row import STATES, RowLog, StageName, State, history, when
from imageflow.model.run import Counts, Status, TriggerKind, warnings_of
from imageflow.model.series import Point
from imageflow.store import Alarm, ApiKey, AuditRecord, Cause, FlowVersion, HeldDomain, ServiceSeen, User
from imageflow.text.instant import iso

Instant = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]


# sessions -------------------------------------------------------------------------------------------------------------


class LoggedIn(msgspec.Struct, frozen=True):
    """A token, to be sent as `Authorization: Bearer TOKEN`, and until when it is good."""

    token: str
    expires_at: Instant


class Me(msgspec.Struct, frozen=True):
    """A user and their role."""

    name: str
    role: Role


def me(user: User) -> Me:
    """A user without what the store keeps of the password."""
    return Me(user.name, user.role)


# flows ----------------------------------------------------------------------------------------------------------------


class FieldProblem(msgspec.Struct, frozen=True):
    """One thing wrong in a flow: the dotted path of the field and what is wrong with it."""

    path: str
    message: str


class Checked(msgspec.Struct, frozen=True):
    """What is wrong with a flow; nothing: it can be saved."""

    problems: list[FieldProblem]


class FlowLine(msgspec.Struct, frozen=True):
    """A flow in a list."""

    name: str
    version: int
    direction: Literal["inbound", "outbound"]
    enabled: bool
    schedule: str | None


class FlowListed(FlowLine, frozen=True):
    """A flow in the list of all: when it fires next, and its newest run."""

    next_at: Instant | None
    last_run: RunShown | None


class FlowShown(FlowLine, frozen=True):
    """A flow: its newest version, when it runs next, its newest runs. `document` is what its flow file says, and so is
    `definition`, its older name.
    """

    next_fires: list[Instant]
    watermark: Instant | None
    runs: list[RunShown]
    document: dict[str, Any]
    definition: dict[str, Any]


class Watermark(msgspec.Struct, frozen=True):
    """The instant since which an inbound flow asks for changes. `asks_since`: the overlap before it, or the flow's
    initial_since; null: the next run asks for everything. `reading`: runs that move it when their read is complete.
    """

    flow: str
    watermark: Instant | None
    asks_since: Instant | None
    reading: list[str]


class VersionLine(msgspec.Struct, frozen=True):
    """A saved version of a flow: when and by whom, and whether the flow was enabled with it."""

    version: int
    saved_at: Instant
    by: str
    enabled: bool


class Difference(msgspec.Struct, frozen=True):
    """What changed from version `a` of a flow to version `b`: the lines of a unified diff of their flow files."""

    flow: str
    a: int
    b: int
    lines: list[str]


class VersionShown(msgspec.Struct, frozen=True):
    """A version of a flow, as its flow file would say it."""

    name: str
    version: int
    document: dict[str, Any]


def checked(problems: Sequence[Problem]) -> Checked:
    """The problems of a flow."""
    return Checked([FieldProblem(*problem) for problem in problems])


def flow_line(flow: Flow) -> FlowLine:
    """A flow in a list."""
    definition = flow.definition
    return FlowLine(flow.name, flow.version, definition.direction, definition.enabled, schedule_text(definition))


def flow_listed(seen: FlowSeen) -> FlowListed:
    """A flow in the list of all."""
    return FlowListed(
        **msgspec.structs.asdict(flow_line(seen.flow)),
        next_at=iso(seen.next_fires[0]) if seen.next_fires else None,
        last_run=run_shown(Seen(seen.runs[0], seen.watermark)) if seen.runs else None,
    )


def schedule_text(definition: Definition) -> str | None:
    """When a flow runs, in a few words."""
    schedule = definition.schedule
    if schedule is None:
        return None
    if schedule.cron is not None:
        return f"cron {schedule.cron} ({definition.timezone})"
    return f"after {schedule.after}" if schedule.after is not None else f"every {duration(schedule.every or 0.0)}"


def duration(seconds: float) -> str:
    """A duration as a flow file writes it: `90s`, `5m`, `1h`."""
    unit, name = next(
        (size, name) for size, name in ((3600, "h"), (60, "m"), (1, "s")) if size == 1 or seconds % size == 0
    )
    return f"{seconds / unit:g}{name}"


def flow_shown(seen: FlowSeen) -> FlowShown:
    """A flow with what it does next and did last."""
    return FlowShown(
        **msgspec.structs.asdict(flow_line(seen.flow)),
        next_fires=[iso(fire) for fire in seen.next_fires],
        watermark=iso(seen.watermark),
        runs=[run_shown(Seen(run, seen.watermark)) for run in seen.runs],
        document=seen.flow.document,
        definition=seen.flow.document,
    )


def watermark(found: watermarks.Standing) -> Watermark:
    """A flow's watermark."""
    return Watermark(found.flow, iso(found.watermark), iso(found.asks_since), found.reading)


def version_line(version: FlowVersion) -> VersionLine:
    """A version in a list."""
    return VersionLine(version.version, iso(version.saved_at), version.author, version.enabled)


def difference(name: str, old: int, new: int, lines: Sequence[str]) -> Difference:
    """What changed between two versions of a flow."""
    return Difference(name, old, new, list(lines))


def version_shown(flow: Flow) -> VersionShown:
    """A version with its document."""
    return VersionShown(flow.name, flow.version, flow.document)


# runs -----------------------------------------------------------------------------------------------------------------


class RowCounts(msgspec.Struct, frozen=True):
    """total = written + unchanged + superseded + failed + cancelled + in flight."""

    total: int
    written: int
    unchanged: int
    superseded: int
    failed: int
    cancelled: int


class TriggerShown(msgspec.Struct, frozen=True):
    """What started a run. `identifiers`: it asks for these products only."""

    kind: TriggerKind
    by: str
    identifiers: list[str]


class RunShown(msgspec.Struct, frozen=True):
    """A run. `watermark` is its flow's now; `since` and `until` are the bounds that the run reads between. `incomplete`: the
    read ended, and the ERP has rows that did not come. `cancelled_at`: a person cancelled it.
    `retried_at`: it had ended, and rows of it were retried then.
    """

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
    retried_at: Instant | None
    since: Instant | None
    until: Instant | None
    read_complete: bool
    incomplete: bool
    cancelled_at: Instant | None
    error_stage: str | None


class LogEntry(msgspec.Struct, frozen=True):
    """A step of a run: what kind of, in plain words, when, if that is known, and of which page, if of one."""

    what: EntryKind
    text: str
    at: Instant | None
    page: int | None


def log_entry(entry: Entry) -> LogEntry:
    """A step of a run."""
    return LogEntry(entry.what, entry.text, iso(entry.at), entry.page)


class NoRun(msgspec.Struct, frozen=True):
    """What `run --missing` prints where nothing is missing: as a run that was empty."""

    flow: str
    watermark: Instant | None
    warnings: list[str]
    run_id: None = None
    status: Status = "empty"
    error: str | None = None
    pages: int = 0
    rows: RowCounts = RowCounts(0, 0, 0, 0, 0, 0)
    version: None = None
    trigger: None = None
    created_at: None = None
    started_at: None = None
    finished_at: None = None
    retried_at: None = None
    since: None = None
    until: None = None


class MissingRuns(msgspec.Struct, frozen=True):
    """The runs that ask for products without images; none where nothing is missing."""

    runs: list[RunShown]
    warnings: list[str]


class LeftShown(msgspec.Struct, frozen=True):
    """So many rows that a retry did not take, why, and what to do."""

    rows: int
    reason: str
    why: str
    do: str


class Retried(msgspec.Struct, frozen=True):
    """So many rows of the run are in flight again, through this version of the flow where they had failed before they were
    written. `note`: what else there is to know.
    """

    run_id: str
    rows: int
    version: int
    left: list[LeftShown]
    note: str | None


class RetriedRun(RunShown, frozen=True):
    """A run, and what a retry did with it."""

    retry: Retried


class FlowRetried(msgspec.Struct, frozen=True):
    """So many rows of a flow are in flight again, over these runs."""

    flow: str
    rows: int
    runs: list[Retried]


class Resumed(msgspec.Struct, frozen=True):
    """How many messages were published anew."""

    run_id: str
    messages: int


class Accepted(msgspec.Struct, frozen=True):
    """The post is durable: its run, and how many rows it holds before script and mapping."""

    run_id: str
    rows: int


def run_shown(seen: Seen) -> RunShown:
    """A run with its flow's watermark."""
    run = seen.run
    return RunShown(
        run_id=run.run_id,
        flow=run.flow,
        status=run.status,
        error=run.error,
        pages=run.pages,
        rows=row_counts(run.counts),
        watermark=iso(seen.watermark),
        warnings=warnings_of(run),
        version=run.version,
        trigger=TriggerShown(run.trigger.kind, run.trigger.by, list(run.trigger.ids)),
        created_at=iso(run.created_at),
        started_at=iso(run.started_at),
        finished_at=iso(run.finished_at),
        retried_at=iso(run.retried_at),
        since=iso(run.since),
        until=iso(run.until),
        read_complete=run.read_complete,
        incomplete=run.incomplete,
        cancelled_at=iso(run.cancelled_at),
        error_stage=run.error_stage,
    )


def retried(done: RetriedRows) -> Retried:
    """What a retry did with a run."""
    run = done.run
    ways = ((why, rows, LEFT[why]) for why, rows in done.left.items())
    left = [
        LeftShown(rows, why, way.why, command(way, about(run, takes_since=done.takes_since)))
        for why, rows, way in ways
        if rows
    ]
    return Retried(run.run_id, done.rows, done.version, left, _note(done))


def _note(done: RetriedRows) -> str | None:
    if done.same:
        return (
            f"{done.same:,} of them failed with version {done.version} of {done.run.flow}, which is the newest: if it is not "
            f"mended they fail again; mend its file, then: imageflow flow apply FILE && imageflow retry {done.run.run_id}"
        )
    run = done.run
    if done.old:
        once_more = again(about(run, takes_since=done.takes_since))
        return (
            f"{done.old:,} of them are sent with the images that an older version of {run.flow} made, for their page is not "
            f"stored any more or was joined with others; to have them made anew: {once_more}"
        )
    if done.rows or any(done.left.values()):
        return None
    if run.ended and run.error is not None:
        stage = run.error_stage or "read"
        mend = to_mend(run.flow, stage, incomplete=run.incomplete, rows=run.counts.total)
        once_more = again(about(run, takes_since=done.takes_since))
        return f"it failed as a whole, in {stage}, so there is no row to retry: mend {mend}, then: {once_more}"
    return "no row of it failed or was cancelled"


def retried_run(seen: Seen, done: RetriedRows) -> RetriedRun:
    """A run, and what a retry did with it."""
    return RetriedRun(**msgspec.structs.asdict(run_shown(seen)), retry=retried(done))


def flow_retried(name: str, done: Sequence[RetriedRows]) -> FlowRetried:
    """What a retry did with the runs of a flow."""
    return FlowRetried(name, sum(one.rows for one in done), [retried(one) for one in done])


def row_counts(counts: Counts) -> RowCounts:
    """The rows of a run by state."""
    return RowCounts(counts.total, *(getattr(counts, state) for state in STATES))


# rows -----------------------------------------------------------------------------------------------------------------


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


class CauseShown(msgspec.Struct, frozen=True):
    """A cause for which rows of a flow failed. `rows` of them, in how many `runs`, are open: they have not come through since;
    `since` is when the first of these runs was created. `run_id`, `row` and `product` are of the newest one that is open.
    `total`: how many rows ever failed for it, between `first_at` and `last_at`. `closed_at`: when the last one came through, or
    was taken into a retry. `days`: how many failed on each of the last 14 days (UTC), today last.
    """

    flow: str
    group: str
    stage: str
    http_status: int | None
    reason: str | None
    rows: int
    runs: int
    since: Instant
    run_id: str | None
    row: int | None
    product: str | None
    retryable: int
    total: int
    first_at: Instant
    last_at: Instant
    closed_at: Instant | None
    days: list[int]


class CauseRetried(msgspec.Struct, frozen=True):
    """So many rows of a cause are in flight again, over these runs."""

    group: str
    rows: int
    runs: list[Retried]


def row_shown(log: RowLog) -> RowShown:
    """What became of a row."""
    return RowShown(**_row(log))


def row_detail(log: RowLog) -> RowDetail:
    """The same, with what failed."""
    return RowDetail(**_row(log), page=log.page, retryable=log.retryable, payload=log.payload)


def _row(log: RowLog) -> dict[str, Any]:
    names = [name for name in RowShown.__struct_fields__ if name != "images"]
    return {**{name: getattr(log, name) for name in names}, "images": list(log.images)}


def cause_shown(cause: Cause) -> CauseShown:
    """A cause."""
    instants = {name: iso(getattr(cause, name)) for name in ("since", "first_at", "last_at", "closed_at")}
    return CauseShown(**{**msgspec.structs.asdict(cause), **instants, "days": list(cause.days)})


def cause_retried(group: str, done: Sequence[RetriedRows]) -> CauseRetried:
    """What a retry of a cause did."""
    return CauseRetried(group, sum(one.rows for one in done), [retried(one) for one in done])


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


class QueueShown(msgspec.Struct, frozen=True):
    """A queue of a stage, of one flow or (empty) of all: messages `ready` and `delayed`, and consumers; null: not known now."""

    name: str
    stage: str
    flow: str
    ready: int | None
    delayed: int
    consumers: int | None


class BacklogShown(msgspec.Struct, frozen=True):
    """The rows of a flow that are in flight, how many settled per minute lately, and in how many seconds none is left at that
    rate; null: nothing settles.
    """

    flow: str
    rows: int
    per_minute: float
    empty_in: float | None


class ServiceShown(msgspec.Struct, frozen=True):
    """A service of a process. `alive`: it has reported lately; `doing`: what it has in hand, in a few words."""

    kind: str
    host: str
    pid: int
    version: str
    started_at: Instant
    alive: bool
    alive_until: Instant | None
    doing: str


class SystemShown(msgspec.Struct, frozen=True):
    """The system now: queues, domains that writers hold back from, how many runs have not ended, the flows with rows in flight,
    and the services that are alive or were lately.
    """

    queues: list[QueueShown]
    holds: list[Hold]
    active_runs: int
    backlogs: list[BacklogShown]
    services: list[ServiceShown]


class PointShown(msgspec.Struct, frozen=True):
    """How many rows settled in the step that begins at `at`, by state."""

    at: Instant
    written: int
    unchanged: int
    superseded: int
    failed: int
    cancelled: int


class ParkedShown(Parked, frozen=True):
    """A parked message with its whole body, as text."""

    body: str


def alarm_shown(alarm: Alarm) -> AlarmShown:
    """An alarm."""
    opened, closed = iso(alarm.opened_at), iso(alarm.closed_at)
    return AlarmShown(alarm.id, alarm.flow, alarm.kind, alarm.text, opened, closed, alarm.notice)


def hold_shown(held: HeldDomain) -> Hold:
    """A domain that is held."""
    return Hold(held.domain, held.reason, iso(held.since), held.writers)


def system_shown(found: System) -> SystemShown:
    """The system now."""
    return SystemShown(
        [QueueShown(*queue) for queue in found.queues],
        [hold_shown(held) for held in found.holds],
        found.active_runs,
        [BacklogShown(*backlog) for backlog in found.backlogs],
        [service_shown(one, found.at) for one in found.services],
    )


def service_shown(one: ServiceSeen, now: datetime) -> ServiceShown:
    """A service."""
    alive = one.alive_until is not None and one.alive_until > now
    about = (one.kind, one.host, one.pid, one.version, iso(one.started_at))
    return ServiceShown(*about, alive, iso(one.alive_until), one.doing)


def point_shown(point: Point) -> PointShown:
    """A point of a series."""
    return PointShown(**{**msgspec.structs.asdict(point), "at": iso(point.at)})


def parked_shown(message: Parked, body: bytes) -> ParkedShown:
    """A parked message whole."""
    return ParkedShown(**msgspec.structs.asdict(message), body=body.decode("utf-8", "replace"))


# keys, audit log ------------------------------------------------------------------------------------------------------


class KeyShown(msgspec.Struct, frozen=True):
    """A machine's key: it opens the outbound door of one flow. Its text is not kept. `used_at`: when it did last, to about a minute;
    null: never, or before that was kept.
    """

    id: str
    flow: str
    name: str
    created_by: str
    created_at: Instant
    expires_at: Instant | None
    used_at: Instant | None = None


class KeyMade(msgspec.Struct, frozen=True):
    """A new key and, this once, its text: to be sent as `Authorization: Bearer KEY`."""

    key: str
    id: str
    flow: str
    name: str
    created_by: str
    created_at: Instant
    expires_at: Instant | None
    used_at: Instant | None = None


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
    """A key."""
    about = (key.id, key.flow, key.name, key.created_by)
    return KeyShown(*about, iso(key.created_at), iso(key.expires_at), iso(key.used_at))


def key_made(made: NewKey) -> KeyMade:
    """A new key with its text."""
    return KeyMade(key=made.text, **msgspec.structs.asdict(key_shown(made.key)))


def change(record: AuditRecord) -> Change:
    """An entry of the audit log."""
    entry = record.entry
    return Change(record.id, iso(record.at), entry.who, entry.what, entry.object, entry.origin, entry.detail)


# dry runs and histories -----------------------------------------------------------------------------------------------


class ElementError(msgspec.Struct, frozen=True):
    """An element of the page, by its index, that the script failed for."""

    index: int
    reason: str
    line: int | None


class StepShown(msgspec.Struct, frozen=True):
    """What a step gave and printed, or why it failed. `explained`: what each operation and each line of the mapping did."""

    step: StepName
    output: Any
    prints: str
    error: StepError | None
    row_errors: list[ElementError]
    explained: Any


class DryRowShown(DryRow, frozen=True):
    """A row of a dry run, and what it would change on Omnitron, by what was written there. `refused`: see TriedRowShown."""

    change: Effect = "unknown"
    refused: str | None = None


class DryRunShown(msgspec.Struct, frozen=True):
    """A page's way through a flow. `ok`: it passed, and every row of it can be written. `changes`: how many rows would do what on
    Omnitron. `warnings`: what a run would warn of.
    """

    flow: str
    steps: list[StepShown]
    rows: list[DryRowShown]
    changes: dict[Effect, int]
    ok: bool
    warnings: tuple[str, ...]


class InputShown(msgspec.Struct, frozen=True):
    """An answer to try: a few elements of a page of a run, which had so many `rows`; null: none is kept. `warnings`: what a run
    would warn of when the ERP gave it this page.
    """

    input: Any
    run_id: str | None
    page: int | None
    rows: int
    warnings: tuple[str, ...]


class TriedRowShown(msgspec.Struct, frozen=True):
    """A row of a try, and what it would change on Omnitron, by what is known of it. `refused`: why Omnitron refused the product when
    it was last sent; null: it did not.
    """

    row: DryRow
    change: Effect
    refused: str | None


class TriedShown(msgspec.Struct, frozen=True):
    """What a try gave: its steps, and its rows. `ok`: the answer passed, and every row of it can be written."""

    steps: list[StepShown]
    rows: list[TriedRowShown]
    ok: bool


class WriteShown(msgspec.Struct, frozen=True):
    """A row of a try, what it would change on Omnitron by what is known of it, and the request that would be sent; null: none.
    A request of a base code names no SKU: it is sent once for each.
    """

    row: DryRow
    change: Effect
    request: Sent | None


class TriedWrites(msgspec.Struct, frozen=True):
    """What a try would send. `ok`: the answer passed, and every row of it can be written."""

    rows: list[WriteShown]
    ok: bool


class PageShown(msgspec.Struct, frozen=True):
    """A page of a run."""

    run_id: str
    page: int


class PairShown(msgspec.Struct, frozen=True):
    """A row that a draft changes: of a page, as it is with the version in force, and with the draft; null: not there."""

    kind: Kind
    product: str | None
    run_id: str
    page: int
    was: DryRow | None
    now: DryRow | None


class ComparedShown(msgspec.Struct, frozen=True):
    """A draft against the version in force, over pages that were kept, in rows: `fixed` failed and would be written, or was refused
    and would be sent under a SKU that Omnitron has taken; `broken` came out and would fail or be missing, `different` is another
    image set; `renamed` came out and would be sent under another SKU, which Omnitron has never taken from us; `untried` was refused
    and would be sent under another SKU or base code, of which it is not known whether Omnitron knows it. `late`: the time was over
    before all pages were through.
    """

    version: int
    pages: list[PageShown]
    rows: int
    same: int
    fixed: int
    different: int
    broken: int
    renamed: int
    untried: int
    examples: list[PairShown]
    late: bool


class InFlight(msgspec.Struct, frozen=True):
    """The row that a writer has in hand, and the page that it is of."""

    version: int
    run_id: str | None
    page: int | None


class OnOmnitron(msgspec.Struct, frozen=True):
    """What is on Omnitron for a product, by which row, since when. `doubt_until`: until then a late write may come over it;
    then it is written again. `rewrites`: how often it was."""

    domain: str
    product: str
    version: int | None
    digest: str | None
    run_id: str | None
    row: int | None
    since: Instant | None
    images: list[Image] | None
    in_flight: InFlight | None
    doubt_until: Instant | None = None
    rewrites: int = 0


class Element(msgspec.Struct, frozen=True):
    """An element of a page, by its index."""

    index: int
    element: Any


class SourceShown(msgspec.Struct, frozen=True):
    """A page that a row came from. `certain`: the row comes out of these elements alone. `note`: what is not known."""

    page: int | None
    elements: list[Element]
    certain: bool
    note: str | None
    steps: list[StepShown]
    rows: tuple[DryRow, ...]


class TryShown(msgspec.Struct, frozen=True):
    """One try to write a row, and its answer."""

    at: Instant
    http_status: int | None
    reason: str | None
    sku: str | None


class HistoryRun(msgspec.Struct, frozen=True):
    """The run that a row is of."""

    status: Status
    trigger: TriggerKind
    by: str
    created_at: Instant


class HistoryRow(RowShown, frozen=True):
    """A row with what led to it and what was sent."""

    key: Key
    version: int
    settled_at: Instant | None
    flow: str | None
    flow_version: int | None
    run: HistoryRun | None
    payload: Any
    sources: list[SourceShown]
    request: Sent | None
    tries: list[TryShown]


class ProductHistory(msgspec.Struct, frozen=True):
    """Everything that happened to a product, newest row first; `more`: there are older rows."""

    product: str
    ledger: list[OnOmnitron]
    rows: list[HistoryRow]
    more: bool


def dry_run(found: Tried) -> DryRunShown:
    """A page's way through a flow."""
    rows = [
        DryRowShown(**msgspec.structs.asdict(one.row), change=one.change, refused=one.refused) for one in found.rows
    ]
    return DryRunShown(found.dry.flow, _steps(found.dry), rows, changes(found), found.dry.ok, found.dry.warnings)


def changes(found: Tried) -> dict[Effect, int]:
    """How many rows of a try would do what on Omnitron; what none would is left out."""
    every = [one.change for one in found.rows]
    return {effect: every.count(effect) for effect in EFFECTS if effect in every}


def input_shown(found: Input) -> InputShown:
    """An answer to try."""
    document = msgspec.json.decode(found.body) if found.body else None
    return InputShown(document, found.run_id, found.page, found.rows, found.warnings)


def tried(found: Tried) -> TriedShown:
    """What a try gave."""
    return TriedShown(_steps(found.dry), [TriedRowShown(*one) for one in found.rows], found.dry.ok)


def tried_writes(found: Tried, writes: list[Write]) -> TriedWrites:
    """What a try would send."""
    return TriedWrites([WriteShown(*one) for one in writes], found.dry.ok)


def compared(found: Compared) -> ComparedShown:
    """A draft against the version in force."""
    counts = found.counts
    return ComparedShown(
        found.version,
        [PageShown(*key) for key in found.pages],
        len(found.kinds),
        counts["same"],
        counts["fixed"],
        counts["different"],
        counts["broken"],
        counts["renamed"],
        counts["untried"],
        [PairShown(pair.kind, pair.product, *where, pair.was, pair.now) for where, pair in found.examples],
        found.late,
    )


def product_history(trace: Trace) -> ProductHistory:
    """Everything that happened to a product."""
    ledger, rows = [_on_omnitron(one) for one in trace.ledger], [_history_row(row) for row in trace.rows]
    return ProductHistory(trace.product, ledger, rows, trace.more)


def _steps(dry: DryRun) -> list[StepShown]:
    return [
        StepShown(
            step.step,
            step.output,
            step.prints,
            step.error,
            [ElementError(index, error.reason, error.line) for index, error in step.row_errors.items()],
            step.explained,
        )
        for step in dry.steps
    ]


def _on_omnitron(standing: Standing) -> OnOmnitron:
    state, log = standing.state, standing.log
    return OnOmnitron(
        domain=state.domain,
        product=state.product,
        version=state.version if state.version > 0 else None,
        digest=state.digest,
        run_id=state.run_id,
        row=state.row,
        since=iso(log.settled_at) if log is not None else None,
        images=list(log.images) if log is not None else None,
        in_flight=None if state.in_flight is None else InFlight(state.in_flight, *(standing.in_flight or (None, None))),
        doubt_until=iso(state.doubt_until),
        rewrites=state.rewrites,
    )


def _history_row(row: TracedRow) -> HistoryRow:
    log, run = row.log, row.run
    return HistoryRow(
        **_row(log),
        key=log.key,
        version=log.version,
        settled_at=iso(log.settled_at),
        flow=run.flow if run is not None else None,
        flow_version=row.version,
        run=HistoryRun(run.status, run.trigger.kind, run.trigger.by, iso(run.created_at)) if run is not None else None,
        payload=log.payload,
        sources=[_source(source) for source in row.sources],
        request=sent(row),
        tries=[TryShown(iso(when(one)), one.status, one.reason, one.sku or sku_of(log)) for one in history(log)],
    )


def _source(source: Source) -> SourceShown:
    dry = source.dry
    return SourceShown(
        page=source.page,
        elements=[Element(place, element) for place, element in source.elements.items()],
        certain=source.certain,
        note=None if source.note is None else str(source.note),
        steps=_steps(dry) if dry is not None else [],
        rows=dry.rows if dry is not None else (),
    )
