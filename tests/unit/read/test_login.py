"""Logins at ERPs: what a request carries, what a login sends, what counts as a token."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest

from imageflow.clock import SystemClock
from imageflow.errors import LoginError, SecretError
from imageflow.http.client import Answer
from imageflow.read.login import ErpLogins, Login, filled, lifetime_in, token_in, with_secrets
from imageflow.text.masking import hide, mask

from .flows import flow

ENVIRON = {"ERP_USER": "ada", "ERP_PASSWORD": "hush", "BROKEN": "a\nb"}
PASSWORD = {"env": "ERP_PASSWORD"}
TOKEN_LOGIN = {"type": "token", "url": "https://erp.example.com/login", "body": {"password": PASSWORD}}


class Erp:
    """Answers logins, and keeps what they carried."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    async def request(self, method: str, url: str, **sent: Any) -> Answer:
        self.asked.append({"method": method, "url": url, **sent})
        return self.answers.pop(0)


def answer(document: Any, status: int = 200) -> Answer:
    return Answer(status, {}, msgspec.json.encode(document))


def logins(*answers: Answer) -> tuple[ErpLogins, Erp]:
    erp: Any = Erp(*answers)
    return ErpLogins(erp, ENVIRON, SystemClock()), erp


def erp(login: Any, **fields: Any) -> Any:
    return flow(login=login, **fields).erp


async def test_no_login():
    """A flow without a login sends no header."""
    assert await logins()[0].login(erp(None), bounded=False) == Login()


@pytest.mark.parametrize(("username", "shown"), [("ada", "ada"), ({"env": "ERP_USER"}, "***")])
async def test_basic(username: Any, shown: str):
    """HTTP basic: the password and its encoded form are secrets, and so is a user name that comes from one."""
    login = await logins()[0].login(erp({"type": "basic", "username": username, "password": PASSWORD}), bounded=False)
    assert login.headers == {"Authorization": "Basic YWRhOmh1c2g="}
    assert mask("ada, hush, YWRhOmh1c2g=") == f"{shown}, ***, ***"


async def test_header():
    """A header with a secret value."""
    login = await logins()[0].login(erp({"type": "header", "name": "X-Key", "value": PASSWORD}), bounded=False)
    assert login == Login({"X-Key": "hush"})


async def test_a_secret_with_line_breaks_is_not_sent():
    """It would smuggle in another header; the error names where the secret is, not what it is."""
    with pytest.raises(LoginError, match="environment variable BROKEN holds line breaks"):
        await logins()[0].login(erp({"type": "header", "name": "X-Key", "value": {"env": "BROKEN"}}), bounded=False)


async def test_a_secret_that_is_not_set():
    """The variable is named."""
    with pytest.raises(SecretError, match="NOWHERE"):
        await logins()[0].login(erp({"type": "header", "name": "X-Key", "value": {"env": "NOWHERE"}}), bounded=False)


async def test_flows_that_log_in_alike_share_a_token():
    """One login serves both; the token is sent in the flow's own template."""
    made, server = logins(answer({"token": "t1"}))
    one = await made.login(erp(TOKEN_LOGIN), bounded=False)
    other = await made.login(erp({**TOKEN_LOGIN, "header": "X-Token", "template": "Token {token}"}), bounded=False)
    assert (one.headers, other.headers) == ({"Authorization": "t1"}, {"X-Token": "Token t1"})
    assert len(server.asked) == 1
    assert msgspec.json.decode(server.asked[0]["body"]) == {"password": "hush"}


async def test_extra_headers_go_to_the_erps_own_login_only():
    """They may be secrets of the ERP; an old token never goes along."""
    headers = {"X-Company": "12", "authorization": "old"}
    made, server = logins(answer({"token": "t1"}), answer({"token": "t2"}))
    await made.login(erp(TOKEN_LOGIN, extra_headers=headers), bounded=False)
    await made.login(erp({**TOKEN_LOGIN, "url": "https://login.example.com/"}, extra_headers=headers), bounded=False)
    own, foreign = (asked["headers"] for asked in server.asked)
    assert "authorization" not in {name.lower() for name in own}
    assert own.get("X-Company") == "12"
    assert "X-Company" not in foreign


