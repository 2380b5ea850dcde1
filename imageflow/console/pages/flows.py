"""Flows: the list; one with its settings, versions and runs; and what may be done with it."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from imageflow.actions import audit, errors, flows, keys, left_behind, missing, rows, runs, watermarks
from imageflow.console import effects, flow_form
from imageflow.console.effects import Effect
from imageflow.console.languages import zone
from imageflow.console.pages.shared import CONFIRM_FROM, all_flows, common_zone, host, part, question, runs_of, zone_of
from imageflow.console.visit import Answer, Go, Page, Show, Visit
from imageflow.errors import ConflictError, FlowFileError, NotFoundError, Problem
from imageflow.flows import plain_secrets
from imageflow.gateway.problem_details import Refusal
from imageflow.gateway.request_body import MAX_FORM_BYTES
from imageflow.model import cron
from imageflow.model.flow import Flow
from imageflow.model.run import Run
from imageflow.read.request import takes_identifiers
from imageflow.store import FlowVersion
from imageflow.text.phrase import Phrase, phrase

SHOWN_VERSIONS = 20
ROLLBACKS = 200
"""So many of the last ones, of all flows, say what a version is."""
SHOWN_RUNS = 8
MAX_FLOW_BYTES = 1 << 20
MAX_IDENTIFIERS = 10_000
_NO_PARAMETER = phrase(
    "The flow cannot ask for single products: no parameter carries them. Leave the identifiers empty, and the run asks for what "
    "changed; or name the ERP's parameter in the setting “Names of parameters”."
)


async def list_(visit: Visit) -> Answer:
    """All flows: when each runs, how its last run went."""
    found = await all_flows(visit)
    lines = []
    for flow in found:
        newest = await runs_of(visit.store, flow.name, limit=1)
        lines.append(
            {"flow": flow, "last": newest[0] if newest else None, "next": _next(flow, visit.now), **_places(flow)}
        )
    off = sum(not flow.definition.enabled for flow in found)
    return Show("flows.html", {"here": "flows", "lines": lines, "off": off}, zone=common_zone(found))


def _next(flow: Flow, now: datetime, count: int = 1) -> list[datetime]:
    schedule = flow.definition.schedule
    if schedule is None or not flow.definition.enabled:
        return []
    return cron.next_fires(schedule, flow.definition.timezone, now, count)


def _places(flow: Flow) -> dict[str, str]:
    definition = flow.definition
    erp = definition.erp.endpoint_url if definition.erp is not None else None
    return {"erp": host(erp), "omnitron": host(definition.omnitron.domain_url)}


async def show(visit: Visit) -> Answer:
    """A flow as it is now."""
    return await _flow(visit, visit.path("name"))


async def _flow(
    visit: Visit,
    name: str,
    *,
    status: int = 200,
    form: Mapping[str, str] | None = None,
    problems: Sequence[Problem] = (),
    asked: str = "",
    refused: str | Phrase = "",
    warned: Sequence[str] = (),
    made_key: str = "",
    meeting: Meeting | None = None,
) -> Show:
    seen = await flows.show(visit.store, name, visit.now)
    flow, definition = seen.flow, seen.flow.definition
    document = flow.document if visit.may("operator") else plain_secrets.masked(flow.document)
    fields = flow_form.shown(document, inbound=definition.inbound) | dict(form or {})
    at = {flow_form.field_of(problem.path, fields) or "": problem.message for problem in reversed(problems)}
    newest = await runs_of(visit.store, name, limit=SHOWN_RUNS)
    again = await _again(visit, name)
    values = {
        "here": "flows",
        "flow": flow,
        "d": definition,
        **_places(flow),
        "next": seen.next_fires,
        "of_file": seen.of_file,
        "runs": newest,
        "effect": await _effect(visit, newest),
        "versions": (await flows.versions(visit.store, name))[:SHOWN_VERSIONS],
        "again": again,
        "stale": await left_behind.of_runs(visit.store, newest) if again else [],
        "groups": flow_form.groups(inbound=definition.inbound),
        "fields": fields,
        "default": flow_form.default,
        "example": flow_form.example,
        "called": flow_form.called,
        "takes_identifiers": takes_identifiers(flow.definition),
        "problems": at,
        "others": [problem for problem in problems if flow_form.field_of(problem.path, fields) is None],
        "asked": asked,
        "refused": refused,
        "warned": warned,
        "standing": await watermarks.show(visit.store, name) if definition.inbound else None,
        "script_lines": len((definition.script or "").strip().splitlines()),
        "keys": [] if definition.inbound or not visit.may("admin") else await keys.listed(visit.store, name),
        "made_key": made_key,
        "meeting": meeting,
        "sample": _sample(visit, flow),
        "post_url": f"{visit.request.scheme}://{visit.request.host}/api/outbound/{name}",
    }
    return Show("flow.html", values, status, _zone(flow))


async def _effect(visit: Visit, newest: Sequence[Run]) -> Effect | None:
    """What the settings did in the last run; None: there was none."""
    run = effects.last(newest)
    if run is None:
        return None
    errors = await rows.errors(visit.store, run.run_id, limit=100) if run.counts.failed else []
    return effects.effect(newest, run, errors, visit.now)


async def _again(visit: Visit, name: str) -> dict[int, int]:
    """The versions that a roll back made, and which ones they brought into force again."""
    rollbacks = [one.entry for one in await audit.listed(visit.store, what="flow.rollback", limit=ROLLBACKS)]
    return {one.detail["version"]: one.detail["to"] for one in rollbacks if one.object == f"flow {name}"}


def _sample(visit: Visit, flow: Flow) -> str:
    """A line of a shell that posts one row to an outbound flow."""
    row = '[{"sku": "TEST-1", "images": ["https://example.com/TEST-1.jpg"]}]'
    url = f"{visit.request.scheme}://{visit.request.host}/api/outbound/{flow.name}"
    return f"curl -H 'Authorization: Bearer KEY' -H 'Content-Type: application/json' -d '{row}' {url}"


# what may be done -------------------------------------------------------------------------------------------------------


async def run(visit: Visit) -> Answer:
    """Start a run: of everything since the watermark, or of some products."""
    name, text = visit.path("name"), visit.form.get("identifiers", "")
    ids = [word.strip() for line in text.splitlines() for word in line.split(",") if word.strip()]
    if len(ids) > MAX_IDENTIFIERS:
        return await _flow(
            visit, name, status=422, asked=text, refused=f"at most {MAX_IDENTIFIERS:,} identifiers at once"
        )
    try:
        seen = await runs.start(visit.deps.store, visit.deps.publisher, name, ids, visit.actor, visit.now)
    except NotFoundError:
        raise
    except runs.NotRunnable as error:
        takes = not ids or takes_identifiers((await flows.version(visit.store, name)).definition)
        return await _flow(visit, name, status=409, asked=text, refused=str(error) if takes else _NO_PARAMETER)
    return Go(f"/runs/{part(seen.run.run_id)}", ("started",))


async def ask_retry(visit: Visit) -> Answer:
    """The question before many failed rows of the flow are retried."""
    flow = await flows.version(visit.store, visit.path("name"))
    url, number = f"/flows/{part(flow.name)}", await open_rows(visit, flow.name)
    shown = {"number": number, "version": flow.version}
    return question("flows", "retry", flow.name, f"{url}/retry", f"{url}/bench", zone=_zone(flow), **shown)


async def open_rows(visit: Visit, name: str) -> int:
    """How many failed rows of the flow are open."""
    return sum(cause.rows for cause in await errors.listed(visit.store, name))


async def retry(visit: Visit) -> Answer:
    """Retry the rows of the flow whose failure is open, over all of its runs; of many, once that is confirmed."""
    name, deps = visit.path("name"), visit.deps
    if visit.form.get("sure") != "yes" and await open_rows(visit, name) > CONFIRM_FROM:
        return Go(f"/flows/{part(name)}/retry")
    done = await runs.retry_flow(deps.store, deps.publisher, name, visit.actor)
    left = sum(sum(one.left.values()) for one in done)
    return Go(f"/errors?flow={part(name)}", ("retried", str(sum(one.rows for one in done)), str(left)))


async def look_for_missing(visit: Visit) -> Answer:
    """Look for products without images now."""
    name = visit.path("name")
    begun = await missing.fetch_missing(visit.deps.store, visit.deps.tools.fetcher, name, visit.actor)
    days = (await flows.version(visit.store, name)).definition.fetch_missing.productization_date_limit_days
    if begun.runs:
        return Go(f"/runs?flow={part(name)}", ("asked", str(len(begun.runs)), str(days)))
    if begun.warnings:  # some are missing, and are asked for already, or cannot be
        return await _flow(visit, name, warned=begun.warnings)
    return Go(f"/flows/{part(name)}", ("nothing-missing", str(days)))


async def ask_watermark(visit: Visit) -> Answer:
    """The question before the watermark is set, with what the next run asks for then."""
    name, since = visit.path("name"), visit.asked("since").strip()
    flow, before = await flows.version(visit.store, name), await watermarks.show(visit.store, name)
    then = await watermarks.set_to(visit.store, name, since or None, visit.actor, visit.now, sure=False)
    url, shown = f"/flows/{part(name)}", {"values": {"since": since}, "standing": then, "before": before}
    return question("flows", "watermark", name, f"{url}/watermark", url, zone=_zone(flow), **shown)


async def set_watermark(visit: Visit) -> Answer:
    """Set the watermark, once that is confirmed; empty: the next run asks for everything."""
    name, since = visit.path("name"), visit.form.get("since", "").strip()
    sure = visit.form.get("sure") == "yes"
    await watermarks.set_to(visit.deps.store, name, since or None, visit.actor, visit.now, sure=sure)
    if not sure:
        return Go(f"/flows/{part(name)}/watermark?since={part(since)}")
    return Go(f"/flows/{part(name)}", ("watermark",))


async def enable(visit: Visit) -> Answer:
    """Enable the flow."""
    name = visit.path("name")
    await flows.enable(visit.deps.store, name, visit.actor, enabled=True)
    return Go(f"/flows/{part(name)}", ("enabled", name))


async def ask_disable(visit: Visit) -> Answer:
    """The question before a flow is disabled."""
    flow = await flows.version(visit.store, visit.path("name"))
    url = f"/flows/{part(flow.name)}"
    return question("flows", "disable", flow.name, f"{url}/disable", url, zone=_zone(flow))


async def disable(visit: Visit) -> Answer:
    """Disable the flow, once that is confirmed."""
    name = visit.path("name")
    if visit.form.get("sure") != "yes":
        return Go(f"/flows/{part(name)}/disable")
    await flows.enable(visit.deps.store, name, visit.actor, enabled=False)
    return Go(f"/flows/{part(name)}", ("disabled", name))


async def ask_roll_back(visit: Visit) -> Answer:
    """The question before an earlier version comes into force again, with what changes by it."""
    name, number = visit.path("name"), int(visit.path("version"))
    old, new = await flows.version(visit.store, name, number), await flows.version(visit.store, name)
    if old.version == new.version:
        return Go(f"/flows/{part(name)}/versions/{number}")
    lines = flows.diff(*(_seen(visit, one) for one in (new, old)))
    url = f"/flows/{part(name)}"
    shown = {"number": number, "newest": new.version, "lines": lines}
    return question("flows", "rollback", name, f"{url}/versions/{number}/rollback", url, zone=_zone(new), **shown)


async def roll_back(visit: Visit) -> Answer:
    """Save an earlier version once more, once that is confirmed."""
    name, number = visit.path("name"), int(visit.path("version"))
    if visit.form.get("sure") != "yes":
        return Go(f"/flows/{part(name)}/versions/{number}/rollback")
    async with visit.deps.checking:
        await flows.roll_back(visit.deps.store, name, number, visit.actor)
    return Go(f"/flows/{part(name)}", ("rolled", str(number)))


def _zone(flow: Flow) -> ZoneInfo:
    return zone(flow.definition.timezone)


def _seen(visit: Visit, flow: Flow) -> Flow:
    """A flow as this user may see it."""
    if visit.may("operator"):
        return flow
    return msgspec.structs.replace(flow, document=plain_secrets.masked(flow.document))


async def compare(visit: Visit) -> Answer:
    """What changed from one version to another."""
    name, number = visit.path("name"), int(visit.path("version"))
    other = visit.number("with") or max(1, number - 1)
    versions = await flows.versions(visit.store, name)
    old, new = [_seen(visit, await flows.version(visit.store, name, one)) for one in (other, number)]
    lines = flows.diff(old, new)
    newest = max((version.version for version in versions), default=number)
    values = {
        "here": "flows",
        "flow": new,
        "other": other,
        "lines": lines,
        "saved": _saved(versions, number),
        "newest": newest,
        "back": number - (number == newest),
    }
    return Show("version.html", {**values, "text": flows.as_file(new)}, zone=_zone(new))


def _saved(versions: Sequence[FlowVersion], number: int) -> FlowVersion | None:
    return next((version for version in versions if version.version == number), None)


async def save(visit: Visit) -> Answer:
    """Save the form as a new version; what is wrong is said at its field."""
    name, form = visit.path("name"), dict(visit.form)
    flow = await flows.version(visit.deps.store, name)
    if form.get("version") != str(flow.version):
        return await _meet(visit, flow, form)
    try:
        document = flow_form.changed(flow.document, form, inbound=flow.definition.inbound)
        saved = await saved_document(visit, name, document, expected=flow.version)
    except ConflictError:  # this very moment
        return await _meet(visit, await flows.version(visit.deps.store, name), form)
    except FlowFileError as error:
        return await _flow(visit, name, status=422, form=form, problems=error.problems)
    return Go(f"/flows/{part(name)}", notice_of(flow, saved))


def notice_of(before: Flow, saved: Flow) -> tuple[str, str]:
    """What to say of a flow that was saved."""
    return "saved" if saved.version != before.version else "same", str(saved.version)


class Meeting(NamedTuple):
    """Two have changed one version: who saved first, what the form is now, and the lines in which both texts differ, by field."""

    first: FlowVersion | None
    merged: flow_form.Merged
    lines: dict[str, list[str]]


async def _meet(visit: Visit, flow: Flow, form: dict[str, str]) -> Answer:
    """The form with both changes in it, to be looked at and saved. Where both changed one field, both texts are shown."""
    store, inbound, number = visit.deps.store, flow.definition.inbound, form.get("version", "")
    try:
        base = await flows.version(store, flow.name, int(number) if number.isdigit() and len(number) < 10 else None)
    except NotFoundError:
        base = flow
    before, theirs = (flow_form.shown(one.document, inbound=inbound) for one in (base, flow))
    merged = flow_form.merged(before, form, theirs)
    lines = {path: _differing(other, merged.fields[path]) for path, other in merged.theirs.items()}
    first = _saved(await flows.versions(store, flow.name), flow.version)
    return await _flow(visit, flow.name, status=409, form=merged.fields, meeting=Meeting(first, merged, lines))


def _differing(theirs: str, mine: str) -> list[str]:
    lines = difflib.ndiff(theirs.splitlines(), mine.replace("\r\n", "\n").splitlines())
    return [line for line in lines if not line.startswith("?")]


async def saved_document(visit: Visit, name: str, document: dict[str, Any], *, expected: int | None = None) -> Flow:
    """Check a document of the flow and save it. Raises FlowFileError, ConflictError."""
    text, reach = msgspec.json.encode(document), visit.deps.tools.reach
    async with visit.deps.checking:
        checked = await asyncio.to_thread(flows.checked_text, text, reach, is_yaml=False)
    return await flows.save_as(visit.deps.store, name, checked, visit.actor, expected=expected)


async def ask_new(visit: Visit, *, text: str = "", problems: Sequence[Problem] = (), status: int = 200) -> Answer:
    """A new flow, as a flow file."""
    if not visit.may("admin"):
        raise Refusal(403, "admin")
    return Show("new_flow.html", {"here": "flows", "text": text, "problems": problems}, status)


async def new(visit: Visit) -> Answer:
    """Save a new flow."""
    text = visit.form.get("file", "")
    try:
        reach = visit.deps.tools.reach
        async with visit.deps.checking:
            document = await asyncio.to_thread(flows.checked_text, text.encode(), reach, is_yaml=True)
        saved = await flows.save_as(visit.deps.store, document["name"], document, visit.actor)
    except FlowFileError as error:
        return await ask_new(visit, text=text, problems=error.problems, status=422)
    return Go(f"/flows/{part(saved.name)}", ("saved", str(saved.version)))


async def add_key(visit: Visit) -> Answer:
    """Make a key; its text is shown this once, in the answer itself."""
    name, called = visit.path("name"), visit.form.get("key_name", "")
    days = visit.form.get("days", "").strip()
    good = int(days) if days.isascii() and days.isdigit() and len(days) < 6 else None
    deps = visit.deps
    made = await keys.add(deps.store, deps.secret_key, name, called, good, visit.actor, deps.clock)
    page = await _flow(visit, name, made_key=made.text)
    return page._replace(headers={"Cache-Control": "no-store"})


async def ask_revoke_key(visit: Visit) -> Answer:
    """The question before a key is revoked."""
    found = [key for key in await keys.listed(visit.store, None) if key.id == visit.path("key")]
    if not found:
        raise Refusal(404, "there is nothing at this address")
    back, of_flow = f"/flows/{part(found[0].flow)}", await zone_of(visit, found[0].flow)
    return question("flows", "revoke-key", found[0].name, f"/keys/{part(found[0].id)}/revoke", back, zone=of_flow)


async def revoke_key(visit: Visit) -> Answer:
    """Revoke a key, once that is confirmed."""
    if visit.form.get("sure") != "yes":
        return Go(f"/keys/{part(visit.path('key'))}/revoke")
    gone = await keys.revoke(visit.deps.store, visit.path("key"), visit.actor)
    visit.deps.access.forget()
    return Go(f"/flows/{part(gone.flow)}", ("no-key", gone.name))


_VERSION = r"/flows/{name}/versions/{version:\d{1,9}}"

PAGES = (
    Page("GET", "/flows", list_),
    Page("GET", "/flows/new", ask_new, role="admin"),
    Page("POST", "/flows/new", new, role="admin", limit=MAX_FLOW_BYTES * 3),
    Page("GET", "/flows/{name}", show),
    Page("POST", "/flows/{name}", save, role="admin", limit=MAX_FLOW_BYTES * 3),
    Page("POST", "/flows/{name}/run", run, role="operator", limit=MAX_FORM_BYTES * 64),
    Page("GET", "/flows/{name}/retry", ask_retry, role="operator"),
    Page("POST", "/flows/{name}/retry", retry, role="operator"),
    Page("POST", "/flows/{name}/missing", look_for_missing, role="operator"),
    Page("GET", "/flows/{name}/watermark", ask_watermark, role="operator"),
    Page("POST", "/flows/{name}/watermark", set_watermark, role="operator"),
    Page("POST", "/flows/{name}/enable", enable, role="admin"),
    Page("GET", "/flows/{name}/disable", ask_disable, role="admin"),
    Page("POST", "/flows/{name}/disable", disable, role="admin"),
    Page("GET", _VERSION, compare),
    Page("GET", f"{_VERSION}/rollback", ask_roll_back, role="admin"),
    Page("POST", f"{_VERSION}/rollback", roll_back, role="admin"),
    Page("POST", "/flows/{name}/keys", add_key, role="admin"),
    Page("GET", "/keys/{key}/revoke", ask_revoke_key, role="admin"),
    Page("POST", "/keys/{key}/revoke", revoke_key, role="admin"),
)
