"""An ERP behind OAuth 2, over real HTTP: one token for all requests, renewed before it ends and once on a 401."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from imageflow.emulator import FakeErp, FakeOmnitron
from imageflow.model.run import Run
from imageflow.text.masking import mask

from .reading import Bench, bench, inbound, served


class Erp:
    """Pages of 10 of 60 rows, for who has a token; each is good for `seconds` of the bench's clock, or for `uses` requests."""

    def __init__(self, at: Bench, *, seconds: float | None = None, uses: int = 1000) -> None:
        self.at, self.seconds, self.uses = at, seconds, uses
        self.tokens: dict[str, int] = {}
        self.expiry: dict[str, float] = {}
        self.statuses: list[int] = []
        self.asked: list[dict[str, Any]] = []

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/token":
            return await self._token(request)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        good = self.tokens.get(token, 0) > 0 and self.at.clock.monotonic() < self.expiry[token]
        self.statuses.append(200 if good else 401)
        if not good:
            return web.json_response({"error": "invalid_token"}, status=401)
        self.tokens[token] -= 1
        first = int(request.query.get("offset", 0))
        return web.json_response({"results": [{"sku": f"S{n}"} for n in range(first, min(first + 10, 60))]})

    async def _token(self, request: web.BaseRequest) -> web.StreamResponse:
        form = dict(await request.post())
        self.asked.append(form)
        await asyncio.sleep(0.01)
        if form.get("client_secret") != "erp-secret-word":
            return web.json_response({"error": "invalid_client", "error_description": json.dumps(form)}, status=401)
        token = f"token-number-{len(self.asked)}"
        self.tokens[token] = self.uses
        self.expiry[token] = self.at.clock.monotonic() + (self.seconds or 1e9)
        expires = {} if self.seconds is None else {"expires_in": self.seconds}
        return web.json_response({"access_token": token, "token_type": "bearer", **expires})


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as one:
        yield one


async def read(at: Bench, erp: Erp, secret: str = "erp-secret-word", **fields: Any) -> Run:
    at.environ["ERP_SECRET"] = secret
    omnitron = FakeOmnitron(username="demo", password="om-secret-word")
    async with omnitron.serve(), served(erp.answer) as url:
        login = {
            "type": "oauth2",
            "token_url": f"{url}/token",
            "client_id": "imageflow",
            "client_secret": {"env": "ERP_SECRET"},
            "scope": "images.read",
        }
        flow = inbound(f"{url}/i", omnitron.url, login=login, pagination={"type": "offset", "limit": 10}, **fields)
        return await at.store.run((await at.read(flow)).run_id)


async def test_one_token_for_a_read(at: Bench):
    """It is asked for once, with the client's id, secret and scope."""
    erp = Erp(at)
    run = await read(at, erp)
    assert (run.error, len(await at.rows(run))) == (None, 60)
    assert [dict(form) for form in erp.asked] == [
        {
            "grant_type": "client_credentials",
            "client_id": "imageflow",
            "client_secret": "erp-secret-word",
            "scope": "images.read",
        }
    ]
    assert mask("token-number-1 erp-secret-word") == "*** ***"


async def test_renewed_before_it_expires(at: Bench):
    """A token that is good for less than the read takes is renewed in time: the ERP never has to say 401."""
    erp = Erp(at, seconds=120)
    run = await read(at, erp, rate_limit="2/m")
    assert (run.error, len(await at.rows(run))) == (None, 60)
    assert set(erp.statuses) == {200}
    assert len(erp.asked) == 4


async def test_renewed_once_on_a_401(at: Bench):
    """A token that ends before its time is renewed, and the page asked for again; one that does not help ends the read."""
    erp = Erp(at, uses=4)
    run = await read(at, erp)
    assert (run.error, len(await at.rows(run))) == (None, 60)
    assert erp.statuses.count(401) == 1
    useless = Erp(at, uses=0)
    run = await read(at, useless)
    assert (run.status, run.error_stage) == ("failed", "login")
    assert useless.statuses == [401, 401]
    assert len(useless.asked) == 2


async def test_a_wrong_secret(at: Bench):
    """The run fails at login, says what the server said and where the secret may stand, and shows it nowhere."""
    run = await read(at, Erp(at), secret="wrong-secret-word")
    assert (run.status, run.error_stage) == ("failed", "login")
    assert "invalid_client" in (run.error or "")
    assert "client_auth: header" in (run.error or "")
    assert "wrong-secret-word" not in (run.error or "")


@pytest.mark.parametrize("place", ["body", "header"])
async def test_the_emulator(at: Bench, place: str):
    """The fake ERP gives out tokens, to rehearse with; its token ends in the middle of a read here."""
    at.environ["ERP_SECRET"] = "demo"
    erp, omnitron = FakeErp(rows=60, auth="oauth2", token_uses=4), FakeOmnitron(password="om-secret-word")
    async with erp.serve(), omnitron.serve():
        login = {
            "type": "oauth2",
            "token_url": f"{erp.url}/oauth2/token",
            "client_id": "demo",
            "client_secret": {"env": "ERP_SECRET"},
            "client_auth": place,
        }
        flow = inbound(
            f"{erp.url}/images/offset/", omnitron.url, login=login, pagination={"type": "offset", "limit": 10}
        )
        run = await at.store.run((await at.read(flow)).run_id)
        assert (run.error, len(await at.rows(run))) == (None, 60)
        assert (erp.logins, erp.unauthorised) == (2, 1)
        at.environ["ERP_SECRET"] = "wrong"
        run = await at.store.run((await at.read({**flow, "name": "other"})).run_id)
        assert "invalid_client" in (run.error or "")