OAUTH = {
    "type": "oauth2",
    "token_url": "https://login.example.com/token",
    "client_id": "im age",
    "client_secret": PASSWORD,
}


@pytest.mark.parametrize(
    ("changes", "form", "authorization"),
    [
        (
            {"scope": "a b"},
            {"grant_type": "client_credentials", "client_id": "im age", "client_secret": "hush", "scope": "a b"},
            None,
        ),
        ({"client_auth": "header"}, {"grant_type": "client_credentials"}, "Basic aW0lMjBhZ2U6aHVzaA=="),
        (
            {"body": {"grant_type": "password", "username": "ada", "password": PASSWORD, "n": 1, "scope": None}},
            {
                "grant_type": "password",
                "client_id": "im age",
                "client_secret": "hush",
                "username": "ada",
                "password": "hush",
                "n": "1",
            },
            None,
        ),
    ],
)
async def test_oauth2(changes: dict[str, Any], form: dict[str, str], authorization: str | None):
    """The request for a token is a form, as RFC 6749 has it; the token goes along as Bearer; secrets are hidden."""
    made, server = logins(answer({"access_token": "acc-1", "token_type": "Bearer", "expires_in": 3600}))
    login = await made.login(erp({**OAUTH, **changes}, extra_headers={"X-Company": "12"}), bounded=False)
    assert login.headers == {"Authorization": "Bearer acc-1"}
    (asked,) = server.asked
    assert (asked["method"], asked["url"]) == ("POST", OAUTH["token_url"])
    assert dict(parse_qsl(asked["body"].decode())) == form
    assert asked["headers"].get("Authorization") == authorization
    assert asked["headers"]["Content-Type"] == "application/x-www-form-urlencoded"
    assert "X-Company" not in asked["headers"]
    assert mask(f"acc-1 hush {authorization}") == f"*** *** {'Basic ***' if authorization else None}"
    assert "hush" not in repr(made._sessions)


async def test_oauth2_is_renewed():
    """After a 401 once; flows of one client share a token; the ERP's own origin gets extra_headers along."""
    made, server = logins(answer({"access_token": "1"}), answer({"access_token": "2"}))
    own = erp({**OAUTH, "token_url": "https://erp.example.com/token"}, extra_headers={"X-Company": "12"})
    first = await made.login(own, bounded=False)
    assert (await made.login(own, bounded=False)).token is first.token
    assert made.renew(own, first)
    assert (await made.login(own, bounded=False)).headers == {"Authorization": "Bearer 2"}
    assert [asked["headers"].get("X-Company") for asked in server.asked] == ["12", "12"]


@pytest.mark.parametrize(("given", "hint"), [("body", "header"), ("header", "body")])
async def test_oauth2_refused(given: str, hint: str):
    """The error says what the server said, and the other place for the client's secret; not the secret."""
    made, _ = logins(answer({"error": "invalid_client", "error_description": "no client hush"}, 401))
    with pytest.raises(LoginError, match=rf"401 .*invalid_client.*erp\.login\.client_auth: {hint}") as caught:
        await made.login(erp({**OAUTH, "client_auth": given}), bounded=False)
    assert "hush" not in str(caught.value)
    made, _ = logins(answer({"error": "invalid_scope"}, 400), answer({}, 503))
    with pytest.raises(LoginError, match="invalid_scope") as caught:
        await made.login(erp(OAUTH), bounded=False)
    assert "client_auth" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (3600, 3600.0),
        ("3600", 3600.0),
        (0, None),
        (-1, None),
        (True, None),
        ("soon", None),
        (10**12, None),
        (None, None),
    ],
)
def test_lifetimes(said: Any, seconds: float | None):
    """Seconds, as a number or a text; anything else says nothing."""
    assert lifetime_in(answer({"expires_in": said})) == seconds
    assert lifetime_in(answer(["t"])) is None


