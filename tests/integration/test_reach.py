"""What a flow may reach that came over the API: public hosts, and secrets that the settings name. Flow files that are applied
from the command line may do what the operator may.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from imageflow.errors import FlowFileError, SecretError, TransportError
from imageflow.flows import file as flow_file
from imageflow.flows.bounded import Reach, check
from imageflow.http import guard
from imageflow.http.client import Transport
from imageflow.http.guard import Guard
from imageflow.http.omnitron import OmnitronSessions
from imageflow.http.post_client import PostClient
from imageflow.http.public_address import Allowed
from imageflow.schedule.alarm_watcher import AlarmWatcher
from imageflow.secret import Bounds
from imageflow.store import AuditEntry
from tests.integration.reading import Bench, bench, served

ENVIRON = {"OMNITRON_PASSWORD": "word", "HOME": "/root"}


class Server:
    """Something inside: it counts who asks."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(str(request.rel_url))
        if "to" in request.query:
            raise web.HTTPFound(request.query["to"])
        return web.json_response({"key": "t", "results": []})


@asynccontextmanager
async def inside(path: Path, *allowed: str) -> Any:
    """A reader's bench whose bounded requests may go to `allowed`, a server, and its URL."""
    server = Server()
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(served(server.answer))
        made = await stack.enter_async_context(bench(path))
        made.transport = await stack.enter_async_context(Transport(allowed=Allowed(allowed)))
        yield made, server, url


def document(url: str, **erp: Any) -> dict[str, Any]:
    return {
        "name": "winter",
        "direction": "inbound",
        "omnitron": {"domain_url": url, "username": "u", "password": {"env": "OMNITRON_PASSWORD"}},
        "erp": {"endpoint_url": f"{url}/images", "rows_path": "results", **erp},
    }


async def read(made: Bench, flow: dict[str, Any], *, bounded: bool) -> Any:
    """The run of a flow that was saved so."""
    await made.store.save_flow(flow, bounded=bounded)
    saved = made.store.save_flow

    async def as_saved(again: dict[str, Any]) -> Any:
        return await saved(again, bounded=bounded)

    made.store.save_flow = as_saved
    try:
        return await made.read(flow)
    finally:
        made.store.save_flow = saved


async def test_private_hosts_are_for_the_operators_own_flows(tmp_path: Path) -> None:
    """The same document: applied at the machine it is read, saved over the API it is refused before anything is asked, and
    the error names the setting."""
    async with inside(tmp_path) as (made, server, url):
        run = await read(made, document(url), bounded=True)
        assert "IMAGEFLOW_ALLOW_PRIVATE" in run.error
        assert server.asked == []
        run = await read(made, document(url), bounded=False)
        assert run.error is None
        assert "/images" in server.asked


async def test_allowed_hosts_are_reached_and_redirects_are_looked_at(tmp_path: Path) -> None:
    """A host that the setting names is asked; a redirect from there to another inner host is not followed."""
    async with inside(tmp_path, "localhost") as (made, server, url):
        named = url.replace("127.0.0.1", "localhost")
        run = await read(made, document(named), bounded=True)
        assert run.error is None
        flow = document(f"{named}/?to={url}/secret")
        flow["omnitron"]["domain_url"] = named
        flow["erp"]["endpoint_url"] = f"{named}/?to={url}/secret"
        run = await read(made, flow, bounded=True)
        assert run.error
        assert not any(asked.startswith("/secret") for asked in server.asked)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "localhost", "0.0.0.0"])
async def test_however_the_address_is_written(tmp_path: Path, host: str) -> None:
    """For reads and logins (the transport) as for writes (the POST client)."""
    async with inside(tmp_path) as (made, server, url):
        target = url.replace("127.0.0.1", host)
        with pytest.raises(TransportError, match="private network") as caught:
            await made.transport.request("GET", target, bounded=True)
        assert not caught.value.transient
        client = PostClient(target, guard=made.transport.guard)
        with pytest.raises(TransportError, match="private network"):
            await client.post("Token t", b"{}", 5.0)
        client.close()
        assert server.asked == []


