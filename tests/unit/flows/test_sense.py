"""Sense: fields that contradict each other."""

from __future__ import annotations

from typing import Any

import pytest

from imageflow.flows import sense

SKU = {"sku": {"key": "s"}}


def said(document: dict[str, Any]) -> list[str]:
    return [str(problem) for problem in sense.problems(document)]


def inbound(**erp: Any) -> dict[str, Any]:
    return {"direction": "inbound", "erp": {"endpoint_url": "https://erp/", **erp}}


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"direction": "inbound"}, "erp.endpoint_url"),
        ({"direction": "outbound", "schedule": {"cron": "* * * * *"}}, "schedule"),
        ({**inbound(), "name": "a", "schedule": {"after": "a"}}, "schedule.after"),
        ({**inbound(), "script": "x", "script_file": "y"}, "script_file"),
        ({**inbound(), "script_file": "y"}, "script_file"),
        ({**inbound(), "fetch_missing": {"enabled": True}}, "fetch_missing.enabled"),
        ({"direction": "outbound", "fetch_missing": {"enabled": True}}, "fetch_missing.enabled"),
        (inbound(query_settings={"n": {"key": "n", "type": "integer", "value": 1.5}}), "erp.query_settings.n.value"),
        (inbound(query_settings={"n": {"key": "n", "type": "number", "value": "x"}}), "erp.query_settings.n.value"),
        (inbound(query_settings={"n": {"key": "n", "type": "number", "value": True}}), "erp.query_settings.n.value"),
        (inbound(query_settings={"n": {"key": "n", "type": "boolean", "value": "si"}}), "erp.query_settings.n.value"),
        (inbound(extra_params={"d": "{modified_date}"}), "erp.extra_params.d"),
        (inbound(extra_params={"a": {"b": ["{now:%Y}"]}}), "erp.extra_params.a.b[0]"),
        (inbound(extra_headers={"X-Day": "{now:%d}"}), "erp.extra_headers.X-Day"),
        (inbound(login={"type": "token", "body": {"d": "{now}"}}), "erp.login.body.d"),
        (inbound(query_settings={"d": {"key": "d", "value": "{modified_date}"}}), "erp.query_settings.d.value"),
        (inbound(endpoint_url="https://erp/{sku"), "erp.endpoint_url"),
        (inbound(endpoint_url="https://{sku}.erp/", query_settings=SKU), "erp.endpoint_url"),
        (inbound(endpoint_url="https://erp/{later}"), "erp.endpoint_url"),
        (inbound(endpoint_url="https://erp/{now:%Q}"), "erp.endpoint_url"),
        (inbound(endpoint_url="https://erp/{modified_date}"), "erp.endpoint_url"),
        (inbound(format="csv", rows_path="data"), "erp.rows_path"),
        (inbound(format={"type": "csv"}, success={"path": "ok"}), "erp.success"),
        (inbound(format="ndjson", no_rows={"null_list": True}), "erp.no_rows.null_list"),
        (inbound(format="csv", pagination={"type": "next"}), "erp.pagination.field"),
        (inbound(format="ndjson", pagination={"type": "page", "total_path": "total"}), "erp.pagination.total_path"),
        (inbound(format="xml"), "erp.rows_path"),
        (inbound(format="xml", rows_path="a.b", success={"path": "a.ok"}), "erp.success.value"),
        (inbound(format="xml", rows_path="a.b", success={"path": "a.ok", "value": 1}), "erp.success.value"),
        (
            inbound(endpoint_url="https://erp/{d}", query_settings={"d": {"key": "k"}}, modified_date_key="k"),
            "erp.endpoint_url",
        ),
        (
            inbound(endpoint_url="https://erp/{d}", query_settings={"d": {"key": "k", "type": "datetime"}}),
            "erp.endpoint_url",
        ),
        (inbound(endpoint_url="https://erp/{x}", query_settings={"x": {"key": "k"}}), "erp.endpoint_url"),
    ],
)
def test_contradictions(document: dict[str, Any], path: str):
    """One problem each, at the field to change."""
    assert [problem.path for problem in sense.problems(document)] == [path]


