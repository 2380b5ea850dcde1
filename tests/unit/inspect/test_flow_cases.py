"""Trials and cases: what is shown of a page's way, and what a case says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from imageflow.errors import FlowFileError
from imageflow.inspect import flow_cases
from imageflow.inspect.flow_cases import Trial, judge, suites, tried
from imageflow.sandbox.outcome import Broken, FailedRow, Outcome, Ran
from imageflow.sandbox.supervisor import Sandbox
from tests.unit.transform.flows import definition

U = "https://c.example/"
SHIFT = [{"operation": "shift", "spec": {"*": {"sku": "[&1].sku", "pics": {"*": "[&2].images[]"}}}}]
SCRIPT = "def process_row(row):\n    print(row['sku'])\n    return {'sku': row['sku'], 'pics': row['p']}\n"
FLOW = {
    "name": "winter",
    "direction": "inbound",
    "omnitron": {"domain_url": "https://o.example", "username": "u", "password": {"env": "NOT_SET"}},
    "erp": {"endpoint_url": "https://erp.example/images", "rows_path": "results"},
    "script": SCRIPT,
    "mapping": SHIFT,
}


def result_of(outcome: Outcome, document: Any = None, **changes: Any) -> Trial:
    """The trial of a page with this outcome."""
    return tried(definition(**changes), document, msgspec.json.encode(document), outcome)


def image_set(sku: str, *urls: str) -> dict[str, Any]:
    return {"sku": sku, "images": list(urls)}


# a trial -----------------------------------------------------------------------------------------------------------------


async def test_all_steps_of_a_page() -> None:
    """Each step with what it was given and gave, the prints, the element that failed with its line, and the rows."""
    body = json.dumps({"results": [{"sku": "A", "p": [U + "1"]}, {"sku": "B"}]}).encode()
    async with Sandbox() as sandbox:
        found = await flow_cases.attempt(sandbox, definition(script=SCRIPT, mapping=SHIFT, erp=FLOW["erp"]), body)
    between, images = [{"sku": "A", "pics": [U + "1"]}], [image_set("A", U + "1")]
    steps = [(step.step, step.given, step.output) for step in found.steps]
    assert steps[:3] == [
        ("input", None, json.loads(body)),
        ("script", json.loads(body), between),
        ("mapping", between, images),
    ]
    assert found.steps[3].output == [{"sku": "A", "images": [{"url": U + "1", "order": 0, "image_type": "default"}]}]
    assert found.steps[1].prints == "A\nB\n"
    assert found.steps[1].row_errors[1].line == 3
    assert [(row.product, row.state) for row in found.rows] == [("A", "ready"), (None, "failed")]
    assert not found.ok


async def test_what_the_script_gave_is_shown_where_the_mapping_fails() -> None:
    """A mapping that fails, or crashes its process, leaves the script's output to be seen."""
    script = "def process(r):\n    print('hi')\n    return [{'n': 1}]\n"
    spec = [{"operation": "shift", "spec": {"*": {"n": "[99999999999999999999]"}}}]
    async with Sandbox() as sandbox:
        found = await flow_cases.attempt(sandbox, definition(script=script, mapping=spec), b"[]")
    assert [(step.step, step.output, step.prints) for step in found.steps[:2]] == [
        ("input", [], ""),
        ("script", [{"n": 1}], "hi\n"),
    ]
    assert found.steps[2].step == "mapping"
    assert found.steps[2].given == [{"n": 1}]
    assert found.steps[2].error is not None
    assert len(found.steps) == 3


async def test_a_trace_changes_no_outcome() -> None:
    """What the mapping was given may be no JSON, or change while it is mapped: the outcome is that of a run."""
    script = "import decimal\ndef process(r):\n    return [{'sku': 'A', 'pics': ['" + U + "'], 1: 2, 'd': {1, 2}}]\n"
    flow = definition(script=script, mapping=SHIFT)
    async with Sandbox() as sandbox:
        run = await sandbox.run("winter", flow_cases.Program.of(flow), b"[]")
        found = await flow_cases.attempt(sandbox, flow, b"[]")
    if isinstance(run, Ran):
        assert found.steps[2].output == run.result
    else:
        assert found.steps[-1].error is not None
        assert found.steps[-1].error.reason == run.reason


