"""What runs left behind: products as a version wrote them that was rolled back since, and rows that a cancelled run did not send.

What is left, and which way it can be written again, `inspect/stale.py` decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from imageflow.actions import audit, flows, rows, runs
from imageflow.actions.actor import Actor
from imageflow.actions.runs import NotRunnable, Seen, Window
from imageflow.errors import NotFoundError
from imageflow.inspect import product_history
from imageflow.inspect.stale import COUNTED, Stale, Way, at_least, stale, unsent
from imageflow.model.flow import Flow, Omnitron
from imageflow.model.run import Run
from imageflow.runtime.outbox_publisher import OutboxPublisher
from imageflow.store import Store
from imageflow.text.instant import iso

LATELY = timedelta(days=7)
"""What was cancelled or rolled back longer ago is told of its run alone."""
LATE_ROLLBACKS = 50
"""For all flows together, so many of the newest rollbacks are looked at."""
LATE_RUNS = 8
"""So many of the newest cancelled runs are looked at; and of a flow that was rolled back or has one, so many of its newest runs."""
ROLLBACKS = 500
"""For one run, so many of the newest rollbacks of all flows are looked at."""
TOLD = 3
"""Of a flow, so many runs are told."""
NEWER = 100
"""For one run, so many of its flow's newest runs are looked at for what came after it."""

NO_REWRITE: Mapping[Way, str] = {
    "everything": "its products cannot be asked for one by one, nor by a date: imageflow watermark set {flow} none, and the next "
    "run asks for everything",
    "none": "the ERP posts its rows and is not asked for them: let it post them again",
}
"""Why no run can be started for what is left, and what to do instead."""


class Left(NamedTuple):
    """Runs of which products are as they should not be, and runs with how many rows were not sent."""

    stale: Sequence[tuple[Run, Stale]] = ()
    unsent: Sequence[tuple[Run, int]] = ()


async def lately(store: Store, found: Sequence[Flow], now: datetime) -> Left:
    """What the newest runs of all flows left behind, by their counts alone: so it is the least."""
    return Left(await _stale(store, found, now), await _unsent(store, now))


async def _stale(store: Store, found: Sequence[Flow], now: datetime) -> list[tuple[Run, Stale]]:
    known = await audit.listed(store, what="flow.rollback", limit=LATE_ROLLBACKS)
    rollbacks = [one for one in known if one.at > now - LATELY]
    names = {one.entry.object.removeprefix("flow ") for one in rollbacks}
    left: list[tuple[Run, Stale]] = []
    for flow in (one for one in found if one.name in names):
        newest = await store.runs(flow.name, limit=LATE_RUNS)
        retries = await product_history.retries(store, [run.run_id for run in newest if run.retried_at])
        left += at_least(newest, flow, rollbacks, retries)
    return left


async def _unsent(store: Store, now: datetime) -> list[tuple[Run, int]]:
    """No run asks for these rows by itself."""
    cancelled = await store.runs(status="cancelled", limit=LATE_RUNS)
    found: list[tuple[Run, int]] = []
    for flow in dict.fromkeys(run.flow for run in cancelled if run.created_at > now - LATELY):
        newest = unsent(await store.runs(flow, limit=LATE_RUNS))
        found += [(run, rows) for run, rows in newest if run.status == "cancelled" and run.created_at > now - LATELY]
    return found


async def of_run(store: Store, run: Run) -> Stale | None:
    """What the run wrote by a version that was rolled back since; None: nothing of it is left."""
    return (await _of_run(store, run))[0]


async def _of_run(store: Store, run: Run) -> tuple[Stale | None, list[str]]:
    """What is left of the run, and its products where they were looked at."""
    try:
        flow = await flows.version(store, run.flow)
    except NotFoundError:
        return None, []
    if flow.version == run.version:
        return None, []
    rollbacks = await audit.listed(store, what="flow.rollback", limit=ROLLBACKS)
    found = stale(run, flow, rollbacks)
    if found is None:
        return None, []
    if run.counts.written <= COUNTED:
        products = await _products(store, run)
        return stale(run, flow, rollbacks, len(products)), products
    newest = await store.runs(run.flow, limit=NEWER)
    retries = await product_history.retries(store, [run.run_id])
    left = at_least(newest if run in newest else [run], flow, rollbacks, retries)
    return next((found for one, _ in left if one.run_id == run.run_id), None), []


async def of_runs(store: Store, newest: Sequence[Run]) -> list[tuple[Run, Stale]]:
    """Of a flow's runs, newest first, the first TOLD that left something."""
    found: list[tuple[Run, Stale]] = []
    for run in newest:
        left = await of_run(store, run) if len(found) < TOLD else None
        if left is not None:
            found.append((run, left))
    return found


async def of_flow(store: Store, name: str) -> list[tuple[Run, Stale]]:
    """Of the flow's newest runs, those that left something, the newest first."""
    return await of_runs(store, await store.runs(name, limit=LATE_RUNS))


async def _products(store: Store, run: Run) -> list[str]:
    """The products that the run wrote by its own version, and no other run since; a base code counts as one: the ledger knows its
    SKUs alone.
    """
    written = await rows.listed(store, run.run_id, state="written", limit=COUNTED)
    retries = await product_history.retries(store, [run.run_id]) if run.retried_at else []
    own = [row for row in written if product_history.sent_by(run, retries, row.settled_at) == run.version]
    products = [row.product for row in own if row.product is not None]
    omnitron = await _omnitron(store, run)
    if omnitron is None:
        return products
    since = await product_history.written_since(store, omnitron.domain, run.run_id, products)
    return [product for product in products if product not in since]


async def overtaken(store: Store, run: Run) -> int:
    """How many of the run's cancelled rows have come by a newer run, by what the ledger says of their products; 0 where it has more
    than COUNTED of them.
    """
    if not run.ended or not 0 < run.counts.cancelled <= COUNTED:
        return 0
    omnitron = await _omnitron(store, run)
    if omnitron is None:
        return 0
    found = await rows.listed(store, run.run_id, state="cancelled", limit=COUNTED)
    versions = {row.product: row.version for row in found if row.product is not None}
    return len(await product_history.overtaken(store, omnitron.domain, versions))


async def _omnitron(store: Store, run: Run) -> Omnitron | None:
    """What the run writes to; None where its version of the flow is gone."""
    try:
        return (await flows.version(store, run.flow, run.version)).definition.omnitron
    except NotFoundError:
        return None


async def rewrite(store: Store, publisher: OutboxPublisher, run_id: str, actor: Actor, now: datetime) -> Seen:
    """Start a run that asks the ERP for what this one wrote by a version that was rolled back since. Raises NotFoundError, and
    NotRunnable where nothing is left, or the ERP cannot be asked for it.
    """
    run = await store.run(run_id)
    left, products = await _of_run(store, run)
    if left is None:
        raise NotRunnable(f"nothing of run {run_id} is left that a version wrote that was rolled back")
    if left.way in NO_REWRITE:
        raise NotRunnable(f"run {run_id}: {NO_REWRITE[left.way].format(flow=run.flow)}")
    if left.way == "since":
        return await runs.start(store, publisher, run.flow, [], actor, now, window=Window(str(iso(run.since))))
    return await runs.start(store, publisher, run.flow, products, actor, now)
