"""The system as it is now: services, queues, what is in flight, what writers hold back from; and what moved over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from imageflow.broker import Broker
from imageflow.errors import BrokerError, RequestError
from imageflow.model import series
from imageflow.model.series import Point
from imageflow.schedule.queue_metrics import queues
from imageflow.store import HeldDomain, ServiceSeen, Store

ACTIVE_RUNS = 1000
LATELY = timedelta(minutes=10)
"""A rate is that of the last two or three steps of the series."""
MOST_POINTS = 2000
Step = Literal["5m", "1h", "1d"]
STEPS: Mapping[Step, timedelta] = {"5m": timedelta(minutes=5), "1h": timedelta(hours=1), "1d": timedelta(days=1)}


class Queue(NamedTuple):
    """A queue of a stage, of one flow or (empty) of all: messages `ready` and `delayed`, and consumers; None: not known now."""

    name: str
    stage: str
    flow: str
    ready: int | None
    delayed: int
    consumers: int | None


class Backlog(NamedTuple):
    """The rows of a flow that are in flight, how many settled per minute lately, and in how many seconds none is left at that
    rate; None: nothing settles.
    """

    flow: str
    rows: int
    per_minute: float
    empty_in: float | None


class System(NamedTuple):
    """Queues, domains that writers hold back from, how many runs have not ended, the flows with rows in flight, and the services
    that are alive at `at`, or were lately: one whose `alive_until` is earlier has died.
    """

    queues: list[Queue]
    holds: list[HeldDomain]
    active_runs: int
    backlogs: list[Backlog]
    services: list[ServiceSeen]
    at: datetime


async def look(store: Store, broker: Broker, now: datetime) -> System:
    """The system now. A queue that the broker cannot tell of has no numbers."""
    found = [await _queue(broker, name, stage, flow) for name, (stage, flow) in queues(await store.flows()).items()]
    active = await store.runs(active=True, limit=ACTIVE_RUNS)
    waiting: Counter[str] = Counter()
    for run in active:
        waiting[run.flow] += run.counts.in_flight
    backlogs = [await _backlog(store, flow, rows, now) for flow, rows in sorted(waiting.items()) if rows]
    return System(found, await store.holds(), len(active), backlogs, await store.services(), now)


async def over_time(store: Store, flow: str, since: datetime, now: datetime, *, step: Step = "5m") -> list[Point]:
    """How many rows of a flow settled, by state, in each step since then: of five minutes, an hour or a day (UTC). Raises
    NotFoundError for the flow, RequestError for more than MOST_POINTS steps.
    """
    await store.flow(flow)
    length = STEPS[step]
    if (now - since) / length > MOST_POINTS:
        raise RequestError(f"since: more than {MOST_POINTS:,} steps of {step} ago: give a later time, or longer steps")
    return series.grouped(await store.series(flow, since), length, min(since, now), now)


async def _backlog(store: Store, flow: str, rows: int, now: datetime) -> Backlog:
    first = series.step_of(now - LATELY)
    points = await store.series(flow, first)
    settled = sum(getattr(point, name) for point in points for name in series.COUNTED)
    each_second = settled / (now - first).total_seconds()
    return Backlog(flow, rows, round(each_second * 60, 1), round(rows / each_second, 1) if each_second else None)


async def _queue(broker: Broker, name: str, stage: str, flow: str) -> Queue:
    try:
        depth = await broker.depth(name)
    except BrokerError:
        return Queue(name, stage, flow, None, 0, None)
    return Queue(name, stage, flow, depth.ready, depth.delayed, depth.consumers)
