"""What people change, by command or over the API: each change enters the audit log with the change itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

from imageflow.actions.actor import Actor
from imageflow.broker import Broker, Outgoing
from imageflow.clock import iso
from imageflow.errors import NotFoundError, RequestError
from imageflow.model import messages
from imageflow.model.flow import Flow
from imageflow.model.run import Run, Trigger, new_run_id
from imageflow.runtime.outbox_publisher import OutboxPublisher
from imageflow.store import Store
from imageflow.telemetry import message_headers

ROWS_AT_ONCE = 10_000
MANY_RUNS = 10_000


class NotRunnable(RequestError):
    """The flow cannot be run by hand."""


async def start_run(
    store: Store, publisher: OutboxPublisher, name: str, ids: tuple[str, ...], actor: Actor, now: datetime
) -> str:
    """Add a person's run of an inbound flow, and let it begin if none of the flow's is active; its id."""
    flow = inbound(await store.flow(name))
    run = Run(
        run_id=new_run_id(now),
        flow=flow.name,
        version=flow.version,
        trigger=Trigger("person", actor.who, ids),
        status="queued",
        created_at=now,
    )
    await store.create_run(run, audit=actor.entry("run.start", f"flow {name}", run_id=run.run_id, identifiers=len(ids)))
    await publisher.send(await store.release_runs())
    return run.run_id


def inbound(flow: Flow) -> Flow:
    """The flow itself. Raises NotRunnable for an outbound one."""
    if not flow.definition.inbound:
        raise NotRunnable(f"{flow.name} is an outbound flow: it runs when rows are posted to /api/outbound/{flow.name}")
    return flow


async def retry(
    store: Store,
    publisher: OutboxPublisher,
    run_id: str,
    actor: Actor,
    *,
    row: int | None = None,
    group: str | None = None,
) -> int:
    """Take failed rows of a run back into flight: all, one, or those of one error group; how many.

    Raises NotFoundError where a row or group is named and nothing of it can be written again.
    """
    failed = (await store.run(run_id)).counts.failed
    named = {name: value for name, value in (("row", row), ("group", group)) if value is not None}
    entry = actor.entry("run.retry", f"run {run_id}", **named)
    count = 0
    for _ in range(failed // ROWS_AT_ONCE + 1):
        taken, unsent = await store.reopen(run_id, row=row, group=group, limit=ROWS_AT_ONCE, audit=entry)
        count += taken
        await publisher.send(unsent)
        if taken < ROWS_AT_ONCE:
            break
    if named and not count:
        what = " and ".join(f"{name} {value}" for name, value in named.items())
        raise NotFoundError(f"run {run_id} has no failed {what} that can be written again")
    return count


async def resume(store: Store, broker: Broker, run_id: str, actor: Actor) -> int:
    """Publish anew whatever a run still waits for, because the queues were lost; how many messages. If they were not,
    that does no harm: whoever takes a message twice knows.

    Raises NotRunnable where the run has ended, or its turn has not come.
    """
    run = await store.run(run_id)
    if run.ended:
        raise NotRunnable(f"run {run_id} has ended: there is nothing to resume")
    if run.status == "queued" and any(other.created_at < run.created_at for other in await active(store, run.flow)):
        raise NotRunnable(f"run {run_id} waits for an older run of {run.flow}: resume that one")
    await store.record(actor.entry("run.resume", f"run {run_id}"))
    count = 0
    async for message in _waited_for(store, run):
        queue, body = messages.queue_of(message), messages.encode(message)
        await broker.publish(Outgoing(queue, body, headers=message_headers.following()))
        count += 1
    return count


async def active(store: Store, flow: str | None = None) -> list[Run]:
    """The runs that have not ended, the oldest first."""
    return (await store.runs(flow, active=True, limit=MANY_RUNS))[::-1]


async def _waited_for(store: Store, run: Run) -> AsyncIterator[messages.Message]:
    """The next page; all pages that were read, for nobody knows which of them the missing rows are of; the join."""
    if not run.read_complete:
        yield messages.ReadPage(run.run_id, run.flow, run.version, run.pages + 1)
    if run.counts.in_flight or run.pages_done < run.pages:
        for number in range(1, run.pages + 1):
            page = await store.page(run.run_id, number)
            yield messages.PageRead(run.run_id, run.flow, run.version, number, page.seq)
    if run.joining and run.read_complete and run.pages_done == run.pages:
        yield messages.RunRead(run.run_id, run.flow, run.version)


async def set_watermark(store: Store, name: str, since: datetime | None, actor: Actor) -> None:
    """Set or clear an inbound flow's watermark, backwards too."""
    inbound(await store.flow(name))
    entry = actor.entry("watermark.set", f"flow {name}", since=iso(since), before=iso(await store.watermark(name)))
    await store.set_watermark(name, since, audit=entry)
