"""The API's handlers of alarms, holds, parked messages and the audit log. Each answers the endpoint of its name."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import msgspec

from imageflow.actions import alarms, audit, dead_letters, marks, now, rows, runs, search, shapes, shapes_now, system
from imageflow.actions.dead_letters import Parked
from imageflow.actions.search import Hit
from imageflow.gateway.deps import Call, Deps
from imageflow.gateway.inputs import (
    AlarmQuery,
    AuditQuery,
    FlowPath,
    LimitQuery,
    MessagePath,
    SearchQuery,
    SeriesQuery,
    SinceQuery,
    moment,
)
from imageflow.gateway.paging import Page, cursor, page, position

ARRIVED = 20
"""So many rows that were written last are shown beside what needs somebody."""
_Id = Annotated[int, msgspec.Meta(ge=0, le=(1 << 53))]


async def list_alarms(deps: Deps, call: Call[None, AlarmQuery, None]) -> Page[shapes.AlarmShown]:
    """The alarms before the cursor, newest first."""
    query = call.query
    before = position(query.cursor, tuple[_Id])
    found = await alarms.listed(
        deps.store,
        query.flow or None,
        is_open=query.state == "open" if query.state else None,
        before=before[0] if before else None,
        limit=query.limit + 1,
    )
    return page(found, query.limit, shapes.alarm_shown, lambda alarm: cursor(alarm.id))


async def list_holds(deps: Deps, _call: Call[None, None, None]) -> Page[shapes.Hold]:
    """The domains that writers hold."""
    return Page([shapes.hold_shown(held) for held in await alarms.holds(deps.store)])


async def show_system(deps: Deps, _call: Call[None, None, None]) -> shapes.SystemShown:
    """What runs and what waits."""
    return shapes.system_shown(await system.look(deps.store, deps.broker, deps.clock.now()))


async def show_now(deps: Deps, _call: Call[None, None, None]) -> shapes_now.NowShown:
    """What needs somebody, and all flows."""
    arrived = await rows.written_last(deps.store, ARRIVED)
    return shapes_now.now_shown(await now.look(deps.store, deps.clock.now()), arrived)


async def show_marks(deps: Deps, call: Call[None, SinceQuery, None]) -> shapes_now.MarksShown:
    """What is laid over pictures of time."""
    at = deps.clock.now()
    since = moment("since", call.query.since, at) or at - timedelta(days=1)
    return shapes_now.marks_shown(await marks.look(deps.store, since, at))


async def search_all(deps: Deps, call: Call[None, SearchQuery, None]) -> Page[Hit]:
    """What was found, by kind."""
    return Page(await search.find(deps.store, call.query.q))


async def list_series(deps: Deps, call: Call[FlowPath, SeriesQuery, None]) -> Page[shapes.PointShown]:
    """A point for each step."""
    at, asked = deps.clock.now(), call.query
    flow = await deps.store.flow(call.path.flow)
    since = runs.moment("since", asked.since, flow, at) if asked.since else at - timedelta(days=1)
    found = await system.over_time(deps.store, flow.name, since, at, step=asked.step)
    return Page([shapes.point_shown(one) for one in found])


async def list_parked(deps: Deps, call: Call[None, LimitQuery, None]) -> Page[Parked]:
    """The oldest parked messages."""
    return Page(await dead_letters.look(deps.broker, call.query.limit))


async def show_parked(deps: Deps, call: Call[MessagePath, None, None]) -> shapes.ParkedShown:
    """A parked message whole."""
    return shapes.parked_shown(*await dead_letters.one(deps.broker, call.path.message))


async def replay_parked(deps: Deps, call: Call[MessagePath, None, None]) -> None:
    """No body."""
    await dead_letters.replay(deps.store, deps.broker, call.path.message, call.actor)


async def drop_parked(deps: Deps, call: Call[MessagePath, None, None]) -> None:
    """No body."""
    await dead_letters.drop(deps.store, deps.broker, call.path.message, call.actor)


async def list_changes(deps: Deps, call: Call[None, AuditQuery, None]) -> Page[shapes.Change]:
    """The entries before the cursor, newest first."""
    query = call.query
    before = position(query.cursor, tuple[_Id])
    found = await audit.listed(
        deps.store,
        who=query.who or None,
        what=query.what or None,
        before=before[0] if before else None,
        limit=query.limit + 1,
    )
    return page(found, query.limit, shapes.change, lambda entry: cursor(entry.id))
