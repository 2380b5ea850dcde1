"""Trying a flow on a page without writing anything, and the cases that a flow file has to pass.

A trial takes the way of the transformer: the same sandbox, the same rows. It shows what each step was given and gave.

A flow's **cases** stand beside its file: `winter.test.yaml` (or `.yml`, `.json`) beside `winter.yaml`. They are a list:

    - name: two pictures
      input: {results: [{sku: A1, pictures: [https://c.example/1.jpg, https://c.example/2.jpg]}, {sku: A2}]}
      expect:
        - {sku: A1, images: [https://c.example/1.jpg, https://c.example/2.jpg]}
        - {sku: A2, error: no images}
    - name: an answer without the list
      input_file: answers/broken.json
      error: no list at 'results'

`input`, or a file relative to this one, is a whole answer of the ERP (of an outbound flow: a post). `expect` lists all
rows that are to be written, in any order, as image sets or flat rows (see transform/rows.py: URLs may stand for images,
`order` defaults to the place), and all rows that are to fail: `error` is a part of `stage: reason`, `sku` (or
`base_code`) may be left out. Superseded rows are not listed. Instead of `expect`, `error` alone: at least one row, or the
page as a whole, fails so.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from difflib import unified_diff
from pathlib import Path
from typing import Any, Literal, NoReturn

import msgspec

from imageflow.errors import FlowFileError, Problem
from imageflow.flows import file as flow_file
from imageflow.model.filename_template import Key, parse
from imageflow.model.flow import Definition
from imageflow.model.imageset import Image
from imageflow.model.messages import PageRead
from imageflow.model.row import Row, RowLog
from imageflow.pointer import describe
from imageflow.sandbox.outcome import Broken, FailedRow, Outcome, Program, Ran, printable, printable_lines
from imageflow.sandbox.supervisor import Sandbox
from imageflow.transform.plan import plan_page, plan_part
from imageflow.transform.rows import FIELDS, ImageSet, join, to_rows

SHOWN_LINES = 24
SHOWN_ROWS = 50
SHOWN_CHARS = 160

StepName = Literal["input", "script", "mapping", "rows"]


class StepError(msgspec.Struct, frozen=True):
    """Why a step failed for the page, or for one element; `line`: the script's."""

    reason: str
    line: int | None = None


class Step(msgspec.Struct, frozen=True):
    """What a step was given and gave. `error`: it failed for the page as a whole. `row_errors`: elements, by their index,
    that process_row failed for.
    """

    step: StepName
    given: Any = None
    output: Any = None
    prints: str = ""
    error: StepError | None = None
    row_errors: dict[int, StepError] = {}


class TriedRow(msgspec.Struct, frozen=True):
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


