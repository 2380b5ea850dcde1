"""Jolt: the same results as Java, and readable problems."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from imageflow.errors import Problem
from imageflow.transform import mapping

CASES = [json.loads(line) for line in Path(__file__).with_name("jolt_java.jsonl").read_text().splitlines()]

DIFFERENT = {
    "functions:28:ok": "squashNulls with several arguments: jolt-py squashes them as a list, Java takes the first only",
    "modify-default-beta:8:ok": "recursivelySquashNulls with several arguments: as above",
    "modify-define-beta:298:ok": "squashNulls with several arguments: as above",
}
"""What jolt-py does otherwise than Java 0.1.x, of the rows here; nothing that a mapping of images would use."""


def spec_of(case: dict[str, Any]) -> list[dict[str, Any]]:
    return case["spec"] if case["kind"] == "chainr" else [{"operation": case["kind"], "spec": case["spec"]}]


def run(case: dict[str, Any]) -> Any:
    chain, problems = mapping.compile_chain(spec_of(case))
    if problems:
        return problems
    return mapping.apply(chain, case["input"])


@pytest.mark.parametrize("case", [case for case in CASES if "expected" in case], ids=lambda case: case["id"])
def test_gives_what_java_gives(case: dict[str, Any]) -> None:
    """A result of Java's Jolt is ours, to the type of each number, but for the table of differences."""
    same = json.dumps(run(case), sort_keys=True) == json.dumps(case["expected"], sort_keys=True)
    assert same == (case["id"] not in DIFFERENT)


@pytest.mark.parametrize("case", [case for case in CASES if "error" in case], ids=lambda case: case["id"])
def test_refuses_what_java_refuses(case: dict[str, Any]) -> None:
    """Where Java throws, the spec has problems or its application raises."""
    try:
        result = run(case)
    except Exception:
        return
    assert isinstance(result, list) and result and all(isinstance(problem, Problem) for problem in result)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_leaves_its_input_alone(case: dict[str, Any]) -> None:
    """A mapping works on a copy: failed rows are shown as they came."""
    before = json.dumps(case["input"])
    with contextlib.suppress(Exception):
        run(case)
    assert json.dumps(case["input"]) == before


@pytest.mark.parametrize(
    ("spec", "path", "words"),
    [
        ({}, "mapping", "must be a list"),
        ([1], "mapping[0]", "must be an object"),
        ([{"operation": "sort"}, {}], "mapping[1]", "has no `operation`"),
        ([{"operation": "shfit", "spec": {}}], "mapping[0]", "there is no operation 'shfit'; there are: shift"),
        ([{"operation": "shift"}], "mapping[0]", "needs a `spec`"),
        ([{"operation": "com.bazaarvoice.jolt.Nothing", "spec": {}}], "mapping[0]", "there is no operation"),
    ],
)
def test_says_what_is_wrong_with_an_outline(spec: Any, path: str, words: str) -> None:
    """The outline of a spec is checked without running it, and the problem names the operation's place."""
    (problem,) = mapping.problems(spec)
    assert problem.path == path
    assert words in problem.message


def test_says_which_operation_does_not_compile() -> None:
    """What jolt-py refuses is reported at its operation."""
    spec = [{"operation": "sort"}, {"operation": "shift", "spec": {"a": "b.@(("}}]
    _, (problem,) = mapping.compile_chain(spec)
    assert problem.path == "mapping[1]"


@pytest.mark.parametrize("java", mapping.JAVA_NAMES)
def test_knows_java_names(java: str) -> None:
    """Specs that name Java classes work unchanged."""
    spec = {"a": "" if java.endswith("Removr") else "ONE"}
    assert mapping.compile_chain([{"operation": java, "spec": spec}])[1] == []


def test_says_which_operation_fails() -> None:
    """An error while a page is mapped names the operation."""
    fails = next(case for case in CASES if case.get("error") == "transform" and case["kind"] != "chainr")
    spec = [{"operation": "default", "spec": {}}, *spec_of(fails)]
    assert mapping.failing_operation(spec, fails["input"]) == f"mapping[1] ({fails['kind']})"
