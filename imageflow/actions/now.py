"""Now: what needs somebody, and how each flow is. A few statements for all flows together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from imageflow.actions import errors, left_behind
from imageflow.actions.left_behind import Left
from imageflow.model import cron, series
from imageflow.model.flow import Flow
from imageflow.model.run import Run
from imageflow.model.run_step import Hold
from imageflow.model.series import Point
from imageflow.store import Alarm, Cause, HeldDomain, InRetry, SavedVersion, Store

DAY = timedelta(days=1)
HALF_HOUR = timedelta(minutes=30)
STEPS = 48
CAUSES = 200
ALARMS = 20
ACTIVE_RUNS = 1000


class Need(NamedTuple):
    """Something that needs somebody: a cause for which `rows` are open, a domain that is held while `rows` wait for it, or an
    alarm. `flow` is empty where it is about several. `since` of a cause that came back: when those that are open did.
    """

    kind: Literal["cause", "hold", "alarm"]
    rows: int
    since: datetime
    flow: str
    text: str
    about: Cause | HeldDomain | Alarm


class FlowNow(NamedTuple):
    """A flow: its newest run, what moved in the last day by half hours, its open errors. `fresh_since`: what changed at the ERP
    before then has been read; of an outbound flow, when rows were posted last. `saved`: versions of the last day.
    """

    flow: Flow
    last: Run | None
    points: list[Point]
    open: int
    fresh_since: datetime | None
    next: datetime | None
    held: list[Hold]
    saved: list[SavedVersion]

    @property
    def day(self) -> Point:
        """All that moved in the day."""
        return series.total(self.points)

    @property
    def held_now(self) -> bool:
        return any(hold.until is None for hold in self.held)


class Now(NamedTuple):
    """What needs somebody, with the most waiting rows first; all flows by name; the runs that have not ended, and those of
    which rows are being tried again; what the last week's runs left behind.
    """

    needs: list[Need]
    flows: list[FlowNow]
    active: list[Run]
    in_retry: Sequence[InRetry] = ()
    left: Left = Left()


async def look(store: Store, now: datetime) -> Now:
    """All that is wrong now, and all flows."""
    flows = await store.flows()
    active = await store.runs(active=True, limit=ACTIVE_RUNS)
    causes = await store.causes(state="open", limit=CAUSES)
    raised = await store.alarms(is_open=True, limit=ALARMS)
    found = _Found(
        {run.flow: run for run in await store.newest_runs()},
        await store.all_series(now - DAY),
        causes,
        await store.watermarks(),
        await store.holds_between(now - DAY, now),
        await store.versions_since(now - DAY),
    )
    needs = _needed(causes, await store.holds(), raised, _waiting(flows, active))
    left = await left_behind.lately(store, flows, now)
    return Now(needs, [_flow(flow, found, now) for flow in flows], active, await errors.in_retry(store), left)


def _waiting(flows: Iterable[Flow], active: Iterable[Run]) -> dict[str, int]:
    """How many rows are in flight to each domain."""
    domains = {flow.name: flow.definition.omnitron.domain for flow in flows}
    rows: Counter[str] = Counter()
    for run in active:
        rows[domains.get(run.flow, "")] += run.counts.in_flight
    return dict(rows)


def _needed(
    causes: Iterable[Cause], holds: Iterable[HeldDomain], alarms: Iterable[Alarm], in_flight: Mapping[str, int]
) -> list[Need]:
    """What needs somebody: the most waiting rows first, then the oldest."""
    needs = [Need("hold", in_flight.get(one.domain, 0), one.since, "", one.reason, one) for one in holds]
    needs += [Need("cause", one.rows, max(one.first_at, one.since), one.flow, one.reason or "", one) for one in causes]
    needs += [Need("alarm", 0, one.opened_at, one.flow, one.text, one) for one in alarms]
    return sorted(needs, key=lambda need: (-need.rows, need.since, need.flow))


class _Found(NamedTuple):
    newest: Mapping[str, Run]
    moved: Mapping[str, Sequence[Point]]
    causes: Sequence[Cause]
    watermarks: Mapping[str, datetime]
    holds: Sequence[Hold]
    saved: Sequence[SavedVersion]


def _flow(flow: Flow, found: _Found, now: datetime) -> FlowNow:
    definition, last = flow.definition, found.newest.get(flow.name)
    fires = []
    if definition.schedule and definition.enabled:
        fires = cron.next_fires(definition.schedule, definition.timezone, now, 1)
    posted = last.created_at if last is not None and not definition.inbound else None
    return FlowNow(
        flow,
        last,
        series.grouped(found.moved.get(flow.name, ()), HALF_HOUR, now - DAY, now)[-STEPS:],
        sum(one.rows for one in found.causes if one.flow == flow.name),
        found.watermarks.get(flow.name, posted),
        fires[0] if fires else None,
        [hold for hold in found.holds if hold.domain == definition.omnitron.domain],
        [one for one in found.saved if one.flow == flow.name],
    )
