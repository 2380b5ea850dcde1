"""A client that POSTs to one URL over kept connections.

It is written by hand because a general client costs several times as much per request as everything else that happens to
a row. It has only what a write needs: HTTP/1.1, one request at a time on a connection, no redirects, no cookies. Through
a proxy it asks with the whole URL, for https through a tunnel. httptools, the parser of Node.js, parses the answers.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import re
import ssl
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import httptools
from yarl import URL

from imageflow.errors import TransportError
from imageflow.http.client import THE_PROXY, USER_AGENT, Answer, exact, private, refused_by_proxy, unseen
from imageflow.http.guard import Guard, PrivateAddressError, UnknownAddressError
from imageflow.http.origin import origin
from imageflow.http.proxy import Proxy

IDLE_SECONDS = 15.0
"""A connection that was not used for that long is closed: servers close theirs, and a request may cross with that."""
SWEEP_SECONDS = 0.25
TUNNEL_HEAD_BYTES = 16 * 1024
NOTHING: dict[str, str] = {}


class NotSentError(Exception):
    """The request was not sent: the caller said that it must not be any more."""


class _StaleError(Exception):
    """The server closed a kept connection before it answered anything."""


class Connection(asyncio.Protocol):
    """One connection; between requests it waits in its PostClient's list."""

    def __init__(self, client: PostClient) -> None:
        self._client = client
        self._answer: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport
        self._parser: Any = httptools.HttpResponseParser(self)
        self._fresh()
        self.closed = False
        self.deadline = 0.0
        self.used_at = 0.0

    def _fresh(self) -> None:
        """Be ready for the next answer."""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._size = 0
        self._began = False

    def ask(self, request: bytes) -> asyncio.Future[Answer]:
        """Send a request; the future ends with the answer, or TransportError or _StaleError."""
        self._answer = self._client.loop.create_future()
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        self.closed = True
        self._transport.abort()

    def expire(self) -> None:
        """The deadline of the request in flight has passed."""
        self._fail(TransportError(f"{self._client.origin} did not answer in time", "timeout"))

    # what the loop calls -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's do not inherit from it

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._answer is None or self._answer.done():
            return
        if exc is None and self._ends_with_connection():
            self._complete()
        elif self._began:
            self._fail(TransportError(f"the answer of {self._client.origin} broke off or cannot be decoded"))
        else:
            self._answer.set_exception(_StaleError())

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.close()  # no request is in flight: a time-out of the server (408), or the rest of an answer to one that expired
            return
        self._began = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(TransportError(f"{self._client.origin} does not answer in HTTP/1.1"))
        except httptools.HttpParserError:
            self._fail(TransportError(f"the answer of {self._client.origin} broke off or cannot be decoded"))

    # what the parser calls ---------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._answer is None:
            self.close()  # more than one answer to a request

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._client.max_bytes:
            self._fail(self._client.too_large())
        else:
            self._body.append(data)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:  # 100 Continue and its like: the answer is still to come
            self._headers, self._began = [], False
        else:
            self._complete()

    # the end of a request ----------------------------------------------------------------------------------------

    def _ends_with_connection(self) -> bool:
        """Whether the answer has a head that leaves the end of its body to the end of the connection."""
        names = {name.lower() for name, _ in self._headers}
        return bool(names) and not names & {b"content-length", b"transfer-encoding"}

    def _complete(self) -> None:
        future, parser = self._answer, self._parser
        if future is None or future.done():
            return
        self._answer = None
        status: int = parser.get_status_code()
        keep = not self.closed and parser.should_keep_alive()
        try:
            if 200 <= status < 300:
                future.set_result(Answer(status, NOTHING, b""))
            else:
                headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self._headers}
                body = self._client.plain(b"".join(self._body), headers.get("content-encoding", ""))
                future.set_result(Answer(status, headers, body))
        except TransportError as error:
            future.set_exception(error)
        self._fresh()
        if keep:
            self._client.keep(self)
        else:
            self.close()

    def _fail(self, error: TransportError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self._answer = None
        self.close()


class PostClient:
    """Sends POSTs to `url`, each on a connection of its own while it lasts. The caller bounds how many there are at once.

    `close` ends it. Of a good answer (2xx) only the status is kept.
    """

    def __init__(
        self, url: str, *, max_bytes: int = 1 << 20, guard: Guard | None = None, proxy: Proxy | None = None
    ) -> None:
        """With a `guard`, connections go only to hosts that it permits. `proxy`: what they go through, if it serves the host."""
        self.loop = asyncio.get_running_loop()
        self.origin = origin(url)
        self.max_bytes = max_bytes
        self._url = _checked(url)
        self._guard = guard
        self._proxy = proxy if proxy is not None and proxy.serves(self._url.raw_host or "") else None
        self._is_tls = self._url.scheme == "https"
        plainly = self._proxy is not None and not self._is_tls  # the proxy reads the request, and passes it on
        where = f"{self._url.origin()}{self._url.raw_path_qs}" if plainly else self._url.raw_path_qs
        own = "".join(f"{name}: {value}\r\n" for name, value in self._proxy.headers.items()) if self._proxy else ""
        self._head = (
            f"POST {where} HTTP/1.1\r\n"
            f"{own if plainly else ''}"
            f"Host: {self._url.host_port_subcomponent}\r\n"
            f"User-Agent: {USER_AGENT}\r\n"
            "Accept: application/json\r\n"
            "Accept-Encoding: identity\r\n"
            "Content-Type: application/json\r\n"
        ).encode()
        self._idle: collections.deque[Connection] = collections.deque()
        self._asking: dict[asyncio.Future[Answer], Connection] = {}
        """By the answer, not by the connection: one that has its answer may carry the next request before the task that
        waited for the answer runs on."""
        self._sweeper: asyncio.TimerHandle | None = None

    async def post(
        self, authorization: str, body: bytes, timeout: float, *, may_send: Callable[[], bool] = lambda: True
    ) -> Answer:
        """Send `body` (JSON) and read the whole answer within `timeout` seconds.

        `may_send` is asked directly before the request goes out on a connection, also when it is repeated; NotSentError is
        raised where it says no.

        Raises TransportError when there is no answer (`transient`), and when it is larger than `max_bytes` (then not).
        A kept connection that the server had closed meanwhile is replaced once: the server has not begun to answer,
        and an image set that is posted twice is the same image set.
        """
        request = b"%bAuthorization: %b\r\nContent-Length: %d\r\n\r\n%b" % (
            self._head,
            _header(authorization),
            len(body),
            body,
        )
        deadline = self.loop.time() + timeout
        stale = False
        if (kept := self._kept()) is not None:
            try:
                return await self._ask(kept, request, deadline, may_send)
            except _StaleError:
                stale = True
        try:
            return await self._ask(await self._connect(deadline), request, deadline, may_send)
        except _StaleError as error:
            raise self._closed() from error
        except NotSentError as error:
            if stale:  # the first one may have been taken
                raise self._closed() from error
            raise

    def _closed(self) -> TransportError:
        return TransportError(f"the connection to {self.origin} failed: closed without an answer")

    def close(self) -> None:
        """Close all connections; requests under way fail."""
        for connection in [*self._idle, *self._asking.values()]:
            connection.close()
        self._idle.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def keep(self, connection: Connection) -> None:
        """The connection has its answer and waits for the next request."""
        connection.used_at = self.loop.time()
        self._idle.append(connection)

    def too_large(self) -> TransportError:
        return TransportError(f"the answer of {self.origin} is larger than {self.max_bytes:,} bytes", "refused")

    def plain(self, body: bytes, encoding: str) -> bytes:
        """The body as it was before compression, which was not asked for; what cannot be undone stays as it is."""
        if encoding.lower() not in ("gzip", "deflate") or not body:
            return body
        try:
            inflate = zlib.decompressobj(47)
            plain = inflate.decompress(body, self.max_bytes)
        except zlib.error:
            return body
        if inflate.unconsumed_tail:
            raise self.too_large()
        return plain

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        return None

    async def _ask(
        self, connection: Connection, request: bytes, deadline: float, may_send: Callable[[], bool]
    ) -> Answer:
        connection.deadline = deadline
        if not may_send():  # no await from here to the write: whatever time it took to come here has passed
            connection.close()
            raise NotSentError
        answer = connection.ask(request)
        self._asking[answer] = connection
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(SWEEP_SECONDS, self._sweep)
        try:
            return self._of_the_server(await answer)
        except asyncio.CancelledError:
            if answer.cancelled():
                connection.close()
            raise
        finally:
            del self._asking[answer]

    def _of_the_server(self, answer: Answer) -> Answer:
        """The answer, if it is not the proxy's own. Raises TransportError."""
        if answer.status == 407 and self._proxy is not None:
            raise refused_by_proxy(407, self.origin)
        return answer

    async def _connect(self, deadline: float) -> Connection:
        url = self._url
        assert url.raw_host is not None
        assert url.port is not None
        try:
            async with asyncio.timeout_at(deadline):
                if self._proxy is not None:
                    return await self._connect_through(self._proxy, url.raw_host)
                return await self._connect_to_any(await self._addresses(), url.port, url.raw_host)
        except UnknownAddressError as error:
            raise unseen(self.origin) from error
        except PrivateAddressError as error:
            raise private(self.origin) from error
        except TimeoutError as error:
            raise TransportError(f"{self.origin} did not answer in time", "timeout") from error
        except ssl.SSLCertVerificationError as error:
            raise TransportError(
                f"the certificate of {self.origin} is not valid: {error.verify_message}", "no connection"
            ) from error
        except OSError as error:
            raise TransportError(
                f"{self.origin} cannot be reached: {error.strerror or error}", "no connection"
            ) from error

    async def _connect_through(self, proxy: Proxy, host: str) -> Connection:
        """Connect to the proxy; for https, through it to the host. Raises TransportError where the proxy does not let it."""
        if self._guard is not None:
            self._guard.check_literal(self._url)
            await self._guard.check_name(host)
        tunnel = Tunnel(self.loop)
        try:
            transport, _ = await self.loop.create_connection(lambda: tunnel, proxy.host, proxy.port)
        except OSError as error:
            reason = error.strerror or error
            raise TransportError(
                f"{THE_PROXY} to {self.origin} cannot be reached: {reason}", "no connection"
            ) from error
        connection = Connection(self)
        if not self._is_tls:
            transport.set_protocol(connection)
            connection.connection_made(transport)
            return connection
        try:
            await tunnel.open(self._url, proxy.headers)
            inner = await self.loop.start_tls(transport, connection, _tls(), server_hostname=host.strip("[]"))
        except BaseException:
            transport.abort()
            raise
        assert inner is not None
        connection.connection_made(inner)
        return connection

    async def _addresses(self) -> list[str]:
        """What to connect to: the host, or the addresses of it that the guard has checked."""
        host = self._url.raw_host
        assert host is not None
        if self._guard is None:
            return [host]
        return [one["host"] for one in await self._guard.resolve(host, self._url.port or 0)]

    async def _connect_to_any(self, hosts: Sequence[str], port: int, name: str) -> Connection:
        """Connect to the first of the hosts that takes it. Raises what the last one's connection ended with."""
        tls = _tls() if self._is_tls else None
        for host in hosts[:-1]:
            with contextlib.suppress(OSError):
                return await self._connect_to(host, port, tls, name)
        return await self._connect_to(hosts[-1], port, tls, name)

    async def _connect_to(self, host: str, port: int, tls: ssl.SSLContext | None, name: str) -> Connection:
        _, connection = await self.loop.create_connection(
            lambda: Connection(self), host, port, ssl=tls, server_hostname=name if tls is not None else None
        )
        return connection

    def _sweep(self) -> None:
        """End requests whose time is over, and connections that have long been idle; goes on while there are any."""
        now = self.loop.time()
        for answer, connection in list(self._asking.items()):
            if connection.deadline <= now and not answer.done():
                connection.expire()
        while self._idle and (self._idle[0].closed or self._idle[0].used_at + IDLE_SECONDS <= now):
            self._idle.popleft().close()
        self._sweeper = self.loop.call_later(SWEEP_SECONDS, self._sweep) if self._asking or self._idle else None


class Tunnel(asyncio.Protocol):
    """A proxy is asked for a tunnel to a host (CONNECT)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._answer: asyncio.Future[int] = loop.create_future()
        self._head = b""
        self._transport: asyncio.Transport

    async def open(self, url: URL, headers: Mapping[str, str]) -> None:
        """Ask, and wait for the answer. Raises TransportError where there is none, or where the proxy refuses."""
        name = f"{url.host_subcomponent}:{url.port}"
        lines = [f"CONNECT {name} HTTP/1.1", f"Host: {name}", *(f"{key}: {value}" for key, value in headers.items())]
        self._transport.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if (status := await self._answer) != 200:
            raise refused_by_proxy(status, str(url.origin()))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._head += data
        found = re.match(rb"HTTP/1\.[01] (\d{3})[ \r\n]", self._head)
        if found is not None and b"\r\n\r\n" in self._head:
            if not self._answer.done():
                self._answer.set_result(int(found[1]))
        elif (
            len(self._head) > TUNNEL_HEAD_BYTES or (found is None and b"\r\n" in self._head)
        ) and not self._answer.done():
            self._answer.set_exception(TransportError(f"{THE_PROXY} does not answer in HTTP/1.1", "no connection"))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if not self._answer.done():
            self._answer.set_exception(TransportError(f"{THE_PROXY} gave no answer", "no connection"))


def _checked(url: str) -> URL:
    """Raises TransportError, not transient, where the URL cannot be asked."""
    cause: ValueError | None = None
    try:
        parsed = exact(url)
        if parsed.scheme in ("http", "https") and parsed.host and parsed.port and parsed.raw_path_qs.isascii():
            return parsed
    except ValueError as error:
        cause = error
    raise TransportError(f"not a URL that can be asked: {origin(url)[:200]}", "refused") from cause


def _header(value: str) -> bytes:
    """A header's value; one that would smuggle in a second header is refused."""
    if not value.isascii() or not value.isprintable():
        raise TransportError("the token of the login cannot be sent in a header", "refused")
    return value.encode("ascii")


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
