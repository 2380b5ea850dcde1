"""What people write: the shapes of public questions, and the ways to write them. The outputs are jolt-py's, looked at one by one."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from imageflow.jolt import Chain, compile_chain

SHAPES = [json.loads(line) for line in Path(__file__).with_name("shapes.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("case", SHAPES, ids=[case["shape"] for case in SHAPES])
def test_shapes(case: dict[str, Any]) -> None:
    """The chain gives what it is meant to, in its order; and the same where it is explained."""
    plain, counting = compile_chain(case["chain"]), compile_chain(case["chain"], counting=True)
    assert isinstance(plain, Chain)
    assert isinstance(counting, Chain)
    assert json.dumps(plain.apply(copy.deepcopy(case["input"]))) == json.dumps(case["output"])
    assert json.dumps(counting.trace(case["input"]).steps[-1].output) == json.dumps(case["output"])