class Trial(msgspec.Struct, frozen=True):
    """A page's way through a flow, up to the step that failed."""

    flow: str
    steps: tuple[Step, ...]
    rows: tuple[TriedRow, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the page passed, and every row of it can be written."""
        return all(step.error is None for step in self.steps) and all(row.state != "failed" for row in self.rows)


# a trial -----------------------------------------------------------------------------------------------------------------


async def attempt(sandbox: Sandbox, definition: Definition, body: bytes) -> Trial:
    """Put an answer through script, mapping and rows. Needs no secret, writes nothing. Raises SandboxError."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        wrong = StepError(f"the input is not JSON: {printable(str(error))}")
        return Trial(definition.name, (Step("input", error=wrong),))
    program = msgspec.structs.replace(Program.of(definition), trace=True)
    return tried(definition, document, body, await _outcome(sandbox, definition.name, program, body))


async def _outcome(sandbox: Sandbox, flow: str, program: Program, body: bytes) -> Outcome:
    """The outcome. A mapping that took its process with it left no trace: the script is asked again, alone."""
    outcome = await sandbox.run(flow, program, body)
    if isinstance(outcome, Ran) or outcome.stage != "mapping" or outcome.between is not None or program.script is None:
        return outcome
    alone = await sandbox.run(flow, msgspec.structs.replace(program, mapping=None), body)
    if isinstance(alone, Broken):
        return outcome
    return msgspec.structs.replace(outcome, between=alone.result, prints=alone.prints)


def tried(definition: Definition, document: Any, body: bytes, outcome: Outcome) -> Trial:
    """What an outcome says about each step, and which rows it comes to."""
    rows = tuple(_rows(definition, body, outcome))
    return Trial(definition.name, tuple(_steps(Program.of(definition), document, outcome, rows)), rows)


def _steps(program: Program, document: Any, outcome: Outcome, rows: Sequence[TriedRow]) -> Iterator[Step]:
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
        yield Step(step, given, None if error else output, outcome.prints if mine else "", error, failed)
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


def _image_set(row: TriedRow) -> dict[str, Any]:
    return {row.key: row.product, "images": msgspec.to_builtins(list(row.images))}


def _rows(definition: Definition, body: bytes, outcome: Outcome) -> list[TriedRow]:
    """The rows in the page's order; of a flow that joins across pages, what the page alone would be joined to."""
    page = PageRead(run_id="", flow=definition.name, version=0, page=1, seq=0)
    plan = plan_page(page, definition, body, outcome)
    rows = _in_order(plan.ready, plan.settled)
    if plan.held:
        part = plan_part("", join(sorted(plan.held, key=lambda row: (row.product, row.version))))
        rows += _in_order(part.ready, part.settled)
    return rows


def _in_order(ready: Iterable[tuple[int, Row]], settled: Iterable[RowLog]) -> list[TriedRow]:
    found = [(index, TriedRow(row.product, row.images, "ready", key=row.key)) for index, row in ready]
    found += [(log.row, _settled(log)) for log in settled]
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


def _settled(log: RowLog) -> TriedRow:
    state: Literal["superseded", "failed"] = "superseded" if log.state == "superseded" else "failed"
    return TriedRow(log.product, log.images, state, log.reason, log.stage, log.key, log.payload)


# how a trial is shown ----------------------------------------------------------------------------------------------------


def as_json(trial: Trial) -> bytes:
    """The whole trial as one line of JSON. By msgspec: numbers of any length stay what they are."""
    return msgspec.json.encode({"flow": trial.flow, "steps": shown_steps(trial), "rows": trial.rows, "ok": trial.ok})


def shown_steps(trial: Trial) -> list[dict[str, Any]]:
    """The steps as JSON objects."""
    return [
        {
            "step": step.step,
            "output": step.output,
            "prints": step.prints,
            "error": step.error,
            "row_errors": [
                {"index": index, "reason": error.reason, "line": error.line} for index, error in step.row_errors.items()
            ],
        }
        for step in trial.steps
    ]


def report(trial: Trial) -> str:
    """The trial for people: inputs and outputs shortened, errors whole."""
    lines: list[str] = []
    before = Step("input")
    for step in trial.steps:
        lines += [*_step_lines(step, before, trial), ""]
        before = step
    return printable_text("\n".join([*lines, _sum(trial)]))


def _step_lines(step: Step, before: Step, trial: Trial) -> Iterator[str]:
    yield f"== {step.step}"
    if step.step != "input":
        same = step.given == before.output
        yield f"given {describe(step.given)}" + (f", as {before.step} gave it" if same else ":")
        yield from [] if same else _excerpt(step.given)
    if step.prints:
        yield "printed:"
        yield from _first([f"  | {line}" for line in step.prints.splitlines()], SHOWN_LINES, "lines")
    if step.error is not None:
        yield f"FAILED: {step.error.reason}"
        return
    yield from (f"FAILED for element {index}: {error.reason}" for index, error in step.row_errors.items())
    if step.step == "rows":
        yield from _first([_row_line(row) for row in trial.rows], SHOWN_ROWS, "rows")
        return
    yield f"gave {describe(step.output)}:"
    yield from _excerpt(step.output)


def _excerpt(value: Any) -> list[str]:
    lines = json.dumps(value, indent=2, ensure_ascii=False).splitlines()
    return _first([f"  {_short(line)}" for line in lines], SHOWN_LINES, "lines")


def _first(lines: list[str], count: int, what: str) -> list[str]:
    if len(lines) <= count:
        return lines
    return [*lines[:count], f"  … and {len(lines) - count:,} more {what} (--json shows all)"]


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


def _row_line(row: TriedRow) -> str:
    what = f"{row.stage}: {row.reason}" if row.state == "failed" else row.reason or _count(len(row.images), "image")
    return f"  {row.state:10}  {row.product or '-':30}  {what}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _sum(trial: Trial) -> str:
    states = [row.state for row in trial.rows]
    parts = [f"{states.count(state)} {state}" for state in ("ready", "superseded", "failed") if state in states]
    return f"{'ok' if trial.ok else 'FAILED'}: {_count(len(states), 'row')}" + (
        f" ({', '.join(parts)})" if parts else ""
    )


def printable_text(text: str) -> str:
    """Without what would steer a terminal."""
    return "\n".join(printable_lines(line) for line in text.split("\n"))


# cases -------------------------------------------------------------------------------------------------------------------


class Failing(msgspec.Struct, frozen=True):
    """A row that is expected to fail with `error` as a part of its stage and reason; of any product if that is None."""

    error: str
    product: str | None = None


class Case(msgspec.Struct, frozen=True):
    """An answer and what is to become of it: `rows` and `failing`, or `at_least` one row that fails like `failing[0]`."""

    name: str
    body: bytes
    rows: tuple[ImageSet, ...] = ()
    failing: tuple[Failing, ...] = ()
    at_least: bool = False


class Suite(msgspec.Struct, frozen=True):
    """A flow file's flow and its cases, each with the name of the file it stands in."""

    path: Path
    definition: Definition
    cases: tuple[tuple[str, Case], ...]


class _Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A case as it is written."""

    name: str
    input: Any = msgspec.UNSET
    input_file: str | None = None
    expect: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET
    error: str | None = None


def suites(paths: Sequence[Path]) -> list[Suite]:
    """The cases of flow files; a file of cases stands for the flow file beside it.

    Raises FlowFileError with the problems of all files: of the flows, and of the cases.
    """
    found: list[Suite] = []
    problems: list[Problem] = []
    for path in dict.fromkeys(_flow_path(path) for path in paths):
        try:
            found.append(_suite(path))
        except FlowFileError as error:
            problems += error.problems
    if problems:
        raise FlowFileError(problems)
    return found


def case_paths(path: Path) -> list[Path]:
    """Where the cases of a flow file stand."""
    beside = (path.with_name(f"{path.stem}.test{suffix}") for suffix in flow_file.SUFFIXES)
    return [file for file in beside if file.is_file()]


def _flow_path(path: Path) -> Path:
    """The flow file that a path means."""
    if not flow_file.is_case_file(path):
        return path
    stem = path.stem.removesuffix(".test")
    beside = (path.with_name(stem + suffix) for suffix in flow_file.SUFFIXES)
    return next((file for file in beside if file.is_file()), path.with_name(stem + path.suffix))


def _suite(path: Path) -> Suite:
    try:
        definition = flow_file.parse(flow_file.load(path))
    except FlowFileError as error:
        raise FlowFileError([Problem("", f"{path}: {problem}") for problem in error.problems]) from error
    return Suite(path, definition, tuple(found for file in case_paths(path) for found in _cases(file, definition)))


def _cases(path: Path, definition: Definition) -> list[tuple[str, Case]]:
    try:
        written = read_cases(path)
        return [(path.name, _case(path, index, case, definition)) for index, case in enumerate(written)]
    except FlowFileError as error:
        raise FlowFileError([Problem("", f"{path}: {problem}") for problem in error.problems]) from error


def read_cases(path: Path) -> list[_Written]:
    """The outline of a file of cases. Raises FlowFileError."""
    try:
        written = msgspec.convert(flow_file.read_value(path), list[_Written])
    except msgspec.ValidationError as error:
        _refuse("", f"must be a list of cases {{name, input, expect}}: {error}")
    names = [case.name for case in written]
    if not written:
        _refuse("", "holds no cases")
    for index, case in enumerate(written):
        if not case.name.strip() or names.index(case.name) < index:
            _refuse(f"[{index}].name", "must be a name that no other case has")
        if (case.input is msgspec.UNSET) == (case.input_file is None):
            _refuse(f"[{index}]", "needs either input or input_file")
        if (case.expect is msgspec.UNSET) == (case.error is None):
            _refuse(f"[{index}]", "needs either expect or error")
        if case.error is not None and not case.error.strip():
            _refuse(f"[{index}].error", "must be a part of the failure's text")
    return written


def _refuse(where: str, message: str) -> NoReturn:
    raise FlowFileError([Problem(where, message)])


def _case(path: Path, index: int, case: _Written, definition: Definition) -> Case:
    body = _body(path, index, case)
    if case.error is not None:
        return Case(case.name, body, failing=(Failing(case.error),), at_least=True)
    assert case.expect is not msgspec.UNSET
    failing = tuple(
        _failing(f"[{index}].expect[{place}]", row) for place, row in enumerate(case.expect) if "error" in row
    )
    rows = [row for row in case.expect if "error" not in row]
    return Case(case.name, body, tuple(_expected(f"[{index}].expect", rows, definition)), failing)


def _body(path: Path, index: int, case: _Written) -> bytes:
    if case.input_file is None:
        try:
            return msgspec.json.encode(case.input)
        except (ValueError, TypeError) as error:
            _refuse(f"[{index}].input", f"is no JSON: {error}")
    try:
        return (path.parent / case.input_file).read_bytes()
    except (OSError, ValueError) as error:
        _refuse(f"[{index}].input_file", f"{case.input_file}: {getattr(error, 'strerror', None) or error}")


def _failing(where: str, row: dict[str, Any]) -> Failing:
    names = [name for fields in FIELDS.values() for name in fields if name in row]
    error, product = row["error"], row[names[0]] if names else None
    if len(row) - len(names) != 1 or len(names) > 1 or not isinstance(error, str) or not error.strip():
        _refuse(where, "a row that fails is written {error: a part of the reason, sku: if there is one}")
    return Failing(error, None if product is None else str(product))


def _expected(where: str, rows: list[dict[str, Any]], definition: Definition) -> Iterator[ImageSet]:
    """Rows as the transform stage reads them, so that all that it takes can be written in a case."""
    write = msgspec.structs.replace(definition.write, allow_clear=True)
    by_field = f"{{{parse(definition.filename_template).key}}}"
    plain = msgspec.structs.replace(definition, filename_template=by_field, group="page", write=write)
    for draft in to_rows(rows, plain):
        if not isinstance(draft, ImageSet):
            _refuse(
                where,
                f"{draft.product or 'a row'}: {draft.reason}".replace("a later row of the same page", "a later row"),
            )
        yield draft


# judging: pure -----------------------------------------------------------------------------------------------------------


def judge(case: Case, trial: Trial) -> list[str]:
    """What is different from what the case expects, as lines of a diff; nothing, if the case passes."""
    failed = [row for row in trial.rows if row.state == "failed"]
    broken = [f"{step.step}: {step.error.reason}" for step in trial.steps if step.error is not None]
    if case.at_least:
        error = case.failing[0].error
        if any(error in text for text in (*broken, *(row.why for row in failed))):
            return []
        return [f"- a failure with: {error}", *(f"+ {line}" for line in _actual(trial) or ["no rows"])]
    actual = [*_actual(trial), *(broken if not trial.rows else [])]
    return _diff(_wanted(case, failed), actual)


def _diff(wanted: list[str], actual: list[str]) -> list[str]:
    if wanted == actual:
        return []
    lines = unified_diff(wanted, actual, "expected", "actual", lineterm="", n=2)
    return [line for line in lines if not line.startswith("@@")]


def _actual(trial: Trial) -> list[str]:
    ready = [(row.product or "", row.images) for row in trial.rows if row.state == "ready"]
    failed = [_failure_line(row.product, row.why) for row in trial.rows if row.state == "failed"]
    return _set_lines(ready) + sorted(failed)


def _wanted(case: Case, failed: Sequence[TriedRow]) -> list[str]:
    """The expected lines. An expected failure that happened reads as it happened."""
    left = list(failed)
    lines: list[str] = []
    for expected in sorted(case.failing, key=lambda failing: failing.product is None):
        row = next((row for row in left if _is(row, expected)), None)
        if row is None:
            lines.append(_failure_line(expected.product, f"… {expected.error} …"))
        else:
            left.remove(row)
            lines.append(_failure_line(row.product, row.why))
    return _set_lines([(row.product, row.images) for row in case.rows]) + sorted(lines)


def _is(row: TriedRow, expected: Failing) -> bool:
    return expected.error in row.why and expected.product in (None, row.product)


def _failure_line(product: str | None, why: str) -> str:
    return f"{product or '(no product)'} fails: {why}"


def _set_lines(sets: Iterable[tuple[str, tuple[Image, ...]]]) -> list[str]:
    lines: list[str] = []
    for product, images in sorted(sets, key=lambda pair: pair[0]):
        lines.append(f"{product}: {_count(len(images), 'image')}")
        lines += [
            f"    {image.order}  {image.url}" + ("" if image.image_type == "default" else f"  {image.image_type}")
            for image in sorted(images, key=lambda image: (image.order, image.url))
        ]
    return lines


# running cases -----------------------------------------------------------------------------------------------------------


async def verdicts(sandbox: Sandbox, found: Iterable[Suite]) -> AsyncIterator[tuple[str, list[str]]]:
    """Each case with what it differs in. Raises SandboxError."""
    async with sandbox:
        for suite in found:
            for file, case in suite.cases:
                trial = await attempt(sandbox, suite.definition, case.body)
                yield f"{file}: {case.name}", judge(case, trial)


async def run_cases(sandbox: Sandbox, found: Iterable[Suite], say: Callable[[str], None]) -> bool:
    """Run all cases in `sandbox`, which end with them: a line for each and a diff where one fails; whether all pass."""
    passed = failed = 0
    async for name, difference in verdicts(sandbox, found):
        say(printable_text("\n    ".join([f"{name} ... {'FAILED' if difference else 'ok'}", *difference])))
        passed, failed = passed + (not difference), failed + bool(difference)
    say(f"{_count(passed + failed, 'case')}: {passed} passed, {failed} failed")
    return not failed
