"""The base of both emulators: a real HTTP server, answers as exact bytes, and control requests under `/_emulator/`.

The server is aiohttp's lowest layer, without router or middlewares, and for plain writes not even that (`Quick`):
Omnitron's emulator is the sink of benchmarks.
"""

from __future__ import annotations

import asyncio
import http
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

import msgspec
import orjson
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_protocol import RequestHandler

from imageflow.emulator.faults import Fault, FaultScript, Verdict
from imageflow.errors import ListenError

AnyFault = Fault | str | Mapping[str, Any]
Headers = Iterable[tuple[str, str]]

CONTROL = "/_emulator/"
STOP_SECONDS = 0.2
REQUIRED = ["This field is required."]
MAX_HEAD_BYTES = 8192
MAX_QUICK_BYTES = 1 << 20
CAREFUL = frozenset(("connection", "expect", "transfer-encoding", "content-encoding", "upgrade"))
"""Headers that the shortcut does not handle."""

Shortcut = Callable[[str, str, bytes], bytes | None]
_JSON = ("Content-Type", "application/json")
_HTML = "<!DOCTYPE html>\n<html><head><title>{0}</title></head><body><h1>{0}</h1><hr>nginx</body></html>\n"


def response_bytes(status: int, headers: Headers, body: bytes, *, length: int | None = None) -> bytes:
    """An HTTP/1.1 answer as bytes. `length`: the value of Content-Length; None: the true length; negative: no such header."""
    claimed = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status} {phrase(status)}", *(f"{name}: {value}" for name, value in headers)]
    if claimed >= 0:
        lines.append(f"Content-Length: {claimed}")
    return "\r\n".join((*lines, "", "")).encode("latin-1", "replace") + body


def phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def credentials_in(body: bytes) -> tuple[dict[str, Any], tuple[str, str]]:
    """What is wrong with a login body, field by field, and the credentials it holds."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return {"detail": f"JSON parse error - {error}"}, ("", "")
    if not isinstance(fields, dict):
        return {"non_field_errors": ["Invalid data. Expected a dictionary."]}, ("", "")
    missing = {name: REQUIRED for name in ("username", "password") if not fields.get(name)}
    return missing, (str(fields.get("username")), str(fields.get("password")))


class Canned(web.StreamResponse):
    """An answer that is encoded once and sent any number of times; `before` is sent ahead of it."""

    def __init__(self, status: int, body: bytes = b"", headers: Headers = (), *, before: bytes = b"") -> None:
        super().__init__(status=status)
        self.data = before + response_bytes(status, headers, body)
        self._keep_alive = True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if request.transport is not None:
            request.transport.write(self.data)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""


class Quick(RequestHandler):
    """A connection on which the emulator answers plain POSTs by itself, `shortcut`, for a fraction of what aiohttp costs.
    From the first request on that is anything else, the connection is aiohttp's."""

    __slots__ = ("_buffered", "_shortcut")

    def __init__(self, manager: web.Server, shortcut: Shortcut | None, **options: Any) -> None:
        super().__init__(manager, loop=asyncio.get_running_loop(), **options)
        self._shortcut = shortcut
        self._buffered = b""

    def data_received(self, data: bytes) -> None:
        if self._shortcut is None:
            super().data_received(data)
            return
        data = self._buffered + data
        taken = plain_post(data)
        if taken == "incomplete":
            self._buffered = data
            return
        self._buffered = b""
        answer = None if taken is None else self._shortcut(*taken)
        if answer is not None and self.transport is not None:
            self.transport.write(answer)
            return
        self._shortcut = None
        super().data_received(data)


class QuickServer(web.Server):
    """A server whose connections use the emulator's shortcut."""

    def __init__(self, emulator: Emulator, **options: Any) -> None:
        super().__init__(emulator.handle, **options)
        self._shortcut = emulator.shortcut
        self._options = options

    def __call__(self) -> RequestHandler:
        return Quick(self, self._shortcut, **self._options)


