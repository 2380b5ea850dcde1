"""The API's handlers of causes for which rows failed, over all runs. Each answers the endpoint of its name."""

from __future__ import annotations

from imageflow.actions import errors, shapes
from imageflow.gateway.deps import Call, Deps
from imageflow.gateway.inputs import CausePath, CauseQuery, OpenRowQuery, RetryCause
from imageflow.gateway.paging import Long, Microseconds, Page, RowNumber, cursor, instant, microseconds, page, position
from imageflow.model.row import RowLog
from imageflow.store import Cause, CauseKey, OpenRowKey


async def list_causes(deps: Deps, call: Call[None, CauseQuery, None]) -> Page[shapes.CauseShown]:
    """The causes after the cursor."""
    query = call.query
    place = position(query.cursor, tuple[Microseconds, str, str])
    after = None
    if place is not None:
        at, flow, group = place
        after = CauseKey(at if query.state == "open" else instant(at), flow, group)
    found = await errors.listed(deps.store, query.flow or None, state=query.state, after=after, limit=query.limit + 1)
    return page(found, query.limit, shapes.cause_shown, _cause_place)


def _cause_place(cause: Cause) -> str:
    at, flow, group = cause.key()
    return cursor(at if isinstance(at, int) else microseconds(at), flow, group)


async def list_cause_rows(deps: Deps, call: Call[CausePath, OpenRowQuery, None]) -> Page[shapes.RowShown]:
    """The open rows of a cause after the cursor, newest first."""
    query = call.query
    place = position(query.cursor, tuple[Long, str, RowNumber])
    after = None if place is None else OpenRowKey(*place)
    found = await errors.open_rows(deps.store, call.path.cause, query.flow or None, after=after, limit=query.limit + 1)
    return page(found, query.limit, shapes.row_shown, _row_place)


def _row_place(row: RowLog) -> str:
    return cursor(row.version, row.run_id, row.row)


async def retry_cause(deps: Deps, call: Call[CausePath, None, RetryCause]) -> shapes.CauseRetried:
    """What was taken of each run, and what was left."""
    group = call.path.cause
    done = await errors.retry(deps.store, deps.publisher, group, call.actor, flow=call.body.flow)
    return shapes.cause_retried(group, done)
