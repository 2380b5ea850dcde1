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


NEIGHBOURS = [
    ({"*": "&"}, {"a": 1, "b": None}, {"a": 1, "b": None}),
    ({"rating-*": "r.&(0,1)"}, {"rating-x": 1, "rating-y": 2}, {"r": {"x": 1, "y": 2}}),
    ({"a": {"*": {"$": "names[]"}}}, {"a": {"b": 1, "c": 2}}, {"names": ["b", "c"]}),
    ({"a": {"#X": "t"}}, {"a": {"b": 1}}, {"t": "X"}),
    ({"a|b": "c"}, {"b": 1}, {"c": 1}),
    ({"a": "x", "b": "x"}, {"a": 1, "b": 2}, {"x": [1, 2]}),
    ({"a": {"1": "second"}}, {"a": ["x", "y"]}, {"second": "y"}),
    ({"a": {"*": "x[&].v"}}, {"a": ["p", "q"]}, {"x": [{"v": "p"}, {"v": "q"}]}),
    ({"a": {"b": {"@(1,id)": "found"}}}, {"a": {"id": 7, "b": {"c": 1}}}, {"found": 7}),
    ({"a": ["x", "y"]}, {"a": 1}, {"x": 1, "y": 1}),
    ({"a": "x[]"}, {"a": 1}, {"x": [1]}),
    ({"nothing": "x"}, {"a": 1}, None),
]


@pytest.mark.parametrize(("spec", "given", "expected"), NEIGHBOURS)
def test_neighbours(site: Site, spec: dict, given: dict, expected: dict | None):
    """What Jolt's documentation says of shift, beside the cases."""
    made = {**document("jolt_dots", "flow0.yaml"), "mapping": [{"operation": "shift", "spec": spec}]}
    (mapping,) = (step for step in site.tried(made, json.dumps(given).encode()).steps if step.step == "mapping")
    assert (mapping.error, mapping.output) == (None, expected)


@pytest.mark.parametrize(
    ("operation", "spec", "given", "expected"),
    [
        ("default", {"a": 2, "b": 3}, {"a": 1}, {"a": 1, "b": 3}),
        ("default", {"*": {"t": "d"}}, {"a": {}, "b": {"t": "x"}}, {"a": {"t": "d"}, "b": {"t": "x"}}),
        ("remove", {"a": "", "c": {"d": ""}}, {"a": 1, "b": 2, "c": {"d": 1, "e": 2}}, {"b": 2, "c": {"e": 2}}),
        ("cardinality", {"a": "ONE", "b": "MANY"}, {"a": [1, 2], "b": 3}, {"a": 1, "b": [3]}),
        ("modify-overwrite-beta", {"n": "=size(@(1,l))"}, {"l": [1, 2, 3]}, {"l": [1, 2, 3], "n": 3}),
    ],
)
def test_neighbours_of_other_operations(site: Site, operation: str, spec: dict, given: dict, expected: dict):
    """Defaults fill gaps only, removal goes into depth, cardinality makes one or many, functions see their siblings."""
    made = {**document("jolt_dots", "flow0.yaml"), "mapping": [{"operation": operation, "spec": spec}]}
    (mapping,) = (step for step in site.tried(made, json.dumps(given).encode()).steps if step.step == "mapping")
    assert (mapping.error, mapping.output) == (None, expected)
