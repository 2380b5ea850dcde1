"""The test bench: a form with an answer, a script and a mapping; what comes of them, what would be sent, and what they would have
made of what really came.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import msgspec

from imageflow.actions import bench, comparison, flows
from imageflow.actions.bench import Input, Tried, Write
from imageflow.actions.comparison import Compared, PageKey
from imageflow.console.languages import zone
from imageflow.console.pages.flows import MAX_FLOW_BYTES, notice_of, open_rows, saved_document
from imageflow.console.pages.shared import all_flows, common_zone, part
from imageflow.console.visit import Answer, File, Go, Page, Show, Visit
from imageflow.errors import FlowFileError, ImageFlowError, Problem, SandboxError
from imageflow.gateway.problem_details import Refusal
from imageflow.inspect.dry_run import Step
from imageflow.jolt.explain import explanation_of
from imageflow.model.flow import Flow

MAX_INPUT_BYTES = 1 << 20
SHOWN_CHARS = 20_000
MOST_PAGE = 1_000_000
CHOICE = 10
"""So many of the last kept pages are offered as input."""


async def choose(visit: Visit) -> Answer:
    """Which flow; the only one at once."""
    found = await all_flows(visit)
    if len(found) == 1:
        return Go(f"/flows/{part(found[0].name)}/bench")
    return Show("benches.html", {"here": "bench", "flows": found}, zone=common_zone(found))


async def show(visit: Visit) -> Answer:
    """The form, with the flow's own script and mapping, and an answer that a run has had."""
    flow = await flows.version(visit.store, visit.path("name"))
    run_id, row = visit.asked("run") or None, visit.number("row")
    taken = await bench.input_of(
        visit.store, visit.deps.tools.sandbox, flow, run_id, row, visit.number("page", most=MOST_PAGE)
    )
    sheet = Sheet(flow, taken, flow.definition.script or "", _mapping_text(flow), await _kept(visit, flow))
    broken = await open_rows(visit, flow.name)
    return _page(sheet, open_=broken, lost=row if run_id is not None and taken.row is None else None)


async def _kept(visit: Visit, flow: Flow) -> list[PageKey]:
    """Pages to choose from."""
    return await comparison.kept(visit.store, flow.name, CHOICE)


def _mapping_text(flow: Flow) -> str:
    mapping = flow.document.get("mapping")
    return json.dumps(mapping, ensure_ascii=False, indent=2) if mapping else ""


class Sheet(NamedTuple):
    """What lies on the bench: an answer, a script and a mapping; and the pages that other answers may be taken from."""

    flow: Flow
    taken: Input
    script: str
    mapping: str
    kept: list[PageKey]


def _page(
    sheet: Sheet,
    *,
    tried: Tried | None = None,
    writes: list[Write] | None = None,
    compared: Compared | None = None,
    asked: bool = False,
    lost: int | None = None,
    open_: int = 0,
    problems: list[Problem] | None = None,
    refused: str = "",
    unsaved: bool = False,
    saved: tuple[str, str] | None = None,
    status: int = 200,
) -> Show:
    flow = sheet.flow
    steps = {step.step: step for step in tried.dry.steps} if tried is not None else {}
    said = {"script": "", "mapping": ""}
    said |= {_field(problem.path): problem.message for problem in reversed(problems or []) if _field(problem.path)}
    values = {
        "here": "bench",
        "flow": flow,
        "input": sheet.taken,
        "script": sheet.script,
        "mapping": sheet.mapping,
        "kept": _with(sheet.taken, sheet.kept),
        "tried": tried,
        "writes": writes,
        "compared": compared,
        "counts": compared.counts if compared is not None else {},
        "asked": asked,
        "lost": lost,
        "open": open_,
        "many": comparison.MAX_PAGES,
        "few": comparison.PAGES,
        "wrong": said,
        "others": [problem for problem in problems or [] if not _field(problem.path)],
        "unsaved": unsaved,
        "refused": refused,
        "failed": [one for one in tried.rows if one.row.state == "failed"] if tried else [],
        "refusals": sum(one.refused is not None for one in tried.rows) if tried else 0,
        "ready": [one for one in tried.rows if one.row.state == "ready"] if tried else [],
        "sent": sum(one.row.state == "ready" and one.change != "same" for one in tried.rows) if tried else 0,
        "prints": steps["script"].prints[:SHOWN_CHARS] if "script" in steps else "",
        "errors": _errors(steps),
        "after_script": _text(steps["script"].output) if "script" in steps else "",
        "operations": _operations(steps.get("mapping")),
        "json": _text,
        "saved": saved is not None,
        **({"notice": saved} if saved is not None else {}),
    }
    return Show("bench.html", values, status, zone(flow.definition.timezone))


def _with(taken: Input, kept: list[PageKey]) -> list[PageKey]:
    """The pages to choose from, that which lies on the bench among them."""
    if taken.run_id is None or not taken.page or not kept:
        return kept
    here = PageKey(taken.run_id, taken.page)
    return kept if here in kept else [here, *kept]


def _field(path: str) -> str:
    """The field of the form that a problem is in; none where it is in what the form does not show."""
    return "script" if path.startswith("script") else "mapping" if path.startswith("mapping") else ""


