"""Errors: the causes that are open, over all flows, and the products of one of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import timedelta
from typing import Literal, NamedTuple

from imageflow.actions import errors, flows, marks
from imageflow.console.causes import Cause, cause
from imageflow.console.course import share
from imageflow.console.pages.shared import CONFIRM_FROM, all_flows, common_zone, part, question
from imageflow.console.plots import Flag
from imageflow.console.visit import Answer, File, Go, Page, Show, Visit
from imageflow.gateway.problem_details import Refusal
from imageflow.model.row import RowLog
from imageflow.store import Cause as KeptCause
from imageflow.store import Store

WALL = 60
CAUSES = 200
LATELY = timedelta(days=7)
LIST = 10_000
DAY = timedelta(days=1)


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
    found = (
        [] if flow and not is_flow else await causes_of(visit.store, flow or None, state="closed" if closed else "open")
    )
    mine = [one for one in found if one.error.group == group and visit.asked("of") in ("", one.flow)]
    chosen = next(iter(mine if group else found), None)
    lately = await causes_of(visit.store, flow if is_flow else None, state="closed")
    values = {
        "here": "errors",
        "causes": found,
        "closed": closed,
        "lately": sum((one.error.closed_at or visit.now) > visit.now - LATELY for one in lately),
        "rows_open": sum(one.error.rows for one in found),
        "flow": flow,
        "flows": [one.name for one in known],
        "chosen": None if closed else chosen,
        "flags": await _flags(visit, found),
        "wall": await _wall(visit.store, chosen) if chosen and not closed else [],
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
        flag = Flag(share(one.saved_at, since, until), f"v{one.version}, {one.author}")
        flags.setdefault(one.flow, []).append(flag)
    return flags


async def _wall(store: Store, chosen: Open) -> list[RowLog]:
    """Products of a cause, the newest first."""
    return await errors.open_rows(store, chosen.error.group, chosen.flow, limit=WALL)


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
    number = await _rows_of(visit.store, flow, group)
    url = f"/errors/{part(flow)}/{part(group)}/retry"
    return question("errors", "retry", flow, url, f"/errors?cause={part(group)}", number=number)


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
    return Go("/errors", ("retried", str(sum(one.rows for one in done)), str(left)))


PAGES = (
    Page("GET", "/errors", list_),
    Page("GET", "/errors/{name}/{cause}/products.csv", as_list),
    Page("GET", "/errors/{name}/{cause}/retry", ask_retry, role="operator"),
    Page("POST", "/errors/{name}/{cause}/retry", retry, role="operator"),
)
