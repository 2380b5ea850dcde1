"""Results as people read them: texts, and lines of tables. Times are local ones; a list is in one zone (`common`)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from imageflow.actions.dead_letters import Parked
from imageflow.actions.flows import FlowSeen
from imageflow.actions.left_behind import NO_REWRITE
from imageflow.actions.run_waits import Wait
from imageflow.actions.shapes import (
    AlarmShown,
    CauseShown,
    Change,
    Hold,
    KeyShown,
    NoRun,
    Retried,
    RunShown,
    TriggerShown,
    VersionLine,
    schedule_text,
)
from imageflow.actions.ways_out import CANCELLING, RUNS, About, WayOut, command, to_mend
from imageflow.commands.tables import Column, Line
from imageflow.inspect.stale import Stale
from imageflow.model.row import STATES, RowLog
from imageflow.model.run import FINAL, Run
from imageflow.store import ErrorGroup
from imageflow.text.printable import lines

_SPANS = ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s"))
_INSTANT = re.compile(
    r"(--(?:since|until) )?\b(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d))(?![\w.])"
)


# times ----------------------------------------------------------------------------------------------------------------


def zone(name: str) -> tzinfo:
    """A time zone by its IANA name; UTC where this machine does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


class _Machine(tzinfo):
    """The time zone of this machine, whatever it is called."""

    def fromutc(self, moment: datetime, /) -> datetime:
        return moment.replace(tzinfo=UTC).astimezone()

    def utcoffset(self, moment: datetime | None, /) -> timedelta | None:
        return None if moment is None else moment.replace(tzinfo=None).astimezone().utcoffset()

    def tzname(self, moment: datetime | None, /) -> str | None:
        return None if moment is None else moment.replace(tzinfo=None).astimezone().tzname()

    def dst(self, _moment: datetime | None, /) -> timedelta | None:
        return None


MACHINE = _Machine()


def common(zones: Iterable[tzinfo]) -> tzinfo:
    """The zone that the times of a list are in: the one that all of its flows have, or else this machine's."""
    found = set(zones)
    return found.pop() if len(found) == 1 else MACHINE


def local(instant: datetime | str | None, of: tzinfo = UTC) -> str:
    """An instant in a time zone, to the second, with the name or offset of the zone; nothing for None."""
    if instant is None:
        return ""
    moment = datetime.fromisoformat(instant) if isinstance(instant, str) else instant
    return f"{moment.astimezone(of):%Y-%m-%d %H:%M:%S %Z}"


def localised(text: str, of: tzinfo) -> str:
    """A text with its instants in a time zone. An option's instant stays one word, so that the option still takes it."""

    def told(found: re.Match[str]) -> str:
        moment = datetime.fromisoformat(found[2]).astimezone(of)
        if not found[1]:
            return local(moment, of)
        if found[1] == "--since ":  # a little earlier does no harm, as it would to --until
            moment = moment.replace(microsecond=0)
        return f"{found[1]}{moment.isoformat().replace('+00:00', 'Z')}"

    return _INSTANT.sub(told, text)


def span(seconds: float) -> str:
    """How long something took: `0.4s`, `12s`, `3m05s`, `2h03m`, `1d04h`."""
    for unit, name, smaller, its_name in _SPANS:
        if seconds >= unit:
            return f"{int(seconds // unit)}{name}{int(seconds % unit // smaller):02}{its_name}"
    return f"{seconds:.1f}s" if seconds < 9.95 else f"{seconds:.0f}s"


# runs -----------------------------------------------------------------------------------------------------------------

RUN = (
    Column("RUN"),
    Column("FLOW", gives_way=True),
    Column("STATUS"),
    Column("STARTED"),
    Column("TOOK", right=True),
    Column("BY", moves=True),
    Column("PAGES", right=True, moves=True),
    Column("ROWS", right=True, moves=True),
    *(Column(state.upper(), right=True, moves=True) for state in STATES),
)


