"""The golden cases of the mapping: specs and inputs with the answer of Java's Jolt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from imageflow.errors import Problem
from imageflow.sandbox import jolt

CASES = [json.loads(line) for line in Path(__file__).with_name("jolt_golden.jsonl").read_text().splitlines()]
"""Specs and inputs with what Java's Jolt 0.1.x makes of them; `java_bug`: it crashes, by its own fault."""
KINDS = sorted({case["kind"] for case in CASES})

DIFFERENT = {
    "golden:functions:28:ok",
    "golden:modify-default-beta:8:ok",
    "golden:modify-define-beta:298:ok",
    "golden:modify-overwrite-beta:37:ok",
}
"""What jolt-py does otherwise than Java: docs/mapping.md has the reasons."""


def spec_of(case: dict[str, Any]) -> list[dict[str, Any]]:
    return case["spec"] if case["kind"] == "chainr" else [{"operation": case["kind"], "spec": case["spec"]}]


def run(case: dict[str, Any], context: dict[str, Any] | None = None) -> tuple[str, Any]:
    """`ok` and the result, or the phase that fails, as the cases call them."""
    chain, problems = jolt.compile_chain(spec_of(case))
    if problems:
        assert all(isinstance(problem, Problem) for problem in problems)
        return "spec", problems
    try:
        return "ok", chain.apply(case["input"], context) if context else jolt.apply(chain, case["input"])
    except Exception as error:
        return "transform", error


def of_java(kind: str) -> list[dict[str, Any]]:
    return [case for case in CASES if case["kind"] == kind and not case.get("java_bug")]


def agrees(case: dict[str, Any], phase: str, result: Any) -> bool:
    """To the type of each number; of errors, in the phase."""
    if "expected" not in case:
        return phase == case["error_phase"]
    return phase == "ok" and json.dumps(result, sort_keys=True) == json.dumps(case["expected"], sort_keys=True)
