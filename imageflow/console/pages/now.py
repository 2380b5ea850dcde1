"""Now: whether anything is wrong at this moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from imageflow.actions import errors, flows, now, rows
from imageflow.actions.now import HALF_HOUR, FlowNow, Need
from imageflow.console.causes import Cause, cause
from imageflow.console.course import share
from imageflow.console.pages.shared import common_zone, host
from imageflow.console.plots import Bar, Flag
from imageflow.console.visit import Answer, Page, Show, Visit
from imageflow.model.row import RowLog
from imageflow.store import Cause as KeptCause
from imageflow.store import HeldDomain

REEL = 14
NEEDS = 4
PICTURED = 8


WHERE = {"cause": "/errors", "hold": "/system", "alarm": "/alarms"}
"""Where all things of a kind are shown."""


class Shown(NamedTuple):
    """What needs somebody; of a cause, what it is called, its newest products, and whether a retry may help; of a hold, the host
    that it is of.
    """

    need: Need
    kind: Cause | None
    rows: list[RowLog]
    host: str = ""
    again: bool = True


class Line(NamedTuple):
    """A flow with its last day as a strip, and how it is: written, waiting, failed, unchanged or off."""

    now: FlowNow
    bars: list[Bar]
    flags: list[Flag]
    erp: str
    mark: str


async def show(visit: Visit) -> Answer:
    """What needs somebody, what has just arrived, how each flow is."""
    found = await now.look(visit.store, visit.now)
    lines = [line(one, visit.now, visit.language.author) for one in found.flows]
    days = [one.day for one in found.flows]
    values = {
        "here": "now",
        "lines": lines,
        "needs": [await _shown(visit, need) for need in found.needs[:NEEDS]],
        "more": max(0, len(found.needs) - NEEDS),
        "where": WHERE[found.needs[NEEDS].kind] if len(found.needs) > NEEDS else "",
        "needed": len(found.needs),
        "products": sum(need.rows for need in found.needs if need.kind == "cause"),
        "stale": found.left.stale,
        "left": sum(old.products for _, old in found.left.stale),
        "unsent": found.left.unsent,
        "rows_unsent": sum(rows for _, rows in found.left.unsent),
        "reel": await rows.written_last(visit.store, REEL),
        "looked": sum(day.rows for day in days),
        "written": sum(day.written for day in days),
        "unchanged": sum(day.unchanged for day in days),
        "active": found.active,
        "in_retry": found.in_retry,
        "rows_in_retry": sum(one.rows for one in found.in_retry),
    }
    return Show("now.html", values, zone=common_zone([one.flow for one in found.flows]))


async def _shown(visit: Visit, need: Need) -> Shown:
    if isinstance(need.about, HeldDomain):
        return Shown(need, None, [], host(need.about.domain))
    if not isinstance(need.about, KeptCause):
        return Shown(need, None, [])
    rows = await errors.open_rows(visit.store, need.about.group, need.flow, limit=PICTURED)
    kind = cause(need.about.stage, need.about.http_status, need.about.reason)
    again = not kind.stays or await _changed_since(visit, need)
    return Shown(need, kind, [row for row in rows if row.images], again=again)


async def _changed_since(visit: Visit, need: Need) -> bool:
    """Whether the flow was saved after the last failure, so that stored pages go through another version."""
    assert isinstance(need.about, KeptCause)
    saved = await flows.versions(visit.store, need.flow)
    return bool(saved) and max(version.saved_at for version in saved) > need.about.last_at


def line(one: FlowNow, at: datetime, author: Callable[[str], str] = str) -> Line:
    """A flow as the page shows it. `author`: how who saved a version is called."""
    definition = one.flow.definition
    since = one.points[0].at if one.points else at
    until = one.points[-1].at + HALF_HOUR if one.points else at
    flags = [
        Flag(share(version.saved_at, since, until), f"v{version.version}, {author(version.author)}")
        for version in one.saved
    ]
    erp = host(definition.erp.endpoint_url) if definition.erp is not None else ""
    return Line(one, bars(one), flags, erp, mark(one))


def bars(one: FlowNow) -> list[Bar]:
    """The points of a day as bars; a step in which writers held back is hatched."""
    held: Sequence[tuple[datetime, datetime | None]] = [(hold.since, hold.until) for hold in one.held]
    return [
        Bar(
            point.written,
            point.unchanged,
            point.failed,
            any(since < point.at + HALF_HOUR and (until is None or until > point.at) for since, until in held),
        )
        for point in one.points
    ]


def mark(one: FlowNow) -> str:
    """How a flow is, as the name of a mark."""
    if not one.flow.definition.enabled:
        return "off"
    if one.held_now:
        return "waiting"
    if one.last is None:
        return "unchanged"
    return "failed" if one.last.status == "failed" else "written"


PAGES = (Page("GET", "/", show),)
