"""The log of a run: who asked for it, what was read, what the script printed, what failed, who retried it, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from imageflow.actions import run_waits, runs
from imageflow.model.run import Run, Trigger, warnings_of
from imageflow.store import AuditRecord, ErrorGroup, Store
from imageflow.text.phrase import Phrase, counted, joined, phrase

IDENTIFIERS = 5
"""So many identifiers are named."""
EntryKind = Literal[
    "asked", "reading", "read", "printed", "warning", "failed", "retried", "cancelled", "waits", "now", "ended"
]
ASKED = {
    "schedule": phrase("fired by its schedule %(by)s"),
    "person": phrase("asked for by %(by)s"),
    "flow": phrase("fired after the flow %(by)s"),
    "fetch_missing": phrase("asked for by the look for products without images"),
    "outbound": phrase("posted by %(by)s"),
}
_WORDS = (
    *(phrase("login"), phrase("read"), phrase("script"), phrase("mapping"), phrase("rows"), phrase("write")),
    *(phrase("queued"), phrase("reading"), phrase("draining")),
    *(phrase("success"), phrase("partial"), phrase("failed"), phrase("empty"), phrase("cancelled")),
)
_WORD = {one.message: one for one in _WORDS}
"""Stages and states as a page may say them."""


class Entry(NamedTuple):
    """A step of a run, in plain words: when, if that is known, and of which page, if of one."""

    what: EntryKind
    said: Phrase | str
    at: datetime | None = None
    page: int | None = None

    @property
    def text(self) -> str:
        return str(self.said)


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
            kept.append(entry._replace(said="\n".join(lines[:most])))
        left += max(len(lines) - most, 0)
        most = max(most - len(lines), 0)
    return kept, left


def beginning(run: Run, *, takes_since: bool = True) -> Iterator[Entry]:
    """How a run came about, and what it reads. `takes_since`: its flow can be asked for changes since an instant."""
    trigger = run.trigger
    who = _asked(trigger)
    if trigger.ids:
        many = counted("1 identifier", "%(count)s identifiers", len(trigger.ids))
        who = joined([who, many], ", ")
    yield Entry(
        "asked",
        phrase("%(who)s; version %(version)s of %(flow)s", who=who, version=run.version, flow=run.flow),
        run.created_at,
    )
    if trigger.kind != "outbound" and run.started_at is not None:
        yield Entry("reading", _asks_for(run, takes_since=takes_since), run.started_at)
    if run.read_complete:
        parts = [phrase("pages: %(pages)s, rows: %(rows)s", pages=run.pages, rows=run.counts.total)]
        if run.broken_pages:
            parts.append(phrase("%(pages)s failed as a whole", pages=run.broken_pages))
        if run.incomplete:
            cut = run.cancelled_at is not None
            parts.append(phrase("not everything was read") if cut else phrase("the ERP has more, as its answers say"))
        yield Entry("read", joined(parts, "; "))


def _asked(trigger: Trigger) -> Phrase:
    by = _instant(trigger.by) if trigger.kind == "schedule" else trigger.by
    said = ASKED[trigger.kind]._replace(values={"by": by or phrase("somebody")})
    return joined([said, trigger.by], " ") if trigger.kind == "fetch_missing" and trigger.by else said


def _instant(text: str) -> datetime | str:
    """A fire time as an instant."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text


def _asks_for(run: Run, *, takes_since: bool) -> Phrase:
    if run.trigger.ids:
        few, more = run.trigger.ids[:IDENTIFIERS], len(run.trigger.ids[IDENTIFIERS:])
        names = ", ".join(few)
        if more:
            return phrase("asks for %(names)s and %(more)s more", names=names, more=more)
        return phrase("asks for %(names)s", names=names)
    until = run.until if run.window else None
    if not run.since or not takes_since:
        return phrase("asks for everything until %(until)s", until=until) if until else phrase("asks for everything")
    if until:
        return phrase("asks for changes since %(since)s until %(until)s", since=run.since, until=until)
    return phrase("asks for changes since %(since)s", since=run.since)