async def test_what_is_not_json_stops_at_the_input() -> None:
    """No process is started for it, and the trial says so."""
    async with Sandbox() as sandbox:
        found = await flow_cases.attempt(sandbox, definition(script=SCRIPT), b"<html>")
        assert sandbox.live == 0
    assert [step.step for step in found.steps] == ["input"]
    assert "not JSON" in (found.steps[0].error or flow_cases.StepError("")).reason
    assert not found.ok


def test_a_failed_script_ends_the_steps() -> None:
    """The steps after it are not shown; all elements are failed rows, with the line."""
    found = result_of(
        Broken("script", "line 7: KeyError: 'x'", line=7), [{"a": 1}, {"a": 2}], script=SCRIPT, mapping=SHIFT
    )
    assert [step.step for step in found.steps] == ["input", "script"]
    assert found.steps[1].error == flow_cases.StepError("line 7: KeyError: 'x'", 7)
    assert [(row.state, row.stage, row.payload) for row in found.rows] == [
        ("failed", "script", {"a": 1}),
        ("failed", "script", {"a": 2}),
    ]


def test_a_flow_without_script_and_mapping() -> None:
    """There are no steps but input and rows; a missing list is an error of the rows."""
    assert result_of(Ran([image_set("A", U)]), [image_set("A", U)]).ok
    found = result_of(Broken("rows", "no list at 'x'"), {})
    assert [(step.step, step.error is None) for step in found.steps] == [("input", True), ("rows", False)]


def test_superseded_rows_fail_nothing() -> None:
    """A later row of the product wins; the trial is ok."""
    found = result_of(Ran([image_set("A", U + "1"), image_set("A", U + "2")]))
    assert [row.state for row in found.rows] == ["superseded", "ready"]
    assert found.ok


def test_rows_that_are_joined_across_pages() -> None:
    """With `group: run` the page is shown as if it were the whole run."""
    rows = [image_set("B", U + "1"), image_set("A", U + "2"), image_set("B", U + "3"), {"sku": "C"}]
    found = result_of(Ran(rows), group="run")
    assert [(row.product, row.state, len(row.images)) for row in found.rows] == [
        ("C", "failed", 0),
        ("A", "ready", 1),
        ("B", "ready", 2),
    ]


def test_the_line_of_a_failure_is_a_number() -> None:
    """The script's line is a number of its own in JSON, of the page's failure and of an element's."""
    found = result_of(Broken("script", "the script ran longer than 10s (line 12)", line=12), [{}], script=SCRIPT)
    assert [step.error.line for step in found.steps if step.error] == [12]
    found = result_of(Ran([], (FailedRow(0, "line 4: KeyError: 'a'", {}, 4),)), [{}], script=SCRIPT)
    assert [error.line for step in found.steps for error in step.row_errors.values()] == [4]


def test_json_holds_all_and_text_is_bounded() -> None:
    """A large page is whole in JSON; for people it is shortened, and nothing in it steers the terminal."""
    rows = [image_set(f"A{n}", f"{U}{n}\x1b[2J") for n in range(500)]
    found = result_of(Ran(rows, (FailedRow(3, "line 1: X", {"n": 1}),), "\x1b[31mred\n" * 1000), rows, script=SCRIPT)
    decoded = json.loads(flow_cases.as_json(found))
    assert [len(decoded["rows"]), len(decoded["steps"][0]["output"])] == [501, 500]
    assert set(decoded) == {"flow", "steps", "rows", "ok"}
    assert {"step", "output", "prints", "error"} <= set(decoded["steps"][1])
    assert {"product", "images", "state", "reason"} <= set(decoded["rows"][0])
    text = flow_cases.report(found)
    assert "\x1b" not in text
    assert len(text.splitlines()) < 200
    assert "line 1: X" in text


