"""The HTTP client: the one place that knows aiohttp's client and translates what it raises.

An `Answer` is what the server said, of any status; no answer is a TransportError. Redirects are not followed: credentials
never leave their origin, so the caller decides on each.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Self

import aiohttp
import msgspec
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from imageflow import __version__
from imageflow.errors import TransportError
from imageflow.http.guard import Guard, PrivateAddressError
from imageflow.http.origin import origin
from imageflow.http.public_address import NO_PRIVATE, Allowed
from imageflow.text.masking import mask
from imageflow.text.printable import one_line

USER_AGENT = f"ImageFlow/{__version__}"
MAX_ANSWER_BYTES = 64 * 1024 * 1024
RETRY_STATUSES = frozenset((408, 425, 429))
EXCERPT_CHARS = 500

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
        """The beginning of the body as one line of text, for people: without secrets, which a server may repeat."""
        text = one_line(mask(" ".join(self.body[: EXCERPT_CHARS * 4].decode("utf-8", "replace").split())))
        return text if len(text) <= EXCERPT_CHARS else text[:EXCERPT_CHARS] + "…"


class Transport:
    """An HTTP client for one purpose, with a connection pool of its own. Use as an async context manager."""

    def __init__(self, *, connections: int = 100, allowed: Allowed = NO_PRIVATE) -> None:
        """`allowed`: what `bounded` requests may ask although it is in a private network."""
        self._connections = connections
        self._allowed = allowed
        self._session: aiohttp.ClientSession | None = None
        self._bounded: aiohttp.ClientSession | None = None

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
        session = self._bounded if bounded else self._session
        assert session is not None
        try:
            target = exact(url)
            if bounded:
                self.guard.check_literal(target)
            async with session.request(
                method, target, headers=headers, data=body, allow_redirects=False, timeout=_total(timeout)
            ) as response:
                data = b"" if response.content.at_eof() else await _read(response, max_bytes, url)
                return Answer(response.status, _lower(response), data)
        except FOREIGN as error:
            raise translated(error, url) from error


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
    if isinstance(getattr(error, "os_error", error), PrivateAddressError):
        return private(where)
    match error:
        case TimeoutError():
            return TransportError(f"{where} did not answer in time", "timeout")
        case aiohttp.ClientConnectorCertificateError():
            return TransportError(
                f"the certificate of {where} is not valid: {error.certificate_error}", "no connection"
            )
        case aiohttp.ClientConnectorError():
            reason = error.os_error.strerror or error.os_error
            return TransportError(f"{where} cannot be reached: {reason}", "no connection")
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


def _broken(error: Exception, where: str) -> TransportError:
    """What came of a request that a connection was there for, or that could not be sent."""
    if isinstance(error, (aiohttp.ClientPayloadError, HttpProcessingError)):
        return TransportError(f"the answer of {where} broke off or cannot be decoded")
    if isinstance(error, ValueError):
        # yarl on a URL, aiohttp on a header that would smuggle in a second one: the text may hold a secret
        return TransportError(f"the URL or a header for {where} cannot be sent", "refused")
    return TransportError(f"the connection to {where} failed: {type(error).__name__}")
