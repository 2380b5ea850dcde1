"""The system: queues, holds, alarms, and messages that could not be used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from imageflow.actions import alarms, dead_letters, system
from imageflow.actions.system import Queue
from imageflow.console.pages.shared import all_flows, common_zone, question
from imageflow.console.visit import Answer, Go, Page, Show, Visit
from imageflow.errors import BrokerError

STAGES = ("gateway", "reader", "transformer", "writer", "parked")
PARKED = 50
ALARMS = 100


class Box(NamedTuple):
    """A stage: what waits before it, and how many consume."""

    stage: str
    ready: int
    delayed: int
    consumers: int
    known: bool


async def show(visit: Visit) -> Answer:
    """The pipeline in boxes, its queues, holds, parked messages."""
    found = await system.look(visit.store, visit.deps.broker, visit.deps.clock.now())
    try:
        parked = await dead_letters.look(visit.deps.broker, PARKED)
    except BrokerError:
        parked = None
    values = {
        "here": "system",
        "boxes": boxes(found.queues),
        "queues": [queue for queue in found.queues if queue.ready or queue.delayed or not queue.flow],
        "quiet": sum(not (queue.ready or queue.delayed) and bool(queue.flow) for queue in found.queues),
        "holds": found.holds,
        "active": found.active_runs,
        "backlogs": found.backlogs,
        "services": found.services,
        "at": found.at,
        "dead": sum((one.alive_until or found.at) < found.at for one in found.services),
        "slowest": max((one.empty_in for one in found.backlogs if one.empty_in is not None), default=None),
        "parked": parked,
        "alarms": await alarms.listed(visit.store, is_open=True, limit=ALARMS),
        "waiting": sum((queue.ready or 0) + queue.delayed for queue in found.queues if queue.stage != "parked"),
    }
    return Show("system.html", values, zone=common_zone(await all_flows(visit)))


def boxes(found: Sequence[Queue]) -> list[Box]:
    """The stages in their order, over all flows."""
    made = []
    for stage in STAGES[:-1]:
        mine = [queue for queue in found if queue.stage == stage]
        made.append(
            Box(
                stage,
                sum(queue.ready or 0 for queue in mine),
                sum(queue.delayed for queue in mine),
                max((queue.consumers or 0 for queue in mine), default=0),
                all(queue.ready is not None for queue in mine),
            )
        )
    return made


async def list_alarms(visit: Visit) -> Answer:
    """Alarms, open ones and others, newest first."""
    is_open = {"open": True, "closed": False}.get(visit.asked("state"))
    before = visit.number("before")
    found = await alarms.listed(visit.store, is_open=is_open, before=before, limit=ALARMS + 1)
    shown = found[:ALARMS]
    values = {
        "here": "system",
        "alarms": shown,
        "open": sum(alarm.closed_at is None for alarm in shown),
        "state": visit.asked("state"),
        "next": visit.here(before=shown[-1].id) if len(found) > ALARMS else None,
        "first": visit.here(before=None) if before else None,
    }
    return Show("alarms.html", values, zone=common_zone(await all_flows(visit)))


async def replay(visit: Visit) -> Answer:
    """Send a parked message back to its queue."""
    await dead_letters.replay(visit.deps.store, visit.deps.broker, visit.path("message"), visit.actor)
    return Go("/system", ("parked",))


async def ask_drop(visit: Visit) -> Answer:
    """The question before a parked message is thrown away."""
    found, _ = await dead_letters.one(visit.deps.broker, visit.path("message"))
    common = common_zone(await all_flows(visit))
    return question("system", "drop", found.id, f"/system/parked/{found.id}/drop", "/system", zone=common)


async def drop(visit: Visit) -> Answer:
    """Throw a parked message away, once that is confirmed."""
    if visit.form.get("sure") != "yes":
        return Go(f"/system/parked/{visit.path('message')}/drop")
    await dead_letters.drop(visit.deps.store, visit.deps.broker, visit.path("message"), visit.actor)
    return Go("/system", ("parked",))


_PARKED = "/system/parked/{message}"

PAGES = (
    Page("GET", "/system", show),
    Page("GET", "/alarms", list_alarms),
    Page("POST", f"{_PARKED}/replay", replay, role="operator"),
    Page("GET", f"{_PARKED}/drop", ask_drop, role="operator"),
    Page("POST", f"{_PARKED}/drop", drop, role="operator"),
)
