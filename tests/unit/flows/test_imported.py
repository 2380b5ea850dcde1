"""What another system says of a flow as a flow file: what is taken over, what becomes a variable, and what is asked."""

from __future__ import annotations

from typing import Any

import pytest

from imageflow.flows.imported import (
    DOMAIN_URL,
    ENDPOINT_URL,
    MAX_QUESTION,
    Found,
    Imported,
    comment,
    imported,
    name_of,
    take_parameter,
)

URL = "https://erp.example.com/images"


def made(**fields: Any) -> Imported:
    """The flow file of a flow called `winter`."""
    return imported(Found("winter", **{"url": URL, **fields}), ())


def erp(**fields: Any) -> Any:
    return made(**fields).document["erp"]


def asks(one: Imported, said: str) -> bool:
    return any(said in question for question in one.questions)


def test_names() -> None:
    """Letters, digits and dashes, at most twenty; one that is taken gets a number."""
    assert name_of("Çanta Görselleri (İlkbahar) 2026", ()) == "canta-gorselleri-ilk"
    assert name_of("日本", ()) == "flow"
    assert name_of("a" * 30, {"a" * 20}) == "a" * 18 + "-2"


def test_what_nothing_is_told_of() -> None:
    """What a flow must have and nobody said is filled in by an example, and asked."""
    one = imported(Found("winter"), ())
    assert one.document == {
        "name": "winter",
        "direction": "inbound",
        "timezone": "UTC",
        "omnitron": {
            "domain_url": DOMAIN_URL,
            "username": {"env": "OMNITRON_USERNAME"},
            "password": {"env": "OMNITRON_PASSWORD"},
        },
        "erp": {"endpoint_url": ENDPOINT_URL},
    }
    for said in ("timezone:", "omnitron.domain_url:", "erp.endpoint_url:", "erp.modified_date_key:", "erp.pagination:"):
        assert asks(one, said), said
    assert asks(one, "It is not told there")


@pytest.mark.parametrize(
    ("fields", "there", "missing", "said"),
    [
        ({}, {"direction": "inbound"}, {"enabled", "schedule", "mapping"}, ""),
        ({"enabled": False}, {"enabled": False}, set(), "it is stopped there"),
        ({"schedule": {"every": "5m"}}, {"schedule": {"every": "5m"}}, set(), ""),
        ({"inbound": False, "schedule": {"every": "5m"}}, {"direction": "outbound"}, {"schedule", "erp"}, ""),
        ({"timezone": "Europe/Istanbul"}, {"timezone": "Europe/Istanbul"}, set(), ""),
        ({"filename_template": "{sku}.jpg"}, {"filename_template": "{sku}.jpg"}, set(), ""),
        ({"mapping": [{"operation": "sort"}]}, {"mapping": [{"operation": "sort"}]}, set(), ""),
        (
            {"mapping": [{"spec": {"k": "x topsecret99"}}], "secrets": {"topsecret99"}},
            {},
            {"mapping"},
            "holds a secret and is left out",
        ),
        (
            {"mapping": [{"spec": {"k": "hunter2-hunter2"}}], "params": {"password": "hunter2-hunter2"}},
            {},
            {"mapping"},
            "holds a secret and is left out",
        ),
    ],
)
def test_fields_of_a_flow(fields: dict[str, Any], there: dict[str, Any], missing: set[str], said: str) -> None:
    """As they are told; an outbound flow has no schedule and no ERP; a mapping with a secret in it is left out."""
    one = made(**fields)
    assert there.items() <= one.document.items()
    assert not missing & one.document.keys()
    assert asks(one, said)


@pytest.mark.parametrize(
    ("url", "endpoint", "params", "said"),
    [
        (URL, URL, {}, ""),
        (f"{URL}?a=1&b=#top", URL, {"a": "1", "b": ""}, ""),
        ("https://erp.example.com:8443/x", "https://erp.example.com:8443/x", {}, ""),
        ("https://erp.example.com:port/x", ENDPOINT_URL, {}, "What stands there cannot be taken over"),
        ("ftp://erp.example.com/x", ENDPOINT_URL, {}, "What stands there cannot be taken over"),
        ("erp.example.com/x", ENDPOINT_URL, {}, "What stands there cannot be taken over"),
        (f"{URL}/${{sku}}/x", f"{URL}/", {}, "a part of its path is computed"),
        (f"{URL}/%23{{sku}}/x", f"{URL}/", {}, "a part of its path is computed"),
        ("https://erp.example.com/ghp_abcdefghij0123456789/x", "https://erp.example.com/", {}, "looks like a secret"),
    ],
)
def test_an_endpoint(url: str, endpoint: str, params: dict[str, str], said: str) -> None:
    """Its query becomes parameters; what is computed in its path, or looks like a secret, is left out and asked."""
    one = made(url=url)
    assert one.document["erp"]["endpoint_url"] == endpoint
    assert one.document["erp"].get("extra_params", {}) == params
    assert asks(one, said)


