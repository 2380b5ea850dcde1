"""What is going on, as JSON: all that needs somebody and all flows, and a run with its course."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from imageflow.actions.marks import Marks
from imageflow.actions.now import FlowNow, Need, Now
from imageflow.actions.run_detail import Detail
from imageflow.actions.runs import Seen
from imageflow.actions.shapes import Instant, PointShown, RowShown, RunShown, point_shown, row_shown, run_shown
from imageflow.inspect.stale import Stale, Way
from imageflow.model.row import RowLog
from imageflow.model.run import Run, Status
from imageflow.model.run_step import Hold, RunStep, StepName
from imageflow.store import Cause, HeldDomain, SavedVersion
from imageflow.text.instant import iso


class StepShown(msgspec.Struct, frozen=True):
    """A step of a run was at work between two instants. `rows`: on so many, each try counted; of log-in and read that is not
    known. `waited`: for so many seconds work of it had to be put off.
    """

    step: StepName
    first_at: Instant
    last_at: Instant
    rows: int
    waited: float


class HoldShown(msgspec.Struct, frozen=True):
    """Writers held back from a domain; `until` null: they still do."""

    domain: str
    since: Instant
    until: Instant | None
    reason: str


class VersionSaved(msgspec.Struct, frozen=True):
    """A version of a flow that somebody saved."""

    flow: str
    version: int
    by: str
    saved_at: Instant


class StaleShown(msgspec.Struct, frozen=True):
    """So many products are as `version` of the flow wrote them in this run; it was rolled back, and `in_force` is in its place.
    `counted`: each was looked at; else there are at least so many. `way`: what a rewrite of the run asks the ERP for: these
    `products`, or changes `since` then. `everything`: there is no rewrite, a run without a watermark reads them. `none`: there is
    none, the ERP is not asked for rows.
    """

    run_id: str
    flow: str
    version: int
    in_force: int
    products: int
    counted: bool
    way: Way


class RunDetail(RunShown, frozen=True):
    """A run with its course. `page_map`: a letter for each page in the order read: f: a row failed, c: cancelled, w: most rows
    were written, p: some, u: none had to be, x: in flight, n: not transformed yet, ?: settled, and not looked at yet, a dot: no
    rows. `seconds_left`: until all rows are settled, if they go on as they went; null: that cannot be said. `saved`: versions of
    the flow that were saved while it ran. `stale`: products as a version wrote them that was rolled back. `overtaken`: so many of
    its cancelled rows have come by a newer run.
    """

    steps: list[StepShown]
    holds: list[HoldShown]
    page_map: str
    seconds_left: float | None
    saved: list[VersionSaved]
    stale: StaleShown | None
    overtaken: int


class NeedShown(msgspec.Struct, frozen=True):
    """Something that needs somebody: a cause of failures, a domain that writers hold back from, or an alarm; so many rows wait for
    it. `group` is the cause's, `domain` that which is held.
    """

    kind: str
    rows: int
    since: Instant
    flow: str | None
    group: str | None
    domain: str | None
    text: str


class FlowNowShown(msgspec.Struct, frozen=True):
    """A flow: its newest run, its next, how many failures are open, and what moved in the last day, by half hours. `fresh_since`:
    what changed at the ERP before then has been read; of an outbound flow, when rows were posted last.
    """

    flow: str
    enabled: bool
    run_id: str | None
    status: Status | None
    began_at: Instant | None
    next_at: Instant | None
    fresh_since: Instant | None
    open: int
    held: bool
    points: list[PointShown]
    saved: list[VersionSaved]


class UnsentShown(msgspec.Struct, frozen=True):
    """So many rows of a run that was cancelled were not sent: no run asks for them by itself, a retry of this one sends them."""

    run_id: str
    flow: str
    rows: int


class NowShown(msgspec.Struct, frozen=True):
    """What needs somebody, with the most waiting rows first; all flows by name; how many runs go on; how many rows that
    had failed or were cancelled are being tried again; the rows that were written last; what runs of the last 7 days left behind:
    products as a version wrote them that was rolled back, and rows that were not sent.
    """

    needs: list[NeedShown]
    flows: list[FlowNowShown]
    active_runs: int
    retrying_rows: int
    arrived: list[RowShown]
    stale: list[StaleShown]
    unsent: list[UnsentShown]


class MarksShown(msgspec.Struct, frozen=True):
    """What is laid over pictures of time: holds by when they began, and versions of flows that were saved, the oldest first."""

    holds: list[HoldShown]
    saved: list[VersionSaved]


def marks_shown(found: Marks) -> MarksShown:
    """What is laid over pictures of time."""
    return MarksShown([_hold(hold) for hold in found.holds], [_saved(one) for one in found.saved])


def run_detail(found: Detail) -> RunDetail:
    """A run with its course."""
    return RunDetail(
        **msgspec.structs.asdict(run_shown(Seen(found.run, found.watermark))),
        steps=[_step(step) for step in found.steps],
        holds=[_hold(hold) for hold in found.holds],
        page_map=found.pages,
        seconds_left=None if found.left is None else round(found.left, 1),
        saved=[_saved(one) for one in found.saved],
        stale=None if found.stale is None else _stale(found.run, found.stale),
        overtaken=found.overtaken,
    )


def now_shown(found: Now, arrived: Iterable[RowLog]) -> NowShown:
    """All that is wrong now, and all flows."""
    needs, flows = [_need(need) for need in found.needs], [_flow(one) for one in found.flows]
    again = sum(one.rows for one in found.in_retry)
    return NowShown(
        needs,
        flows,
        len(found.active),
        again,
        [row_shown(row) for row in arrived],
        [_stale(run, old) for run, old in found.left.stale],
        [UnsentShown(run.run_id, run.flow, rows) for run, rows in found.left.unsent],
    )


def _stale(run: Run, old: Stale) -> StaleShown:
    return StaleShown(run.run_id, run.flow, old.version, old.now, old.products, old.counted, old.way)


def _step(step: RunStep) -> StepShown:
    return StepShown(step.step, iso(step.first_at), iso(step.last_at), step.rows, round(step.waited, 3))


def _hold(hold: Hold) -> HoldShown:
    return HoldShown(hold.domain, iso(hold.since), iso(hold.until), hold.reason)


def _saved(one: SavedVersion) -> VersionSaved:
    return VersionSaved(one.flow, one.version, one.author, iso(one.saved_at))


def _need(need: Need) -> NeedShown:
    group = need.about.group if isinstance(need.about, Cause) else None
    domain = need.about.domain if isinstance(need.about, HeldDomain) else None
    return NeedShown(need.kind, need.rows, iso(need.since), need.flow or None, group, domain, need.text)


def _flow(one: FlowNow) -> FlowNowShown:
    run = one.last
    return FlowNowShown(
        flow=one.flow.name,
        enabled=one.flow.definition.enabled,
        run_id=run.run_id if run else None,
        status=run.status if run else None,
        began_at=iso(run.created_at) if run else None,
        next_at=iso(one.next),
        fresh_since=iso(one.fresh_since),
        open=one.open,
        held=one.held_now,
        points=[point_shown(point) for point in one.points],
        saved=[_saved(version) for version in one.saved],
    )