def test_numbers_of_any_length_are_shown() -> None:
    """A number that no 64 bits hold is written as it came."""
    assert b"123456789012345678901234567890" in flow_cases.as_json(result_of(Ran([]), [123456789012345678901234567890]))


# cases -------------------------------------------------------------------------------------------------------------------


def files(folder: Path, cases: Any, suffix: str = ".yaml", **changes: Any) -> Path:
    """A flow file with its cases beside it."""
    path = folder / "winter.yaml"
    path.write_text(yaml.safe_dump({**FLOW, **changes}))
    text = json.dumps(cases)  # JSON is YAML
    (folder / f"winter.test{suffix}").write_text(text)
    return path


def case(folder: Path, **fields: Any) -> flow_cases.Case:
    return suites([files(folder, [{"name": "one", "input": {}, **fields}])])[0].cases[0][1]


async def test_cases_run_through_the_sandbox(tmp_path: Path) -> None:
    """One line per case, a diff for what is wrong, and the sum."""
    answer = {"results": [{"sku": "A", "p": [U + "1", U + "2"]}, {"sku": "B"}]}
    cases = [
        {"name": "right", "input": answer, "expect": [image_set("A", U + "1", U + "2"), {"error": "line 3: KeyError"}]},
        {"name": "page", "input": {"x": 1}, "error": "results"},
        {"name": "wrong", "input": answer, "expect": [image_set("A", U + "2", U + "1")]},
    ]
    said: list[str] = []
    assert not await flow_cases.run_cases(Sandbox(), suites([files(tmp_path, cases)]), said.append)
    assert said[:2] == ["winter.test.yaml: right ... ok", "winter.test.yaml: page ... ok"]
    assert said[2].startswith("winter.test.yaml: wrong ... FAILED")
    assert f"-    0  {U}2" in said[2]
    assert f"+    0  {U}1" in said[2]
    assert "(no product) fails: script: line 3: KeyError" in said[2]
    assert said[3] == "3 cases: 2 passed, 1 failed"


def test_rows_may_be_written_in_any_form_and_order(tmp_path: Path) -> None:
    """Flat rows, image sets, URLs alone: what the transform stage takes, a case takes; products in any order."""
    wanted = [{"sku": "B", "url": U + "b", "order": 4}, {"sku": "A", "images": [{"url": U + "1"}, U + "2"]}]
    got = [image_set("A", U + "1", U + "2"), {"sku": "B", "images": [{"url": U + "b", "order": 4}]}]
    assert judge(case(tmp_path, expect=wanted), result_of(Ran(got))) == []


@pytest.mark.parametrize(
    "got",
    [
        [],
        [image_set("A", U + "1")],
        [image_set("A", U + "1", U + "2"), image_set("B", U)],
        [image_set("A", U + "1", U + "2"), {"sku": "B"}],
        [{"sku": "A", "images": [U + "1", {"url": U + "2", "image_type": "swatch"}]}],
    ],
)
def test_each_difference_is_one(tmp_path: Path, got: list[Any]) -> None:
    """A missing row, image or type, one row too many, and a failure that nobody expected."""
    assert judge(case(tmp_path, expect=[image_set("A", U + "1", U + "2")]), result_of(Ran(got)))


def test_nothing_expected_and_nothing_there(tmp_path: Path) -> None:
    """An empty list is an expectation; a page that fails is not an empty one."""
    nothing = case(tmp_path, expect=[])
    assert judge(nothing, result_of(Ran([]))) == []
    assert judge(nothing, result_of(Broken("script", "no"), []))
    assert judge(nothing, Trial("winter", (flow_cases.Step("input", error=flow_cases.StepError("no")),)))


def test_expected_failures(tmp_path: Path) -> None:
    """By a part of stage and reason, of one product or of any; each failure answers one expectation."""
    got = result_of(Ran([{"sku": "A"}, {"sku": "B"}]))
    for expect, passes in [
        ([{"sku": "A", "error": "no images"}, {"error": "rows: no images"}], True),
        ([{"error": "no images"}, {"sku": "A", "error": "no images"}], True),
        ([{"error": "no images"}], False),
        ([{"sku": "C", "error": "no images"}, {"error": "no images"}], False),
        ([{"error": "no url"}, {"error": "no images"}], False),
    ]:
        assert (judge(case(tmp_path, expect=expect), got) == []) is passes, expect


