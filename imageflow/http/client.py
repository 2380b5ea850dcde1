"""The HTTP client: the one place that knows aiohttp's client and translates what it raises.

An `Answer` is what the server said, of any status; no answer is a TransportError. Redirects are not followed: credentials
never leave their origin, so the caller decides on each.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Mapping
from typing import Any, Self

import aiohttp
import msgspec
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from imageflow import __version__
from imageflow.errors import TransportError
from imageflow.http.guard import Guard, PrivateAddressError, UnknownAddressError
from imageflow.http.origin import origin
from imageflow.http.proxy import Proxy, proxy_of
from imageflow.http.public_address import NO_PRIVATE, Allowed
from imageflow.settings import Settings
from imageflow.text.excerpt import UNMARKED, quoted
from imageflow.text.masking import mask
from imageflow.text.printable import one_line

USER_AGENT = f"ImageFlow/{__version__}"
MAX_ANSWER_BYTES = 64 * 1024 * 1024
RETRY_STATUSES = frozenset((408, 425, 429))
EXCERPT_CHARS = 500
MAX_ERROR_BYTES = 1024 * 1024
THE_PROXY = "the proxy (IMAGEFLOW_HTTP_PROXY)"

FOREIGN = (aiohttp.ClientError, HttpProcessingError, OSError, ValueError, RuntimeError)
"""What aiohttp, yarl and the socket raise (TimeoutError is an OSError; a closed session is a RuntimeError)."""


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer, read whole. Header names are lower case; of a repeated header the last counts, but all of Link."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later: 408, 425, 429 and every 5xx."""
        return self.status in RETRY_STATUSES or self.status >= 500

    def excerpt(self) -> str:
        """The beginning of the body as one line of text, for people: without secrets, which a server may repeat. What is not
        JSON stands between the marks of an excerpt.
        """
        text = one_line(mask(" ".join(self.body[: EXCERPT_CHARS * 4].decode("utf-8", "replace").split())))
        text = text if len(text) <= EXCERPT_CHARS else text[:EXCERPT_CHARS] + "…"
        return text.translate(UNMARKED) if self._is_json() else quoted(text)

    def _is_json(self) -> bool:
        """Whether the body is a JSON object or list, of a size that errors have."""
        if len(self.body) > MAX_ERROR_BYTES or self.body.lstrip()[:1] not in (b"{", b"["):
            return False
        try:
            msgspec.json.decode(self.body)
        except (ValueError, RecursionError):
            return False
        return True


class Transport:
    """An HTTP client for one purpose, with a connection pool of its own. Use as an async context manager."""

    def __init__(self, *, connections: int = 100, allowed: Allowed = NO_PRIVATE, proxy: Proxy | None = None) -> None:
        """`allowed`: what `bounded` requests may ask although it is in a private network. `proxy`: what requests go through."""
        self._connections = connections
        self._allowed = allowed
        self.proxy = proxy
        self._session: aiohttp.ClientSession | None = None
        self._bounded: aiohttp.ClientSession | None = None

    @classmethod
    def of(cls, settings: Settings, *, connections: int = 100) -> Self:
        """A client that reaches what the settings say."""
        return cls(connections=connections, allowed=Allowed(settings.allow_private), proxy=proxy_of(settings))

    async def __aenter__(self) -> Self:
        self.guard = Guard(self._allowed)
        self._session, self._bounded = self._open(None), self._open(self.guard)
        return self

    def _open(self, guard: Guard | None) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, ttl_dns_cache=30, resolver=guard),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": USER_AGENT},
            auto_decompress=True,
            trust_env=False,
        )

    async def __aexit__(self, *exc: object) -> None:
        assert self._session is not None
        assert self._bounded is not None
        await self._session.close()
        await self._bounded.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = 30.0,
        max_bytes: int = MAX_ANSWER_BYTES,
        bounded: bool = False,
    ) -> Answer:
        """Send one request and read the whole answer within `timeout` seconds. `bounded`: to a public host, or one that is
        allowed.

        Raises TransportError when there is no answer, and when the answer is larger than `max_bytes` after
        decompression (then not transient: it would be as large again).
        """
        try:
            target = exact(url)
            via = self.proxy if self.proxy is not None and self.proxy.serves(target.raw_host or "") else None
            session = self._bounded if bounded and via is None else self._session
            assert session is not None
            if bounded:
                self.guard.check_literal(target)
            if bounded and via is not None:
                async with asyncio.timeout(timeout):
                    await self.guard.check_name(target.raw_host or "")
            async with session.request(
                method,
                target,
                data=body,
                allow_redirects=False,
                timeout=_total(timeout),
                **through(via, target, headers or {}),
            ) as response:
                if via is not None and response.status == 407:
                    raise refused_by_proxy(407, origin(url))
                data = b"" if response.content.at_eof() else await _read(response, max_bytes, url)
                return Answer(response.status, _lower(response), data)
        except FOREIGN as error:
            raise translated(error, url) from error


