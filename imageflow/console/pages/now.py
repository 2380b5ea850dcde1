"""Now: whether anything is wrong at this moment."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from imageflow.actions import alarms, system
from imageflow.console.pages.errors import Open, causes_of
from imageflow.console.pages.products import reel
from imageflow.console.pages.shared import all_flows, common_zone, host, runs_of
from imageflow.console.plots import Bar
from imageflow.console.visit import Answer, Page, Show, Visit
from imageflow.model import cron
from imageflow.model.flow import Flow
from imageflow.model.run import Run
from imageflow.model.series import Point
from imageflow.store import HeldDomain

RUNS_SEEN = 500
REEL = 14
CAUSES = 4
STEPS = 48
STEP = 6
"""Points of five minutes in a bar."""
DAY = timedelta(days=1)


class Line(NamedTuple):
    """A flow: its newest run, its last day, its open errors, when it runs next."""

    flow: Flow
    last: Run | None
    bars: list[Bar]
    rows: int
    written: int
    failed: int
    open: int
    next: list[datetime]
    erp: str
    held: bool


async def show(visit: Visit) -> Answer:
    """What needs somebody, what has just arrived, how each flow is."""
    flows = await all_flows(visit)
    found = await runs_of(visit.store, limit=RUNS_SEEN)
    holds, raised = await alarms.holds(visit.store), await alarms.listed(visit.store, is_open=True, limit=20)
    causes = await causes_of(visit.store)
    days = [await system.over_time(visit.store, flow.name, visit.now - DAY, visit.now) for flow in flows]
    lines = [_line(flow, found, day, causes, holds, visit.now) for flow, day in zip(flows, days, strict=True)]
    values = {
        "here": "now",
        "lines": lines,
        "causes": causes[:CAUSES],
        "more": max(0, len(causes) - CAUSES),
        "holds": holds,
        "alarms": raised,
        "needs": len(causes) + len(holds) + len(raised),
        "products": sum(one.error.rows for one in causes),
        "reel": await reel(visit.store, REEL),
        "looked": sum(line.rows for line in lines),
        "written": sum(line.written for line in lines),
        "active": [run for run in found if not run.ended],
    }
    return Show("now.html", values, zone=common_zone(flows))


def _line(
    flow: Flow,
    found: Sequence[Run],
    points: Sequence[Point],
    causes: Sequence[Open],
    holds: Sequence[HeldDomain],
    now: datetime,
) -> Line:
    definition = flow.definition
    schedule = definition.schedule
    day = _sum(points)
    return Line(
        flow,
        next((run for run in found if run.flow == flow.name), None),
        bars(points),
        day.written + day.unchanged + day.superseded + day.failed + day.cancelled,
        day.written,
        day.failed,
        sum(one.error.rows for one in causes if one.flow == flow.name),
        cron.next_fires(schedule, definition.timezone, now, 1) if schedule and definition.enabled else [],
        host(definition.erp.endpoint_url) if definition.erp is not None else "",
        any(held.domain == definition.omnitron.domain for held in holds),
    )


def _sum(points: Sequence[Point]) -> Point:
    return functools.reduce(Point.plus, points)


def bars(points: Sequence[Point]) -> list[Bar]:
    """The points of a day in steps of half an hour, the last one up to now."""
    grouped = [_sum(points[max(0, end - STEP) : end]) for end in range(len(points), 0, -STEP)][:STEPS][::-1]
    return [Bar(one.written, one.unchanged, one.failed) for one in grouped]


PAGES = (Page("GET", "/", show),)
