"""A dry run: a page's way through a flow, without writing anything. It shows what each step was given and gave.

It takes the way of a run: the reader's own check of the answer, the same sandbox, the same rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from imageflow.errors import ReadError
from imageflow.http.client import Answer
from imageflow.model.answer_format import JsonFormat
from imageflow.model.filename_template import Key
from imageflow.model.flow import Definition
from imageflow.model.imageset import Image
from imageflow.model.messages import PageRead
from imageflow.model.page import Page
from imageflow.model.pagination.contract import Got
from imageflow.model.row import Row, RowLog
from imageflow.read import answer as answers
from imageflow.read import paging
from imageflow.read.request import erp_of
from imageflow.read.rows import rows_of
from imageflow.sandbox.outcome import Broken, FailedRow, Outcome, Program, Ran, printable
from imageflow.sandbox.supervisor import Sandbox
from imageflow.transform.joining import join
from imageflow.transform.plan import REPLACED, plan_page, plan_part
from imageflow.transform.rows import DISPLACED

StepName = Literal["input", "script", "mapping", "rows"]
AT_ONCE_BYTES = 128 * 1024
"""The rows of a larger answer are made in a thread, so that they do not hold up the event loop."""


class StepError(msgspec.Struct, frozen=True):
    """Why a step failed for the page, or for one element; `line`: the script's."""

    reason: str
    line: int | None = None


class Step(msgspec.Struct, frozen=True):
    """What a step was given and gave. `error`: it failed for the page as a whole. `row_errors`: elements, by their index,
    that process_row failed for. `explained`: what each line of the mapping did (`imageflow.jolt.explain`).
    """

    step: StepName
    given: Any = None
    output: Any = None
    prints: str = ""
    error: StepError | None = None
    row_errors: dict[int, StepError] = {}
    explained: Any = None


class DryRow(msgspec.Struct, frozen=True):
    """What a row of the page would be: ready to be written, superseded by a later one, or failed."""

    product: str | None
    images: tuple[Image, ...]
    state: Literal["ready", "superseded", "failed"]
    reason: str | None = None
    stage: str = "rows"
    key: Key = "sku"
    payload: Any = None

    @property
    def why(self) -> str:
        """Stage and reason of a failure."""
        return f"{self.stage}: {self.reason}"