def _errors(steps: dict[Any, Step]) -> list[tuple[str, int | None, str, int | None]]:
    """What failed: at which step, in which line of the script, why, for which element."""
    found: list[tuple[str, int | None, str, int | None]] = []
    for name, step in steps.items():
        if step.error is not None:
            found.append((name, step.error.line, step.error.reason, None))
        found += [(name, error.line, error.reason, element) for element, error in step.row_errors.items()]
    return found


def _operations(step: Step | None) -> list[tuple[str, str, str]]:
    """What each operation of the mapping made: its name, in short, and whole."""
    if step is None or step.explained is None:
        return []
    found = explanation_of(step.explained)
    return [(one.name, one.error or one.gave, _text(one.output)) for one in found.steps]


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "\n…"


async def act(visit: Visit) -> Answer:
    """Take another answer, ask the ERP for one, try, dry run, compare with what came, save as a test case, or save as a version: as
    the button says.
    """
    flow = await flows.version(visit.store, visit.path("name"))
    form = visit.form
    script, mapping = (form.get(name, "").replace("\r\n", "\n") for name in ("script", "mapping"))
    page = form.get("page", "")
    row = form.get("row", "")
    where = (int(text) if text.isdecimal() and len(text) < 10 else None for text in (page, row))
    number, of_row = where
    taken = Input(form.get("input", ""), form.get("run") or None, number, row=of_row)
    sheet = Sheet(flow, taken, script, mapping, await _kept(visit, flow))
    unsaved = form.get("do") == "save"
    try:
        return await _done(visit, sheet)
    except FlowFileError as error:
        return _page(sheet, problems=error.problems, unsaved=unsaved, status=422)
    except Refusal:
        raise
    except SandboxError as error:
        return _page(sheet, refused=str(error), unsaved=unsaved, status=503)
    except ImageFlowError as error:
        return _page(sheet, refused=str(error), unsaved=unsaved, status=422)


async def _done(visit: Visit, sheet: Sheet) -> Answer:
    wanted, flow, taken = visit.form.get("do"), sheet.flow, sheet.taken
    if wanted == "take":
        run_id, _, number = visit.form.get("from", "").rpartition(" ")
        page = int(number) if number.isdigit() else None
        return _page(
            sheet._replace(
                taken=await bench.input_of(visit.store, visit.deps.tools.sandbox, flow, run_id or None, None, page)
            )
        )
    if wanted == "ask":
        async with visit.deps.trying:
            taken = await bench.asked(visit.deps.store, visit.deps.tools.live, flow, visit.actor)
        return _page(sheet._replace(taken=taken), asked=True)
    document = bench.draft(flow, sheet.script, _mapping(sheet.mapping))
    if wanted == "save":
        return await _save(visit, sheet, document)
    sandbox = visit.deps.tools.sandbox
    async with visit.deps.trying:
        if wanted in ("compare", "compare-many"):
            pages = comparison.PAGES if wanted == "compare" else comparison.MAX_PAGES
            return _page(sheet, compared=await comparison.compared(visit.store, sandbox, flow, document, pages=pages))
        body = taken.body.encode()
        tried = await bench.tried(visit.store, sandbox, flow, document, body, run_id=taken.run_id, page=taken.page)
    if wanted == "case":
        return File(f"{flow.name}.test.json", _case(taken.body, tried), "application/json")
    return _page(sheet, tried=tried, writes=bench.writes(flow, tried) if wanted == "dry" else None)


def _mapping(text: str) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FlowFileError([Problem("mapping", f"is not JSON: {error}")]) from error


async def _save(visit: Visit, sheet: Sheet, document: dict[str, Any]) -> Answer:
    """The same sheet, with the version that is in force now, and the rows that may be retried by it. It is no other page, or an answer
    that somebody typed in would be gone.
    """
    flow = sheet.flow
    if not visit.may("admin"):
        raise Refusal(403, "admin")
    if visit.form.get("version") != str(flow.version) and document != flow.document:
        raise FlowFileError([Problem("", f"somebody has saved version {flow.version} meanwhile")])
    saved = await saved_document(visit, flow.name, document, expected=flow.version)
    broken = await open_rows(visit, flow.name)
    return _page(sheet._replace(flow=saved), saved=notice_of(flow, saved), open_=broken)


def _case(body: str, tried: Tried) -> str:
    """A file of one test case, as `imageflow flow test` reads it from beside the flow file."""
    rows = [one.row for one in tried.rows]
    expected = [{row.key: row.product, "images": list(row.images)} for row in rows if row.state == "ready"]
    expected += [
        {"error": row.reason or "", **({row.key: row.product} if row.product else {})}
        for row in rows
        if row.state == "failed"
    ]
    case = {"name": "from the test bench", "input": msgspec.json.decode(body.encode()), "expect": expected}
    return msgspec.json.format(msgspec.json.encode([case]), indent=2).decode() + "\n"


PAGES = (
    Page("GET", "/bench", choose),
    Page("GET", "/flows/{name}/bench", show),
    Page("POST", "/flows/{name}/bench", act, role="operator", limit=(MAX_INPUT_BYTES + 2 * MAX_FLOW_BYTES) * 3),
)