def plain_post(data: bytes) -> tuple[str, str, bytes] | Literal["incomplete"] | None:
    """Path, Authorization and body, if the data are one plain POST with a length; else None."""
    head, blank, body = data.partition(b"\r\n\r\n")
    if not head.startswith(b"POST "[: len(head)]) or len(head) > MAX_HEAD_BYTES:
        return None
    if not blank:
        return "incomplete"
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    path, _, version = line.removeprefix("POST ").partition(" ")
    length = headers.get("content-length", "")
    if version != "HTTP/1.1" or not length.isdecimal() or headers.keys() & CAREFUL:
        return None
    if len(length) > len(str(MAX_QUICK_BYTES)) or int(length) > MAX_QUICK_BYTES:
        return None
    if len(body) < int(length):
        return "incomplete"
    return (path, headers.get("authorization", ""), body) if len(body) == int(length) else None


class Raw(web.StreamResponse):
    """An answer that is written to the connection directly; then the connection is closed."""

    def __init__(self, write: Callable[[asyncio.Transport], Awaitable[None]]) -> None:
        super().__init__()
        self._write = write
        self._keep_alive = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if request.transport is not None:  # uvloop's transports are no instances of asyncio.Transport
            await self._write(request.transport)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""


def raw(data: bytes, *, reset: bool = False) -> Raw:
    """Exactly these bytes, then the connection is closed, or reset."""

    async def write(transport: asyncio.Transport) -> None:
        transport.write(data)
        if reset:
            await asyncio.sleep(0.01)  # the bytes go out before the reset does
            transport.abort()

    return Raw(write)


def dropped() -> Raw:
    """No answer: the connection is closed."""
    return raw(b"")


def json_answer(status: int, body: Any, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), headers=headers, content_type="application/json")


def html_page(status: int) -> str:
    """The error page of a proxy in front."""
    return _HTML.format(f"{status} {phrase(status)}")


def error_answer(fault: Fault) -> web.Response:
    """The answer of a fault that has a status, in the style of Django REST framework unless it is HTML."""
    status = fault.answer_status
    headers = {} if fault.retry_after is None else {"Retry-After": _plain(fault.retry_after)}
    if fault.html:
        return web.Response(status=status, text=html_page(status), content_type="text/html", headers=headers)
    text = phrase(status)
    return json_answer(status, {"non_field_errors": [text]} if status == 400 else {"detail": text}, headers)


