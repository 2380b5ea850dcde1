"""Runs: start, retry, resume and list them. Each change enters the audit log with the change itself."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from imageflow.actions.actor import Actor
from imageflow.broker import Broker, Outgoing
from imageflow.clock import instant
from imageflow.errors import ConflictError, NotFoundError, ParameterError, ReadError, RequestError
from imageflow.model import messages
from imageflow.model.flow import Flow, makes_the_same_rows
from imageflow.model.identifiers import distinct, with_separator
from imageflow.model.run import Run, Status, Trigger, TriggerKind, new_run_id
from imageflow.read import request
from imageflow.runtime.outbox_publisher import OutboxPublisher
from imageflow.store import Left, Store, Taken, Unsent
from imageflow.telemetry import message_headers
from imageflow.text.instant import iso

ROWS_AT_ONCE = 10_000
MANY_RUNS = 10_000


class NotRunnable(RequestError):
    """The flow or the run cannot be started by hand."""


class Retried(NamedTuple):
    """What a retry did with a run: so many `rows` are in flight again, from their pages through `version` of the flow. `left`:
    rows that were not taken. `same`: rows that failed with that very version; `old`: rows that are sent as an older version made
    them. `takes_since`: whether the flow can be asked for changes since an instant.
    """

    run: Run
    version: int
    rows: int
    left: Mapping[Left, int]
    same: int
    takes_since: bool = True
    old: int = 0

    def plus(self, taken: Taken | Retried) -> Retried:
        """What was taken besides, of the same run."""
        left = {why: self.left.get(why, 0) + taken.left.get(why, 0) for why in {**self.left, **taken.left}}
        return self._replace(
            rows=self.rows + taken.rows, left=left, same=self.same + taken.same, old=self.old + taken.old
        )


class Seen(NamedTuple):
    """A run, and the watermark that its flow has now."""

    run: Run
    watermark: datetime | None


async def show(store: Store, run_id: str) -> Seen:
    """A run. Raises NotFoundError."""
    return await seen(store, await store.run(run_id))


async def seen(store: Store, run: Run) -> Seen:
    """The run with its flow's watermark."""
    return Seen(run, await store.watermark(run.flow))


async def listed(
    store: Store,
    flow: str | None = None,
    *,
    limit: int = 100,
    active: bool = False,
    status: Status | Collection[Status] | None = None,
    trigger: TriggerKind | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before: tuple[datetime, str] | None = None,
) -> list[Seen]:
    """Runs, newest first, of a status or several, of a kind of trigger, created between `since` and `until`; only those `before`
    a run, by when it was created and its id.
    """
    found = await store.runs(
        flow, limit=limit, active=active, status=status, trigger=trigger, since=since, until=until, before=before
    )
    watermarks = {name: await store.watermark(name) for name in {run.flow for run in found}}
    return [Seen(run, watermarks[run.flow]) for run in found]


class Window(NamedTuple):
    """What a run reads again, whatever the watermark is: as people give instants, without an offset in the flow's timezone."""

    since: str
    until: str | None = None


def window(since: str | None, until: str | None) -> Window | None:
    """The window between two dates, if one is given. Raises RequestError for an upper bound alone."""
    if since is None:
        if until is not None:
            raise ParameterError("until", "needs since")
        return None
    return Window(since, until)


async def start(
    store: Store,
    publisher: OutboxPublisher,
    name: str,
    ids: Iterable[str],
    actor: Actor,
    now: datetime,
    *,
    window: Window | None = None,
) -> Seen:
    """Add a person's run of an inbound flow, limited to `ids` or to a window, if one is given; it begins once no older one is
    active. With a window it neither uses nor moves the watermark.

    Raises NotFoundError, RequestError for what is no window, and NotRunnable for an outbound flow, where an identifier holds
    a comma, or where the flow has no parameter for the identifiers or the window.
    """
    flow = inbound(await store.flow(name))
    wanted = distinct(ids)
    if commas := with_separator(wanted):
        raise NotRunnable(
            f"the ERP gets identifiers joined by commas, so it would take {commas[0]!r} for two; leave out what holds a "
            "comma, or let the ERP know these products by another identifier"
        )
    if wanted and window is None:
        check_identifiers(flow)
    run = Run(
        run_id=new_run_id(now),
        flow=flow.name,
        version=flow.version,
        trigger=Trigger("person", actor.who, wanted),
        status="queued",
        created_at=now,
    )
    bounds = {}
    if window is not None:
        run = _limited(run, flow, window, now)
        bounds = {"since": iso(run.since), "until": iso(run.until)}
    entry = actor.entry("run.start", f"flow {name}", run_id=run.run_id, identifiers=len(wanted), **bounds)
    await store.create_run(run, audit=entry)
    await publisher.send(await store.release_runs())
    return await show(store, run.run_id)