def test_who_logs_in_by_the_url() -> None:
    """The user becomes a basic login; the password stands nowhere, also not where it is used again."""
    one = made(url="https://reader:p%40ss-word1@erp.example.com/x", params={"again": "p@ss-word1"})
    assert one.document["erp"] == {
        "endpoint_url": "https://erp.example.com/x",
        "login": {"type": "basic", "username": "reader", "password": {"env": "WINTER_PASSWORD"}},
        "extra_params": {"again": {"env": "WINTER_AGAIN"}},
    }
    assert asks(one, "set WINTER_PASSWORD in the environment")


@pytest.mark.parametrize(
    ("fields", "login", "headers"),
    [
        ({}, None, None),
        ({"headers": {"X-Shop": "7"}}, None, {"X-Shop": "7"}),
        (
            {"headers": {"X-Shop": "7", "X-Api-Key": "k-1234567890"}},
            {"type": "header", "name": "X-Api-Key", "value": {"env": "WINTER_X_API_KEY"}},
            {"X-Shop": "7"},
        ),
        (
            {"headers": {"X-Untold": None, "Authorization": "Bearer abcdefgh12"}},
            {"type": "header", "name": "X-Untold", "value": {"env": "WINTER_X_UNTOLD"}},
            {"Authorization": {"env": "WINTER_AUTHORIZATION"}},
        ),
        (
            {"basic": True, "username": "ada", "headers": {"X-Api-Key": "k-1234567890"}},
            {"type": "basic", "username": "ada", "password": {"env": "WINTER_PASSWORD"}},
            {"X-Api-Key": {"env": "WINTER_X_API_KEY"}},
        ),
        (
            {"basic": True, "username": "${user}"},
            {"type": "basic", "username": {"env": "WINTER_USERNAME"}, "password": {"env": "WINTER_PASSWORD"}},
            None,
        ),
        (
            {"basic": True, "login": {"type": "token", "body": {"user": "ada", "password": "hunter2"}}},
            {"type": "token", "body": {"user": "ada", "password": {"env": "WINTER_PASSWORD"}}},
            None,
        ),
    ],
)
def test_logins(fields: dict[str, Any], login: dict[str, Any] | None, headers: dict[str, Any] | None) -> None:
    """A login that is told counts before a user, and a user before a secret header; every secret is a variable."""
    found = erp(**fields)
    assert (found.get("login"), found.get("extra_headers")) == (login, headers)


@pytest.mark.parametrize(
    ("known", "key", "value", "params", "dated", "said"),
    [
        (None, "a", "1", {"a": "1"}, None, ""),
        (None, "a", "#{secret}", {"a": None}, None, ""),
        (None, "updated_after", "${now}", {}, "updated_after", "'updated_after' is computed there"),
        (None, "day", "{now:%Y}", {}, None, "the parameter 'day' is computed there"),
        ("since", "updated_after", "${now}", {}, "since", "the parameter 'updated_after' is computed there"),
    ],
)
def test_parameters_of_a_query(
    known: str | None, key: str, value: str, params: dict[str, Any], dated: str | None, said: str
) -> None:
    """A constant stays, a secret is not told, and what is computed may be the parameter for changes: the first that sounds so."""
    found = Found("winter", modified_date_key=known)
    take_parameter(found, key, value)
    assert (found.params, found.modified_date_key) == (params, dated)
    assert any(said in question for question in found.questions) or not said


@pytest.mark.parametrize(
    ("method", "taken", "asked"), [("GET", None, False), ("POST", "POST", False), ("PUT", None, True)]
)
def test_methods(method: str, taken: str | None, asked: bool) -> None:
    """Two of them; another one is asked."""
    one = made(method=method)
    assert (one.document["erp"].get("method"), asks(one, "erp.method:")) == (taken, asked)


def test_questions() -> None:
    """Each is asked once, in one line, and cut where it is long."""
    found = Found("winter")
    for text in ("a\nb", "a\nb", "x" * 999):
        found.ask(text)
    assert found.questions == ["a b", "x" * MAX_QUESTION]
    assert comment(found.questions).splitlines()[1:] == ["#  - a b", "#  - " + "x" * MAX_QUESTION]
