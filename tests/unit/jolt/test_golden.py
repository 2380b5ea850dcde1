"""The same answers as Java's Jolt."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.jolt.golden import CALLS, CASES, DIFFERENT, KINDS, OBSERVED, agrees, of_java, run, spec_of


@pytest.mark.parametrize("kind", KINDS)
def test_gives_what_java_gives(kind: str) -> None:
    """A result of Java's Jolt is ours, and what it refuses is refused in the same phase, but for the listed differences."""
    different = {
        case["id"]
        for case in of_java(kind)
        if not agrees(case, *run(spec_of(case), case["input"], case.get("context")))
    }
    assert different == DIFFERENT & {case["id"] for case in CASES if case["kind"] == kind}


@pytest.mark.parametrize("operation", sorted({case["operation"] for case in OBSERVED}))
def test_corners_of_the_language(operation: str) -> None:
    """Escapes, levels, wrong kinds, nulls and errors come out as they were seen to, keys of objects in the same order."""
    for case in OBSERVED:
        if case["operation"] != operation:
            continue
        phase, result = run([{"operation": operation, "spec": case["spec"]}], case["input"])
        expected = "spec" if case.get("refused") else "transform" if case.get("fails") else "ok"
        assert phase == expected, case
        assert phase != "ok" or json.dumps(result) == json.dumps(case["output"]), case


@pytest.mark.parametrize("call", CALLS["calls"])
def test_functions(call: str) -> None:
    """A call gives the value that it was seen to give, or none."""
    expected: Any = CALLS["calls"][call].get("gives", "none")
    phase, result = run([{"operation": "modify-overwrite-beta", "spec": {"out": call}}], CALLS["input"])
    assert phase == "ok"
    assert json.dumps(result.get("out", "none")) == json.dumps(expected)