class DryRun(msgspec.Struct, frozen=True):
    """A page's way through a flow, up to the step that failed. `warnings`: what a run would warn of."""

    flow: str
    steps: tuple[Step, ...]
    rows: tuple[DryRow, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the page passed, and every row of it can be written."""
        return all(step.error is None for step in self.steps) and all(row.state != "failed" for row in self.rows)


# a run -----------------------------------------------------------------------------------------------------------------


async def dry_run(
    sandbox: Sandbox,
    definition: Definition,
    body: bytes,
    context: Mapping[str, Any] | None = None,
    *,
    as_answered: bool = False,
    trace: bool = True,
    warned: tuple[str, ...] | None = None,
) -> DryRun:
    """Put an answer through script, mapping and rows. Needs no secret, writes nothing. Raises SandboxError.

    `body` is JSON, as a page is stored; `as_answered`: it is an answer as the ERP writes it, in the flow's format. `context`:
    what the mapping finds by `^`, beside `^flow`. Without `trace` the steps say less, and it takes less time.
    `warned`: what the reader warned of when it asked for the page; None: judged by the answer alone.
    """
    if as_answered and definition.erp is not None and definition.erp.no_rows.empty_body and not body.strip():
        return DryRun(definition.name, (Step("input"), Step("rows", given=[], output=[])))
    try:
        body, document = _read(definition, body, as_answered=as_answered)
    except ReadError as error:
        return DryRun(definition.name, (Step("input", error=StepError(printable(str(error)))),))
    warnings = warned or ()
    if definition.inbound:
        try:
            rows = rows_of(definition, document)
        except ReadError as error:
            return DryRun(definition.name, (Step("input", output=document, error=StepError(str(error))),))
        if warned is None:
            got = Got(document, rows.rows, "", "", place=rows.place, counted=rows.counted)
            warnings = paging.alone(erp_of(definition), got)
        if rows.none:
            steps = (Step("input", output=document), Step("rows", given=[], output=[]))
            return DryRun(definition.name, steps, warnings=warnings)
    program = msgspec.structs.replace(Program.of(definition), trace=trace)
    outcome = await _outcome(sandbox, definition.name, program, body, context)
    if len(body) <= AT_ONCE_BYTES:
        return dry_run_of(definition, document, body, outcome, warnings)
    return await asyncio.to_thread(dry_run_of, definition, document, body, outcome, warnings)


def _read(definition: Definition, body: bytes, *, as_answered: bool) -> tuple[bytes, Any]:
    """The JSON of a page, and what it says. Raises ReadError."""
    erp = definition.erp
    if as_answered and definition.inbound and erp is not None and not isinstance(erp.answer_format, JsonFormat):
        return answers.decode(Answer(200, {}, body), erp.charset, erp.answer_format, erp.rows_path)
    try:
        return body, msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ReadError(f"the input is not JSON: {error}") from error


def context_of(page: Page) -> dict[str, Any]:
    """What a mapping finds by `^` of a page that a run has read."""
    return {"run_id": page.run_id, "page": page.page, "parameters": page.asked}


async def _outcome(
    sandbox: Sandbox, flow: str, program: Program, body: bytes, context: Mapping[str, Any] | None
) -> Outcome:
    """The outcome. A mapping that took its process with it left no trace: the script is asked again, alone."""
    outcome = await sandbox.run(flow, program, body, context)
    if isinstance(outcome, Ran) or outcome.stage != "mapping" or outcome.between is not None or program.script is None:
        return outcome
    alone = await sandbox.run(flow, msgspec.structs.replace(program, mapping=None), body)
    if isinstance(alone, Broken):
        return outcome
    return msgspec.structs.replace(outcome, between=alone.result, prints=alone.prints)


def dry_run_of(
    definition: Definition, document: Any, body: bytes, outcome: Outcome, warnings: Sequence[str] = ()
) -> DryRun:
    """What an outcome says about each step, and which rows it comes to. `warnings`: of the read."""
    rows = tuple(_rows(definition, body, outcome))
    steps = tuple(_steps(Program.of(definition), document, outcome, rows))
    displaced = next((row.product for row in rows if row.reason == DISPLACED), None)
    replaced = [] if displaced is None else [f"{displaced}: {REPLACED}"]
    return DryRun(definition.name, steps, rows, (*warnings, *replaced))


def _steps(program: Program, document: Any, outcome: Outcome, rows: Sequence[DryRow]) -> Iterator[Step]:
    yield Step("input", output=document)
    given = document
    for step in _ran(program):
        error = _error(outcome) if isinstance(outcome, Broken) and outcome.stage == step else None
        last = step == "mapping" or program.mapping is None
        output = outcome.between if not last else outcome.result if isinstance(outcome, Ran) else None
        if step == "mapping" and outcome.between is not None:
            given = outcome.between
        mine = step == "script"
        failed = {row.index: _error(row) for row in outcome.failed} if mine and isinstance(outcome, Ran) else {}
        explained = outcome.explained if step == "mapping" else None
        yield Step(step, given, None if error else output, outcome.prints if mine else "", error, failed, explained)
        if error is not None:
            return
        given = output
    error = _error(outcome) if isinstance(outcome, Broken) else None
    yield Step("rows", given, [_image_set(row) for row in rows if row.state == "ready"], error=error)


def _ran(program: Program) -> list[StepName]:
    steps: list[StepName] = []
    if program.script is not None:
        steps.append("script")
    if program.mapping is not None:
        steps.append("mapping")
    return steps


def _error(failed: Broken | FailedRow) -> StepError:
    return StepError(failed.reason, failed.line)


def _image_set(row: DryRow) -> dict[str, Any]:
    return {row.key: row.product, "images": msgspec.to_builtins(list(row.images))}


def _rows(definition: Definition, body: bytes, outcome: Outcome) -> list[DryRow]:
    """The rows in the page's order; of a flow that joins across pages, what the page alone would be joined to."""
    page = PageRead(run_id="", flow=definition.name, version=0, page=1, seq=0)
    plan = plan_page(page, definition, body, outcome)
    rows = _in_order(plan.ready, plan.settled)
    if plan.held:
        part = plan_part("", join(sorted(plan.held, key=lambda row: (row.product, row.version))))
        rows += _in_order(part.ready, part.settled)
    return rows


def _in_order(ready: Iterable[tuple[int, Row]], settled: Iterable[RowLog]) -> list[DryRow]:
    found = [(index, DryRow(row.product, row.images, "ready", key=row.key)) for index, row in ready]
    found += [(log.row, _settled(log)) for log in settled]
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


def _settled(log: RowLog) -> DryRow:
    state: Literal["superseded", "failed"] = "superseded" if log.state == "superseded" else "failed"
    return DryRow(log.product, log.images, state, log.reason, log.stage, log.key, log.payload)