def test_an_error_alone(tmp_path: Path) -> None:
    """`error` passes where the page or any row fails so; and says what happened instead."""
    wanted = case(tmp_path, error="KeyError")
    assert judge(wanted, result_of(Broken("script", "line 1: KeyError: 'a'"), [])) == []
    assert judge(wanted, result_of(Ran([image_set("A", U)], (FailedRow(0, "line 1: KeyError", None),)))) == []
    assert judge(wanted, result_of(Ran([]))) == ["- a failure with: KeyError", "+ no rows"]
    assert judge(wanted, result_of(Ran([{"sku": "A"}])))[1].startswith("+ A fails: rows: no images")


def test_input_from_a_file(tmp_path: Path) -> None:
    """A large answer stands in a file of its own, relative to the cases, and is taken byte by byte."""
    (tmp_path / "answer.json").write_bytes(b'{"results": [] }\n')
    path = files(tmp_path, [{"name": "one", "input_file": "answer.json", "expect": []}], ".json")
    assert suites([path])[0].cases == (("winter.test.json", flow_cases.Case("one", b'{"results": [] }\n')),)


def test_a_file_of_cases_stands_for_its_flow(tmp_path: Path) -> None:
    """`flow test *.yaml` names both: the flow is tested once."""
    path = files(tmp_path, [{"name": "one", "input": {}, "expect": []}])
    assert len(suites([path, tmp_path / "winter.test.yaml"])) == 1


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        ({}, "must be a list"),
        (None, "must be a list"),
        ([], "holds no cases"),
        ([{"input": [], "expect": []}], "name"),
        ([{"name": "a", "input": [], "expect": [], "expects": []}], "expects"),
        ([{"name": "a", "input": []}], "[0]: needs either expect or error"),
        ([{"name": "a", "expect": []}], "[0]: needs either input or input_file"),
        ([{"name": "a", "input": [], "expect": [], "error": "x"}], "needs either expect or error"),
        ([{"name": "a", "input": [], "error": " "}], "[0].error"),
        ([{"name": "a", "input_file": "gone.json", "expect": []}], "gone.json: No such file"),
        ([{"name": "a", "input": [], "expect": [{"sku": "A"}]}], "[0].expect: A: no images"),
        ([{"name": "a", "input": [], "expect": [image_set("A", "x")]}], "is not an http(s) URL"),
        ([{"name": "a", "input": [], "expect": [image_set("A", U), image_set("A", U)]}], "the same product"),
        ([{"name": "a", "input": [], "expect": [{"error": "x", "images": []}]}], "[0].expect[0]"),
        ([{"name": "a", "input": [], "expect": []}] * 2, "[1].name"),
    ],
)
def test_malformed_cases_are_refused(tmp_path: Path, cases: Any, message: str) -> None:
    """With the file's name and the place: a case that says nothing would pass for ever."""
    with pytest.raises(FlowFileError) as caught:
        suites([files(tmp_path, cases)])
    assert message in str(caught.value)
    assert "winter.test.yaml" in str(caught.value)


def test_a_base_code_flow_and_a_file_name_template(tmp_path: Path) -> None:
    """The rows of a case are named by what the flow's template names products by."""
    cases = [{"name": "one", "input": [], "expect": [{"base_code": "X", "images": [U + "X_1.jpg"]}]}]
    path = files(tmp_path, cases, filename_template="{base_code}_{image_order}.jpg")
    wanted = suites([path])[0].cases[0][1]
    got = result_of(Ran([U + "X_0.jpg"]), filename_template="{base_code}_{image_order}.jpg")
    assert [row.product for row in wanted.rows] == ["X"]
    assert judge(wanted, got)[0].startswith("---")
