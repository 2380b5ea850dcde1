"""Secrets in plain text: by what they are named, and by how they look."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from imageflow.flows import file as flow_file
from imageflow.flows.check import problems
from imageflow.flows.plain_secrets import looks_secret, masked, names_secret
from imageflow.secret import SecretRef

PLAIN = "hush-hush-1"
OMNITRON = {"domain_url": "https://a.example.com", "username": "u", "password": {"env": "P"}}
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"


def flow(alarms: Any = None, **erp: Any) -> dict[str, Any]:
    return {
        "name": "n",
        "direction": "inbound",
        "omnitron": OMNITRON,
        "erp": {"endpoint_url": "https://erp.example.com/images", **erp},
        **({"alarms": alarms} if alarms else {}),
    }


def login(**body: Any) -> dict[str, Any]:
    return {"type": "token", "url": "https://erp.example.com/login", "body": body}


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (flow(extra_headers={"X-Api-Key": PLAIN}), "erp.extra_headers.X-Api-Key"),
        (flow(extra_headers={"Cookie": "sid=1"}), "erp.extra_headers.Cookie"),
        (flow(extra_headers={"Authorization": PLAIN}), "erp.extra_headers.Authorization"),
        (flow(extra_headers={"Ocp-Apim-Subscription-Key": PLAIN}), "erp.extra_headers.Ocp-Apim-Subscription-Key"),
        (flow(extra_headers={"X-Shop": JWT}), "erp.extra_headers.X-Shop"),
        (flow(extra_headers={"X-Shop": "Bearer " + PLAIN}), "erp.extra_headers.X-Shop"),
        (flow(extra_params={"access_token": PLAIN}), "erp.extra_params.access_token"),
        (flow(extra_params={"password": PLAIN}), "erp.extra_params.password"),
        (flow(extra_params={"auth": {"apiKey": [PLAIN]}}), "erp.extra_params.auth.apiKey[0]"),
        (flow(extra_params={"key": "AIzaSyA-1234567890abcdefghijklmnopqrs"}), "erp.extra_params.key"),
        (flow(query_settings={"password": {"key": "p", "value": PLAIN}}), "erp.query_settings.password.value"),
        (flow(query_settings={"p": {"key": "api_key", "value": PLAIN}}), "erp.query_settings.p.value"),
        (flow(query_settings={"p": {"key": "pin", "type": "integer", "value": 1234}}), "erp.query_settings.p.value"),
        (flow(login=login(client_secret=PLAIN)), "erp.login.body.client_secret"),
        (flow(login=login(apiKey=PLAIN)), "erp.login.body.apiKey"),
        (flow(login=login(passphrase=PLAIN)), "erp.login.body.passphrase"),
        (flow(login=login(user={"Sifre": PLAIN})), "erp.login.body.user.Sifre"),
        (flow(login=login(password=12345)), "erp.login.body.password"),
        (flow(login=login() | {"url": f"https://erp.example.com/login?token={PLAIN}"}), "erp.login.url"),
        (flow(endpoint_url=f"https://erp.example.com/images?api_key={PLAIN}"), "erp.endpoint_url"),
        (flow(endpoint_url=f"https://erp.example.com/{JWT}/images"), "erp.endpoint_url"),
        (flow({"webhook_url": "https://hooks.slack.com/services/T0/B0/x"}), "alarms.webhook_url"),
        (flow({"webhook_url": "https://chat.example.com/hooks/f3k9Qm2Zx81LpVw7"}), "alarms.webhook_url"),
        (flow({"webhook_url": f"https://chat.example.com/?token={PLAIN}"}), "alarms.webhook_url"),
    ],
)
def test_plain_text_is_refused(document: dict[str, Any], path: str) -> None:
    """In headers, parameters, constants, URLs, login bodies and webhooks; the message says how to write it, not what it is.
    Viewers do not see it either, where it was saved before it was refused."""
    (problem,) = problems(document)
    assert problem.path == path
    assert "{env: NAME}" in problem.message
    assert PLAIN not in problem.message
    shown = str(masked(document))
    assert not any(secret in shown for secret in (PLAIN, JWT, "f3k9Qm2Zx81LpVw7", "1234", "sid=1", "AIza", "B0/x"))


@pytest.mark.parametrize(
    "document",
    [
        flow(
            extra_headers={
                "X-Company": "12",
                "Accept-Language": "tr",
                "X-Tenant": "550e8400-e29b-41d4-a716-446655440000",
            }
        ),
        flow(extra_headers={"X-Api-Key": {"env": "ERP_KEY"}, "Cookie": {"file": "/run/secrets/flows/cookie"}}),
        flow(
            extra_params={
                "page_token": "abc",
                "grant_type": "password",
                "token_type": "jwt",
                "password": "",
                "pin": None,
            }
        ),
        flow(
            extra_params={"key": "12", "fields": "id,sku,image_urls,modified_date,created_date", "secret": {"env": "S"}}
        ),
        flow(extra_params={"sort": "modified_date_and_identifier_ascending", "with_token": True}),
        flow(query_settings={"password": {"key": "password", "value": {"env": "ERP_PASSWORD"}}}),
        flow(
            endpoint_url="https://erp.example.com/{key}/?api_key={key}",
            query_settings={"key": {"key": "k", "value": "1"}},
        ),
        flow(endpoint_url="https://erp.example.com/very-long-path-of-an-integration-service/Catalog2025/Images"),
        flow(login=login(username="imageflow", password={"env": "ERP_PASSWORD"}, keypad=1, monkey="bob")),
        flow({"webhook_url": "https://alerts.example.com/imageflow/alarms"}),
        flow({"webhook_url": {"env": "ALARM_URL"}}),
    ],
)
def test_what_is_no_secret(document: dict[str, Any]) -> None:
    """Names and values that only resemble one, and references."""
    assert problems(document) == []
    assert masked(document) == document


def test_references_are_known() -> None:
    """The list of what a flow needs names the references in each of the places, with their paths."""
    document = flow(
        extra_headers={"X-Api-Key": {"env": "A"}},
        extra_params={"filter": [{"file": "/b"}]},
        query_settings={"c": {"key": "c", "value": {"env": "C"}}},
    )
    found = dict(flow_file.secrets(flow_file.parse(document)))
    assert found["erp.extra_headers.X-Api-Key"] == SecretRef(env="A")
    assert found["erp.extra_params.filter[0]"] == SecretRef(file="/b")
    assert found["erp.query_settings.c.value"] == SecretRef(env="C")


@pytest.mark.parametrize(
    "name", ["Token", "x-auth-token", "clientSecret", "API_KEY", "accessKey", "PWD", "JSESSIONID", "sifre"]
)
def test_names(name: str) -> None:
    """In whatever case and with whatever between the words."""
    assert names_secret(name)


@pytest.mark.parametrize(
    "name", ["key", "keyword", "next_token", "continuationToken", "tokenType", "passenger", "shipping", "monkey"]
)
def test_other_names(name: str) -> None:
    """Words that hold one, and tokens that are positions."""
    assert not names_secret(name)


@pytest.mark.parametrize(
    "text", ["0123456789abcdef0123456789abcdef", "dQw4w9WgXcQ7zK1mN5pR8tUv", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"]
)
def test_looks(text: str) -> None:
    """Long and random."""
    assert looks_secret(text)


def test_messages_are_json() -> None:
    """What lint says of a plain secret can be shown anywhere."""
    (problem,) = problems(flow(extra_params={"token": PLAIN}))
    assert PLAIN not in msgspec.json.encode(str(problem)).decode()