async def test_rebinding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name whose second answer is an inner address is refused at the connection, whatever the first one was."""
    answers = iter([["127.0.0.1"], ["203.0.114.7", "127.0.0.1"]])

    async def resolve(_self: object, host: str, port: int = 0, _family: int = 0) -> list[dict[str, Any]]:
        return [
            {"hostname": host, "host": one, "port": port, "family": 2, "proto": 0, "flags": 0} for one in next(answers)
        ]

    monkeypatch.setattr(guard.ThreadedResolver, "resolve", resolve)
    async with inside(tmp_path) as (made, server, url):
        port = url.rpartition(":")[2]
        with pytest.raises(TransportError, match="private network"):
            await made.transport.request("GET", f"http://rebind.example:{port}/", bounded=True)
        client = PostClient(f"http://rebind.example:{port}/", guard=Guard(Allowed()))
        with pytest.raises(TransportError, match="private network"):
            await client.post("Token t", b"{}", 5.0)
        assert server.asked == []


async def test_writes_to_an_allowed_host(tmp_path: Path) -> None:
    """The POST client connects to the address that was checked, and asks for the host by its name."""
    async with inside(tmp_path, "localhost") as (made, server, url):
        client = PostClient(url.replace("127.0.0.1", "localhost") + "/write", guard=made.transport.guard)
        assert (await client.post("Token t", b"{}", 5.0)).ok
        client.close()
        assert server.asked == ["/write"]


async def test_logins_and_secrets(tmp_path: Path) -> None:
    """The login at Omnitron is bounded as well, and no variable of the process is a secret of such a flow."""
    async with inside(tmp_path) as (made, server, url):
        sessions = OmnitronSessions(made.transport, ENVIRON, made.clock)
        flow = (await made.store.save_flow(document(url), bounded=True)).definition
        with pytest.raises(TransportError, match="private network"):
            await sessions.token(flow)
        home = document(url)
        home["omnitron"]["password"] = {"env": "HOME"}
        flow = (await made.store.save_flow(home, bounded=True)).definition
        with pytest.raises(SecretError, match="IMAGEFLOW_SECRET_ENV_PREFIXES"):
            await sessions.token(flow)
        login = {"type": "token", "url": f"{url}/login", "body": {"x": {"file": "/etc/passwd"}}}
        run = await read(made, document(url, login=login), bounded=True)
        assert "IMAGEFLOW_SECRET_DIRS" in run.error or "private network" in run.error
        assert server.asked == []
        flow = (await made.store.save_flow(document(url), bounded=False)).definition
        assert await sessions.token(flow) == "t"


async def test_webhooks(tmp_path: Path) -> None:
    """A webhook of such a flow goes to no inner port, and none of its status comes back."""
    async with inside(tmp_path) as (made, server, url):
        for bounded in (True, False):
            run = await made.begin(document(url))
            await made.store.save_flow(document(url) | {"alarms": {"webhook_url": f"{url}/hook"}}, bounded=bounded)
            watcher = AlarmWatcher(made.store, made.clock, ENVIRON, made.transport, b"key")
            await made.store.start_reading(run.run_id, None, None)
            await made.store.end_read(run.run_id, error="HTTP 500", stage="read")
            await watcher.look()
            await watcher.post()
            assert server.asked == ([] if bounded else ["/hook"])
            made.clock.passed += 3600


async def test_who_saved_it_lasts(tmp_path: Path) -> None:
    """Disabling keeps it; applying the same file at the machine makes the flow the operator's own, as a new version."""
    entry = AuditEntry("ada", "flow.save", "flow winter", "1.2.3.4", {})
    async with inside(tmp_path) as (made, _, url):
        first = await made.store.save_flow(document(url), bounded=True, audit=entry)
        again = await made.store.save_flow(document(url), bounded=True)
        assert (first.version, again.version, again.definition.bounded) == (1, 1, True)
        own = await made.store.save_flow(document(url))
        assert (own.version, own.definition.bounded) == (2, False)
        same = await made.store.save_flow(document(url), bounded=True)
        assert (same.version, same.definition.bounded) == (2, False)
        assert (await made.store.flow("winter", 1)).definition.bounded
        assert not (await made.store.flow("winter")).definition.bounded


def test_what_the_api_refuses_to_save() -> None:
    """Each secret and each inner address, with its path."""
    flow = document(
        "http://10.0.0.1",
        login={
            "type": "token",
            "url": "http://[::1]/login",
            "body": {"user": "u", "x": {"file": "/etc/passwd"}, "l": [{"env": "HOME"}]},
        },
    )
    flow["alarms"] = {"webhook_url": "http://169.254.169.254/latest"}
    definition = flow_file.parse(flow)
    with pytest.raises(FlowFileError) as caught:
        check(definition, Reach(Bounds(("/run/secrets/flows",), ("SHOP_",)), Allowed()))
    assert [problem.path for problem in caught.value.problems] == [
        "omnitron.password",
        "erp.login.body.x",
        "erp.login.body.l[0]",
        "omnitron.domain_url",
        "alarms.webhook_url",
        "erp.endpoint_url",
        "erp.login.url",
    ]
    check(definition, Reach(Bounds(("/etc",), ("OMNITRON_", "HOME")), Allowed(["*"])))