def through(via: Proxy | None, target: URL, headers: Mapping[str, str]) -> dict[str, Any]:
    """What aiohttp is told for a request that goes through a proxy, or directly. The proxy's own header goes to it alone: to an
    https host there is a tunnel.
    """
    if via is None:
        return {"headers": headers}
    if target.scheme == "https":
        return {"headers": headers, "proxy": via.url, "proxy_headers": via.headers or None}
    return {"headers": {**headers, **via.headers}, "proxy": via.url}


@functools.lru_cache(maxsize=256)
def _total(seconds: float) -> aiohttp.ClientTimeout:
    """A deadline for the whole exchange, from waiting for a connection to the last byte."""
    return aiohttp.ClientTimeout(total=seconds)


@functools.lru_cache(maxsize=256)
def exact(url: str) -> URL:
    """A URL that is ASCII already goes out as it is written (a signed link breaks when it is quoted anew)."""
    return URL(url, encoded=re.fullmatch(r"[!-~]+", url) is not None)


def _lower(response: aiohttp.ClientResponse) -> dict[str, str]:
    headers = {name.lower(): value for name, value in response.headers.items()}
    if "link" in headers:
        headers["link"] = ", ".join(response.headers.getall("Link"))
    return headers


async def _read(response: aiohttp.ClientResponse, max_bytes: int, url: str) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > max_bytes:
            response.close()
            raise TransportError(f"the answer of {origin(url)} is larger than {max_bytes:,} bytes", "refused")
        chunks.append(chunk)
    return b"".join(chunks)


def translated(error: Exception, url: str) -> TransportError:
    """One of FOREIGN as a TransportError that names the host, never the query."""
    where = origin(url)
    if isinstance(cause := getattr(error, "os_error", error), PrivateAddressError):
        return unseen(where) if isinstance(cause, UnknownAddressError) else private(where)
    match error:
        case TimeoutError():
            return TransportError(f"{where} did not answer in time", "timeout")
        case aiohttp.ClientConnectorCertificateError():
            return TransportError(
                f"the certificate of {where} is not valid: {error.certificate_error}", "no connection"
            )
        case aiohttp.ClientConnectorError():
            reason = error.os_error.strerror or error.os_error
            what = where
            if isinstance(error, aiohttp.ClientProxyConnectionError):
                what = f"{THE_PROXY} to {where}"
            return TransportError(f"{what} cannot be reached: {reason}", "no connection")
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return TransportError(f"not a URL that can be asked: {where[:200]}", "refused")
        case _:
            return _broken(error, where)


def private(where: str) -> TransportError:
    """A flow that came over the API is not to ask `where`."""
    return TransportError(
        f"{where} is in a private network: a flow that was saved over the API may ask hosts there only if the setting "
        "IMAGEFLOW_ALLOW_PRIVATE names them",
        "refused",
    )


def unseen(where: str) -> TransportError:
    """A flow that came over the API is not to ask `where` through a proxy: nobody sees from here where that is."""
    return TransportError(
        f"the name {where} is not known here, so it cannot be checked that the proxy would not lead into a private network: a "
        "flow that was saved over the API may ask it only if the setting IMAGEFLOW_ALLOW_PRIVATE names it",
        "refused",
    )


def refused_by_proxy(status: int, where: str) -> TransportError:
    """The proxy did not let a request through."""
    hint = ": it wants a user and a password, or others" if status == 407 else ""
    return TransportError(f"{THE_PROXY} answered {status} to a request to {where}{hint}", "no connection")


def _broken(error: Exception, where: str) -> TransportError:
    """What came of a request that a connection was there for, or that could not be sent."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return refused_by_proxy(error.status, where)
    if isinstance(error, (aiohttp.ClientPayloadError, HttpProcessingError)):
        return TransportError(f"the answer of {where} broke off or cannot be decoded")
    if isinstance(error, ValueError):
        # yarl on a URL, aiohttp on a header that would smuggle in a second one: the text may hold a secret
        return TransportError(f"the URL or a header for {where} cannot be sent", "refused")
    return TransportError(f"the connection to {where} failed: {type(error).__name__}")