def _plain(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


class Emulator(ABC):
    """A server with scripted faults.

    Everything runs on the server's event loop; from there, attributes may be read and methods called at any time.
    """

    def __init__(self, *, faults: Iterable[AnyFault] = ()) -> None:
        self.url = ""
        self.requests = 0
        self.in_flight = 0
        self.max_in_flight = 0
        self.stopping = asyncio.Event()
        self._script = FaultScript()
        self.set_faults(faults)

    @property
    def faults(self) -> tuple[Fault, ...]:
        return self._script.faults

    def set_faults(self, faults: Iterable[AnyFault]) -> None:
        """Replace the fault script; counters and the clock of faults start anew. Raises ValueError."""
        script = FaultScript([faults] if isinstance(faults, str) else faults)
        for fault in script.faults:
            self.check_mode(fault.mode)
        self._script = script

    def take_faults(self, body: Any) -> None:
        """Replace the fault script by what a control request holds. Raises ValueError, TypeError."""
        self.set_faults(faults_in(body))

    def check_mode(self, mode: str | None) -> None:
        """Raises ValueError for a mode that this emulator does not know."""
        if mode is not None:
            raise ValueError(f"this emulator has no modes, so not {mode!r} either")

    @abstractmethod
    async def answer(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """Answer a request for `path` (without its query)."""

    @abstractmethod
    def state(self, query: Mapping[str, str]) -> dict[str, Any]:
        """What `GET /_emulator/state` shows."""

    @abstractmethod
    def reset(self) -> None:
        """Back to the beginning: state, counters and faults."""

    async def control(self, request: web.BaseRequest, action: str) -> web.StreamResponse:
        """Answer a request for `/_emulator/{action}`."""
        if action == "state" and request.method == "GET":
            return json_answer(200, self.state(request.query))
        if action == "faults" and request.method == "POST":
            self.take_faults(orjson.loads(await request.read() or b"[]"))
            return json_answer(200, {"faults": msgspec.to_builtins(self.faults)})
        if action == "reset" and request.method == "POST":
            self.reset()
            return json_answer(200, {})
        return json_answer(404, {"detail": f"there is no {request.method} {CONTROL}{action}"})

    @property
    def shortcut(self) -> Shortcut | None:
        """What answers plain POSTs, given path, Authorization and body, with all bytes of the answer; None: as any other
        request. The whole is None where there is no such way."""
        return None

    def counters(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "faults_fired": self._script.fired,
        }

    def restart(self, faults: Iterable[AnyFault]) -> None:
        """Counters to zero, and these faults from the beginning."""
        self.requests = self.max_in_flight = 0
        self.set_faults(faults)

    async def meet(self, verdict: Verdict) -> web.StreamResponse | None:
        """Wait as the verdict says. Returns the answer of its fault, or None if the emulator handles the request."""
        if verdict.delay:
            await self.pause(verdict.delay)
        fault = verdict.fault
        if fault is None:
            return None
        if fault.hang:
            return self.hung()
        return dropped() if fault.drop else error_answer(fault)

    def unless_lost(self, verdict: Verdict, response: web.StreamResponse) -> web.StreamResponse:
        """The answer of a request that was handled, unless the verdict takes it away."""
        if not verdict.lost:
            return response
        return self.hung() if verdict.hangs else dropped()

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than the server lives."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            pass

    def is_stopping(self) -> bool:
        return self.stopping.is_set()

    def hung(self) -> Raw:
        """Never answers: the connection stays open until the server stops."""

        async def write(_: asyncio.Transport) -> None:
            await self.stopping.wait()

        return Raw(write)

    @asynccontextmanager
    async def serve(self, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Serve while the context lasts; yields the URL, without a trailing slash. Port 0: any free port. Raises ListenError
        when the port cannot be had.
        """
        self.stopping = asyncio.Event()
        server = self._server(access_log=None, keepalive_timeout=3600)
        runner = web.ServerRunner(server, shutdown_timeout=STOP_SECONDS)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, host, port, backlog=1024).start()
            except OSError as error:
                raise ListenError(host, port, error) from error
            self.url = f"http://{_bracketed(host)}:{runner.addresses[0][1]}"
            yield self.url
        finally:
            self.stopping.set()
            await runner.cleanup()

    def _server(self, **options: Any) -> web.Server:
        return web.Server(self.handle, **options) if self.shortcut is None else QuickServer(self, **options)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        if path.startswith(CONTROL):
            return await self._controlled(request, path.removeprefix(CONTROL).rstrip("/"))
        self.requests += 1
        self.in_flight += 1
        self.max_in_flight = max(self.in_flight, self.max_in_flight)
        try:
            return await self.answer(request, path)
        finally:
            self.in_flight -= 1

    async def _controlled(self, request: web.BaseRequest, action: str) -> web.StreamResponse:
        try:
            return await self.control(request, action)
        except (ValueError, TypeError, KeyError) as error:
            return json_answer(400, {"detail": str(error)})


def faults_in(body: Any) -> list[AnyFault]:
    """The faults that a control request asks for: `{"faults": […]}`, `{"mode": NAME}`, one fault or a list of them."""
    if isinstance(body, list):
        return body
    if isinstance(body, dict) and "faults" in body:
        listed = body["faults"]
        mode = body.get("mode")
        return [*([listed] if isinstance(listed, (str, dict)) else listed), *([{"mode": mode}] if mode else [])]
    return [] if body in (None, {}, {"mode": None}) else [body]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


async def serve_forever(
    emulator: Emulator,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    announce: Callable[[str], object] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve until `stop` is set or the task is cancelled; `announce` is called with the URL once it listens."""
    async with emulator.serve(host=host, port=port) as url:
        if announce is not None:
            announce(url)
        await (stop or asyncio.Event()).wait()
