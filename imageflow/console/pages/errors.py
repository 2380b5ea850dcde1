"""Errors: the causes that are open, over all flows, and the products of one of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from imageflow.actions import audit, errors, flows, marks, runs
from imageflow.console import closings
from imageflow.console.causes import Cause, cause
from imageflow.console.closings import Closed, Retry
from imageflow.console.course import share
from imageflow.console.languages import zone
from imageflow.console.pages.shared import CONFIRM_FROM, SAMPLED, all_flows, common_zone, failed_by, part, question
from imageflow.console.plots import Flag
from imageflow.console.visit import Answer, File, Go, Page, Show, Visit
from imageflow.errors import NotFoundError
from imageflow.gateway.paging import Long, RowNumber, cursor, position
from imageflow.gateway.problem_details import Refusal
from imageflow.inspect import product_history
from imageflow.model.flow import Flow
from imageflow.model.row import RowLog
from imageflow.model.run import Run
from imageflow.read.request import takes_identifiers
from imageflow.store import AuditRecord, InRetry, OpenRowKey, SavedVersion, Store
from imageflow.store import Cause as KeptCause
from imageflow.text.instant import iso

WALL = 60
CAUSES = 200
DAYS_SHOWN = 14
LATELY = timedelta(days=7)
LIST = 10_000
DAY = timedelta(days=1)
COPIED = 300
PICTURED, PICTURES = 12, 3
"""So many causes are shown with so many of their pictures."""
CHANGES = 200
"""So many of the last retries and saved versions tell how causes closed."""


JUST = timedelta(hours=1)
"""For so long it is said how a retry ended."""
RUNS_NAMED = 5
"""Of runs with rows that are or were tried again, so many are named."""
RUNS_ASKED = 50
"""So many runs are asked when causes closed."""


class Open(NamedTuple):
    """A cause in a flow, and what it is called."""

    flow: str
    error: KeptCause
    kind: Cause


async def causes_of(store: Store, flow: str | None = None, *, state: Literal["open", "closed"] = "open") -> list[Open]:
    """The causes of all flows or of one: the open ones, those with the most rows first; or those that closed, the last first."""
    found = await errors.listed(store, flow, state=state, limit=CAUSES)
    return [Open(one.flow, one, cause(one.stage, one.http_status, one.reason)) for one in found]


async def list_(visit: Visit) -> Answer:
    """The causes, open or closed; below, the products of the one that is chosen."""
    known = await all_flows(visit)
    flow, group, closed = visit.asked("flow"), visit.asked("cause"), visit.asked("state") == "closed"
    is_flow = any(one.name == flow for one in known)
    unknown = bool(flow) and not is_flow
    now = [] if unknown else await errors.in_retry(visit.store, flow or None)
    retried = await audit.listed(visit.store, what="run.retry", limit=CHANGES)
    retries = closings.retries(retried)
    gone = [
        one
        for one in await causes_of(visit.store, flow if is_flow else None, state="closed")
        if not closings.in_retry(one.error, retries, now)
    ]
    found = [] if unknown else gone if closed else await causes_of(visit.store, flow or None)
    of_runs = await _runs(visit.store, found, retries) if closed else {}
    mine = [one for one in found if one.error.group == group and visit.asked("of") in ("", one.flow)]
    chosen = next(iter(mine if group else found), None)
    ended = await _ended(visit, flow, retries, now)
    lately = await _closed(visit, gone, retried)
    place = position(visit.asked("after"), tuple[Long, str, RowNumber]) if visit.asked("after") else None
    after = None if place is None else OpenRowKey(*place)
    newest = await _rows(visit.store, chosen, COPIED) if chosen and not closed else []
    wall = await _rows(visit.store, chosen, WALL + 1, after) if chosen and not closed and after else newest
    last = wall[WALL - 1] if len(wall) > WALL else None
    values = {
        "here": "errors",
        "causes": found,
        "closed": closed,
        "lately": sum((one.error.closed_at or visit.now) > visit.now - LATELY for one in lately),
        "helped": closings.helped(lately, least=closings.ENOUGH),
        "helps": {name: closings.helped(lately, name) for name in {one.kind.name for one in found}},
        "ways": {(one.error.flow, one.error.group): one.way for one in lately} if closed else {},
        "pictures": {} if closed else await _pictures(visit.store, found[:PICTURED]),
        "rows_open": sum(one.error.rows for one in found),
        "flow": flow,
        "flows": [one.name for one in known],
        "chosen": None if closed else chosen,
        "closed_at": {
            (one.flow, one.error.group): closings.closed_at(one.error, retries, of_runs) for one in found if closed
        },
        "done": bool(group) and chosen is None and not closed,
        "in_retry": now[:RUNS_NAMED],
        "rows_in_retry": sum(one.rows for one in now),
        "ended": ended,
        "over": not now,
        "flags": await _flags(visit, found),
        "changed": await _changed(visit, found) if not closed else {},
        "wall": wall[:WALL],
        "next": visit.here(**_chosen(chosen), after=cursor(last.version, last.run_id, last.row)) if last else None,
        "first": visit.here(after=None) if after is not None else None,
        "skus": list(dict.fromkeys(row.product for row in newest if row.product)),
        "asks": chosen is not None
        and not closed
        and chosen.kind.who in ("flow", "erp")
        and await _asks(visit, chosen.flow),
        "retried": _retried(chosen.error, retries) if chosen is not None and not closed else None,
    }
    return Show("errors.html", values, zone=common_zone(known))


async def _flags(visit: Visit, found: Sequence[Open]) -> dict[str, list[Flag]]:
    """By flow, the versions that were saved in the days that are shown."""
    shown = max((len(one.error.days) for one in found), default=0)
    if not shown:
        return {}
    until = visit.now.replace(hour=0, minute=0, second=0, microsecond=0) + DAY
    since = until - shown * DAY
    flags: dict[str, list[Flag]] = {}
    for one in (await marks.look(visit.store, since, visit.now)).saved:
        flag = Flag(share(one.saved_at, since, until), f"v{one.version}, {visit.language.author(one.author)}")
        flags.setdefault(one.flow, []).append(flag)
    return flags


async def _asks(visit: Visit, flow: str) -> bool:
    """Whether the flow can ask its ERP for some products again."""
    return takes_identifiers((await flows.version(visit.store, flow)).definition)


def _retried(error: KeptCause, retries: Sequence[Retry]) -> Retry | None:
    """The last retry that took rows of the cause in the run of its newest row."""
    return next((one for one in retries if one.run_id == error.run_id and error.group in one.causes), None)


class Ended(NamedTuple):
    """So many rows of a run were tried again at an instant, and the run has ended since. `open`: so many of its failures are."""

    run: Run
    rows: int
    at: datetime
    open: int


async def _ended(visit: Visit, flow: str, retries: Sequence[Retry], now: Sequence[InRetry]) -> list[Ended]:
    """The last retries of a flow, or of all, of which nothing is under way any more; none that is long ago."""
    lately = [one for one in retries if one.at > visit.now - JUST]
    under_way = {one.run_id for one in now}
    last = {one.run_id: one for one in reversed(lately) if one.run_id not in under_way}
    found = []
    named = sorted(last.values(), key=lambda one: one.at, reverse=True)[:RUNS_NAMED]
    still_open = await product_history.still_open(visit.store, [one.run_id for one in named])
    for one in named:
        run = await _run(visit.store, one.run_id)
        if run is not None and run.ended and flow in ("", run.flow):
            began = run.retried_at or one.at
            rows = sum(of.rows for of in lately if of.run_id == one.run_id and of.at >= began)
            found.append(Ended(run, rows, one.at, still_open.get(run.run_id, 0)))
    return found


async def _run(store: Store, run_id: str) -> Run | None:
    try:
        return (await runs.show(store, run_id)).run
    except NotFoundError:  # it is not kept any more
        return None


async def _runs(store: Store, found: Sequence[Open], retries: Sequence[Retry]) -> dict[str, Run]:
    """The runs whose retries closed causes, by id."""
    ids = dict.fromkeys(one.run_id for cause in found for one in closings.taken_by(cause.error, retries))
    known = [await _run(store, run_id) for run_id in list(ids)[:RUNS_ASKED]]
    return {run.run_id: run for run in known if run is not None}


async def _changed(visit: Visit, found: Sequence[Open]) -> dict[tuple[str, str], SavedVersion]:
    """Of causes of rows, the version of the flow that was saved last before the cause began, within a day: it may be why."""
    wanted = [one for one in found if one.kind.of_rows and one.error.since > visit.now - DAYS_SHOWN * DAY]
    if not wanted:
        return {}
    saved = (await marks.look(visit.store, min(one.error.since for one in wanted) - DAY, visit.now)).saved
    return {
        (one.flow, one.error.group): version
        for one in wanted
        for version in saved  # the oldest first, so the last one stays
        if version.flow == one.flow and version.version > 1
        if one.error.since - DAY <= version.saved_at <= one.error.since
    }


def _chosen(chosen: Open | None) -> dict[str, str]:
    """What an address says of the cause whose products are shown."""
    return {} if chosen is None else {"cause": chosen.error.group, "of": chosen.flow}


async def _rows(store: Store, of: Open, limit: int, after: OpenRowKey | None = None) -> list[RowLog]:
    """Rows of a cause, the newest first; those after `after`."""
    return await errors.open_rows(store, of.error.group, of.flow, after=after, limit=limit)


async def _pictures(store: Store, found: list[Open]) -> dict[tuple[str, str], list[RowLog]]:
    """A few rows of each cause that have pictures."""
    rows = {(one.flow, one.error.group): await _rows(store, one, PICTURES) for one in found}
    return {key: [row for row in some if row.images] for key, some in rows.items()}


async def _closed(visit: Visit, found: Sequence[Open], retried: Sequence[AuditRecord]) -> list[Closed]:
    """How causes closed that are closed now. `retried`: the last retries."""
    if not found:
        return []
    saved = [await audit.listed(visit.store, what=what, limit=CHANGES) for what in ("flow.save", "flow.rollback")]
    changes = [retried, *saved]
    since = max((some[-1].at for some in changes if len(some) == CHANGES), default=None)
    return closings.closed([(one.error, one.kind) for one in found], [one for some in changes for one in some], since)


async def all_as_list(visit: Visit) -> Answer:
    """The open causes as a file."""
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(["flow", "cause", "stage", "http_status", "reason", "open", "first", "last"])
    for one in await causes_of(visit.store):
        error = one.error
        about = [one.flow, one.kind.name, error.stage, error.http_status, _cell(error.reason), error.rows]
        lines.writerow([*about, iso(error.first_at), iso(error.last_at)])
    return File("open-causes.csv", text.getvalue())


async def as_list(visit: Visit) -> Answer:
    """The products of a cause as a file, for those who can mend it."""
    flow, group = visit.path("name"), visit.path("cause")
    found = [one for one in await causes_of(visit.store, flow) if one.error.group == group]
    if not found:
        raise Refusal(404, "there is nothing at this address")
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(["product", "run", "row", "reason"])
    for row in await errors.open_rows(visit.store, group, flow, limit=LIST):
        lines.writerow([_cell(row.product), row.run_id, row.row, _cell(row.reason)])
    return File(f"{flow}-{group}.csv", text.getvalue())


def _cell(text: str | None) -> str:
    """A text of a stranger as no formula of a spreadsheet."""
    return f"'{text}" if text and text[0] in "=+-@\t\r" else text or ""


async def ask_retry(visit: Visit) -> Answer:
    """The question before many rows are retried."""
    flow, group = visit.path("name"), visit.path("cause")
    found = [one.error for one in await causes_of(visit.store, flow) if one.error.group == group]
    url = f"/errors/{part(flow)}/{part(group)}/retry"
    back, newest = f"/errors?cause={part(group)}&of={part(flow)}#products", await flows.version(visit.store, flow)
    unchanged = bool(found) and all([await _unchanged(visit.store, one, newest) for one in found])
    shown = {"number": sum(one.rows for one in found), "version": newest.version, "unchanged": unchanged}
    return question("errors", "retry", flow, url, back, zone=zone(newest.definition.timezone), **shown)


async def _unchanged(store: Store, error: KeptCause, newest: Flow) -> bool:
    """Whether the version in force is the one by which the rows of a cause failed, as far as that is known without all of them:
    their runs began after it was saved, or there is one run, of which it is known.
    """
    saved = next(
        (one.saved_at for one in await flows.versions(store, error.flow) if one.version == newest.version), None
    )
    if saved is not None and saved <= error.since:
        return True
    run = await _run(store, error.run_id) if error.run_id is not None and error.runs == 1 else None
    if run is None:
        return False
    rows = await errors.open_rows(store, error.group, error.flow, limit=SAMPLED)
    return await failed_by(store, run, rows, newest.version)


async def _rows_of(store: Store, flow: str, group: str) -> int:
    """How many rows a retry is about."""
    return sum(one.error.rows for one in await causes_of(store, flow) if one.error.group == group)


async def retry(visit: Visit) -> Answer:
    """Retry the open failures of a cause, over all runs of the flow; of many, once that is confirmed."""
    flow, group = visit.path("name"), visit.path("cause")
    await flows.version(visit.deps.store, flow)
    if visit.form.get("sure") != "yes" and await _rows_of(visit.store, flow, group) > CONFIRM_FROM:
        return Go(f"/errors/{part(flow)}/{part(group)}/retry")
    deps = visit.deps
    done = await errors.retry(deps.store, deps.publisher, group, visit.actor, flow=flow)
    left = sum(sum(one.left.values()) for one in done)
    return Go(
        f"/errors?cause={part(group)}&of={part(flow)}", ("retried", str(sum(one.rows for one in done)), str(left))
    )


PAGES = (
    Page("GET", "/errors", list_),
    Page("GET", "/errors/causes.csv", all_as_list),
    Page("GET", "/errors/{name}/{cause}/products.csv", as_list),
    Page("GET", "/errors/{name}/{cause}/retry", ask_retry, role="operator"),
    Page("POST", "/errors/{name}/{cause}/retry", retry, role="operator"),
)
