"""The API's handlers of flows: shown, checked, saved, and their watermarks. Each answers the endpoint of its name."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from msgspec import UNSET

from imageflow.actions import bench, comparison, flows, shapes, watermarks
from imageflow.errors import ConflictError, FlowFileError
from imageflow.flows import plain_secrets, schema
from imageflow.gateway.access import may
from imageflow.gateway.deps import Call, Deps
from imageflow.gateway.inputs import (
    YAML,
    Ask,
    Compare,
    DiffQuery,
    Draft,
    FlowPath,
    InputQuery,
    Paged,
    RollBack,
    Since,
    Try,
    TryWrite,
    VersionPath,
    VersionQuery,
    matched,
)
from imageflow.gateway.paging import Page, cursor, page, position
from imageflow.gateway.problem_details import Refusal
from imageflow.model.flow import Flow
from imageflow.store import User


async def list_flows(deps: Deps, call: Call[None, Paged, None]) -> Page[shapes.FlowListed]:
    """The flows after the cursor, by name."""
    after = position(call.query.cursor, tuple[str]) or ("",)
    found = [seen for seen in await flows.overview(deps.store, deps.clock.now()) if seen.flow.name > after[0]]
    return page(found, call.query.limit, shapes.flow_listed, lambda seen: cursor(seen.flow.name))


async def show_flow(deps: Deps, call: Call[FlowPath, None, None]) -> shapes.FlowShown:
    """A flow with what it does next and did last."""
    seen = await flows.show(deps.store, call.path.flow, deps.clock.now())
    return shapes.flow_shown(seen._replace(flow=_seen_by(call.user, seen.flow)))


def _seen_by(user: User, flow: Flow) -> Flow:
    """A flow as a user may see it: viewers see no secret that an older version holds in plain text."""
    if may(user, "operator"):
        return flow
    return msgspec.structs.replace(flow, document=plain_secrets.masked(flow.document))


async def save_flow(deps: Deps, call: Call[FlowPath, None, bytes]) -> shapes.FlowLine:
    """The new version."""
    expected = matched(call.match)
    document = await _checked(deps, call)
    try:
        saved = await flows.save_as(deps.store, call.path.flow, document, call.actor, expected=expected)
    except ConflictError as error:
        raise Refusal(412, str(error)) from error
    return shapes.flow_line(saved)


async def check_flow(deps: Deps, call: Call[None, None, bytes]) -> shapes.Checked:
    """What is wrong with the flow of the body."""
    try:
        await _checked(deps, call)
    except FlowFileError as error:
        return shapes.checked(error.problems)
    return shapes.checked([])


async def _checked(deps: Deps, call: Call[Any, None, bytes]) -> dict[str, Any]:
    """The document of a request's body. Raises FlowFileError with all its problems."""
    async with deps.checking:
        return await asyncio.to_thread(flows.checked_text, call.body, deps.tools.reach, is_yaml=call.media == YAML)


async def enable_flow(deps: Deps, call: Call[FlowPath, None, None]) -> shapes.FlowLine:
    """The flow as it is now."""
    return shapes.flow_line(await flows.enable(deps.store, call.path.flow, call.actor, enabled=True))


async def disable_flow(deps: Deps, call: Call[FlowPath, None, None]) -> shapes.FlowLine:
    """The flow as it is now."""
    return shapes.flow_line(await flows.enable(deps.store, call.path.flow, call.actor, enabled=False))


async def delete_flow(deps: Deps, call: Call[FlowPath, None, None]) -> None:
    """No body."""
    await flows.delete(deps.store, call.path.flow, call.actor)


async def roll_back_flow(deps: Deps, call: Call[FlowPath, None, RollBack]) -> shapes.FlowLine:
    """The flow as it is now."""
    async with deps.checking:
        return shapes.flow_line(await flows.roll_back(deps.store, call.path.flow, call.body.version, call.actor))


async def compare_versions(deps: Deps, call: Call[FlowPath, DiffQuery, None]) -> shapes.Difference:
    """The lines of a diff."""
    name, a, b = call.path.flow, call.query.a, call.query.b
    old, new = [_seen_by(call.user, await flows.version(deps.store, name, number)) for number in (a, b)]
    return shapes.difference(name, a, b, flows.diff(old, new))


