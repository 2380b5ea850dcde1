"""What several pages need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

from imageflow.actions import flows, runs
from imageflow.console.languages import zone
from imageflow.console.visit import Show, Visit
from imageflow.errors import NotFoundError
from imageflow.inspect import product_history
from imageflow.model.flow import Flow
from imageflow.model.row import RowLog
from imageflow.model.run import Run, Status
from imageflow.store import Store

CONFIRM_FROM = 100
"""So many rows are retried without a question."""
SAMPLED = 100
"""So many of the rows that a retry is about tell by which version they failed, where their run alone does not."""


async def all_flows(visit: Visit) -> list[Flow]:
    """The flows by name."""
    return await flows.listed(visit.store)


async def runs_of(
    store: Store,
    flow: str | None = None,
    *,
    limit: int,
    active: bool = False,
    status: Status | None = None,
    before: tuple[datetime, str] | None = None,
) -> list[Run]:
    """Runs, newest first."""
    found = await runs.listed(store, flow, limit=limit, active=active, status=status, before=before)
    return [seen.run for seen in found]


def common_zone(found: Iterable[Flow]) -> ZoneInfo:
    """The zone of pages about several flows: that which most of them have."""
    counted = Counter(flow.definition.timezone for flow in found)
    return zone(counted.most_common(1)[0][0]) if counted else zone("UTC")


async def zone_of(visit: Visit, flow: str) -> ZoneInfo:
    """The zone of a flow; UTC where it is gone."""
    try:
        return zone((await flows.version(visit.store, flow)).definition.timezone)
    except NotFoundError:
        return zone("UTC")


def host(url: str | None) -> str:
    """The host of a URL, to be read, and its port where the URL names one."""
    try:
        parts = urlsplit(url or "")
        name, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    return f"{name}:{port}" if port else name


def part(text: str) -> str:
    """A name as a part of a path."""
    return quote(text, safe="")


def question(
    here: str, kind: str, name: str, action: str, back: str, *, zone: ZoneInfo | None = None, **shown: Any
) -> Show:
    """The page before something that cannot be taken back easily: what it is about, where its form goes, where one goes back.
    `zone`: of what it is about. `number` and `values` (fields of the form) stand in it, too, if they are given.
    """
    about = {"here": here, "kind": kind, "name": name, "action": action, "back": back}
    return Show("confirm.html", {"number": 0, "values": {}, "unchanged": False, **about, **shown}, zone=zone)


async def failed_by(store: Store, run: Run, rows: Sequence[RowLog], version: int) -> bool:
    """Whether these rows of a run went by this version of the flow when they failed."""
    if not rows or run.version == version:
        return bool(rows)
    steered = await product_history.retries(store, [run.run_id])
    return all(product_history.sent_by(run, steered, row.settled_at) == version for row in rows)
