"""Requests through an HTTP proxy: to an ERP, to Omnitron and to image hosts, plainly and through a tunnel; and what a flow that
came over the API reaches through one.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiohttp import web

from imageflow.clock import SystemClock
from imageflow.emulator import FakeErp, FakeOmnitron
from imageflow.errors import TransportError
from imageflow.http import guard, post_client
from imageflow.http.client import Transport
from imageflow.http.guard import Guard
from imageflow.http.post_client import PostClient
from imageflow.http.proxy import Proxy, proxy_at
from imageflow.http.public_address import Allowed
from imageflow.secret import Secret
from imageflow.write.image_probe import ImageProbe
from tests.proxy_server import ProxyServer

WORD = "Basic YWRhOmh1c2g="


class Inside:
    """A server behind the proxy: it keeps what it was asked, and says so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.raw_path} {(await request.read()).decode()}")
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        return web.json_response({"host": request.host}, status=int(request.query.get("status", 200)))


class Setting:
    """A server by HTTP and by HTTPS behind a proxy, which knows them as `erp.example.com` and `tls.example.com`."""

    def __init__(self, server: Inside, proxy: ProxyServer) -> None:
        self.server, self.proxy = server, proxy

    def at(self, *direct: str, word: str = "ada:hush@") -> Proxy:
        return proxy_at(Secret(self.proxy.url.replace("//", f"//{word}")), direct)

    @asynccontextmanager
    async def transport(self, *direct: str, allowed: tuple[str, ...] = (), word: str = "ada:hush@") -> Any:
        async with Transport(proxy=self.at(*direct, word=word), allowed=Allowed(allowed)) as made:
            yield made


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of tls.example.com with its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=tls.example.com", "-addext", "subjectAltName=DNS:tls.example.com"),
            *("-keyout", folder / "key.pem", "-out", folder / "cert.pem"),
        ],
        check=True,
        capture_output=True,
    )
    whole = folder / "whole.pem"
    whole.write_bytes((folder / "cert.pem").read_bytes() + (folder / "key.pem").read_bytes())
    return whole


