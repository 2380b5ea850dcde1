"""Image servers as one meets them: honest ones, and all the others."""

from __future__ import annotations

import asyncio
import gzip
import struct
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

LOGIN = "<!DOCTYPE html><html><body><form><input name=user><input type='password' name=pw></form></body></html>"


def png(width: int = 10, height: int = 10) -> bytes:
    """A whole, valid PNG."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\x7f" * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def jpeg(width: int = 10, height: int = 10, *, metadata: int = 0, marker: int = 0xC0) -> bytes:
    """As much of a JPEG as says how large it is, behind so many bytes of metadata."""
    blocks = b""
    while metadata > 0:
        size = min(metadata, 65_000)
        blocks += b"\xff\xe1" + struct.pack(">H", size + 2) + b"m" * size
        metadata -= size
    frame = bytes((0xFF, marker)) + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\1\x11\0"
    return b"\xff\xd8" + blocks + frame + b"\xff\xda" + b"\0" * 64 + b"\xff\xd9"


class ImageServer:
    """Answers by the first part of the path; counts requests, and those in hand at once."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: Counter[str] = Counter()
        self.in_flight = self.most = 0
        self.images: dict[str, bytes] = {"ok.png": png(), "ok.jpg": jpeg()}
        self.etags: dict[str, str] = {}
        self.refuse_head = False
        self.slow = 0.0
        self.failures = 0
        self._done = asyncio.Event()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[ImageServer]:
        app = web.Application()
        app.router.add_route("*", "/{name:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            self._done.set()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.asked[f"{request.method} {request.path}"] += 1
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            if self.slow:
                await asyncio.sleep(self.slow)
            return await self._answer(request)
        finally:
            self.in_flight -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if request.method == "HEAD" and self.refuse_head:
            return web.Response(status=405)
        if name in self.images:
            return self._image(request, name)
        kind, _, rest = name.partition("/")
        return await getattr(self, f"_{kind}")(request, rest)

    def _image(self, request: web.Request, name: str) -> web.Response:
        body = self.images[name]
        headers = {"Accept-Ranges": "bytes"}
        if name in self.etags:
            headers["ETag"] = self.etags[name]
        wanted = request.http_range
        if "Range" in request.headers and body and request.query.get("ranges") != "no":
            part = body[wanted.start : wanted.stop]
            headers["Content-Range"] = f"bytes 0-{len(part) - 1}/{len(body)}"
            return web.Response(status=206, body=part, headers=headers, content_type="image/png")
        if "Range" in request.headers and not body:
            return web.Response(status=416, headers={"Content-Range": "bytes */0"})
        return web.Response(body=body, headers=headers, content_type="image/png")

    async def _status(self, request: web.Request, rest: str) -> web.Response:
        return web.Response(status=int(rest), text="<html>nothing here</html>", content_type="text/html")

    async def _to(self, request: web.Request, rest: str) -> web.Response:
        return web.Response(status=302, headers={"Location": request.query["url"]})

    async def _loop(self, request: web.Request, rest: str) -> web.Response:
        return web.Response(status=302, headers={"Location": request.path_qs})

    async def _login(self, request: web.Request, rest: str) -> web.Response:
        return web.Response(text=LOGIN, content_type="text/html", status=int(rest or 200))

    async def _hang(self, request: web.Request, rest: str) -> web.Response:
        await self._done.wait()
        return web.Response()

    async def _headhang(self, request: web.Request, rest: str) -> web.StreamResponse:
        if request.method == "HEAD":
            await self._done.wait()
        return self._image(request, "ok.png")

    async def _drop(self, request: web.Request, rest: str) -> web.Response:
        request.transport.close()
        return web.Response()

    async def _flaky(self, request: web.Request, rest: str) -> web.Response:
        self.failures += 1
        if self.failures <= 2:
            return web.Response(status=503, headers={"Retry-After": "1"})
        return self._image(request, "ok.png")

    async def _endless(self, request: web.Request, rest: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "image/jpeg"})
        await response.prepare(request)
        with_frames = b"\xff\xd8" + b"\xff\xe1\xff\xff" + b"m" * 65_533
        try:
            while not self._done.is_set():
                await response.write(with_frames if rest else b"\xff\xe1\xff\xff" + b"m" * 65_533)
                rest = ""
        except (ConnectionError, OSError):
            pass
        return response

    async def _drip(self, request: web.Request, rest: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        try:
            while not self._done.is_set():
                await response.write(b"\x89")
                await asyncio.sleep(0.05)
        except (ConnectionError, OSError):
            pass
        return response

    async def _big(self, request: web.Request, rest: str) -> web.Response:
        part = png()
        headers = {"Content-Range": f"bytes 0-{len(part) - 1}/{int(rest)}"}
        return web.Response(status=206, body=part, headers=headers)

    async def _gzip(self, request: web.Request, rest: str) -> web.Response:
        return web.Response(body=gzip.compress(png()), headers={"Content-Encoding": "gzip"})

    async def _bomb(self, request: web.Request, rest: str) -> web.Response:
        return web.Response(body=gzip.compress(b"\0" * 50_000_000, 1), headers={"Content-Encoding": "gzip"})