@pytest.mark.parametrize(
    "document",
    [
        {},
        inbound(format="csv", pagination={"type": "next", "field": "Link"}),
        inbound(format="csv", pagination={"type": "seek"}, no_rows={"empty_body": True}),
        inbound(format="xml", rows_path="a.b", success={"path": "a.ok", "value": "true"}),
        inbound(format="xml", rows_path="a.b", pagination={"type": "page", "total_path": "a.@total"}),
        {**inbound(format="xml"), "mapping": [{}]},
        {"direction": "outbound"},
        {**inbound(), "erp": {**inbound()["erp"], "query_settings": SKU}, "fetch_missing": {"enabled": True}},
        inbound(endpoint_url="https://[::1", query_settings={"n": {"key": "n", "type": "integer", "value": " 7 "}}),
        inbound(
            query_settings={
                "n": {"key": "n", "type": "number", "value": "1e3"},
                "b": {"key": "b", "type": "boolean", "value": 0},
            }
        ),
        inbound(
            endpoint_url="https://erp/{now}/{now:%Y}/{sku}/{c}", query_settings={**SKU, "c": {"key": "c", "value": "1"}}
        ),
        inbound(endpoint_url="https://erp/{modified_date}", initial_since="2025-01-01"),
        inbound(
            endpoint_url="https://erp/{d}",
            query_settings={"d": {"key": "k", "type": "datetime"}},
            initial_since="2025-01-01",
        ),
        inbound(
            endpoint_url="https://erp/{modified_date__gt}",
            query_settings={"modified_date__gt": {"key": "k"}},
            initial_since="2025-01-01",
        ),
        inbound(
            endpoint_url="https://erp/{d}",
            query_settings={"d": {"key": "k"}},
            modified_date_key="k",
            initial_since="2025-01-01",
        ),
        {"erp": 5, "schedule": "x", "fetch_missing": []},
        {"direction": "inbound", "erp": {"endpoint_url": 5, "query_settings": {"a": 5}}},
    ],
)
def test_what_agrees(document: dict[str, Any]):
    """Documents that agree, and parts whose shape is wrong, which are the business of other checks."""
    assert said(document) == []


@pytest.mark.parametrize(
    ("document", "paths"),
    [
        ({"omnitron": {"domain_url": "http://brand.omnitron.net"}}, ["omnitron.domain_url"]),
        ({"omnitron": {"domain_url": "http://8.8.8.8/"}}, ["omnitron.domain_url"]),
        ({"omnitron": {"domain_url": "http://omnitron.internal"}}, []),
        ({"erp": {"login": {"type": "oauth2", "token_url": "http://login.example.com/"}}}, ["erp.login.token_url"]),
        ({"omnitron": {"domain_url": "http://127.0.0.1:8000"}}, []),
        ({"omnitron": {"domain_url": "http://omnitron:8000"}}, []),
        ({"omnitron": {"domain_url": "https://brand.omnitron.net"}}, []),
        (inbound(endpoint_url="http://erp.example.com", login={"type": "basic"}), ["erp.endpoint_url"]),
        (inbound(endpoint_url="http://erp.example.com"), []),
        (inbound(login={"type": "token", "url": "http://erp.example.com/login"}), ["erp.login.url"]),
    ],
)
def test_unencrypted_passwords(document, paths):
    """A password that crosses a network of others without https is a warning."""
    assert [warning.path for warning in sense.warnings(document)] == paths


@pytest.mark.parametrize(
    ("value", "way"),
    [
        ("{modified_date}", "erp.modified_date_key: a.d"),
        ("{since}", "erp.modified_date_key: a.d"),
        ("{now:%Y-%m-%d}", "into the URL: ?a.d={now:%Y-%m-%d}"),
        ("{sku}", "erp.query_settings.sku: {key: a.d}"),
        ("{season}", "erp.query_settings.season: {key: a.d}"),
    ],
)
def test_where_a_placeholder_goes(value: str, way: str) -> None:
    """A parameter that is nothing but one of our placeholders is refused, and the message says what fills it in."""
    settings = {"since": {"key": "s", "type": "datetime"}, "season": {"key": "x", "value": "winter"}}
    [problem] = said(inbound(extra_params={"a": {"d": value}}, query_settings=settings))
    assert problem.startswith("erp.extra_params.a.d: is sent as it is written, with its braces")
    assert problem.endswith(way)


@pytest.mark.parametrize(
    "value", ["{x}", "{}", "a {sku}", "{ sku { name } }", "{{sku}}", 7, None, ["sku"], {"env": "D"}]
)
def test_braces_that_are_no_placeholder(value: Any) -> None:
    """What an ERP may want as it is written stays."""
    assert said(inbound(extra_params={"d": value}, query_settings=SKU)) == []