@pytest.fixture
async def setting(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Setting]:
    trusting = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusting)
    monkeypatch.setattr(post_client, "_tls", lambda: trusting)
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(certificate)
    server = Inside()
    runner = web.ServerRunner(web.Server(server.answer, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=own).start()
        (_, plain), (_, tls) = (address[:2] for address in runner.addresses)
        async with ProxyServer({"erp.example.com": plain, "tls.example.com": tls}, WORD).serve() as proxy:
            yield Setting(server, proxy)
    finally:
        await runner.cleanup()


URLS = {"plain": "http://erp.example.com/a?b=%2F", "tunnel": "https://tls.example.com/a?b=%2F"}


@pytest.mark.parametrize("way", URLS)
async def test_a_request(setting: Setting, way: str):
    """It goes through the proxy, which knows the name; the proxy's password stays with the proxy."""
    async with setting.transport() as transport:
        for _ in range(2):
            answer = await transport.request("POST", URLS[way], body=b"rows", headers={"X-A": "1"})
    assert (answer.status, json.loads(answer.body)["host"]) == (200, URLS[way].split("/")[2])
    assert setting.server.asked == ["POST /a?b=%2F rows"] * 2
    assert all(headers["x-a"] == "1" and "proxy-authorization" not in headers for headers in setting.server.headers)
    assert set(setting.proxy.asked) == {f"POST {URLS['plain']}" if way == "plain" else "CONNECT tls.example.com:443"}
    assert set(setting.proxy.told) == {WORD}


def posting(url: str, **given: Any) -> Any:
    async def post(*times: int) -> list[Any]:
        client = PostClient(url, **given)
        try:
            return [await client.post("Token t", b"{}", 5) for _ in times]
        finally:
            client.close()

    return post


@pytest.mark.parametrize("way", URLS)
async def test_a_write(setting: Setting, way: str):
    """So do writes, over kept connections; also on the loop of the services."""
    found = await posting(URLS[way], proxy=setting.at())(1, 2, 3)
    assert [answer.status for answer in found] == [200] * 3
    assert setting.server.asked == ["POST /a?b=%2F {}"] * 3
    assert {headers["authorization"] for headers in setting.server.headers} == {"Token t"}
    assert all("proxy-authorization" not in headers for headers in setting.server.headers)
    if way == "tunnel":
        assert setting.proxy.asked == ["CONNECT tls.example.com:443"]
    again: Callable[[], Any] = lambda: uvloop.run(posting(URLS[way], proxy=setting.at())(1))  # noqa: E731
    assert [answer.status for answer in await asyncio.to_thread(again)] == [200]


async def test_hosts_that_are_asked_directly(setting: Setting):
    """A host that NO_PROXY names is not asked through the proxy, nor is this machine."""
    port = setting.proxy.hosts["erp.example.com"]
    async with setting.transport() as transport:
        assert (await transport.request("GET", f"http://127.0.0.1:{port}/")).ok
        assert (await posting(f"http://localhost:{port}/", proxy=setting.at())(1))[0].ok
    async with setting.transport("example.com") as transport:
        with pytest.raises(TransportError, match=r"http://erp.example.com (cannot be reached|did not answer)"):
            await transport.request("GET", URLS["plain"], timeout=5)
    assert setting.proxy.asked == []


@pytest.mark.parametrize("way", URLS)
async def test_a_proxy_that_refuses(setting: Setting, way: str):
    """A wrong password is the proxy's word, not the ERP's: it is transient, and the password is not shown. So is a proxy that is
    away, and one that does not know the host.
    """
    async with setting.transport(word="ada:wrong-hush@") as transport:
        for ask in (
            lambda: transport.request("GET", URLS[way]),
            lambda: posting(URLS[way], proxy=setting.at(word="ada:wrong-hush@"))(1),
        ):
            with pytest.raises(
                TransportError, match=r"the proxy .IMAGEFLOW_HTTP_PROXY. answered 407.*a user"
            ) as caught:
                await ask()
            assert caught.value.transient
            assert "hush" not in str(caught.value)
    away = Proxy("127.0.0.1", 9)
    async with Transport(proxy=away) as transport:
        with pytest.raises(TransportError, match=r"the proxy .IMAGEFLOW_HTTP_PROXY. to http.* cannot be reached"):
            await transport.request("GET", URLS[way])
    with pytest.raises(TransportError, match=r"the proxy .IMAGEFLOW_HTTP_PROXY. to http.* cannot be reached"):
        await posting(URLS[way], proxy=away)(1)
    unknown = URLS[way].replace("example.com", "example.net")
    async with setting.transport() as transport:
        if way == "tunnel":
            with pytest.raises(TransportError, match=r"answered 502 to a request to https://tls\.example\.net"):
                await transport.request("GET", unknown)
            with pytest.raises(TransportError, match=r"answered 502 to a request to https://tls\.example\.net"):
                await posting(unknown, proxy=setting.at())(1)
        else:
            assert (await transport.request("GET", unknown)).status == 502


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0\r\n", b"x" * 20_000])
async def test_what_is_no_proxy(answer: bytes):
    """A server that does not answer as a proxy is named, and nothing hangs."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        at = Proxy("127.0.0.1", server.sockets[0].getsockname()[1])
        with pytest.raises(TransportError, match=r"the proxy .* (gave no answer|does not answer in HTTP/1.1)"):
            await posting("https://tls.example.com/", proxy=at)(1)


# what a flow that came over the API reaches -----------------------------------------------------------------------------


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The addresses of names, as they are seen from here."""
    known: dict[str, list[str]] = {"erp.example.com": ["203.0.114.7"], "tls.example.com": ["203.0.114.8"]}

    async def resolve(self: Any, host: str, port: int = 0, family: Any = 0) -> Any:
        if host not in known:
            raise OSError(None, "Name or service not known")
        return [
            {"hostname": host, "host": one, "port": port, "family": 2, "proto": 0, "flags": 0} for one in known[host]
        ]

    monkeypatch.setattr(guard.ThreadedResolver, "resolve", resolve)
    return known


async def refusal(setting: Setting, url: str, *allowed: str) -> str | None:
    """What a bounded request and a bounded write are refused for; both in the same words."""
    said: list[str | None] = []
    async with setting.transport(allowed=allowed) as transport:
        for ask in (
            lambda: transport.request("GET", url, bounded=True),
            lambda: posting(url, proxy=setting.at(), guard=Guard(Allowed(allowed)))(1),
        ):
            try:
                await ask()
                said.append(None)
            except TransportError as error:
                assert not error.transient
                said.append(str(error))
    assert said[0] == said[1]
    return said[0]


async def test_a_bounded_flow_and_the_proxy(setting: Setting, names: dict[str, list[str]]):
    """Public hosts are asked; those that are private, seen from here, or that nobody here knows, are not, unless they are allowed.
    The proxy itself may be in a private network.
    """
    assert await refusal(setting, URLS["plain"]) is None
    assert await refusal(setting, URLS["tunnel"]) is None
    names["erp.example.com"] = ["203.0.114.7", "10.0.0.7"]
    assert "is in a private network" in (await refusal(setting, URLS["plain"]) or "")
    assert await refusal(setting, URLS["plain"], "erp.example.com") is None
    del names["tls.example.com"]
    assert "is not known here" in (await refusal(setting, URLS["tunnel"]) or "")
    assert await refusal(setting, URLS["tunnel"], "tls.example.com") is None
    asked = len(setting.proxy.asked)
    for host in ("10.0.0.7", "169.254.169.254", "[fd00::1]", "2130706433", "127.1"):
        assert "is in a private network" in (await refusal(setting, f"http://{host}/") or "")
    assert len(setting.proxy.asked) == asked


async def test_images_through_a_proxy(setting: Setting, names: dict[str, list[str]]):
    """Preflight asks image hosts through the proxy, and none in a private network."""
    async with ImageProbe(SystemClock(), Allowed(), setting.at()) as probe:
        finding = await probe.look(URLS["tunnel"])
        assert (finding.code if finding else None) == "image_wrong_type"
        names["erp.example.com"] = ["10.0.0.7"]
        finding = await probe.look(URLS["plain"])
        assert (finding.code if finding else None) == "image_private_address"
    assert set(setting.proxy.asked) == {"CONNECT tls.example.com:443"}
    async with ImageProbe(SystemClock(), Allowed(), setting.at(word="ada:wrong@")) as probe:
        finding = await probe.look(URLS["tunnel"])
        assert finding is not None
        assert finding.transient
        assert "407" in finding.text


# the whole ----------------------------------------------------------------------------------------------------------------


async def test_a_run_through_a_proxy(tmp_path: Path):
    """ERP and Omnitron are known to the proxy alone: a run reads and writes through it."""
    async with AsyncExitStack() as stack:
        erp, omnitron = FakeErp(rows=12), FakeOmnitron(products=12)
        for emulator in (erp, omnitron):
            await stack.enter_async_context(emulator.serve())
        ports = {name: int(one.url.rpartition(":")[2]) for name, one in (("erp.x", erp), ("omnitron.x", omnitron))}
        proxy = await stack.enter_async_context(ProxyServer(ports, WORD).serve())
        document = {
            "name": "main",
            "direction": "inbound",
            "omnitron": {
                "domain_url": "http://omnitron.x",
                "username": "demo",
                "password": {"env": "OMNITRON_PASSWORD"},
            },
            "erp": {"endpoint_url": "http://erp.x/images/none/", "rows_path": "results"},
        }
        (tmp_path / "main.yaml").write_text(json.dumps(document))
        environ = {
            "IMAGEFLOW_DATA_DIR": str(tmp_path / "data"),
            "IMAGEFLOW_HTTP_PROXY": proxy.url.replace("//", "//ada:hush@"),
            "OMNITRON_PASSWORD": "demo",
        }
        for args in (
            ["check", str(tmp_path / "main.yaml")],
            ["run", "main", "--flows", str(tmp_path), "--wait"],
            ["probe", "http://erp.x/images/none/"],
        ):
            done = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "imageflow", *args),
                env={**os.environ, **environ},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            said, _ = await done.communicate()
            assert done.returncode == 0, said.decode()
    assert omnitron.writes.total() == 12
    assert {line.split("/")[2] for line in proxy.asked} == {"erp.x", "omnitron.x"}
