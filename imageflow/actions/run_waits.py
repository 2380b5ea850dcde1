"""What a run that has not ended waits for: an older run of its flow, the ERP, or Omnitron."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from imageflow.actions import runs
from imageflow.errors import NotFoundError
from imageflow.model.run import Run
from imageflow.store import HeldDomain, Store
from imageflow.text.phrase import Phrase, phrase


class Wait(NamedTuple):
    """What a run waits for, and why; when it is tried again, if that is known."""

    why: Phrase | str
    again_at: datetime | None = None

    @property
    def said(self) -> Phrase | str:
        if self.again_at is None:
            return self.why
        return phrase("%(why)s; asked again at %(instant)s", why=self.why, instant=self.again_at)

    @property
    def text(self) -> str:
        return str(self.said)


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
        return Wait(
            phrase(
                "an older run of %(flow)s is not done: %(run)s, %(status)s",
                flow=run.flow,
                run=oldest.run_id,
                status=oldest.status,
            )
        )
    if run.status == "reading" and run.waits_for is not None:
        return Wait(phrase("the ERP gave no page: %(reason)s", reason=run.waits_for), run.again_at)
    if hold is not None:
        return Wait(
            phrase(
                "Omnitron is away: %(domain)s is held since %(since)s: %(reason)s",
                domain=hold.domain,
                since=hold.since,
                reason=hold.reason,
            )
        )
    return None
