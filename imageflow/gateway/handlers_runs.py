"""The API's handlers of runs and rows: listed, started, retried, traced. Each answers the endpoint of its name."""

from __future__ import annotations

import msgspec

from imageflow.actions import errors, left_behind, missing, rows, run_detail, run_log, runs, shapes, shapes_now
from imageflow.actions.runs import Seen
from imageflow.gateway.deps import Call, Deps
from imageflow.gateway.inputs import (
    FlowPath,
    LimitQuery,
    Paged,
    PagePath,
    Retry,
    RetryFlow,
    RowPath,
    RowQuery,
    RunPath,
    RunQuery,
    Start,
    StoryQuery,
    TraceQuery,
    moment,
)
from imageflow.gateway.paging import Microseconds, Page, RowNumber, cursor, instant, microseconds, page, position
from imageflow.inspect import product_history
from imageflow.store import ErrorGroup


async def list_runs(deps: Deps, call: Call[None, RunQuery, None]) -> Page[shapes.RunShown]:
    """The runs before the cursor, newest first."""
    query, now = call.query, deps.clock.now()
    place = position(query.cursor, tuple[Microseconds, str])
    found = await runs.listed(
        deps.store,
        query.flow or None,
        limit=query.limit + 1,
        active=query.active,
        status=query.status or None,
        trigger=query.trigger or None,
        since=moment("since", query.since, now),
        until=moment("until", query.until, now),
        before=None if place is None else (instant(place[0]), place[1]),
    )
    return page(found, query.limit, shapes.run_shown, _place)


def _place(seen: Seen) -> str:
    return cursor(microseconds(seen.run.created_at), seen.run.run_id)


async def start_run(deps: Deps, call: Call[FlowPath, None, Start]) -> shapes.RunShown:
    """The run that was added."""
    asked = call.body
    ids, window = asked.identifiers or (), runs.window(asked.since, asked.until)
    name, now = call.path.flow, deps.clock.now()
    run = await runs.start(deps.store, deps.publisher, name, ids, call.actor, now, window=window)
    return shapes.run_shown(run)


async def fetch_missing(deps: Deps, call: Call[FlowPath, None, None]) -> shapes.MissingRuns:
    """The runs that began."""
    begun = await missing.fetch_missing(deps.store, deps.tools.fetcher, call.path.flow, call.actor)
    seen = [await runs.seen(deps.store, run) for run in begun.runs]
    return shapes.MissingRuns([shapes.run_shown(one) for one in seen], list(begun.warnings))


async def show_run(deps: Deps, call: Call[RunPath, None, None]) -> shapes_now.RunDetail:
    """A run with its course."""
    return shapes_now.run_detail(await run_detail.look(deps.store, call.path.run, deps.clock.now()))


async def show_log(deps: Deps, call: Call[RunPath, Paged, None]) -> Page[shapes.LogEntry]:
    """A part of the run's log."""
    after = position(call.query.cursor, tuple[RowNumber]) or (0,)
    found = await run_log.told(deps.store, call.path.run, after=after[0], limit=call.query.limit)
    return Page([shapes.log_entry(one) for one in found.entries], cursor(found.more) if found.more else None)


async def retry_run(deps: Deps, call: Call[RunPath, None, Retry]) -> shapes.Retried:
    """What was taken, and what was left."""
    run_id, wanted = call.path.run, call.body
    if wanted.rows:
        return shapes.retried(await runs.retry_rows(deps.store, deps.publisher, run_id, wanted.rows, call.actor))
    done = await runs.retry(deps.store, deps.publisher, run_id, call.actor, row=wanted.row, group=wanted.group)
    return shapes.retried(done)


async def retry_flow(deps: Deps, call: Call[FlowPath, None, RetryFlow]) -> shapes.FlowRetried:
    """What was taken of each run, and what was left."""
    name = call.path.flow
    done = await runs.retry_flow(deps.store, deps.publisher, name, call.actor, group=call.body.group)
    return shapes.flow_retried(name, done)


async def list_open_errors(deps: Deps, call: Call[FlowPath, None, None]) -> Page[shapes.CauseShown]:
    """The causes that are open, the most frequent first."""
    return Page([shapes.cause_shown(cause) for cause in await errors.listed(deps.store, call.path.flow)])


async def cancel_run(deps: Deps, call: Call[RunPath, None, None]) -> shapes.RunShown:
    """The run, which ends once what is in flight is settled."""
    return shapes.run_shown(await runs.cancel(deps.store, call.path.run, call.actor))


async def rewrite_run(deps: Deps, call: Call[RunPath, None, None]) -> shapes.RunShown:
    """The new run."""
    seen = await left_behind.rewrite(deps.store, deps.publisher, call.path.run, call.actor, deps.clock.now())
    return shapes.run_shown(seen)


async def resume_run(deps: Deps, call: Call[RunPath, None, None]) -> shapes.Resumed:
    """How many messages were published."""
    run_id = call.path.run
    return shapes.Resumed(run_id, await runs.resume(deps.store, deps.broker, run_id, call.actor))


async def show_page(deps: Deps, call: Call[PagePath, None, None]) -> msgspec.Raw:
    """The page as it came."""
    return msgspec.Raw((await rows.page(deps.store, call.path.run, call.path.page)).body)


async def list_errors(deps: Deps, call: Call[RunPath, LimitQuery, None]) -> Page[ErrorGroup]:
    """The largest error groups of a run."""
    return Page(await rows.errors(deps.store, call.path.run, limit=call.query.limit))


async def list_rows(deps: Deps, call: Call[RunPath, RowQuery, None]) -> Page[shapes.RowShown]:
    """The rows after the cursor, by number."""
    query = call.query
    after = position(query.cursor, tuple[RowNumber]) or (0,)
    found = await rows.listed(
        deps.store,
        call.path.run,
        state=query.state or None,
        stage=query.stage or None,
        product=query.product or None,
        group=query.group or None,
        page=query.page or None,
        after=after[0],
        limit=query.limit + 1,
    )
    return page(found, query.limit, shapes.row_shown, lambda log: cursor(log.row))


async def show_row(deps: Deps, call: Call[RowPath, None, None]) -> shapes.RowDetail:
    """A row with what failed."""
    return shapes.row_detail(await rows.show(deps.store, call.path.run, call.path.row))


async def list_product_rows(deps: Deps, call: Call[None, TraceQuery, None]) -> Page[shapes.RowShown]:
    """The newest rows of a product."""
    logs = await rows.of_product(deps.store, call.query.product, limit=call.query.limit)
    return Page([shapes.row_shown(log) for log in logs])


async def trace_product(deps: Deps, call: Call[None, StoryQuery, None]) -> shapes.ProductHistory:
    """Everything that happened to a product."""
    query = call.query
    found = await product_history.trace(deps.store, deps.tools.sandbox, query.product, limit=query.limit)
    return shapes.product_history(found)
