"""The Jolt engine as the sandbox uses it. The engine itself: tests/unit/jolt."""

from __future__ import annotations

from typing import Any

import pytest

from imageflow.sandbox import jolt


@pytest.mark.parametrize(
    ("spec", "path", "words"),
    [
        ({}, "mapping", "must be a list"),
        ([1], "mapping[0]", "must be an object"),
        ([{"operation": "sort"}, {}], "mapping[1]", "has no `operation`"),
        ([{"operation": "shfit", "spec": {}}], "mapping[0]", "there is no operation 'shfit'; did you mean shift?"),
        ([{"operation": "shift"}], "mapping[0]", "needs a `spec`"),
        ([{"operation": "com.bazaarvoice.jolt.Nothing", "spec": {}}], "mapping[0]", "there is no operation"),
    ],
)
def test_says_what_is_wrong_with_an_outline(spec: Any, path: str, words: str) -> None:
    """The outline of a spec is checked without running it, and the problem names the operation's place."""
    (problem,) = jolt.problems(spec)
    assert problem.path == path
    assert words in problem.message


def test_problems_and_warnings_name_the_line() -> None:
    """What does not compile, and what is hardly meant, is reported at its line of the spec."""
    _, (problem,) = jolt.compile_chain([{"operation": "sort"}, {"operation": "shift", "spec": {"a": {"b": "c.@(("}}}])
    assert problem.path == "mapping[1].spec.a.b"
    chain, _ = jolt.compile_chain([{"operation": "shift", "spec": {"a": {"b": "c.&9"}}}])
    assert chain is not None
    (warning,) = jolt.warnings(chain)
    assert warning.path == "mapping[0].spec.a.b"


def test_a_failure_names_operation_line_and_row() -> None:
    """What the mapping cannot do with a page is one error, with the line of the spec and the place in the rows."""
    chain, _ = jolt.compile_chain([{"operation": "sort"}, {"operation": "shift", "spec": {"*": {"a": "x.&9"}}}])
    assert chain is not None
    with pytest.raises(
        ValueError, match=r"^mapping\[1\] \(shift\): spec\.\*\.a -> x\.&9 at input \[1\]\.a: &9 goes 9 levels"
    ):
        jolt.apply(chain, [{}, {"a": 1}])


def test_memory_and_recursion_errors_pass() -> None:
    """They are no fault of a line: the sandbox sees to them."""
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}
    chain, _ = jolt.compile_chain([{"operation": "sort"}])
    assert chain is not None
    with pytest.raises(RecursionError):
        jolt.apply(chain, deep)


def test_explains_and_gives_the_same_result() -> None:
    """The explanation holds the result; a chain that fails fails with the same words."""
    spec = [{"operation": "shift", "spec": {"*": {"a": "[&1].b"}}}]
    chain, _ = jolt.compile_chain(spec, counting=True)
    assert chain is not None
    explanation = jolt.explain(chain, [{"a": 1}])
    assert jolt.result_of(explanation) == [{"b": 1}]
    broken, _ = jolt.compile_chain([{"operation": "shift", "spec": {"*": "&9"}}], counting=True)
    assert broken is not None
    with pytest.raises(ValueError, match=r"^mapping\[0\] \(shift\): "):
        jolt.result_of(jolt.explain(broken, [1]))


def test_uses_everything_once_before_the_worker_locks() -> None:
    """The warm-up compiles and runs: each operation and each function is used."""
    jolt.preload()
