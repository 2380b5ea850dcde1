"""Answers of Java's Jolt, and of jolt-py where it was asked: specs and inputs with what came of them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from imageflow.jolt import Chain, JoltError, compile_chain

HERE = Path(__file__).parent
CASES = [json.loads(line) for line in (HERE / "golden.jsonl").read_text().splitlines()]
"""What Java's Jolt 0.1.8 makes of specs and inputs; `java_bug`: it crashes, by its own fault."""
KINDS = sorted({case["kind"] for case in CASES})
OBSERVED = [json.loads(line) for line in (HERE / "observed.jsonl").read_text().splitlines()]
"""What jolt-py was seen to make of the corners of the language: `output`, `refused` or `fails`."""
CALLS = json.loads((HERE / "calls.json").read_text())
"""What calls of functions were seen to give; nothing for "no value"."""

DIFFERENT: set[str] = set()
"""Rows of CASES where this engine does otherwise than Java: docs/mapping.md would have the reasons."""


def spec_of(case: dict[str, Any]) -> list[dict[str, Any]]:
    return case["spec"] if case["kind"] == "chainr" else [{"operation": case["kind"], "spec": case["spec"]}]


def run(spec: Any, document: Any, context: dict[str, Any] | None = None) -> tuple[str, Any]:
    """`ok` and the result, or the phase that fails, as the cases call them."""
    chain = compile_chain(spec)
    if not isinstance(chain, Chain):
        return "spec", chain
    try:
        return "ok", chain.apply(copy.deepcopy(document), context)
    except JoltError as error:
        return "transform", error


def of_java(kind: str) -> list[dict[str, Any]]:
    return [case for case in CASES if case["kind"] == kind and not case.get("java_bug")]


def agrees(case: dict[str, Any], phase: str, result: Any) -> bool:
    """To the type of each number; of errors, in the phase."""
    if "expected" not in case:
        return phase == case["error_phase"]
    return phase == "ok" and json.dumps(result, sort_keys=True) == json.dumps(case["expected"], sort_keys=True)
