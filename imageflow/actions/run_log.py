"""The log of a run: who asked for it, what was read, what the script printed, what failed, who retried it, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from imageflow.actions import run_waits, runs
from imageflow.clock import iso
from imageflow.model.run import Run, warnings_of
from imageflow.store import AuditRecord, ErrorGroup, Store

EntryKind = Literal[
    "asked", "reading", "read", "printed", "warning", "failed", "retried", "cancelled", "waits", "now", "ended"
]
ASKED = {
    "schedule": "fired by its schedule",
    "person": "asked for by",
    "flow": "fired after the flow",
    "fetch_missing": "asked for by the look for products without images",
    "outbound": "posted by",
}


class Entry(NamedTuple):
    """A step of a run, in plain words: when, if that is known, and of which page, if of one."""

    what: EntryKind
    text: str
    at: datetime | None = None
    page: int | None = None


class Told(NamedTuple):
    """A part of a run's log. `more`: the page after which it goes on; None: this is all."""

    entries: list[Entry]
    more: int | None


async def told(store: Store, run_id: str, *, after: int = 0, limit: int = 100) -> Told:
    """The log of a run, with what was printed on `limit` pages after that one. Raises NotFoundError."""
    run = await store.run(run_id)
    printed = await store.prints(run_id, after, limit + 1)
    takes_since = run.window or await runs.takes_since(store, run.flow, run.version)
    entries = list(beginning(run, takes_since=takes_since)) if not after else []
    entries += [Entry("printed", text.rstrip("\n"), page=page) for page, text in printed[:limit]]
    if len(printed) > limit:
        return Told(entries, printed[limit - 1].page)
    waits = await run_waits.look(store, run)
    return Told([*entries, *ending(run, await store.errors(run_id), await store.steered(run_id), waits)], None)


def bounded(entries: Sequence[Entry], most: int) -> tuple[list[Entry], int]:
    """The entries with at most so many lines that were printed, and how many lines are left out."""
    kept: list[Entry] = []
    left = 0
    for entry in entries:
        if entry.what != "printed":
            kept.append(entry)
            continue
        lines = entry.text.split("\n")
        if most:
            kept.append(entry._replace(text="\n".join(lines[:most])))
        left += max(len(lines) - most, 0)
        most = max(most - len(lines), 0)
    return kept, left


def beginning(run: Run, *, takes_since: bool = True) -> Iterator[Entry]:
    """How a run came about, and what it reads. `takes_since`: its flow can be asked for changes since an instant."""
    trigger = run.trigger
    text = " ".join(part for part in (ASKED[trigger.kind], trigger.by) if part)
    ids = f", {len(trigger.ids)} identifiers" if trigger.ids else ""
    yield Entry("asked", f"{text}{ids}; version {run.version} of {run.flow}", run.created_at)
    if trigger.kind != "outbound" and run.started_at is not None:
        since = f"changes since {iso(run.since)}" if run.since and takes_since else "everything"
        until = f" until {iso(run.until)}" if run.until and run.window else ""
        yield Entry("reading", f"asks for {'these' if trigger.ids else since + until}", run.started_at)
    if run.read_complete:
        short = "; the ERP has more, as its answers say" if run.cancelled_at is None else "; not everything was read"
        whole = short if run.incomplete else ""
        broken = f"; {run.broken_pages} failed as a whole" if run.broken_pages else ""
        yield Entry("read", f"pages: {run.pages}, rows: {run.counts.total}{broken}{whole}")


def ending(
    run: Run, errors: Sequence[ErrorGroup], steered: Sequence[AuditRecord] = (), waits: run_waits.Wait | None = None
) -> Iterator[Entry]:
    """What a run warns of, what failed, who retried or cancelled it, and how it ended, or what it waits for and how far it is."""
    yield from (Entry("warning", text) for text in warnings_of(run))
    for group in errors:
        yield Entry("failed", f"rows: {group.rows}, in {group.stage}: {group.reason} (e.g. row {group.example_row})")
    if run.error is not None:
        yield Entry("failed", f"{run.error_stage or 'read'}: {run.error}")
    yield from (_retried(one) if one.entry.what == "run.retry" else _cancelled(one) for one in steered)
    if run.cancelled_at is not None and not any(one.entry.what == "run.cancel" for one in steered):
        yield Entry("cancelled", "by a person", run.cancelled_at)
    if waits is not None:
        yield Entry("waits", waits.text)
    if run.ended:
        yield Entry("ended", run.status, run.finished_at)
    else:
        yield Entry("now", f"{run.status}, rows settled: {run.counts.settled} of {run.counts.total}")


def _cancelled(change: AuditRecord) -> Entry:
    return Entry("cancelled", f"by {change.entry.who or 'a person'}", change.at)


def _retried(change: AuditRecord) -> Entry:
    """A retry: by whom, how many rows, through which version, and what it replaced. An entry of before that was kept says less."""
    detail = change.entry.detail
    rows, from_pages, version = detail.get("rows", 0), detail.get("from_pages"), detail.get("version")
    parts = [f"by {change.entry.who or 'a person'}: {_rows(rows)} put through again"]
    if from_pages is None:
        return Entry("retried", f"{parts[0]}; the flow had version {version}", change.at)
    if from_pages:
        before = [one for one in detail.get("versions_before", ()) if one != version]
        instead = f" in place of {', '.join(map(str, before))}" if before else ", as before"
        parts.append(f"{_rows(from_pages)} from the stored pages by version {version}{instead}")
    if rows > from_pages:
        parts.append(f"{_rows(rows - from_pages)} sent to Omnitron as before")
    replaced = [_ended(stage, count) for stage, count in detail.get("replaced", {}).items()]
    return Entry("retried", "; ".join([*parts, f"before that, {', '.join(replaced)}"]), change.at)


def _ended(stage: str, count: int) -> str:
    return f"{count} cancelled" if stage == "cancelled" else f"{count} failed in {stage}"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"
