"""An HTTP proxy for tests: it knows names that nobody else knows, and lets in who has the right word."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class ProxyServer:
    """`hosts`: the ports of 127.0.0.1 that names lead to; any other name is a 502. `authorization`: what it wants to be told.

    `asked` keeps the first line of each request, `told` its Proxy-Authorization.
    """

    def __init__(self, hosts: Mapping[str, int], authorization: str | None = None) -> None:
        self.hosts, self.authorization = hosts, authorization
        self.asked: list[str] = []
        self.told: list[str | None] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[ProxyServer]:
        talks: set[asyncio.Task[None]] = set()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            talks.add(task)
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._talk(reader, writer)
            writer.close()
            talks.discard(task)

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in list(talks):
                task.cancel()
            await asyncio.gather(*talks, return_exceptions=True)
            await server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
            }
            method, target, _ = first.split(" ")
            self.asked.append(f"{method} {target}")
            self.told.append(headers.get("proxy-authorization"))
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            host = target.rpartition(":")[0] if method == "CONNECT" else urlsplit(target).hostname or ""
            status = 200
            if self.authorization is not None and self.told[-1] != self.authorization:
                status = 407
            elif host not in self.hosts:
                status = 502
            if status != 200:
                writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())
                continue
            there, out = await asyncio.open_connection("127.0.0.1", self.hosts[host])
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await _both(reader, writer, there, out)
                return
            out.write(_passed_on(method, target, lines) + body)
            writer.write(await _answer(there))
            out.close()


def _passed_on(method: str, target: str, lines: list[str]) -> bytes:
    parts = urlsplit(target)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    kept = [line for line in lines if line and not line.lower().startswith(("proxy-", "connection:"))]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""]).encode("latin-1")


async def _answer(there: asyncio.StreamReader) -> bytes:
    """An answer that ends with its connection, with a length."""
    whole = await there.read()
    head, _, body = whole.partition(b"\r\n\r\n")
    kept = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"connection:", b"content-length:"))]
    return b"\r\n".join([*kept, b"Content-Length: %d" % len(body), b"", body])


async def _both(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, there: asyncio.StreamReader, out: asyncio.StreamWriter
) -> None:
    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()

    await asyncio.gather(copy(reader, out), copy(there, writer))
