"""The table of endpoints, the OpenAPI document and its page."""

import inspect
import json
import re
import typing

import pytest

from imageflow.actions.users import ROLES
from imageflow.gateway import (
    docs,
    handlers_errors,
    handlers_flows,
    handlers_ops,
    handlers_runs,
    handlers_users,
    openapi,
)
from imageflow.gateway.endpoints import ENDPOINTS

DOCUMENT = openapi.document(ENDPOINTS)


SERVED = [endpoint for endpoint in ENDPOINTS if endpoint.handler is not None]
HANDLERS = (handlers_errors, handlers_flows, handlers_ops, handlers_runs, handlers_users)


def handlers():
    return [
        name
        for module in HANDLERS
        for name, found in inspect.getmembers(module, inspect.iscoroutinefunction)
        if found.__module__ == module.__name__ and name[0] != "_"
    ]


def test_every_handler_has_one_endpoint():
    """Each endpoint's handler has its name, and no handler is left over."""
    assert [endpoint.handler.__name__ for endpoint in SERVED] == [endpoint.name for endpoint in SERVED]
    assert sorted(handlers()) == sorted(endpoint.name for endpoint in SERVED)
    assert {endpoint.name for endpoint in ENDPOINTS} - set(handlers()) == {"log_in", "post_rows", "watch_events"}


@pytest.mark.parametrize("endpoint", SERVED, ids=lambda endpoint: endpoint.name)
def test_a_handler_takes_what_its_row_says(endpoint):
    """Path, query and body of a handler's call, and its answer, are of the types of its row of the table."""
    hints = typing.get_type_hints(endpoint.handler)
    answer, (_, call) = hints.pop("return"), hints.values()
    body = None if endpoint.body is None else endpoint.body.type
    row = (endpoint.params, endpoint.query, body)
    assert typing.get_args(call) == tuple(type(None) if kind is None else kind for kind in row)
    assert answer == (type(None) if endpoint.answer is None else endpoint.answer)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_the_path_holds_its_parameters(endpoint):
    """What stands in braces in a path is what the row's type of the path holds."""
    fields = endpoint.params.__struct_fields__ if endpoint.params is not None else ()
    assert tuple(endpoint.parameters) == fields


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
