"""Jolt: the same results as Java, and readable problems."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from imageflow.sandbox import jolt
from tests.unit.sandbox.golden import CASES, DIFFERENT, KINDS, agrees, of_java, run, spec_of


@pytest.mark.parametrize("kind", KINDS)
def test_gives_what_java_gives(kind: str) -> None:
    """A result of Java's Jolt is ours, and what it refuses is refused in the same phase, but for the listed differences."""
    different = {case["id"] for case in of_java(kind) if not agrees(case, *run(case, case.get("context")))}
    assert different == DIFFERENT & {case["id"] for case in CASES if case["kind"] == kind}


@pytest.mark.parametrize("kind", KINDS)
def test_has_no_context(kind: str) -> None:
    """Nothing else differs where there is no context, as in a flow: only what asks for it by `^`."""
    different = {case["id"] for case in of_java(kind) if not agrees(case, *run(case))}
    assert different - DIFFERENT <= {case["id"] for case in CASES if "^" in json.dumps(case["spec"])}


def test_differences_are_documented() -> None:
    """Each known difference is in the docs, and no other."""
    text = (Path(__file__).parents[3] / "docs" / "mapping.md").read_text()
    assert set(re.findall(r"`(golden:[^`]+)`", text)) == DIFFERENT


def test_leaves_its_input_alone() -> None:
    """A mapping works on a copy: failed rows are shown as they came."""
    for case in CASES:
        before = json.dumps(case["input"])
        run(case)
        assert json.dumps(case["input"]) == before, case["id"]


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
    (problem,) = jolt.problems(spec)
    assert problem.path == path
    assert words in problem.message


def test_says_which_operation_does_not_compile() -> None:
    """What jolt-py refuses is reported at its operation."""
    spec = [{"operation": "sort"}, {"operation": "shift", "spec": {"a": "b.@(("}}]
    _, (problem,) = jolt.compile_chain(spec)
    assert problem.path == "mapping[1]"


@pytest.mark.parametrize("java", jolt.JAVA_NAMES)
def test_knows_java_names(java: str) -> None:
    """Specs that name Java classes work unchanged."""
    spec = {"a": "" if java.endswith("Removr") else "ONE"}
    assert jolt.compile_chain([{"operation": java, "spec": spec}])[1] == []


def test_says_which_operation_fails() -> None:
    """An error while a page is mapped names the operation."""
    fails = next(
        case
        for case in CASES
        if case.get("error_phase") == "transform" and case["kind"] != "chainr" and not case.get("java_bug")
    )
    spec = [{"operation": "default", "spec": {}}, *spec_of(fails)]
    assert jolt.failing_operation(spec, fails["input"]) == f"mapping[1] ({fails['kind']})"


def test_preloads_what_a_mapping_needs() -> None:
    """What operations and functions load when they are used is loaded before the worker closes the import path."""
    jolt.preload()
    assert {"pyjolt", "encodings.utf_16_be"} <= set(sys.modules)


def test_says_what_is_nested_too_deeply() -> None:
    """A spec that exhausts the stack is a problem of its operation."""
    deep: Any = "a"
    for _ in range(5000):
        deep = {"a": deep}
    _, (problem,) = jolt.compile_chain([{"operation": "shift", "spec": deep}])
    assert (problem.path, problem.message) == ("mapping[0]", "shift: nested too deeply")


def test_an_error_that_does_not_come_again_is_of_no_operation() -> None:
    """If every operation works on the value after all, the mapping as a whole is named."""
    assert jolt.failing_operation([{"operation": "sort"}], {"b": 1, "a": 2}) == "mapping"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("=trimm(@(1,sku))", "there is no function 'trimm' (=trimm(@(1,sku))); did you mean trim?"),
        ("=xyz", "there is no function 'xyz' (=xyz); there are: abs"),
        ("=replace('a','b')", "there is no function 'replace'"),
    ],
)
def test_refuses_functions_that_do_not_exist(call: str, words: str) -> None:
    """A misspelt function would do nothing, without a word; it is a problem, with the nearest that exists."""
    _, (problem,) = jolt.compile_chain([{"operation": "modify-overwrite-beta", "spec": {"*": {"sku": call}}}])
    assert problem.path == "mapping[0]"
    assert words in problem.message
