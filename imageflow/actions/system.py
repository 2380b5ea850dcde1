"""The system as it is now: what is in the queues, what writers hold back from, what runs."""

from __future__ import annotations

from typing import NamedTuple

from imageflow.broker import Broker
from imageflow.errors import BrokerError
from imageflow.schedule.queue_metrics import queues
from imageflow.store import HeldDomain, Store

ACTIVE_RUNS = 1000


class Queue(NamedTuple):
    """A queue of a stage, of one flow or (empty) of all: messages `ready` and `delayed`, and consumers; None: not known now."""

    name: str
    stage: str
    flow: str
    ready: int | None
    delayed: int
    consumers: int | None


class System(NamedTuple):
    """Queues, domains that writers hold back from, and how many runs have not ended."""

    queues: list[Queue]
    holds: list[HeldDomain]
    active_runs: int


async def look(store: Store, broker: Broker) -> System:
    """The system now. A queue that the broker cannot tell of has no numbers."""
    found = [await _queue(broker, name, stage, flow) for name, (stage, flow) in queues(await store.flows()).items()]
    return System(found, await store.holds(), len(await store.runs(active=True, limit=ACTIVE_RUNS)))


async def _queue(broker: Broker, name: str, stage: str, flow: str) -> Queue:
    try:
        depth = await broker.depth(name)
    except BrokerError:
        return Queue(name, stage, flow, None, 0, None)
    return Queue(name, stage, flow, depth.ready, depth.delayed, depth.consumers)
