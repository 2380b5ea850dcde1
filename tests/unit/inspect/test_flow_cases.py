"""Cases of a flow: what they say of a page's way, and which files hold them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from imageflow.commands.flows import run_cases
from imageflow.errors import FlowFileError
from imageflow.inspect import flow_cases
from imageflow.inspect.dry_run import DryRun, Step, StepError
from imageflow.inspect.flow_cases import judge, suites
from imageflow.sandbox.outcome import Broken, FailedRow, Ran
from imageflow.sandbox.supervisor import Sandbox
from tests.unit.inspect.pages import FLOW, U, image_set, result_of


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
    assert not await run_cases(Sandbox(), suites([files(tmp_path, cases)]), said.append)
    assert said[:2] == ["winter.test.yaml: right ... ok", "winter.test.yaml: page ... ok"]
    assert said[2].startswith("winter.test.yaml: wrong ... FAILED")
    assert f"-    0  {U}2" in said[2]
    assert f"+    0  {U}1" in said[2]
    assert "(no product) fails: script: line 3: KeyError" in said[2]
    assert said[3] == "3 cases: 2 passed, 1 failed"


async def test_a_case_says_what_a_run_would_warn_of(tmp_path: Path) -> None:
    """It passes all the same: what is expected of its rows is so."""
    answer = {"count": 9, "results": [{"sku": "A", "p": [U + "1"]}]}
    flow = files(tmp_path, [{"name": "one", "input": answer, "expect": [image_set("A", U + "1")]}])
    said: list[str] = []
    assert await run_cases(Sandbox(), suites([flow]), said.append)
    first, second = said[0].splitlines()
    assert first == "winter.test.yaml: one ... ok"
    assert second.startswith(
        "    warning: the read ended after 1 rows, though the answer says that there are more: count is 9."
    )


async def test_answers_that_are_not_json(tmp_path: Path) -> None:
    """With another format an input that is a text, or a file, is an answer as the ERP writes it; any other is its JSON."""
    (tmp_path / "answer.csv").write_text(f"sku;p\nA;{U}1\n")
    expect = [image_set("A", U + "1")]
    cases = [
        {"name": "text", "input": f"sku;p\nA;{U}1\n", "expect": expect},
        {"name": "file", "input_file": "answer.csv", "expect": expect},
        {"name": "json", "input": [{"sku": "A", "p": U + "1"}], "expect": expect},
        {"name": "wrong", "input": "sku,p\n", "error": "delimiter"},
    ]
    erp = {"endpoint_url": "https://erp/", "format": {"type": "csv", "delimiter": ";"}}
    script = "def process_row(row):\n    return {'sku': row['sku'], 'images': [row['p']]}\n"
    said: list[str] = []
    flow = files(tmp_path, cases, erp=erp, script=script, mapping=None)
    assert await run_cases(Sandbox(), suites([flow]), said.append), said


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
    assert judge(nothing, DryRun("winter", (Step("input", error=StepError("no")),)))


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
    assert suites([path])[0].cases == (
        ("winter.test.json", flow_cases.Case("one", b'{"results": [] }\n', as_answered=True)),
    )


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


async def test_a_case_that_fails_tells_what_the_mapping_did(tmp_path: Path) -> None:
    """Lines of the mapping that never matched are likely why."""
    mapping = [{"operation": "shift", "spec": {"*": {"kode": "[&1].sku"}}}]
    case = {"name": "one", "input": {"results": [{"code": "A1"}]}, "expect": [image_set("A1", U + "1")]}
    said: list[str] = []
    script = "def process(response):\n    return response['results']\n"
    found = suites([files(tmp_path, [case], script=script, mapping=mapping)])
    assert not await run_cases(Sandbox(), found, said.append)
    assert "0x  *.kode -> [&1].sku   NEVER MATCHED; there was code (did you mean code?)" in said[0]


async def test_a_case_that_fails_tells_which_operation_made_the_difference(tmp_path: Path) -> None:
    """The first place of the mapping's result that is not as expected, and who wrote it."""
    mapping = [
        {"operation": "shift", "spec": {"*": {"code": "[&1].sku", "pics": {"*": "[&2].images[&].url"}}}},
        {"operation": "modify-overwrite", "spec": {"*": {"images": {"*": {"url": "=replace(@0,'/a/','/b/')"}}}}},
    ]
    given = {"results": [{"code": "A1", "pics": [U + "c/1", U + "a/2"]}]}
    case = {"name": "one", "input": given, "expect": [image_set("A1", U + "c/1", U + "a/2")]}
    said: list[str] = []
    script = "def process(response):\n    return response['results']\n"
    found = suites([files(tmp_path, [case], script=script, mapping=mapping)])
    assert not await run_cases(Sandbox(), found, said.append)
    line = f'first difference to expected: [0].images[1].url is "{U}b/2", expected "{U}a/2"  <- mapping[1]'
    assert line in said[0]
