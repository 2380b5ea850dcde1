"""Logins and look-ups at Omnitron, against its emulator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web

from imageflow.emulator import FakeOmnitron
from imageflow.errors import LoginError, SecretError, TransportError
from imageflow.http.client import Transport
from imageflow.http.omnitron import OmnitronError, OmnitronSessions
from imageflow.model.flow import Definition, decode_custom

from .reading import Clock, inbound, served

ENVIRON = {"OMNITRON_PASSWORD": "om-secret-word"}


def flow(url: str) -> Definition:
    return msgspec.convert(inbound("http://127.0.0.1:9/", url), Definition, dec_hook=decode_custom)


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    async with Transport() as made:
        yield made


@pytest.fixture
async def omnitron() -> AsyncIterator[FakeOmnitron]:
    made = FakeOmnitron(username="demo", password="om-secret-word", products=25)
    async with made.serve():
        yield made


def sessions(transport: Transport, environ: dict[str, str] | None = None) -> OmnitronSessions:
    return OmnitronSessions(transport, ENVIRON if environ is None else environ, Clock())


async def test_one_login_for_all(transport: Transport, omnitron: FakeOmnitron):
    """Many who ask at once, for flows of one domain, share one login."""
    shared = sessions(transport)
    tokens = await asyncio.gather(*(shared.token(flow(omnitron.url + "/" * (n % 2))) for n in range(20)))
    assert len(set(tokens)) == 1
    assert omnitron.logins == 1


async def test_a_storm_of_401(transport: Transport, omnitron: FakeOmnitron):
    """Twenty look-ups whose token ended under them lead to one new login."""
    shared = sessions(transport)
    await shared.token(flow(omnitron.url))
    omnitron.expire_tokens()
    answers = await asyncio.gather(*(shared.get_json(flow(omnitron.url), "/api/v1/products/") for _ in range(20)))
    assert all(answer["count"] == 25 for answer in answers)
    assert omnitron.logins == 2


async def test_pages_of_a_list(transport: Transport, omnitron: FakeOmnitron):
    """A path, then the URLs that Omnitron calls next; also where a proxy made them http:// without a port."""
    shared, page, names = sessions(transport), "/api/v1/products/?limit=10", []
    while page:
        answer = await shared.get_json(flow(omnitron.url), page)
        names += [product["sku"] for product in answer["results"]]
        page = answer["next"] and "https://127.0.0.1" + answer["next"].removeprefix(omnitron.url)
    assert len(set(names)) == 25


@pytest.mark.parametrize(
    "url", ["http://evil.example.com/x", "https://127.0.0.1@evil.example.com/", "ftp://127.0.0.1/"]
)
async def test_another_host_gets_no_token(transport: Transport, omnitron: FakeOmnitron, url: str):
    """A link to another host is refused."""
    with pytest.raises(OmnitronError, match="another host"):
        await sessions(transport).get_json(flow(omnitron.url), url)


async def test_wrong_password(transport: Transport, omnitron: FakeOmnitron):
    """Refused credentials are permanent, tell what Omnitron says, never the password, and are not tried by everybody."""
    wrong = sessions(transport, {"OMNITRON_PASSWORD": "not-the-password"})
    outcomes = await asyncio.gather(*(wrong.token(flow(omnitron.url)) for _ in range(10)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {LoginError}
    assert "400" in str(outcomes[0])
    assert "not-the-password" not in str(outcomes[0])
    assert not outcomes[0].transient  # type: ignore[union-attr]
    assert omnitron.requests == 1


async def test_a_secret_that_is_not_set(transport: Transport, omnitron: FakeOmnitron):
    """The variable is named."""
    with pytest.raises(SecretError, match="OMNITRON_PASSWORD"):
        await sessions(transport, {}).token(flow(omnitron.url))


@pytest.mark.parametrize(("status", "transient"), [(429, True), (503, True), (403, False), (404, False), (301, False)])
async def test_refused_logins(transport: Transport, status: int, transient: bool):
    """Busy and broken pass; 4xx and redirects do not; Retry-After is kept."""

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, headers={"Retry-After": "7", "Location": "/x"}, text="no om-secret-word")

    async with served(answer) as url:
        with pytest.raises(LoginError, match=f"{status} ⟦no ") as caught:
            await sessions(transport).token(flow(url))
    assert (caught.value.transient, caught.value.retry_after) == (transient, 7)
    assert "om-secret-word" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "transient"),
    [("<html>maintenance", True), ("{}", False), ('{"key": null}', False), ('{"key": "a\\nb"}', False), ("[]", False)],
)
async def test_logins_without_a_key(transport: Transport, body: str, transient: bool):
    """A 200 without a key is no login; a maintenance page passes."""

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=body)

    async with served(answer) as url:
        with pytest.raises(LoginError) as caught:
            await sessions(transport).token(flow(url))
    assert caught.value.transient is transient


async def test_unreachable(transport: Transport):
    """Nobody there is a TransportError."""
    with pytest.raises(TransportError):
        await sessions(transport).token(flow("http://127.0.0.1:9"))


@pytest.mark.parametrize(
    ("status", "body", "transient"), [(500, "x", True), (404, "x", False), (200, "<html>", True), (401, "x", True)]
)
async def test_look_ups_that_fail(transport: Transport, status: int, body: str, transient: bool):
    """Any answer that is not a 2xx with JSON is an error with its status, which says whether to ask again."""
    tokens: list[Any] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            assert "Authorization" not in request.headers
            tokens.append("k" * 20)
            return web.json_response({"key": tokens[-1]})
        return web.Response(status=status, text=body + request.headers["Authorization"])

    async with served(answer) as url:
        with pytest.raises(OmnitronError, match=str(status) if status != 200 else "without JSON") as caught:
            await sessions(transport).get_json(flow(url), "/api/v1/products/")
    assert (caught.value.status, caught.value.transient) == (status, transient)
    assert "kkkk" not in str(caught.value)
    assert len(tokens) == (2 if status == 401 else 1)
