"""What a run wrote by a version of its flow that was rolled back since, and how it is written again by the version in force: the ERP
is asked for these products, or for what changed since then.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from imageflow.actions import runs
from imageflow.actions.actor import Actor
from imageflow.clock import iso
from imageflow.errors import ConflictError, NotFoundError
from imageflow.model.flow import Flow
from imageflow.model.run import Run
from imageflow.runtime.outbox_publisher import OutboxPublisher
from imageflow.store import AuditRecord, Store

MOST = 1000
"""So many products are asked for by their identifiers."""
LOOKED_AT = 500
"""Of the newest rollbacks of all flows, so many are looked at."""
Way = Literal["products", "since", "everything", "none"]


class Stale(NamedTuple):
    """`products` were written by `version`, in whose place `now` is in force. `way`: what the ERP can be asked for to write them again;
    `everything`: a person must take the watermark away for it; `none`: the ERP is not asked for rows.
    """

    version: int
    now: int
    products: int
    way: Way


def rolled_back(run: Run, rollbacks: Sequence[AuditRecord]) -> bool:
    """Whether the flow of a run was rolled back since, to a version before that of the run. Pure."""
    return any(
        one.entry.object == f"flow {run.flow}" and one.at >= run.created_at and to < run.version
        for one in rollbacks
        if isinstance(to := one.entry.detail.get("to"), int)
    )


def way(flow: Flow, run: Run) -> Way:
    """How what a run wrote can be read once more. Pure."""
    if not flow.definition.inbound:
        return "none"
    if run.counts.written <= MOST and runs.takes_identifiers(flow):
        return "products"
    return "since" if run.since is not None and runs.can_ask_since(flow) else "everything"


async def look(store: Store, run: Run) -> Stale | None:
    """What is left of a run by a version that was rolled back; None: nothing."""
    if not run.counts.written:
        return None
    try:
        flow = await store.flow(run.flow)
    except NotFoundError:
        return None
    if flow.version == run.version or not rolled_back(run, await store.audit(what="flow.rollback", limit=LOOKED_AT)):
        return None
    return Stale(run.version, flow.version, run.counts.written, way(flow, run))


async def write_again(store: Store, publisher: OutboxPublisher, run_id: str, actor: Actor, now: datetime) -> runs.Seen:
    """Start a run that asks the ERP for what a run wrote. Raises NotFoundError, and ConflictError where nothing is left of it, or no run
    can be started for it.
    """
    run = await store.run(run_id)
    stale = await look(store, run)
    if stale is None or stale.way in ("everything", "none"):
        raise ConflictError(f"run {run_id} wrote nothing that a run can be started for")
    if stale.way == "since":
        return await runs.start(store, publisher, run.flow, (), actor, now, window=runs.Window(str(iso(run.since))))
    logs = await store.rows(run_id, state="written", limit=MOST)
    products = [log.product for log in logs if log.product is not None]
    return await runs.start(store, publisher, run.flow, products, actor, now)