def ending(
    run: Run, errors: Sequence[ErrorGroup], steered: Sequence[AuditRecord] = (), waits: run_waits.Wait | None = None
) -> Iterator[Entry]:
    """What a run warns of, what failed, who retried or cancelled it, and how it ended, or what it waits for and how far it is."""
    yield from (Entry("warning", text) for text in warnings_of(run))
    for group in errors:
        yield Entry("failed", _failed(group))
    if run.error is not None:
        yield Entry("failed", joined([_word(run.error_stage or "read"), run.error], ": "))
    yield from (_retried(one) if one.entry.what == "run.retry" else _cancelled(one) for one in steered)
    if run.cancelled_at is not None and not any(one.entry.what == "run.cancel" for one in steered):
        yield Entry("cancelled", _cancelled_by(None), run.cancelled_at)
    if waits is not None:
        yield Entry("waits", waits.said)
    if run.ended:
        yield Entry("ended", _word(run.status), run.finished_at)
    else:
        settled = phrase("rows settled: %(settled)s of %(total)s", settled=run.counts.settled, total=run.counts.total)
        yield Entry("now", joined([_word(run.status), settled], ", "))


def _failed(group: ErrorGroup) -> Phrase:
    return phrase(
        "rows: %(rows)s, in %(stage)s: %(reason)s (e.g. row %(row)s)",
        rows=group.rows,
        stage=_word(group.stage),
        reason=group.reason,
        row=group.example_row,
    )


def _word(name: str) -> Phrase | str:
    return _WORD.get(name, name)


def _cancelled_by(who: str | None) -> Phrase:
    return phrase("cancelled by %(who)s", who=who or phrase("a person"))


def _cancelled(change: AuditRecord) -> Entry:
    return Entry("cancelled", _cancelled_by(change.entry.who), change.at)


def _retried(change: AuditRecord) -> Entry:
    """A retry: by whom, how many rows, through which version, and what it replaced. An entry of before that was kept says less."""
    detail = change.entry.detail
    rows, from_pages, version = detail.get("rows", 0), detail.get("from_pages"), detail.get("version")
    again = counted("1 row put through again", "%(count)s rows put through again", rows)
    parts = [joined([phrase("by %(who)s", who=change.entry.who or phrase("a person")), again], ": ")]
    if from_pages is None:
        parts.append(phrase("the flow had version %(version)s", version=version))
        return Entry("retried", joined(parts, "; "), change.at)
    if from_pages:
        before = [one for one in detail.get("versions_before", ()) if one != version]
        parts.append(_through(from_pages, version, before))
    if rows > from_pages:
        parts.append(_sent(rows - from_pages, version))
    replaced = [_ended(stage, count) for stage, count in detail.get("replaced", {}).items()]
    parts.append(phrase("before that, %(replaced)s", replaced=joined(replaced, ", ")))
    return Entry("retried", joined(parts, "; "), change.at)


def _through(rows: int, version: int | None, before: Sequence[int]) -> Phrase:
    through = counted(
        "1 row from the stored pages by version %(version)s",
        "%(count)s rows from the stored pages by version %(version)s",
        rows,
        version=version,
    )
    if not before:
        return phrase("%(through)s, as before", through=through)
    return phrase("%(through)s in place of %(versions)s", through=through, versions=", ".join(map(str, before)))


def _sent(rows: int, version: int | None) -> Phrase:
    return counted(
        "1 row goes to Omnitron with its images, by version %(version)s",
        "%(count)s rows go to Omnitron with their images, by version %(version)s",
        rows,
        version=version,
    )


def _ended(stage: str, count: int) -> Phrase:
    if stage == "cancelled":
        return phrase("%(rows)s cancelled", rows=count)
    return phrase("%(rows)s failed in %(stage)s", rows=count, stage=_word(stage))
