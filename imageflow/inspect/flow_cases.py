"""The cases that a flow file has to pass, each a dry run with what is expected of it.

A flow's **cases** stand beside its file: `winter.test.yaml` (or `.yml`, `.json`) beside `winter.yaml`. They are a list:

    - name: two pictures
      input: {results: [{sku: A1, pictures: [https://c.example/1.jpg, https://c.example/2.jpg]}, {sku: A2}]}
      expect:
        - {sku: A1, images: [https://c.example/1.jpg, https://c.example/2.jpg]}
        - {sku: A2, error: no images}
    - name: an answer without the list
      input_file: answers/broken.json
      error: no list at 'results'

`input`, or a file relative to this one, is a whole answer of the ERP (of an outbound flow: a post). With another `erp.format`
than JSON the file is an answer as the ERP writes it, and so is an `input` that is a text. `expect` lists all
rows that are to be written, in any order, as image sets or flat rows (see transform/rows.py: URLs may stand for images,
`order` defaults to the place), and all rows that are to fail: `error` is a part of `stage: reason`, `sku` (or
`base_code`) may be left out. Superseded rows are not listed. Instead of `expect`, `error` alone: at least one row, or the
page as a whole, fails so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from difflib import unified_diff
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import msgspec

from imageflow.errors import FlowFileError, Problem
from imageflow.flows import file as flow_file
from imageflow.flows import words
from imageflow.inspect.case_difference import first_difference
from imageflow.inspect.dry_run import DryRow, DryRun, dry_run
from imageflow.jolt.explain import explanation_of
from imageflow.jolt.explain_text import troubles_of
from imageflow.model.answer_format import JsonFormat
from imageflow.model.filename_template import parse
from imageflow.model.flow import Definition
from imageflow.model.imageset import Image
from imageflow.sandbox.supervisor import Sandbox
from imageflow.transform.rows import FIELDS, ImageSet, to_rows

# cases -------------------------------------------------------------------------------------------------------------------


class Failing(msgspec.Struct, frozen=True):
    """A row that is expected to fail with `error` as a part of its stage and reason; of any product if that is None."""

    error: str
    product: str | None = None


class Case(msgspec.Struct, frozen=True):
    """An answer and what is to become of it: `rows` and `failing`, or `at_least` one row that fails like `failing[0]`.
    `as_answered`: the body is in the flow's format; otherwise it is the JSON of it.
    """

    name: str
    body: bytes
    rows: tuple[ImageSet, ...] = ()
    failing: tuple[Failing, ...] = ()
    at_least: bool = False
    as_answered: bool = False


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
    for path in dict.fromkeys(flow_path(path) for path in paths):
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


def flow_path(path: Path) -> Path:
    """The flow file that a path means: itself, or the one that a file of cases stands beside, which may not be there."""
    if not flow_file.is_case_file(path):
        return path
    stem = path.stem.removesuffix(".test")
    beside = (path.with_name(stem + suffix) for suffix in flow_file.SUFFIXES)
    return next((file for file in beside if file.is_file()), path.with_name(stem + path.suffix))


def _suite(path: Path) -> Suite:
    try:
        definition = flow_file.parse(flow_file.load(path))
    except FlowFileError as error:
        raise error.of(path) from error
    return Suite(path, definition, tuple(found for file in case_paths(path) for found in _cases(file, definition)))


def _cases(path: Path, definition: Definition) -> list[tuple[str, Case]]:
    try:
        written = read_cases(path)
        return [(path.name, _case(path, index, case, definition)) for index, case in enumerate(written)]
    except FlowFileError as error:
        raise error.of(path) from error


def read_cases(path: Path) -> list[_Written]:
    """The outline of a file of cases. Raises FlowFileError."""
    value = flow_file.read_value(path)
    _check_fields(value)
    try:
        written = msgspec.convert(value, list[_Written])
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


def _check_fields(value: Any) -> None:
    """Raises FlowFileError for fields of cases that there are not."""
    fields, found = _Written.__struct_fields__, []
    for index, case in enumerate(value if isinstance(value, list) else []):
        for key in case.keys() - set(fields) if isinstance(case, dict) else ():
            near = words.near(key, fields)
            hint = f"did you mean {near}?" if near else f"there are: {', '.join(fields)}"
            found.append(Problem(f"[{index}].{words.name(key)}", f"unknown field; {hint}"))
    if found:
        raise FlowFileError(found)


def _refuse(where: str, message: str) -> NoReturn:
    raise FlowFileError([Problem(where, message)])


def _case(path: Path, index: int, case: _Written, definition: Definition) -> Case:
    as_answered = case.input_file is not None or (isinstance(case.input, str) and not _is_json(definition))
    body = case.input.encode() if as_answered and case.input_file is None else _body(path, index, case)
    if case.error is not None:
        return Case(case.name, body, failing=(Failing(case.error),), at_least=True, as_answered=as_answered)
    assert case.expect is not msgspec.UNSET
    failing = tuple(
        _failing(f"[{index}].expect[{place}]", row) for place, row in enumerate(case.expect) if "error" in row
    )
    rows = [row for row in case.expect if "error" not in row]
    expected = tuple(_expected(f"[{index}].expect", rows, definition))
    return Case(case.name, body, expected, failing, as_answered=as_answered)


def _is_json(definition: Definition) -> bool:
    return definition.erp is None or isinstance(definition.erp.answer_format, JsonFormat)


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


def judge(case: Case, dry: DryRun) -> list[str]:
    """What is different from what the case expects, as lines of a diff; nothing, if the case passes."""
    failed = [row for row in dry.rows if row.state == "failed"]
    broken = [f"{step.step}: {step.error.reason}" for step in dry.steps if step.error is not None]
    if case.at_least:
        error = case.failing[0].error
        if any(error in text for text in (*broken, *(row.why for row in failed))):
            return []
        return [f"- a failure with: {error}", *(f"+ {line}" for line in _actual(dry) or ["no rows"])]
    actual = [*_actual(dry), *(broken if not dry.rows else [])]
    return _diff(_wanted(case, failed), actual)


def _diff(wanted: list[str], actual: list[str]) -> list[str]:
    if wanted == actual:
        return []
    lines = unified_diff(wanted, actual, "expected", "actual", lineterm="", n=2)
    return [line for line in lines if not line.startswith("@@")]


def _actual(dry: DryRun) -> list[str]:
    ready = [(row.product or "", row.images) for row in dry.rows if row.state == "ready"]
    failed = [_failure_line(row.product, row.why) for row in dry.rows if row.state == "failed"]
    return _set_lines(ready) + sorted(failed)


def _wanted(case: Case, failed: Sequence[DryRow]) -> list[str]:
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


def _is(row: DryRow, expected: Failing) -> bool:
    return expected.error in row.why and expected.product in (None, row.product)


def _failure_line(product: str | None, why: str) -> str:
    return f"{product or '(no product)'} fails: {why}"


def _images(number: int) -> str:
    return f"{number:,} image" + ("" if number == 1 else "s")


def _set_lines(sets: Iterable[tuple[str, tuple[Image, ...]]]) -> list[str]:
    lines: list[str] = []
    for product, images in sorted(sets, key=lambda pair: pair[0]):
        lines.append(f"{product}: {_images(len(images))}")
        lines += [
            f"    {image.order}  {image.url}" + ("" if image.image_type == "default" else f"  {image.image_type}")
            for image in _in_order(images)
        ]
    return lines


# running cases -----------------------------------------------------------------------------------------------------------


class Verdict(NamedTuple):
    """A case, what it differs in (nothing: it passes), and what a run would warn of."""

    case: str
    difference: list[str]
    warnings: tuple[str, ...]


async def verdicts(sandbox: Sandbox, found: Iterable[Suite]) -> AsyncIterator[Verdict]:
    """Each case with its verdict. Raises SandboxError."""
    async with sandbox:
        for suite in found:
            for file, case in suite.cases:
                dry = await dry_run(sandbox, suite.definition, case.body, as_answered=case.as_answered)
                found_wrong = judge(case, dry)
                difference = [*found_wrong, *(_why(case, dry) if found_wrong else [])]
                yield Verdict(f"{file}: {case.name}", difference, dry.warnings)


def _why(case: Case, dry: DryRun) -> Iterator[str]:
    """Likely why a case fails: where the mapping's result is not as expected, by which operation, and lines of the mapping that
    never matched or dropped something.
    """
    explained = next((step.explained for step in dry.steps if step.explained is not None), None)
    if explained is None:
        return
    explanation = explanation_of(explained)
    expected = {row.product: _in_order(row.images) for row in case.rows}
    actual = {row.product or "": _in_order(row.images) for row in dry.rows if row.state == "ready"}
    if (line := first_difference(explanation, expected, actual)) is not None:
        yield f"  {line}"
    yield from (f"  {line}" for line in troubles_of(explanation))


def _in_order(images: Iterable[Image]) -> list[Image]:
    return sorted(images, key=lambda image: (image.order, image.url))