async def list_versions(deps: Deps, call: Call[FlowPath, Paged, None]) -> Page[shapes.VersionLine]:
    """The versions before the cursor, newest first."""
    before = position(call.query.cursor, tuple[int])
    versions = await flows.versions(deps.store, call.path.flow)
    found = [version for version in versions if before is None or version.version < before[0]]
    return page(found, call.query.limit, shapes.version_line, lambda version: cursor(version.version))


async def show_version(deps: Deps, call: Call[VersionPath, None, None]) -> shapes.VersionShown:
    """A version with its document."""
    found = await flows.version(deps.store, call.path.flow, call.path.version)
    return shapes.version_shown(_seen_by(call.user, found))


async def export_flow(deps: Deps, call: Call[FlowPath, VersionQuery, None]) -> str:
    """A flow file."""
    found = await flows.version(deps.store, call.path.flow, call.query.version or None)
    return flows.as_file(_seen_by(call.user, found))


async def show_input(deps: Deps, call: Call[FlowPath, InputQuery, None]) -> shapes.InputShown:
    """What the flow can be tried with."""
    flow = await flows.version(deps.store, call.path.flow)
    run, row = call.query.run or None, call.query.row or None
    return shapes.input_shown(await bench.input_of(deps.store, deps.tools.sandbox, flow, run, row))


async def try_flow(deps: Deps, call: Call[FlowPath, None, Try]) -> shapes.TriedShown:
    """What came of it."""
    return shapes.tried(await _tried(deps, await flows.version(deps.store, call.path.flow), call.body))


async def try_write(deps: Deps, call: Call[None, None, TryWrite]) -> shapes.TriedWrites:
    """What would be sent."""
    flow = await flows.version(deps.store, call.body.flow)
    tried = await _tried(deps, flow, call.body)
    return shapes.tried_writes(tried, bench.writes(flow, tried))


async def _tried(deps: Deps, flow: Flow, wanted: Try) -> bench.Tried:
    document, body = _draft(flow, wanted), msgspec.json.encode(wanted.input)
    async with deps.trying:
        return await bench.tried(deps.store, deps.tools.sandbox, flow, document, body)


def _draft(flow: Flow, wanted: Try | Draft) -> dict[str, Any]:
    script = flow.document.get("script") if wanted.script is UNSET else wanted.script
    mapping = flow.document.get("mapping") if wanted.mapping is UNSET else wanted.mapping
    return bench.draft(flow, script, mapping)


async def compare_flow(deps: Deps, call: Call[FlowPath, None, Compare]) -> shapes.ComparedShown:
    """What comes out the same, and what does not."""
    flow, wanted = await flows.version(deps.store, call.path.flow), call.body
    document = _draft(flow, wanted.draft)
    async with deps.trying:
        found = await comparison.compared(deps.store, deps.tools.sandbox, flow, document, pages=wanted.pages)
    return shapes.compared(found)


async def ask_erp(deps: Deps, call: Call[FlowPath, None, Ask]) -> shapes.InputShown:
    """The first elements of the page."""
    flow, wanted = await flows.version(deps.store, call.path.flow), call.body
    async with deps.trying:
        found = await bench.asked(deps.store, deps.tools.live, flow, call.actor, wanted.page, wanted.elements)
    return shapes.input_shown(found)


async def show_flow_schema(_deps: Deps, _call: Call[None, None, None]) -> dict[str, Any]:
    """The JSON Schema of flow files."""
    return schema.schema()


async def show_watermark(deps: Deps, call: Call[FlowPath, None, None]) -> shapes.Watermark:
    """The watermark of a flow."""
    return shapes.watermark(await watermarks.show(deps.store, call.path.flow))


async def set_watermark(deps: Deps, call: Call[FlowPath, None, Since]) -> shapes.Watermark:
    """The watermark as it is now."""
    path, now = call.path, deps.clock.now()
    return shapes.watermark(await watermarks.set_to(deps.store, path.flow, call.body.since, call.actor, now))
