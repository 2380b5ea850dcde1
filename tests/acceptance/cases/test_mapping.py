"""Mappings that people asked about in Jolt's tracker, as whole answers: what `try` shows of the mapping step."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.cases.erp import DATA
from tests.acceptance.cases.site import Site, document

EXPECTED = [
    pytest.param(path.parent.name, case, id=f"{path.parent.name}-{case['flow']}")
    for path in sorted(DATA.glob("jolt_*/expected.json"))
    for case in json.loads(path.read_text("utf-8"))
]


@pytest.mark.parametrize(("case", "expected"), EXPECTED)
def test_jolt(site: Site, case: str, expected: dict):
    """The mapping gives what Java's Jolt gives; where Jolt's versions differ, what one of them gives."""
    tried = site.tried(document(case, expected["flow"]), json.dumps(expected["input"]).encode())
    (mapping,) = (step for step in tried.steps if step.step == "mapping")
    assert mapping.error is None
    right = expected["either"] if "either" in expected else [expected["expected"]]
    assert mapping.output in right
