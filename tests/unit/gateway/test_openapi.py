"""The table of endpoints, the OpenAPI document and its page."""

import inspect
import json
import re

import msgspec
import pytest

from imageflow.gateway import docs, openapi, shapes
from imageflow.gateway.access import ROLES
from imageflow.gateway.endpoints import ENDPOINTS
from imageflow.gateway.handlers_flows import FlowHandlers
from imageflow.gateway.handlers_ops import OpsHandlers
from imageflow.gateway.handlers_runs import RunHandlers
from imageflow.gateway.handlers_users import UserHandlers
from imageflow.model.imageset import Image
from imageflow.model.row import RowLog, shown
from imageflow.model.run import Run, Trigger, summary
from tests.unit.gateway.test_access import HandClock

DOCUMENT = openapi.document(ENDPOINTS)
HANDLERS = (FlowHandlers, RunHandlers, OpsHandlers, UserHandlers)
NOW = HandClock().now()


def handlers():
    return [name for part in HANDLERS for name, _ in inspect.getmembers(part, inspect.isfunction) if name[0] != "_"]


def test_every_endpoint_has_one_handler():
    """Each endpoint of the table is answered by one handler or by another module, and no handler is left over."""
    assert sorted(handlers()) == sorted(endpoint.name for endpoint in ENDPOINTS if not endpoint.elsewhere)


def test_names_and_addresses_are_unique():
    """No two endpoints have one name, or one method and address."""
    assert len({endpoint.name for endpoint in ENDPOINTS}) == len(ENDPOINTS)
    assert len({(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}) == len(ENDPOINTS)


def test_who_only_looks_changes_nothing():
    """Viewers have nothing but GET (and may log out); flows, users, keys and the audit log are an admin's to change."""
    for endpoint in ENDPOINTS:
        changes = endpoint.method != "GET"
        if endpoint.role == "viewer":
            assert not changes or endpoint.name == "log_out"
        if endpoint.tag in ("users", "keys", "audit") or endpoint.name in ("save_flow", "enable_flow", "disable_flow"):
            assert endpoint.role == "admin"
    assert [endpoint.name for endpoint in ENDPOINTS if endpoint.role is None] == ["log_in"]


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_every_reference_of_the_document_resolves():
    """Nothing in the document points to what is not in it."""
    found = set(references(DOCUMENT))
    assert found
    for reference in found:
        value = DOCUMENT
        for name in reference.removeprefix("#/").split("/"):
            value = value[name]


def test_the_document_is_plain_json():
    """It reads back as it was written."""
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_an_operation_says_what_its_endpoint_does(endpoint):
    """Path parameters, statuses and the need of a token are in the document as in the table."""
    operation = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]
    path = [parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"]
    assert path == re.findall(r"\{(\w+)\}", endpoint.path)
    assert {int(status) for status in operation["responses"]} == {*endpoint.statuses, 500, 503}
    assert bool(operation["security"]) == (endpoint.role is not None)
    assert endpoint.role is None or f"role {endpoint.role}" in operation["description"]
    assert endpoint.role is None or endpoint.role in ROLES
    assert ("requestBody" in operation) == (endpoint.body is not None)


def test_optional_parameters_cannot_be_null():
    """A query parameter is left out or has a value: no schema of one takes null."""
    for methods in DOCUMENT["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                assert "null" not in json.dumps(parameter["schema"])


def test_the_page_shows_everything_and_loads_nothing():
    """Each operation, parameter and type is on the page; what comes from elsewhere is text, not markup."""
    page = docs.page(DOCUMENT)
    for endpoint in ENDPOINTS:
        assert f'id="{endpoint.name}"' in page.html
    for name in DOCUMENT["components"]["schemas"]:
        assert f'id="type-{name}"' in page.html
    for forbidden in ("<script", "<link", "<img", "src=", "@import", "url(", "onclick"):
        assert forbidden not in page.html
    assert "unsafe" not in page.policy
    info = {"title": "<b>&", "version": "1", "description": "<script>alert(1)</script>"}
    hostile = docs.page({**DOCUMENT, "info": info})
    assert "<script" not in hostile.html
    assert "<b>" not in hostile.html


def test_links_of_the_page_lead_somewhere():
    """Each link within the page has its target."""
    html = docs.page(DOCUMENT).html
    ids = set(re.findall(r'id="([^"]+)"', html))
    assert set(re.findall(r'href="#([^"]+)"', html)) <= ids


RUN = Run(
    run_id="r",
    flow="f",
    version=3,
    trigger=Trigger("person", "ada", ("A",)),
    status="partial",
    created_at=NOW,
    error="x",
)
ROW = RowLog(
    run_id="r", row=1, product="A", state="failed", reason="why", http_status=400, images=(Image("https://x/a.jpg"),)
)


def written(value):
    return json.loads(msgspec.json.encode(value))


def test_runs_and_rows_are_shown_as_the_command_line_shows_them():
    """A run and a row over the API have all fields of `runs --json` and `rows --json`, with the same values."""
    run, row, detail = map(written, (shapes.run_shown(RUN, NOW), shapes.row_shown(ROW), shapes.row_detail(ROW)))
    assert run.items() >= written(summary(RUN, NOW)).items()
    assert row == written(shown(ROW))
    assert detail.items() >= row.items()
