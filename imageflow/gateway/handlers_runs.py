"""The API's handlers of runs and rows: listed, started, retried, traced."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec

from imageflow.actions import runs as run_actions
from imageflow.errors import NotFoundError, SecretError
from imageflow.gateway import shapes
from imageflow.gateway.deps import Call, Deps, cursor, page, position
from imageflow.gateway.problem_details import Refusal
from imageflow.gateway.shapes import Page
from imageflow.model.run import Run
from imageflow.store import ErrorGroup

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_Microseconds = Annotated[int, msgspec.Meta(ge=0, le=4_000_000_000_000_000)]
_RowNumber = Annotated[int, msgspec.Meta(ge=0, le=shapes.MAX_NUMBER)]


class RunHandlers:
    """Each method answers the endpoint of its name."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._store = deps.store

    async def list_runs(self, call: Call) -> Page[shapes.RunShown]:
        query = call.query
        place = position(query.cursor, tuple[_Microseconds, str])
        found = await self._store.runs(
            query.flow or None,
            limit=query.limit + 1,
            active=query.active,
            status=query.status or None,
            before=None if place is None else (_EPOCH + place[0] * _MICROSECOND, place[1]),
        )
        marks = {flow: await self._store.watermark(flow) for flow in {run.flow for run in found}}
        return page(found, query.limit, lambda run: shapes.run_shown(run, marks[run.flow]), _place)

    async def start_run(self, call: Call) -> shapes.RunShown:
        ids = tuple(dict.fromkeys(text.strip() for text in call.body.identifiers or ()))
        now = self._deps.clock.now()
        run_id = await run_actions.start_run(self._store, self._deps.publisher, call.path["flow"], ids, call.actor, now)
        return await self._shown(await self._store.run(run_id))

    async def fetch_missing(self, call: Call) -> shapes.MissingRuns:
        flow = run_actions.inbound(await self._store.flow(call.path["flow"]))
        await self._store.record(call.actor.entry("run.missing", f"flow {flow.name}"))
        try:
            runs, warnings = await self._deps.tools.fetch_missing(flow, call.user.name)
        except SecretError as error:
            raise Refusal(409, str(error)) from error
        return shapes.MissingRuns([await self._shown(run) for run in runs], list(warnings))

    async def show_run(self, call: Call) -> shapes.RunShown:
        return await self._shown(await self._store.run(call.path["run"]))

    async def _shown(self, run: Run) -> shapes.RunShown:
        return shapes.run_shown(run, await self._store.watermark(run.flow))

    async def retry_run(self, call: Call) -> shapes.Retried:
        run_id, wanted = call.path["run"], call.body
        rows = await run_actions.retry(
            self._store, self._deps.publisher, run_id, call.actor, row=wanted.row, group=wanted.group
        )
        return shapes.Retried(run_id, rows)

    async def resume_run(self, call: Call) -> shapes.Resumed:
        run_id = call.path["run"]
        return shapes.Resumed(run_id, await run_actions.resume(self._store, self._deps.broker, run_id, call.actor))

    async def show_page(self, call: Call) -> bytes:
        run = await self._store.run(call.path["run"])
        return (await self._store.page(run.run_id, call.path["page"])).body

    async def list_errors(self, call: Call) -> Page[ErrorGroup]:
        run = await self._store.run(call.path["run"])
        return Page(await self._store.errors(run.run_id, call.query.limit))

    async def list_rows(self, call: Call) -> Page[shapes.RowShown]:
        query = call.query
        run = await self._store.run(call.path["run"])
        after = position(query.cursor, tuple[_RowNumber]) or (0,)
        filters: dict[str, Any] = {
            name: getattr(query, name) or None for name in ("state", "stage", "product", "group")
        }
        found = await self._store.rows(run.run_id, after=after[0], limit=query.limit + 1, **filters)
        return page(found, query.limit, shapes.row_shown, lambda log: cursor(log.row))

    async def show_row(self, call: Call) -> shapes.RowDetail:
        run = await self._store.run(call.path["run"])
        number = call.path["row"]
        for log in await self._store.rows(run.run_id, after=number - 1, limit=1):
            if log.row == number:
                return shapes.row_detail(log)
        raise NotFoundError(f"run {run.run_id} has no row {number} that is settled")

    async def list_product_rows(self, call: Call) -> Page[shapes.RowShown]:
        logs = await self._store.product_rows(call.query.product, limit=call.query.limit)
        return Page([shapes.row_shown(log) for log in logs])

    async def trace_product(self, call: Call) -> bytes:
        return await self._deps.tools.trace(call.query.product, call.query.limit)


def _place(run: Run) -> str:
    return cursor((run.created_at - _EPOCH) // _MICROSECOND, run.run_id)