def run_line(run: RunShown, of: tzinfo, now: datetime) -> Line:
    """A run in a table; why it failed and what it warns of stand under it."""
    started = run.started_at or run.created_at
    counts = [f"{getattr(run.rows, state):,}" if getattr(run.rows, state) else "" for state in STATES]
    return Line(
        [
            run.run_id,
            run.flow,
            run.status,
            local(started, of),
            took(run, now),
            by(run.trigger),
            f"{run.pages:,}",
            f"{run.rows.total:,}",
            *counts,
        ],
        run.error or "",
        [f"warning: {text}" for text in run.warnings],
    )


def took(run: RunShown, now: datetime) -> str:
    """How long a run took, or its last retry; of one that goes on, how long it has, with `…`; nothing before it begins."""
    if run.status == "queued":
        return ""
    begun = datetime.fromisoformat(run.retried_at or run.started_at or run.created_at)
    end = datetime.fromisoformat(run.finished_at) if run.finished_at else now
    return span(max((end - begun).total_seconds(), 0.0)) + ("" if run.status in FINAL else "…")


def by(trigger: TriggerShown) -> str:
    """What started a run, in a word or two."""
    who = {"person": trigger.by, "flow": f"after {trigger.by}", "fetch_missing": "missing"}.get(
        trigger.kind, trigger.kind
    )
    return f"{who}, {counted(len(trigger.identifiers), 'product')}" if trigger.identifiers else who


def progress_text(run: Run, waits: Wait | None = None, of: tzinfo = UTC) -> str:
    """How far a run is and what it waits for, on one line. `of`: the time zone of its flow."""
    counts = run.counts
    parts = [f"{run.flow}: {run.status}"]
    if run.pages:
        parts.append(counted(run.pages, "page"))
    if counts.total:
        parts.append(f"{counts.settled:,} of {counted(counts.total, 'row')}")
    text = ", ".join([*parts, f"{counts.failed:,} failed"] if counts.failed else parts)
    return text if waits is None else f"{text}: {localised(waits.text, of)}"


def run_text(run: RunShown | NoRun) -> str:
    """A run in a few words, and its warnings each on a line of its own."""
    if isinstance(run, NoRun):
        return "\n    warning: ".join([f"{run.flow}: no run; no product is without images", *run.warnings])
    parts = [f"{number:,} {state}" for state in STATES if (number := getattr(run.rows, state))]
    text = f"{run.run_id}  {run.flow}  {run.status}  {counted(run.pages, 'page')}, {counted(run.rows.total, 'row')}"
    text += f" ({', '.join(parts)})" if parts else ""
    text += f"\n    {run.error}" if run.error else ""
    text += f"\n    cancelling: {CANCELLING.why}" if _cancelling(run) else ""
    return "\n    warning: ".join([text, *run.warnings])


def _cancelling(run: RunShown) -> bool:
    return run.cancelled_at is not None and run.status not in FINAL


def way_out_text(run: RunShown | NoRun, of: tzinfo = UTC, *, takes_since: bool = True) -> str:
    """What leads out of the state of a run; empty where nothing is to be done. `of`: the time zone of its flow; `takes_since`: whether
    it can be asked for changes since an instant.
    """
    if isinstance(run, NoRun):
        return ""
    way = CANCELLING if _cancelling(run) else RUNS[run.status]
    return localised(command(way, _about(run, takes_since=takes_since)), of)


def next_text(way_out: str) -> str:
    """What leads out of a state as it stands below it, each step on a line."""
    return "    next: " + way_out.replace("; ", "\n          ")


def unread_text(run: RunShown, of: tzinfo = UTC, *, takes_since: bool = True) -> str:
    """What leads to what a run that failed as a whole did not read."""
    return localised(command(WayOut("", "", RUNS["failed"].unread), _about(run, takes_since=takes_since)), of)


