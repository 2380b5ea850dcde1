"""What a run that has not ended waits for: an older run of its flow, the ERP, or Omnitron."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from imageflow.actions import runs
from imageflow.clock import iso
from imageflow.errors import NotFoundError
from imageflow.model.run import Run
from imageflow.store import HeldDomain, Store


class Wait(NamedTuple):
    """What a run waits for, and why; when it is tried again, if that is known."""

    why: str
    again_at: datetime | None = None

    @property
    def text(self) -> str:
        return self.why + (f"; asked again at {iso(self.again_at)}" if self.again_at is not None else "")


async def look(store: Store, run: Run) -> Wait | None:
    """What the run waits for; None: it ended, or it goes on."""
    if run.ended:
        return None
    older = await runs.active(store, run.flow) if run.status == "queued" else []
    holds = await store.holds() if run.counts.in_flight or run.pages > run.pages_done else []
    domain = await domain_of(store, run) if holds else None
    return decide(run, older[0] if older else None, next((one for one in holds if one.domain == domain), None))


async def domain_of(store: Store, run: Run) -> str | None:
    """The domain of Omnitron that a run writes to; None where its version of the flow is gone."""
    try:
        return (await store.flow(run.flow, run.version)).definition.omnitron.domain
    except NotFoundError:
        return None


def decide(run: Run, oldest: Run | None, hold: HeldDomain | None) -> Wait | None:
    """What a run waits for. `oldest`: the oldest run of its flow that has not ended, where it is queued; `hold`: writers hold back
    from its domain, and it has rows to write.
    """
    if run.status == "queued" and oldest is not None and oldest.run_id != run.run_id:
        return Wait(f"an older run of {run.flow} is not done: {oldest.run_id}, {oldest.status}")
    if run.status == "reading" and run.waits_for is not None:
        return Wait(f"the ERP gave no page: {run.waits_for}", run.again_at)
    if hold is not None:
        return Wait(f"Omnitron is away: {hold.domain} is held since {iso(hold.since)}: {hold.reason}")
    return None
