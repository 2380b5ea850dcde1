"""The rows of an answer: where they are, and what is a page without a list."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from imageflow.errors import ReadError
from imageflow.read.rows import rows_of, takes_any
from tests.unit.read.flows import flow

PROCESS = "def process(response):\n    return []\n"
PROCESS_ROW = "def process_row(row):\n    return row\n"
SHIFT = [{"operation": "shift", "spec": {"*": "&"}}]


@pytest.mark.parametrize(
    ("body", "path", "text"),
    [
        (b'{"data": [], "x": 1}', "results", "nothing at rows_path 'results'.*fields data, x"),
        (b'{"error": {"code": 7}}', "results", '"code":7'),
        (b'{"results": null}', "results", "has null, not a list.*no_rows: {null_list: true}"),
        (b'{"results": {"1": {}}}', "results", "has an object"),
        (b'{"results": "[]"}', "results", "has a text"),
        (b'{"results": false}', "results", "has a boolean"),
        (b"null", "results", "it is null"),
        (b"null", "", "is null, not a list"),
        (b'{"results": []}', "", "set erp.rows_path"),
        (b"[[]]", "0.1", "nothing at rows_path"),
    ],
)
def test_no_list(body: bytes, path: str, text: str):
    """A 200 without the list where the flow says it is, is an error that names what is there."""
    with pytest.raises(ReadError, match=text):
        rows_of(flow(rows_path=path), msgspec.json.decode(body))


@pytest.mark.parametrize(
    ("body", "path"), [(b"[1]", ""), (b'{"a":{"b":[1]}}', "a.b"), (b'{"a":{"b":[1]}}', "/a/b"), (b'{"a.b":[1]}', "a.b")]
)
def test_rows(body: bytes, path: str):
    """The list is at a dotted path, at a JSON Pointer, or is the answer itself."""
    assert rows_of(flow(rows_path=path), msgspec.json.decode(body)).rows == [1]


@pytest.mark.parametrize(
    ("fields", "takes"),
    [
        ({}, False),
        ({"_script": PROCESS}, True),
        ({"_script": "process = lambda r: r"}, True),
        ({"_script": "from json import loads as process"}, True),
        ({"_script": "def process(:"}, False),
        ({"_script": PROCESS_ROW}, False),
        ({"_script": PROCESS, "rows_path": "d"}, True),
        ({"_script": PROCESS, "pagination": {"type": "next"}}, True),
        ({"_script": PROCESS, "pagination": {"type": "offset"}}, False),
        ({"_script": PROCESS, "pagination": {"type": "page"}}, False),
        ({"_script": PROCESS, "pagination": {"type": "seek", "param": "p", "value_path": "id"}}, False),
        ({"_mapping": SHIFT}, True),
        ({"_mapping": SHIFT, "rows_path": "d"}, False),
        ({"_mapping": SHIFT, "_script": PROCESS_ROW}, True),
    ],
)
def test_what_takes_any_document(fields: dict[str, Any], takes: bool):
    """A script with `process`, or a mapping of the whole answer, where nothing has to be counted."""
    assert takes_any(flow(**fields)) is takes
    if takes:
        for document in ({"d": "[]"}, "[]", 7, None, {"A-1": {"pics": []}}, {"d": {"sku": "A"}}):
            rows_of(flow(**fields), document)


TWO = [{"sku": "A"}, {"sku": "B"}]


@pytest.mark.parametrize(
    ("document", "path", "count", "counted"),
    [
        ({"d": "[{}]"}, "d", 1, False),
        ({"d": "[{}]"}, "", 1, False),
        ({"d": None}, "d", 0, True),
        ({"item": {"sku": "A", "images": []}}, "item", 1, True),
        ({"item": {"sku": "A", "images": []}}, "other", 1, True),
        ({"products": {"A": {"p": 1}, "B": {"p": 2}}}, "products", 2, True),
        ({"products": {"A": {"p": 1}, "B": {"p": 2}}}, "", 2, True),
        ({"A": {"total": 9, "next": "x"}, "B": {"total": 3, "next": "y"}}, "", 2, True),
        ({"A": ["u1", "u2"], "B": ["u3"]}, "", 2, True),
        ({"data": TWO, "meta": {"total": 2}}, "", 2, True),
        ({"result": {"list": TWO}, "facets": {"brand": {"terms": [{"n": 1}]}}}, "", 2, True),
        ("[]", "", 1, False),
    ],
)
def test_what_counts_as_a_row(document: Any, path: str, count: int, counted: bool):
    """Of an answer without a list at rows_path the rows are told as far as they can be."""
    found = rows_of(flow(_script=PROCESS, rows_path=path), document)
    assert (len(found.rows), found.counted) == (count, counted)


@pytest.mark.parametrize("document", [{"d": {"items": None}}, {"d": None}, None])
def test_null_that_means_no_rows(document: Any):
    """Where the flow says so, null in the list's place, or on the way there, is an empty page."""
    definition = flow(rows_path="d.items", no_rows={"null_list": True})
    assert rows_of(definition, document)[::3] == ([], True)
    with pytest.raises(ReadError, match="nothing at rows_path"):
        rows_of(definition, {"e": None})


def test_too_many_rows():
    """A page has a largest size."""
    with pytest.raises(ReadError, match="use pagination"):
        rows_of(flow(), [0] * ((1 << 20) + 1))


@pytest.mark.parametrize("fields", [{}, {"_script": PROCESS}])
def test_an_answer_that_is_an_error(fields: dict[str, Any]):
    """An empty list in an answer that says that it is an error is no page, whatever the flow takes; see test_verdict.py."""
    with pytest.raises(ReadError, match="something went wrong"):
        rows_of(flow(rows_path="Data", **fields), {"success": False, "Data": []})
    assert rows_of(flow(rows_path="Data", **fields), {"success": False, "Data": [1]}).rows == [1]
    with pytest.raises(ReadError, match=r"erp\.success"):
        rows_of(flow(rows_path="Data", success={"path": "code", "value": 0}, **fields), {"code": 1, "Data": [1]})
