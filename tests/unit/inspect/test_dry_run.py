"""Dry runs: what a page's way through a flow shows."""

from __future__ import annotations

import json

from imageflow.inspect.dry_run import StepError, dry_run
from imageflow.sandbox.outcome import Broken, FailedRow, Program, Ran
from imageflow.sandbox.supervisor import Sandbox
from tests.unit.inspect.pages import FLOW, SCRIPT, SHIFT, U, image_set, result_of
from tests.unit.transform.flows import definition


async def test_all_steps_of_a_page() -> None:
    """Each step with what it was given and gave, the prints, the element that failed with its line, and the rows."""
    body = json.dumps({"results": [{"sku": "A", "p": [U + "1"]}, {"sku": "B"}]}).encode()
    async with Sandbox() as sandbox:
        found = await dry_run(sandbox, definition(script=SCRIPT, mapping=SHIFT, erp=FLOW["erp"]), body)
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
        found = await dry_run(sandbox, definition(script=script, mapping=spec), b"[]")
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
        run = await sandbox.run("winter", Program.of(flow), b"[]")
        found = await dry_run(sandbox, flow, b"[]")
    if isinstance(run, Ran):
        assert found.steps[2].output == run.result
    else:
        assert found.steps[-1].error is not None
        assert found.steps[-1].error.reason == run.reason


async def test_an_answer_in_the_format_of_the_flow() -> None:
    """An answer as the ERP writes it goes the way of a run: from CSV to rows; what is none stops at the input."""
    erp = {"endpoint_url": "https://erp/", "format": {"type": "csv", "delimiter": ";"}}
    script = "def process_row(row):\n    return {'sku': row['sku'], 'url': row['url'], 'order': row['order'] or None}\n"
    async with Sandbox() as sandbox:
        flow = definition(script=script, erp=erp)
        found = await dry_run(sandbox, flow, f"sku;url;order\nA;{U}1;1\nA;{U}2;\n".encode(), as_answered=True)
        wrong = await dry_run(sandbox, flow, b"sku,url,order\n", as_answered=True)
        quiet = definition(script=script, erp={**erp, "no_rows": {"empty_body": True}})
        nothing = await dry_run(sandbox, quiet, b" \n", as_answered=True)
    assert found.steps[0].output[0] == {"sku": "A", "url": U + "1", "order": "1"}
    assert [(row.product, [(image.url, image.order) for image in row.images]) for row in found.rows] == [
        ("A", [(U + "1", 1), (U + "2", 1)])
    ]
    assert found.ok
    assert nothing.ok
    assert [step.step for step in nothing.steps] == ["input", "rows"]
    assert [step.step for step in wrong.steps] == ["input"]
    assert "delimiter" in (wrong.steps[0].error or StepError("")).reason


async def test_what_a_run_would_warn_of() -> None:
    """Without pagination an answer that counts more than it gives is the whole read; where the reader asked for the page, what it
    warned of counts.
    """
    body = json.dumps({"count": 9, "results": [image_set("A", U + "1"), image_set("A", U + "2")]}).encode()
    flow = definition(erp=FLOW["erp"])
    async with Sandbox() as sandbox:
        found = await dry_run(sandbox, flow, body)
        live = await dry_run(sandbox, flow, body, warned=("the reader's",))
        nulled = definition(erp={**FLOW["erp"], "no_rows": {"null_list": True}})
        empty = await dry_run(sandbox, nulled, b'{"count": 9, "results": null}')
    assert [text[:24] for text in found.warnings] == ["the read ended after 2 r", "A: several rows of a pag"]
    assert live.warnings == ("the reader's", *found.warnings[1:])
    assert [text[:24] for text in empty.warnings] == ["the read ended after 0 r"]
    assert found.ok


async def test_what_is_not_json_stops_at_the_input() -> None:
    """No process is started for it, and the dry run says so."""
    async with Sandbox() as sandbox:
        found = await dry_run(sandbox, definition(script=SCRIPT), b"<html>")
        assert sandbox.live == 0
    assert [step.step for step in found.steps] == ["input"]
    assert "not JSON" in (found.steps[0].error or StepError("")).reason
    assert not found.ok


def test_a_failed_script_ends_the_steps() -> None:
    """The steps after it are not shown; all elements are failed rows, with the line."""
    found = result_of(
        Broken("script", "line 7: KeyError: 'x'", line=7), [{"a": 1}, {"a": 2}], script=SCRIPT, mapping=SHIFT
    )
    assert [step.step for step in found.steps] == ["input", "script"]
    assert found.steps[1].error == StepError("line 7: KeyError: 'x'", 7)
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
    """A later row of the product wins; the dry run is ok."""
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
