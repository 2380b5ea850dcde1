"""The causes for which rows failed, over all runs: listed, looked into, put through again."""

from __future__ import annotations

from typing import Literal

from imageflow.actions import runs
from imageflow.actions.actor import Actor
from imageflow.errors import NotFoundError
from imageflow.model.row import RowLog
from imageflow.model.run import FINAL, Run
from imageflow.runtime.outbox_publisher import OutboxPublisher
from imageflow.store import Cause, CauseKey, InRetry, OpenRowKey, Store

CAUSES = 100


async def listed(
    store: Store,
    flow: str | None = None,
    *,
    state: Literal["open", "closed"] = "open",
    after: CauseKey | None = None,
    limit: int = CAUSES,
) -> list[Cause]:
    """The causes of all flows or of one: the open ones, the largest first, or those that closed, the last first; those after
    `after`. Raises NotFoundError for a flow.
    """
    if flow is not None:
        await store.flow(flow)
    return await store.causes(flow, state=state, after=after, limit=limit)


async def failed_runs(store: Store, flow: str | None = None) -> list[Run]:
    """For each flow, or for one: the last run that ended, if it failed as a whole (in login or read). The newest first.
    Raises NotFoundError for an unknown flow.
    """
    if flow is not None:
        newest = await store.runs((await store.flow(flow)).name, limit=1)
    else:
        there = {one.name for one in await store.flows()}
        newest = [run for run in await store.newest_runs() if run.flow in there]
    ended = [run if run.ended else await _last_ended(store, run.flow) for run in newest]
    failed = [run for run in ended if run is not None and run.status == "failed" and run.error is not None]
    return sorted(failed, key=lambda run: run.created_at, reverse=True)


async def _last_ended(store: Store, flow: str) -> Run | None:
    return next(iter(await store.runs(flow, status=FINAL, limit=1)), None)


async def open_rows(
    store: Store, group: str, flow: str | None = None, *, after: OpenRowKey | None = None, limit: int = CAUSES
) -> list[RowLog]:
    """The open rows of a cause, over all runs of all flows or of one, newest first. A closed cause has none. Raises
    NotFoundError for an unknown flow, and for a cause that no row ever failed for.
    """
    if flow is not None:
        await store.flow(flow)
    found = await store.open_rows(group, flow, after=after, limit=limit)
    if not found and after is None and not await store.causes(flow, group=group, state="closed"):
        raise NotFoundError(f"there is no cause {group!r}{_in(flow)}; imageflow errors lists those that are open")
    return found


def _in(flow: str | None) -> str:
    return "" if flow is None else f" in flow {flow}"


async def in_retry(store: Store, flow: str | None = None) -> list[InRetry]:
    """The runs of all flows, or of one, with rows that are being tried again now, the oldest first."""
    return await store.in_retry(flow)


async def retry(
    store: Store, publisher: OutboxPublisher, group: str, actor: Actor, *, flow: str | None = None
) -> list[runs.Retried]:
    """Put all open rows of a cause through again, over all runs of all flows or of one, the oldest run of each flow first. Each
    run's retry is in the audit log. Raises NotFoundError where nothing of it is open.
    """
    found = await store.causes(flow, group=group)
    if not found:
        raise NotFoundError(
            f"no failure of the cause {group} is open{_in(flow)}; imageflow errors lists those that are"
        )
    done = []
    for cause in found:
        done += await runs.retry_flow(store, publisher, cause.flow, actor, group=group)
    return done
