"""Now: whether anything is wrong at this moment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from imageflow.actions import alarms
from imageflow.console.pages.errors import Open, causes_of
from imageflow.console.pages.products import reel
from imageflow.console.pages.shared import all_flows, common_zone, host, runs_of
from imageflow.console.plots import Bar
from imageflow.console.visit import Answer, Page, Show, Visit
from imageflow.model import cron
from imageflow.model.flow import Flow
from imageflow.model.run import Run
from imageflow.store import HeldDomain

RUNS_SEEN = 500
REEL = 14
CAUSES = 4
STEPS = 48
STEP = timedelta(minutes=30)


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
    lines = [_line(flow, found, causes, holds, visit.now) for flow in flows]
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


def _line(flow: Flow, found: Sequence[Run], causes: Sequence[Open], holds: Sequence[HeldDomain], now: datetime) -> Line:
    mine = [run for run in found if run.flow == flow.name]
    day = [run for run in mine if run.created_at > now - STEPS * STEP]
    definition = flow.definition
    schedule = definition.schedule
    return Line(
        flow,
        mine[0] if mine else None,
        bars(day, now),
        sum(run.counts.total for run in day),
        sum(run.counts.written for run in day),
        sum(run.counts.failed for run in day),
        sum(one.error.rows for one in causes if one.flow == flow.name),
        cron.next_fires(schedule, definition.timezone, now, 1) if schedule and definition.enabled else [],
        host(definition.erp.endpoint_url) if definition.erp is not None else "",
        any(held.domain == definition.omnitron.domain for held in holds),
    )


def bars(found: Sequence[Run], now: datetime) -> list[Bar]:
    """The last day in steps: the rows of runs by when they began."""
    made = [Bar() for _ in range(STEPS)]
    for run in found:
        place = STEPS - 1 - int((now - run.created_at) / STEP)
        if 0 <= place < STEPS:
            bar, counts = made[place], run.counts
            made[place] = Bar(
                bar.written + counts.written, bar.unchanged + counts.unchanged, bar.failed + counts.failed
            )
    return made


PAGES = (Page("GET", "/", show),)
