"""Akinon's Integrator API, as far as ERP code uses it: the login, the list of flows, the logs. Errors are plain text."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import msgspec
from aiohttp import web

from imageflow.errors import ImageFlowError, NotFoundError
from imageflow.gateway import logs
from imageflow.gateway.access import Access, shown
from imageflow.gateway.problem_details import Refusal, refusal
from imageflow.gateway.request_body import MAX_FORM_BYTES, BodyReader
from imageflow.model.flow import Flow
from imageflow.model.run import Run
from imageflow.store import Store, User

NO_CREDENTIALS = "username and password are required"
WRONG_CREDENTIALS = "unable to log in with the given username and password"
PROJECT = "imageflow"
NEWEST_RUNS = 1_000
"""Main logs go back so far."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def credentials(form: bytes) -> tuple[str, str] | None:
    """User name and password of an URL-encoded form; None where one is missing, empty or there twice."""
    try:
        fields = parse_qs(form.decode(), max_num_fields=20, errors="strict")
    except ValueError:
        return None
    match fields.get("username"), fields.get("password"):
        case [username], [password]:
            return username, password
    return None


def listed(flow: Flow, project: str = PROJECT) -> dict[str, Any]:
    """A flow as the Integrator lists it. Its id is its name: what `flowId` asks for, and part of the outbound URL."""
    definition = flow.definition
    strategy, period = _scheduling(flow)
    return {
        "id": flow.name,
        "state": "RUNNING" if definition.enabled else "STOPPED",
        "component": {
            "id": flow.name,
            "name": flow.name,
            "parentGroupId": project,
            "variables": {
                "!flowId": flow.name,
                "!flowType": "image",
                "!flowSlug": flow.name,
                "!inbound": "true" if definition.inbound else "false",
                "!outbound": "false" if definition.inbound else "true",
                "!schedulingStrategy": strategy,
                "!schedulingPeriod": period,
            },
        },
    }


def _scheduling(flow: Flow) -> tuple[str, str]:
    schedule = flow.definition.schedule
    if schedule is None or schedule.after is not None:
        return "EVENT_DRIVEN", schedule.after if schedule is not None and schedule.after else ""
    if schedule.every is not None:
        return "TIMER_DRIVEN", f"{schedule.every:g} sec"
    return "CRON_DRIVEN", quartz(schedule.cron or "")


def quartz(cron: str) -> str:
    """A five-field cron expression as Quartz writes it, with seven; any other as it is.

    Quartz wants `?` in one of day of month and day of week, and counts week days from Sunday = 1.
    """
    fields = cron.split()
    if len(fields) != 5:
        return cron
    minute, hour, day, month, week_day = fields
    if week_day == "*":
        week_day = "?"
    elif day == "*":
        day = "?"
    return f"0 {minute} {hour} {day} {month} {_quartz_week_days(week_day)} *"


_WEEK_DAYS = dict(zip("01234567", ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"), strict=True))


def _quartz_week_days(field: str) -> str:
    if "/" in field:
        return field
    return ",".join("-".join(_WEEK_DAYS.get(day, day) for day in part.split("-")) for part in field.split(","))


class Integrator:
    """The Integrator's routes over our store and users."""

    def __init__(self, store: Store, access: Access, reader: BodyReader) -> None:
        self._store = store
        self._access = access
        self._reader = reader

    def routes(self) -> list[web.AbstractRouteDef]:
        return [
            web.post("/api/nifi/login", _plain(self._login)),
            web.get("/api/nifi/flow/list", _plain(self._flows)),
            web.get("/logs", _plain(self._logs)),
        ]

    async def _login(self, request: web.Request) -> web.Response:
        async with self._reader.form(request, MAX_FORM_BYTES) as body:
            given = credentials(body)
        if given is None:
            raise Refusal(400, NO_CREDENTIALS)
        token = await self._access.login(*given, request.remote or "")
        if token is None:
            raise Refusal(400, WRONG_CREDENTIALS)
        return web.Response(text=token.text)

    async def _flows(self, request: web.Request) -> web.Response:
        user = await self._access.user(request.headers.getall("Authorization", []))
        project = request.query.get("projectId") or PROJECT
        flows = [listed(flow, project) for flow in await self._store.flows()]
        return _json(flows, user)

    async def _logs(self, request: web.Request) -> web.Response:
        user = await self._access.user(request.headers.getall("Authorization", []))
        query = logs.asked(request.query)
        count, results = await self._main_logs(query) if query.log_type == logs.MAIN else await self._of_run(query)
        return _json(logs.envelope(query, count, results), user)

    async def _main_logs(self, query: logs.Query) -> tuple[int, list[dict[str, Any]]]:
        runs = [await self._run(query)] if query.run_id else await self._store.runs(query.flow, limit=NEWEST_RUNS)
        shown = runs[query.start : query.start + query.limit]
        return len(runs), [logs.main_log(run) for run in shown]

    async def _of_run(self, query: logs.Query) -> tuple[int, list[dict[str, Any]]]:
        """Steps or rows of one run. Rows are paged by their numbers, so that pages stay the same while more settle."""
        run = await self._run(query)
        if query.log_type == logs.SUB:
            steps = logs.sub_logs(run, (await self._store.flow(run.flow, run.version)).definition)
            return len(steps), steps[query.start : query.start + query.limit]
        rows = await self._store.rows(run.run_id, after=query.start, limit=query.limit)
        last = query.start + query.limit
        return run.counts.total, [logs.line_log(row, run.flow) for row in rows if row.row <= last]

    async def _run(self, query: logs.Query) -> Run:
        if query.run_id is None:
            raise Refusal(400, "original_filename_uuid is required: whose steps or lines these are")
        try:
            run = await self._store.run(query.run_id)
        except NotFoundError as error:
            raise Refusal(404, "there are no logs") from error
        if query.flow is not None and run.flow != query.flow:
            raise Refusal(404, "there are no logs")
        return run


def _json(value: Any, user: User) -> web.Response:
    return web.Response(body=shown(user, msgspec.json.encode(value)), content_type="application/json")


def _plain(handler: Handler) -> Handler:
    """The Integrator's errors are plain text."""

    async def answered(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except ImageFlowError as error:
            why = refusal(error)
            return web.Response(text=str(why), status=why.status, headers=why.headers)

    return answered
