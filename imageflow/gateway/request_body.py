"""A request's body: read in time, within bounds, plain or gzip."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator

import aiohttp
from aiohttp import web

from imageflow.errors import PostError
from imageflow.gateway.body_budget import BodyBudget
from imageflow.gateway.problem_details import Refusal

MAX_BODY_BYTES = 10 * 1024 * 1024
MAX_FORM_BYTES = 16 * 1024
MAX_GZIP_MEMBERS = 1_000
"""A gzip file may consist of several; each costs time, however little it holds."""
STEP_BYTES = 256 * 1024
MEMBER_BYTES = 4096
"""What a gzip member counts beside its bytes."""
BODY_SECONDS = 60.0
POST_BYTES = 64 * 1024 * 1024
POST_SHARE = 32 * 1024 * 1024
"""Of outbound posts, for all senders together and for each user or key. With what is made of them, they fit into the 512 MB
that our deployments give a gateway."""
FORM_BYTES = 16 * 1024 * 1024
FORM_SHARE = 4 * 1024 * 1024
"""Of logins and the API's bodies, for each address: who may post nothing can take no room from posts, nor posts from them."""


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
        """As `steps`, without a pause."""
        for _ in self.steps(data):
            pass

    def steps(self, data: bytes) -> Iterator[None]:
        """Take the next bytes, with a pause after each STEP_BYTES that they unpack to: a kilobyte may be a megabyte. Raises
        PostError as soon as it is too much or is not gzip.
        """
        self._received += len(data)
        if self._received > self._limit:
            raise _too_large(self._limit)
        if self._gzip is None:
            self._add(data)
            return
        try:
            for start in range(0, len(data), STEP_BYTES):
                yield from self._unpack(data[start : start + STEP_BYTES])
        except zlib.error as error:
            raise PostError("the body is not gzip, though Content-Encoding says so") from error

    def _unpack(self, data: bytes) -> Iterator[None]:
        assert self._gzip is not None
        done = 0
        while data:
            part = self._gzip.decompress(data, min(STEP_BYTES, self._limit + 1 - self.size))
            self._add(part)
            data = self._gzip.unconsumed_tail or self._next_member()
            done += len(part) + MEMBER_BYTES
            if done >= STEP_BYTES:
                yield
                done = 0

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
                raise PostError(
                    f"the gzip body has more than {MAX_GZIP_MEMBERS:,} members; compress it as one", "too large"
                )
            self._gzip = zlib.decompressobj(wbits=31)
        return rest


class BodyReader:
    """Reads bodies, and holds no more of them at once than their budget allows: many large posts together take turns."""

    def __init__(
        self, *, seconds: float = BODY_SECONDS, posts: BodyBudget | None = None, forms: BodyBudget | None = None
    ) -> None:
        self._seconds = seconds
        self._posts = posts or BodyBudget(POST_BYTES, POST_SHARE)
        self._forms = forms or BodyBudget(FORM_BYTES, FORM_SHARE)

    def post(self, request: web.Request, sender: str) -> Reading:
        """The body of an outbound post, from a user or key."""
        return Reading(request, MAX_BODY_BYTES, self._seconds, _Held(self._posts, sender))

    def form(self, request: web.Request, limit: int) -> Reading:
        """The body of a login or an API call."""
        return Reading(request, limit, self._seconds, _Held(self._forms, request.remote or ""))


class Reading:
    """The whole body of a request, in `async with`; its bytes count as held until the block is left. A class, since a generator
    costs a small post more than the reading.

    Raises PostError when it is too large (from its Content-Length already), breaks off, or has an encoding other
    than gzip; Refusal 408 when it does not arrive in time; ThrottledError while too much is held.
    """

    def __init__(self, request: web.Request, limit: int, seconds: float, held: _Held) -> None:
        self._request = request
        self._limit = limit
        self._seconds = seconds
        self._held = held

    async def __aenter__(self) -> bytes:
        body = Body(self._request.headers.get("Content-Encoding", ""), self._limit)
        if (self._request.content_length or 0) > self._limit:
            raise _too_large(self._limit)
        try:
            return await self._whole(body)
        except BaseException:
            self._held.give_back()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._held.give_back()

    async def _whole(self, body: Body) -> bytes:
        content = self._request.content
        try:
            if content.is_eof():  # it came with the headers, as small ones do
                await _take(content.read_nowait(), body, self._held)
            else:
                async with asyncio.timeout(self._seconds):
                    async for data in content.iter_any():
                        await _take(data, body, self._held)
        except TimeoutError as error:
            raise Refusal(408, f"the body did not arrive within {self._seconds:g} seconds") from error
        except (aiohttp.ClientPayloadError, web.RequestPayloadError, ConnectionError) as error:
            raise PostError("the body breaks off") from error
        return body.end()


class _Held:
    """What one request holds of a budget."""

    def __init__(self, budget: BodyBudget, sender: str) -> None:
        self._budget = budget
        self._sender = sender
        self._size = 0

    def grow_to(self, size: int) -> None:
        more, self._size = size - self._size, size
        self._budget.take(self._sender, more)

    def give_back(self) -> None:
        self._budget.give_back(self._sender, self._size)


async def _take(data: bytes, body: Body, held: _Held) -> None:
    for _ in body.steps(data):
        held.grow_to(body.size)
        await asyncio.sleep(0)
    held.grow_to(body.size)


def _too_large(limit: int) -> PostError:
    return PostError(f"the body is larger than {limit:,} bytes; post it in parts", "too large")
