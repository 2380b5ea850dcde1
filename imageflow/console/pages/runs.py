"""Runs: the list with its lanes; one with its balance, causes and rows; and what may be done with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, get_args

import msgspec

from imageflow.actions import flows, left_behind, marks, rows, run_detail, run_log, runs
from imageflow.actions.marks import Marks
from imageflow.console.causes import broken_places, cause
from imageflow.console.course import course, share
from imageflow.console.languages import zone
from imageflow.console.pages.shared import (
    CONFIRM_FROM,
    SAMPLED,
    all_flows,
    common_zone,
    failed_by,
    part,
    question,
    runs_of,
    zone_of,
)
from imageflow.console.plots import Flag, Lane, LaneRun
from imageflow.console.visit import Answer, Go, Page, Show, Visit
from imageflow.gateway.paging import Microseconds, cursor, instant, microseconds, position
from imageflow.inspect import product_history
from imageflow.inspect.product_history import Source
from imageflow.inspect.resent import resent
from imageflow.model.row import STATES, RowLog, history
from imageflow.model.run import Run, Status

RUNS = 50
ROWS = 50
LANES_OF = 200
LOG = 200
SETTLING = timedelta(seconds=90)
"""For so long after its end, steps and map of a run may still come; nothing else says when they do."""
MOST_PAGE = 1_000_000
SHOWN_CHARS = 64_000
_STATUSES: tuple[Status, ...] = get_args(Status)


async def list_(visit: Visit) -> Answer:
    """The runs, newest first, in lanes by flow and as a list."""
    flow, status = visit.asked("flow") or None, visit.asked("status")
    wanted = next((one for one in _STATUSES if one == status), None)
    place = position(visit.asked("before"), tuple[Microseconds, str]) if visit.asked("before") else None
    before = None if place is None else (instant(place[0]), place[1])
    found = await runs_of(visit.store, flow, limit=RUNS + 1, status=wanted, before=before)
    known = await all_flows(visit)
    recent = found if before is not None or wanted else await runs_of(visit.store, flow, limit=LANES_OF)
    last = found[RUNS - 1] if len(found) > RUNS else None
    since = min((run.created_at for run in recent), default=visit.now)
    beside = await marks.look(visit.store, since, visit.now)
    domains = {one.name: one.definition.omnitron.domain for one in known}
    values = {
        "here": "runs",
        "runs": found[:RUNS],
        "flow": flow,
        "status": wanted,
        "statuses": _STATUSES,
        "flows": [one.name for one in known],
        "lanes": lanes(recent, beside, domains, visit.now, visit.language.author),
        "since": since,
        "active": await runs_of(visit.store, flow, active=True, limit=LANES_OF),
        "next": visit.here(before=_cursor(last)) if last else None,
        "first": visit.here(before=None) if before is not None else None,
    }
    return Show("runs.html", values, zone=common_zone(known))


def _cursor(run: Run) -> str:
    return cursor(microseconds(run.created_at), run.run_id)


def lanes(
    found: Sequence[Run],
    beside: Marks,
    domains: Mapping[str, str],
    now: datetime,
    author: Callable[[str], str] = str,
) -> list[Lane]:
    """A lane for each flow, with its runs as shares of the time from the oldest of them until now, each as long as the list says
    that it took; when its domain (`domains`: by flow) was held, and which versions were saved. `author`: how who saved one is
    called.
    """
    if not found:
        return []
    since = min(run.created_at for run in found)
    most = max(run.counts.total for run in found) or 1
    named: dict[str, list[LaneRun]] = {}
    for run in found:
        until = run.finished_at or now
        began, ended = (share(at, since, now) for at in (run.began, until))
        bar = LaneRun(began, ended, run.counts.total / most, run.status, run.run_id)
        named.setdefault(run.flow, []).append(bar)

    def at(instant: datetime) -> float:
        return share(instant, since, now)

    def lane(name: str) -> Lane:
        its = (hold for hold in beside.holds if hold.domain == domains.get(name))
        held = tuple((at(hold.since), at(hold.until or now)) for hold in its)
        flags = tuple(
            Flag(at(one.saved_at), f"v{one.version}, {author(one.author)}") for one in beside.saved if one.flow == name
        )
        return Lane(name, tuple(named[name]), held, flags)

    return [lane(name) for name in sorted(named)]


async def show(visit: Visit) -> Answer:
    """A run: how it goes, whether it adds up, why rows failed, its rows."""
    page = visit.number("page", most=MOST_PAGE) or None
    detail = await run_detail.look(visit.store, visit.path("run_id"), visit.now, page=page)
    run = detail.run
    state = next((one for one in STATES if one == visit.asked("state")), None)
    group = visit.asked("cause") if _is_group(visit.asked("cause")) else None
    after = visit.number("after") or 0
    none = state is not None and not getattr(run.counts, state)  # known from the run: nothing to look through
    found = (
        []
        if none
        else await rows.listed(
            visit.store, run.run_id, state=state, group=group, page=page, after=after, limit=ROWS + 1
        )
    )
    causes = await rows.errors(visit.store, run.run_id, limit=20) if run.counts.failed else []
    told = await run_log.told(visit.store, run.run_id, limit=LOG)
    values = {
        "here": "runs",
        "run": run,
        "rows": found[:ROWS],
        "broken": {row.row: broken_places(row.reason) for row in found if row.state == "failed" and not row.in_retry},
        "state": state,
        "cause": group,
        "causes": [(one, cause(one.stage, one.http_status, one.reason)) for one in causes],
        "states": [(name, getattr(run.counts, name)) for name in STATES],
        "log": told.entries,
        "stale": detail.stale,
        "newer": detail.overtaken,
        "resent": resent(run, await product_history.retries(visit.store, [run.run_id])) if run.retried_at else [],
        "over": run.ended,
        "after": after,
        "next": visit.here(after=found[ROWS - 1].row) if len(found) > ROWS else None,
        "first": visit.here(after=None) if after else None,
        "soon": run.finished_at is not None and visit.now - run.finished_at < SETTLING,
        "seconds": run.seconds(visit.now),
        "left": detail.left,
        "detail": detail,
        "page": page,
        "page_url": f"{visit.here(page=None, after=None, cause=None, state=None).partition('?')[0]}?page={{}}#rows",
        "course": course(run, detail.steps, detail.holds, detail.left, visit.now),
    }
    return Show("run.html", values, zone=await zone_of(visit, run.flow))


def _is_group(text: str) -> bool:
    return len(text) == 16 and all(letter in "0123456789abcdef" for letter in text)


async def show_row(visit: Visit) -> Answer:
    """One row with what failed."""
    row = await rows.show(visit.store, visit.path("run_id"), int(visit.path("row")))
    run = (await runs.show(visit.store, row.run_id)).run
    erp = await _origin(visit, row) if visit.asked("erp") else None
    elements = list(erp.elements.values()) if erp is not None else []
    failed = row.state == "failed" and not row.in_retry
    values = {
        "here": "runs",
        "run": run,
        "row": row,
        "erp": erp,
        "elements": _json(elements[0] if len(elements) == 1 else elements) if elements else "",
        "why": cause(row.stage, row.http_status, row.reason) if failed else None,
        "broken": broken_places(row.reason) if failed else (),
        "tries": max(row.attempts, len(history(row))),
        "payload": _json(row.payload) if row.payload is not None else "",
    }
    return Show("row.html", values, zone=await zone_of(visit, run.flow))


async def _origin(visit: Visit, row: RowLog) -> Source:
    """What the row came from."""
    return await product_history.origin(visit.store, visit.deps.tools.sandbox, row) or Source(None)


def _json(value: Any) -> str:
    text = msgspec.json.format(msgspec.json.encode(value)).decode()
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "\n…"


# what may be done -------------------------------------------------------------------------------------------------------


async def ask_cancel(visit: Visit) -> Answer:
    """The question before a run is cancelled."""
    run = (await runs.show(visit.store, visit.path("run_id"))).run
    url = f"/runs/{part(run.run_id)}"
    shown = {"written": run.counts.written, "flow": run.flow}
    return question("runs", "cancel", run.run_id, f"{url}/cancel", url, zone=await zone_of(visit, run.flow), **shown)


async def cancel(visit: Visit) -> Answer:
    """Cancel a run, once that is confirmed."""
    run_id = visit.path("run_id")
    if visit.form.get("sure") != "yes":
        return Go(f"/runs/{part(run_id)}/cancel")
    await runs.cancel(visit.deps.store, run_id, visit.actor)
    return Go(f"/runs/{part(run_id)}", ("cancelled",))


async def ask_retry(visit: Visit) -> Answer:
    """The question before many rows are retried."""
    run = (await runs.show(visit.store, visit.path("run_id"))).run
    group, url = visit.asked("cause"), f"/runs/{part(run.run_id)}"
    flow, number = await flows.version(visit.store, run.flow), await _rows_of(visit, run, group)
    failed = await rows.listed(visit.store, run.run_id, state="failed", group=group or None, limit=SAMPLED)
    unchanged = await failed_by(visit.store, run, failed, flow.version)
    shown = {"number": number, "values": {"cause": group}, "version": flow.version, "unchanged": unchanged}
    return question("runs", "retry", run.run_id, f"{url}/retry", url, zone=zone(flow.definition.timezone), **shown)


async def _rows_of(visit: Visit, run: Run, group: str) -> int:
    """How many rows a retry is about."""
    if not group:
        return run.counts.failed + run.counts.cancelled
    return sum(one.rows for one in await rows.errors(visit.store, run.run_id, limit=1000) if one.group == group)


async def retry(visit: Visit) -> Answer:
    """Retry the rows of a run that failed or were cancelled; of many, once that is confirmed."""
    run = (await runs.show(visit.deps.store, visit.path("run_id"))).run
    group, url = visit.form.get("cause", ""), f"/runs/{part(run.run_id)}"
    if "marked" in visit.form:
        return await _retry_marked(visit, run)
    if visit.form.get("sure") != "yes" and await _rows_of(visit, run, group) > CONFIRM_FROM:
        return Go(f"{url}/retry" + (f"?cause={part(group)}" if group else ""))
    deps = visit.deps
    done = await runs.retry(deps.store, deps.publisher, run.run_id, visit.actor, group=group or None)
    return Go(url, ("retried", str(done.rows), str(sum(done.left.values()))))


async def _retry_marked(visit: Visit, run: Run) -> Answer:
    """Retry the rows of the list that were marked."""
    numbers = sorted(int(name[4:]) for name in visit.form if name.startswith("row-") and name[4:].isdecimal())[:ROWS]
    url = f"/runs/{part(run.run_id)}"
    if not numbers:
        return Go(f"{url}#rows")
    done = await runs.retry_rows(visit.deps.store, visit.deps.publisher, run.run_id, numbers, visit.actor)
    return Go(url, ("retried", str(done.rows), str(sum(done.left.values()))))


async def rewrite(visit: Visit) -> Answer:
    """Ask the ERP for what the run wrote by a version that was rolled back since."""
    deps = visit.deps
    seen = await left_behind.rewrite(deps.store, deps.publisher, visit.path("run_id"), visit.actor, visit.now)
    return Go(f"/runs/{part(seen.run.run_id)}", ("started",))


async def write_again(visit: Visit) -> Answer:
    """Put one row through again."""
    run_id, row = visit.path("run_id"), int(visit.path("row"))
    deps = visit.deps
    done = await runs.retry(deps.store, deps.publisher, run_id, visit.actor, row=row)
    back = visit.form.get("back", "")
    to = back if back.startswith("/products/") else f"/runs/{part(run_id)}"
    return Go(to, ("again",) if done.rows else ("retried", "0", str(sum(done.left.values()))))


_ROW = r"/runs/{run_id}/rows/{row:\d{1,9}}"

PAGES = (
    Page("GET", "/runs", list_),
    Page("GET", "/runs/{run_id}", show),
    Page("GET", _ROW, show_row),
    Page("GET", "/runs/{run_id}/cancel", ask_cancel, role="operator"),
    Page("POST", "/runs/{run_id}/cancel", cancel, role="operator"),
    Page("GET", "/runs/{run_id}/retry", ask_retry, role="operator"),
    Page("POST", "/runs/{run_id}/retry", retry, role="operator"),
    Page("POST", "/runs/{run_id}/rewrite", rewrite, role="operator"),
    Page("POST", f"{_ROW}/again", write_again, role="operator"),
)
