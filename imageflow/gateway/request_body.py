"""A request's body: read in time, within bounds, plain or gzip."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from imageflow.errors import PostError, ThrottledError
from imageflow.gateway.problem_details import Refusal

MAX_BODY_BYTES = 10 * 1024 * 1024
MAX_FORM_BYTES = 16 * 1024
MAX_GZIP_MEMBERS = 1_000
"""A gzip file may consist of several; each costs time, however little it holds."""
BODY_SECONDS = 60.0
MAX_BYTES_IN_HAND = 256 * 1024 * 1024


class Body:
    """A request's body as it arrives: plain or gzip, never more than `limit` bytes of either form."""

    def __init__(self, encoding: str = "", limit: int = MAX_BODY_BYTES) -> None:
        encoding = encoding.strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip"):
            raise PostError(f"Content-Encoding {encoding[:40]!r} is not understood; send gzip or none", "encoding")
        self._gzip = zlib.decompressobj(wbits=31) if encoding.endswith("gzip") else None
        self._limit = limit
        self._received = 0
        self._members = 1
        self._parts: list[bytes] = []
        self.size = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises PostError as soon as it is too much or is not gzip."""
        self._received += len(data)
        if self._received > self._limit:
            raise _too_large(self._limit)
        if self._gzip is None:
            self._add(data)
            return
        try:
            while data:
                self._add(self._gzip.decompress(data, self._limit + 1 - self.size))
                data = self._gzip.unconsumed_tail or self._next_member()
        except zlib.error as error:
            raise PostError("the body is not gzip, though Content-Encoding says so") from error

    def end(self) -> bytes:
        """The whole body. Raises PostError where the gzip breaks off."""
        if self._gzip is not None and not self._gzip.eof and self._received:
            raise PostError("the gzip body breaks off")
        return b"".join(self._parts)

    def _add(self, part: bytes) -> None:
        self.size += len(part)
        if self.size > self._limit:
            raise _too_large(self._limit)
        self._parts.append(part)

    def _next_member(self) -> bytes:
        """Bytes after the end of a gzip member are another member."""
        assert self._gzip is not None
        rest = self._gzip.unused_data
        if rest:
            self._members += 1
            if self._members > MAX_GZIP_MEMBERS:
                raise PostError(f"the gzip body has more than {MAX_GZIP_MEMBERS:,} members; compress it as one", "too large")
            self._gzip = zlib.decompressobj(wbits=31)
        return rest


class BodyReader:
    """Reads bodies, and no more of them at once than `in_hand` bytes: many large posts together take turns."""

    def __init__(self, *, seconds: float = BODY_SECONDS, in_hand: int = MAX_BYTES_IN_HAND) -> None:
        self._seconds = seconds
        self._room = in_hand

    @asynccontextmanager
    async def read(self, request: web.Request, limit: int = MAX_BODY_BYTES) -> AsyncIterator[bytes]:
        """The whole body; its bytes count as in hand until the block is left.

        Raises PostError when it is too large (from its Content-Length already), breaks off, or has an encoding other
        than gzip; Refusal 408 when it does not arrive in time; ThrottledError while there is too much in hand.
        """
        body = Body(request.headers.get("Content-Encoding", ""), limit)
        if (request.content_length or 0) > limit:
            raise _too_large(limit)
        try:
            yield await self._whole(request, body)
        finally:
            self._room += body.size

    async def _whole(self, request: web.Request, body: Body) -> bytes:
        try:
            async with asyncio.timeout(self._seconds):
                async for data in request.content.iter_any():
                    self._feed(body, data)
        except TimeoutError as error:
            raise Refusal(408, f"the body did not arrive within {self._seconds:g} seconds") from error
        except (aiohttp.ClientPayloadError, web.RequestPayloadError, ConnectionError) as error:
            raise PostError("the body breaks off") from error
        return body.end()

    def _feed(self, body: Body, data: bytes) -> None:
        before = body.size
        try:
            body.feed(data)
        finally:
            self._room -= body.size - before
        if self._room < 0:
            raise ThrottledError("too much is being posted at once; try again", 1.0, overload=True)


def _too_large(limit: int) -> PostError:
    return PostError(f"the body is larger than {limit:,} bytes; post it in parts", "too large")