def check_identifiers(flow: Flow) -> None:
    """Raises NotRunnable where the flow has no parameter for identifiers."""
    try:
        request.identifier_setting(flow.definition)
    except ReadError as error:
        raise NotRunnable(f"flow {flow.name}: {error}") from error


def _limited(run: Run, flow: Flow, window: Window, now: datetime) -> Run:
    """The run, limited to the window."""
    if run.trigger.ids:
        raise RequestError("a run reads identifiers or a window, not both")
    erp = request.erp_of(flow.definition)
    check_takes_since(flow)
    since = moment("since", window.since, flow, now)
    until = None if window.until is None else moment("until", window.until, flow, now)
    if until is not None and request.upper_setting(erp) is None:
        raise NotRunnable(
            f"{flow.name} has no parameter for an upper bound: leave `until` out, or add erp.query_settings."
            "modified_date__lt: {key: the parameter's name, type: datetime}"
        )
    if until is not None and until <= since:
        raise ParameterError("until", "must be later than since")
    return msgspec.structs.replace(run, window=True, since=since, until=until)


def check_takes_since(flow: Flow) -> None:
    """Raises NotRunnable where an inbound flow cannot be asked for changes since an instant."""
    if not _takes_since(flow):
        raise NotRunnable(
            f"{flow.name} has no parameter that says since when: it always asks for everything (imageflow run {flow.name}); "
            "name one with erp.modified_date_key"
        )


async def takes_since(store: Store, name: str, version: int | None = None) -> bool:
    """Whether a version of a flow (None: the newest) can be asked for changes since an instant. True where the version
    is gone: then it is not known.
    """
    try:
        return _takes_since(await store.flow(name, version))
    except NotFoundError:
        return True


def _takes_since(flow: Flow) -> bool:
    return flow.definition.erp is not None and request.takes_since(flow.definition.erp)


def moment(name: str, text: str, flow: Flow, now: datetime) -> datetime:
    """An instant as people give it for a parameter; without an offset it is in the flow's timezone. Raises ParameterError."""
    try:
        return instant(text, ZoneInfo(flow.definition.timezone), now)
    except ValueError as error:
        raise ParameterError(name, str(error)) from error


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
    only_open: bool = False,
) -> Retried:
    """Put rows of a run that failed or were cancelled through again: all, one, or those of one error group; or all whose
    failure is open. All go by the newest version of the flow: those that were ready to be written to Omnitron, with the images
    that they had; the others, and all where that version makes rows differently, through the flow again, from their stored page.

    Raises NotFoundError where a row or group is named and nothing of it failed, ConflictError while the run is cancelled.
    """
    run = await store.run(run_id)
    if run.cancelled_at is not None and not run.ended:
        raise ConflictError(f"run {run_id} is being cancelled: retry it once it has ended")
    flow = await store.flow(run.flow)
    named = {name: value for name, value in (("row", row), ("group", group)) if value is not None}
    entry = actor.entry("run.retry", f"run {run_id}", **named, version=flow.version)
    retried = Retried(run, flow.version, 0, {}, 0, _takes_since(flow))
    alike = await _alike(store, run, flow)
    after: int | None = 0
    later: list[Unsent] = []
    while after is not None:
        taken = await store.reopen(
            run_id,
            flow.version,
            alike=alike,
            joins=flow.definition.group == "run",
            row=row,
            group=group,
            only_open=only_open,
            after=after,
            limit=ROWS_AT_ONCE,
            audit=entry,
        )
        # a page goes through once, so only when all of its rows are taken
        later += [item for item in taken.outbox if item.queue == messages.transform_queue(run.flow)]
        await publisher.send([item for item in taken.outbox if item not in later])
        retried = retried.plus(taken)
        after = taken.last
    await publisher.send(later)
    if named and not retried.rows and not retried.left:
        what = " and ".join(f"{name} {value}" for name, value in named.items())
        raise NotFoundError(f"run {run_id} has no {what} that failed or was cancelled")
    return retried


async def _alike(store: Store, run: Run, newest: Flow) -> set[int]:
    """The versions of the flow that made rows of the run, and make them as the newest one does."""
    found = {newest.version}
    for version in {run.version, *(await store.page_versions(run.run_id)).values()} - found:
        with contextlib.suppress(NotFoundError):
            if makes_the_same_rows((await store.flow(run.flow, version)).definition, newest.definition):
                found.add(version)
    return found


