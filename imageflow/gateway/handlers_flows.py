"""The API's handlers of flows: shown, checked, saved, and their watermarks."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from imageflow.actions import flows as flow_actions
from imageflow.actions import runs as run_actions
from imageflow.clock import iso
from imageflow.errors import FlowFileError, Problem
from imageflow.flows import schema
from imageflow.gateway import shapes
from imageflow.gateway.deps import Call, Deps, cursor, page, position
from imageflow.gateway.endpoints import YAML
from imageflow.gateway.problem_details import Refusal
from imageflow.gateway.shapes import Page
from imageflow.model import cron
from imageflow.model.flow import Definition, Flow

CHECKS_AT_ONCE = 2
SHOWN_FIRES = 5
SHOWN_RUNS = 5
FIRST_YEAR = 1970


class FlowHandlers:
    """Each method answers the endpoint of its name."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._store = deps.store
        self._checking = asyncio.Semaphore(CHECKS_AT_ONCE)

    async def list_flows(self, call: Call) -> Page[shapes.FlowLine]:
        after = position(call.query.cursor, tuple[str]) or ("",)
        flows = sorted(await self._store.flows(), key=lambda flow: flow.name)  # not every database's order
        found = [flow for flow in flows if flow.name > after[0]]
        return page(found, call.query.limit, shapes.flow_line, lambda flow: cursor(flow.name))

    async def show_flow(self, call: Call) -> shapes.FlowShown:
        flow = await self._store.flow(call.path["flow"])
        line = shapes.flow_line(flow)
        watermark = await self._store.watermark(flow.name)
        runs = await self._store.runs(flow.name, limit=SHOWN_RUNS)
        return shapes.FlowShown(
            name=line.name,
            version=line.version,
            direction=line.direction,
            enabled=line.enabled,
            schedule=line.schedule,
            next_fires=self._fires(flow.definition),
            watermark=iso(watermark),
            runs=[shapes.run_shown(run, watermark) for run in runs],
            document=flow.document,
        )

    def _fires(self, definition: Definition) -> list[str]:
        if definition.schedule is None:
            return []
        now = self._deps.clock.now()
        fires = cron.next_fires(definition.schedule, definition.timezone, now, SHOWN_FIRES)
        return [text for fire in fires if (text := iso(fire)) is not None]

    async def save_flow(self, call: Call) -> shapes.FlowLine:
        document = await self._checked(call)
        if document["name"] != call.path["flow"]:
            raise FlowFileError([Problem("name", f"must be that of the address, {call.path['flow']!r}")])
        return shapes.flow_line(await flow_actions.save_flow(self._store, document, call.actor))

    async def check_flow(self, call: Call) -> shapes.Checked:
        try:
            await self._checked(call)
        except FlowFileError as error:
            return shapes.Checked([shapes.FieldProblem(*problem) for problem in error.problems])
        return shapes.Checked([])

    async def _checked(self, call: Call) -> dict[str, Any]:
        """The document of a request's body. Raises FlowFileError with all its problems."""
        async with self._checking:
            return await asyncio.to_thread(self._check, call.body, call.media == YAML)

    def _check(self, text: bytes, is_yaml: bool) -> dict[str, Any]:
        document: dict[str, Any] = self._deps.tools.read(text, is_yaml)
        self._deps.tools.check(document)
        return document

    async def enable_flow(self, call: Call) -> shapes.FlowLine:
        return await self._enable(call, enabled=True)

    async def disable_flow(self, call: Call) -> shapes.FlowLine:
        return await self._enable(call, enabled=False)

    async def _enable(self, call: Call, *, enabled: bool) -> shapes.FlowLine:
        return shapes.flow_line(await flow_actions.enable(self._store, call.path["flow"], call.actor, enabled=enabled))

    async def list_versions(self, call: Call) -> Page[shapes.VersionLine]:
        before = position(call.query.cursor, tuple[int])
        versions = await self._store.flow_versions(call.path["flow"])
        found = [version for version in versions if before is None or version.version < before[0]]
        return page(found, call.query.limit, shapes.version_line, lambda version: cursor(version.version))

    async def show_version(self, call: Call) -> shapes.VersionShown:
        return shapes.version_shown(await self._store.flow(call.path["flow"], call.path["version"]))

    async def export_flow(self, call: Call) -> str:
        flow = await self._store.flow(call.path["flow"], call.query.version or None)
        return self._deps.tools.write(flow.document)

    async def show_flow_schema(self, _call: Call) -> dict[str, Any]:
        return schema.schema()

    async def show_watermark(self, call: Call) -> shapes.Watermark:
        return await self._watermark(run_actions.inbound(await self._store.flow(call.path["flow"])))

    async def set_watermark(self, call: Call) -> shapes.Watermark:
        flow = run_actions.inbound(await self._store.flow(call.path["flow"]))
        since = None if call.body.since is None else self._instant(call.body.since, flow.definition.timezone)
        await run_actions.set_watermark(self._store, flow.name, since, call.actor)
        return await self._watermark(flow)

    def _instant(self, text: str, timezone: str) -> datetime:
        try:
            instant = self._deps.tools.instant(text, timezone)
        except ValueError as error:
            raise Refusal(422, "since: not an ISO date, nor null") from error
        if instant.year < FIRST_YEAR:
            raise Refusal(422, f"since: a watermark before {FIRST_YEAR} is none: say null")
        return instant

    async def _watermark(self, flow: Flow) -> shapes.Watermark:
        watermark = await self._store.watermark(flow.name)
        active = await self._store.runs(flow.name, active=True)
        return shapes.Watermark(
            flow=flow.name,
            watermark=iso(watermark),
            asks_since=iso(self._deps.tools.since(flow.definition, watermark)),
            reading=[run.run_id for run in active if not run.read_complete],
        )