def _about(run: RunShown, *, takes_since: bool) -> About:
    rows = bool(run.rows.failed or run.rows.cancelled)
    unread = run.incomplete or run.error is not None or not run.read_complete
    short = run.incomplete and run.cancelled_at is None
    stage = None if run.error is None else run.error_stage or "read"
    mend = to_mend(run.flow, stage, incomplete=short, rows=run.rows.total)
    since, ids = run.since if takes_since else None, bool(run.trigger.identifiers)
    return About(run.run_id, run.flow, run.trigger.kind, ids, since, rows, unread, mend)


def retry_text(done: Retried) -> str:
    """What a retry took and, of the other rows, why not and what to do."""
    total = done.rows + sum(left.rows for left in done.left)
    are = "is" if done.rows == 1 else "are"
    said = [f"{done.rows:,} of {counted(total, 'row')} of run {done.run_id} {are} put through again"]
    said += [f"{counted(left.rows, 'row')} {left.why}: {left.do}" for left in done.left]
    return "\n    ".join([*said, done.note] if done.note else said)


# rows and errors ------------------------------------------------------------------------------------------------------

ROW = (
    Column("ROW", right=True),
    Column("PRODUCT", gives_way=True),
    Column("STATE"),
    Column("IMAGES", right=True),
    Column("HTTP", right=True),
    Column("TRIES", right=True, moves=True),
)


def row_line(row: RowLog) -> Line:
    """A row in a table, and why it failed."""
    tries = str(row.attempts) if row.attempts > 1 else ""
    cells = [str(row.row), row.product or "-", row.state, str(len(row.images) or ""), str(row.http_status or ""), tries]
    return Line(cells, f"{row.stage}: {row.reason}" if row.reason else "")


OPEN_ROW = (Column("RUN"), *ROW)


def open_row_line(row: RowLog) -> Line:
    """A row among those of several runs."""
    line = row_line(row)
    return line._replace(cells=[row.run_id, *line.cells])


ERROR = (
    Column("CAUSE"),
    Column("ROWS", right=True),
    Column("RETRYABLE", right=True),
    Column("STAGE"),
    Column("HTTP", right=True),
    Column("RUNS", right=True, moves=True),
    Column("SINCE", moves=True),
    Column("EXAMPLE", gives_way=True),
)


def error_line(error: ErrorGroup | CauseShown, of: tzinfo) -> Line:
    """A cause of failures, with an example: a row's number and product, over several runs the newest."""
    if isinstance(error, CauseShown):
        runs, since, row, product = f"{error.runs:,}", local(error.since, of), error.row, error.product
        closed = f"closed {local(error.closed_at, of)}, after {counted(error.total, 'row')}"
        newest = closed if error.closed_at is not None else f"newest: run {error.run_id}, row {error.row}"
        notes = [f"flow {error.flow}, {newest}"]
    else:
        runs, since, row, product, notes = "", "", error.example_row, error.example_product, []
    again = "all" if error.retryable == error.rows else f"{error.retryable:,}"
    status = str(error.http_status or "")
    example = product or ("" if row is None else f"row {row}")
    return Line(
        [error.group, f"{error.rows:,}", again, error.stage, status, runs, since, example], error.reason or "", notes
    )


# flows ----------------------------------------------------------------------------------------------------------------

FLOW = (
    Column("FLOW"),
    Column("DIRECTION", moves=True),
    Column("STATE"),
    Column("VERSION", right=True, moves=True),
    Column("SCHEDULE", moves=True),
    Column("NEXT", moves=True),
    Column("LAST RUN"),
    Column("ENDED", moves=True),
)


def flow_line(seen: FlowSeen, of: tzinfo) -> Line:
    """A flow in a table: when it runs next, and how its newest run went."""
    flow, definition = seen.flow, seen.flow.definition
    state = "enabled" if definition.enabled else "disabled"
    following = local(seen.next_fires[0], of) if seen.next_fires else ""
    cells = [flow.name, definition.direction, state, str(flow.version), schedule_text(definition) or "-", following]
    if not seen.runs:
        return Line([*cells, "", ""])
    last = seen.runs[0]
    return Line([*cells, last.status, local(last.finished_at, of)], last.error or "")


VERSION = (Column("VERSION", right=True), Column("SAVED"), Column("STATE"), Column("BY", gives_way=True))