async def retry_rows(
    store: Store, publisher: OutboxPublisher, run_id: str, rows: Sequence[int], actor: Actor
) -> Retried:
    """Put some rows of a run that failed or were cancelled through again, one after the other. Rows that have come through
    meanwhile are left out. Raises NotFoundError where none of them failed, ConflictError while the run is cancelled.
    """
    done: Retried | None = None
    for row in rows:
        with contextlib.suppress(NotFoundError):
            one = await retry(store, publisher, run_id, actor, row=row)
            done = one if done is None else done.plus(one)
    if done is None:
        raise NotFoundError(f"run {run_id} has none of these rows that failed or was cancelled")
    return done


async def retry_flow(
    store: Store, publisher: OutboxPublisher, name: str, actor: Actor, *, group: str | None = None
) -> list[Retried]:
    """Put all rows of a flow whose failure is open through again, over all of its runs, the oldest first; or those of one error
    group. Raises NotFoundError.
    """
    await store.flow(name)
    found = await store.failed_runs(name, group)
    return [await retry(store, publisher, run_id, actor, group=group, only_open=True) for run_id in found]


async def cancel(store: Store, run_id: str, actor: Actor) -> Seen:
    """Cancel a run that has not ended: it reads no more, what is in flight is settled, and rows that were not sent end
    `cancelled`. Cancelling it again does what was left undone, and no harm.

    Raises NotFoundError, and ConflictError where the run has ended otherwise.
    """
    run = await store.cancel_run(run_id, audit=actor.entry("run.cancel", f"run {run_id}"))
    if run.cancelled_at is None:
        raise ConflictError(f"run {run_id} has ended as {run.status}: there is nothing to cancel")
    done: int | None = 0
    while done is not None:
        done = await store.cancel_rows(run_id, after=done)
    return await show(store, run_id)


async def resume(store: Store, broker: Broker, run_id: str, actor: Actor, *, queued: bool = False) -> int:
    """Publish anew what a run waits for, after the queues were lost; how many messages. If the queues were not lost, that
    does no harm: every consumer recognises a message that it has seen. `queued`: if an older run of the flow goes first, that
    one is resumed.

    Raises NotFoundError, ConflictError where the run has ended, and NotRunnable where, without `queued`, an older run goes first.
    """
    run = await store.run(run_id)
    if run.ended:
        raise ConflictError(f"run {run_id} has ended as {run.status}: there is nothing to resume")
    oldest = next(iter(await active(store, run.flow)), run) if run.status == "queued" else run
    if oldest.run_id != run_id:
        if queued:
            return await resume(store, broker, oldest.run_id, actor)
        raise NotRunnable(f"run {run_id} waits for an older run of {run.flow}: imageflow resume {oldest.run_id}")
    await store.record(actor.entry("run.resume", f"run {run_id}"))
    count = 0
    async for message in _waited_for(store, run):
        queue, body = messages.queue_of(message), messages.encode(message)
        await broker.publish(Outgoing(queue, body, headers=message_headers.following()))
        count += 1
    return count


async def resume_all(store: Store, broker: Broker, actor: Actor) -> dict[str, int]:
    """Resume every run that has not ended, the oldest first; how many messages of each run."""
    resumed = {}
    for run in await active(store):
        with contextlib.suppress(ConflictError, NotRunnable):  # it ended meanwhile, or waits for its turn
            resumed[run.run_id] = await resume(store, broker, run.run_id, actor)
    return resumed


async def active(store: Store, flow: str | None = None) -> list[Run]:
    """The runs that have not ended, the oldest first."""
    return (await store.runs(flow, active=True, limit=MANY_RUNS))[::-1]


async def _waited_for(store: Store, run: Run) -> AsyncIterator[messages.Message]:
    """The next page; then every page that was read, because the missing rows may be of any; then rows that are being retried;
    then the join.
    """
    if not run.read_complete:
        yield messages.ReadPage(run.run_id, run.flow, run.version, run.pages + 1)
    if run.counts.in_flight or run.pages_done < run.pages:
        for number in range(1, run.pages + 1):
            page = await store.page(run.run_id, number)
            yield messages.PageRead(run.run_id, run.flow, run.version, number, page.seq)
    for message in await store.retried(run.run_id, (await store.flow(run.flow)).version):
        yield message
    if run.joining and run.read_complete and run.pages_done == run.pages:
        yield messages.RunRead(run.run_id, run.flow, run.version)