def test_secrets_of_headers_and_parameters():
    """They are put in place for the requests, also deep in parameters; what is no secret stays. A header's must fit into one."""
    definition = flow(
        extra_headers={"X-Key": PASSWORD, "X-Company": "12"},
        extra_params={"filter": {"key": PASSWORD, "n": 1}},
        query_settings={"c": {"key": "c", "value": PASSWORD}, "d": {"key": "d", "value": 5}},
    )
    filled_in = with_secrets(definition, ENVIRON).erp
    assert filled_in is not None
    assert filled_in.extra_headers == {"X-Key": "hush", "X-Company": "12"}
    assert filled_in.extra_params == {"filter": {"key": "hush", "n": 1}}
    assert [setting.value for setting in filled_in.query_settings.values()] == ["hush", 5]
    assert mask("hush") == "***"
    with pytest.raises(LoginError, match="header X-Key holds line breaks"):
        with_secrets(flow(extra_headers={"X-Key": {"env": "BROKEN"}}), ENVIRON)
    with pytest.raises(SecretError, match="NOWHERE"):
        with_secrets(flow(extra_params={"a": {"env": "NOWHERE"}}), ENVIRON)


async def test_renewing():
    """After a 401 a token login is made anew; other logins would only be the same again."""
    made, server = logins(answer({"token": "t1"}), answer({"token": "t2"}))
    token, header = erp(TOKEN_LOGIN), erp({"type": "header", "name": "X-Key", "value": PASSWORD})
    first = await made.login(token, bounded=False)
    assert made.renew(token, first)
    assert (await made.login(token, bounded=False)).headers == {"Authorization": "t2"}
    assert len(server.asked) == 2
    assert not made.renew(header, await made.login(header, bounded=False))
    assert not made.renew(header, first)


def test_bodies_are_filled_with_secrets():
    """References to secrets at any depth are replaced; other objects and lists stay as they are."""
    body = {"a": PASSWORD, "b": {"c": [PASSWORD, 1]}, "d": {"env": 5}, "e": {"env": "ERP_USER", "file": None}}
    assert filled(body, ENVIRON, bounded=False) == {**body, "a": "hush", "b": {"c": ["hush", 1]}}
    assert mask("hush") == "***"


@pytest.mark.parametrize(
    ("body", "path", "token"),
    [
        (b'{"token": "t"}', "token", "t"),
        (b'{"data": {"token": " t\\n"}}', "data.token", "t"),
        (b'{"token": 17}', "token", "17"),
        (b'"t"', "", "t"),
        (b" plain \n", "", "plain"),
    ],
)
def test_tokens(body: bytes, path: str, token: str):
    """A text or a number at token_path, or the whole answer."""
    assert token_in(Answer(200, {}, body), path, "https://erp", None) == token


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"token": null}', "it has null"),
        (b'{"token": true}', "it has a boolean"),
        (b'{"token": " "}', "it has a text"),
        (b'{"token": "<html>"}', "it has a text"),
        (b'{"other": "hush"}', "it is an object with the fields other"),
        (
            b'{"data": {"x": {"token": "hush"}}}',
            "with the fields data; there is data.x.token: token_path: data.x.token",
        ),
        (b'"\xff"', "it is a text"),
        (b"[" * 5000, "it is a text"),
    ],
)
def test_what_is_no_token(body: bytes, said: str):
    """The error says what came instead, without its content."""
    with pytest.raises(LoginError, match="no token at token_path 'token'") as caught:
        token_in(Answer(200, {}, body), "token", "https://erp", None)
    assert said in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(("status", "transient"), [(401, False), (403, False), (429, True), (503, True)])
def test_a_refused_login(status: int, transient: bool):
    """It says the status and what the ERP said, without the secret; trying again may help where the status says so."""
    with pytest.raises(LoginError, match=str(status)) as caught:
        hide("hush")
        token_in(Answer(status, {}, b"bad password hush"), "token", "https://erp", 7.0)
    assert "hush" not in str(caught.value)
    assert (caught.value.transient, caught.value.retry_after) == (transient, 7.0)


def test_a_token_with_line_breaks():
    """It cannot be sent in a header."""
    with pytest.raises(LoginError, match="the ERP's token holds line breaks"):
        token_in(answer({"token": "a\nb"}), "token", "https://erp", None)