def version_line(version: VersionLine, of: tzinfo) -> Line:
    """A version of a flow in a table."""
    state = "enabled" if version.enabled else "disabled"
    return Line([str(version.version), local(version.saved_at, of), state, version.by or "-"])


# operating ------------------------------------------------------------------------------------------------------------

ALARM = (
    Column("OPENED"),
    Column("FLOW", gives_way=True),
    Column("KIND"),
    Column("STATE"),
    Column("CLOSED", moves=True),
)


def alarm_line(alarm: AlarmShown, of: tzinfo) -> Line:
    """An alarm in a table; what became of its post stands under it."""
    closed = local(alarm.closed_at, of)
    cells = [local(alarm.opened_at, of), alarm.flow, alarm.kind, "closed" if closed else "open", closed]
    return Line(cells, alarm.text, [f"webhook: {alarm.notice}"] if alarm.notice else [])


HOLD = (Column("DOMAIN"), Column("SINCE"), Column("WRITERS", right=True))


def hold_line(hold: Hold, of: tzinfo) -> Line:
    """A domain that is held, in a table."""
    return Line([hold.domain, local(hold.since, of), str(hold.writers)], hold.reason)


CHANGE = (Column("WHEN"), Column("WHO", gives_way=True), Column("WHAT"), Column("OBJECT"))


def change_line(change: Change, of: tzinfo) -> Line:
    """An entry of the audit log in a table."""
    told = {name: value for name, value in change.detail.items() if (name, value) != ("identifiers", 0)}
    detail = ", ".join(f"{name}: {_detail(value, of)}" for name, value in told.items() if value is not None)
    return Line([local(change.at, of), change.who or "-", change.what, change.object], detail)


def _detail(value: object, of: tzinfo) -> str:
    """What an entry says of a change: a list without its brackets, an instant as people read it."""
    if isinstance(value, list):
        return " ".join(_detail(one, of) for one in value) or "none"
    if isinstance(value, dict):
        return " ".join(f"{name} {_detail(one, of)}" for name, one in value.items() if one is not None) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return localised(str(value), of)


PARKED = (
    Column("ID"),
    Column("PARKED"),
    Column("QUEUE", moves=True),
    Column("FLOW", moves=True),
    Column("BYTES", right=True),
)


def parked_line(message: Parked, of: tzinfo) -> Line:
    """A parked message in a table, with the reason."""
    when = local(message.parked_at, of) if message.parked_at else ""
    return Line([message.id, when, message.queue or "?", message.flow or "", f"{message.bytes:,}"], message.reason)


KEY = (Column("ID"), Column("FLOW"), Column("NAME", gives_way=True), Column("BY", moves=True))


def key_line(key: KeyShown, now: str, of: tzinfo) -> Line:
    """A key in a table. `now` is an instant as the key's are."""
    used = f"; last used {local(key.used_at, of)}" if key.used_at is not None else ""
    return Line([key.id, key.flow, key.name, key.created_by], key_validity(key, now, of) + used)


def key_validity(key: KeyShown, now: str, of: tzinfo) -> str:
    """Until when a key is good. `now` is an instant as the key's are."""
    if key.expires_at is None:
        return "good until it is revoked"
    return f"{'was good' if key.expires_at <= now else 'good'} until {local(key.expires_at, of)}"


# words ----------------------------------------------------------------------------------------------------------------


def stale_text(run: Run, old: Stale) -> str:
    """What a run left as a version wrote it that was rolled back, and the way to write it again."""
    least = "" if old.counted else "at least "
    text = f"{least}{counted(old.products, 'product')} of run {run.run_id} stay as version {old.version} wrote them"
    if old.way in NO_REWRITE:
        return f"{text}; {NO_REWRITE[old.way].format(flow=run.flow)}"
    return f"{text}; to write them again: imageflow rewrite {run.run_id}"


def counted(number: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def printable_text(text: str) -> str:
    """Without what would steer a terminal."""
    return lines(text)
