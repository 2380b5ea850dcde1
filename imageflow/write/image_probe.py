"""Looks at images over HTTP before they are written: HEAD, then the first bytes. `preflight.py` judges.

Image servers belong to others. They get few requests at once per host, and a pause where they ask for one. They are not
trusted: bytes, time and redirects are bounded. They are not asked if they are in a private network (`http/guard.py`). Findings are remembered by URL while the ETag or Last-Modified stays the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self
from urllib.parse import urljoin

import aiohttp
import msgspec

from imageflow.clock import Clock
from imageflow.errors import TransportError
from imageflow.http.client import USER_AGENT, exact, refused_by_proxy, through, translated
from imageflow.http.guard import Guard, PrivateAddressError
from imageflow.http.origin import origin, retry_after
from imageflow.http.proxy import Proxy
from imageflow.http.public_address import Allowed
from imageflow.model.imageset import Image
from imageflow.runtime.bounded import Recent
from imageflow.telemetry import metrics
from imageflow.write.preflight import (
    HEAD_BYTES,
    MORE_BYTES,
    Finding,
    Found,
    Further,
    Look,
    judge,
    measure,
)

CONNECTIONS = 64
PER_HOST = 8
REQUEST_SECONDS = 10.0
HEAD_SECONDS = 5.0
TRIES = 2
RETRY_SECONDS = 0.5
MAX_PAUSE_SECONDS = 5.0
"""The longest Retry-After that is honoured: the row is waiting."""
MAX_REDIRECTS = 5
FRESH_SECONDS = 10.0
"""An image without a fault is not asked for again within this time."""
UNREACHABLE_SECONDS = 5.0
"""A host that cannot be reached, or did not answer TIMEOUTS times in a row, is not asked again within this time."""
TIMEOUTS = 2 * PER_HOST
REMEMBERED = 50_000
SETS_AT_ONCE = 16
START_SECONDS = 60.0
"""An image set that is not begun by then is looked at another time."""
READ_CHUNK = 16 * 1024


class _UnreachableError(Exception):
    """A host was unreachable a moment ago: nothing was asked."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding


class _NoAnswerError(Exception):
    """A request to `host` was not answered. `connected`: there was a connection to it."""

    def __init__(self, finding: Finding, host: str, *, connected: bool) -> None:
        super().__init__(finding.text)
        self.finding = finding
        self.host = host
        self.connected = connected


class _Answer(NamedTuple):
    """An answer's status and headers, and how its body begins."""

    status: int
    headers: Mapping[str, str]
    head: bytes
    whole: bool


class _Remembered(msgspec.Struct, frozen=True):
    """A finding, with the validators (ETag, Last-Modified) of the image, and when it was made."""

    finding: Finding | None
    validators: tuple[str, ...]
    at: float


class ImageProbe:
    """Use as an async context manager."""

    def __init__(self, clock: Clock, allowed: Allowed, proxy: Proxy | None = None) -> None:
        self._clock = clock
        self._proxy = proxy
        self._guard = Guard(allowed)
        self._remembered: Recent[str, _Remembered] = Recent(REMEMBERED)
        self._locks: dict[str, asyncio.Lock] = {}
        self._hosts: dict[str, asyncio.Semaphore] = {}
        self._unreachable: Recent[str, Finding] = Recent(REMEMBERED, UNREACHABLE_SECONDS, clock.monotonic)
        self._timeouts: Counter[str] = Counter()
        self._paused: dict[str, float] = {}
        self._all = asyncio.Semaphore(CONNECTIONS)
        self._session: aiohttp.ClientSession
        self._through: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session, self._through = self._open(self._guard), self._open(None)
        return self

    def _open(self, guard: Guard | None) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, resolver=guard, ttl_dns_cache=30),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": USER_AGENT, "Accept": "image/png,image/jpeg", "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
        )

    async def __aexit__(self, *exc: object) -> None:
        await self._session.close()
        await self._through.close()

    # image sets ------------------------------------------------------------------------------------------------------

    async def inspect(self, sets: Sequence[tuple[Image, ...]]) -> list[list[Found] | None]:
        """The faults of the images of each set; None for a set that is not looked at for lack of time."""
        results: list[list[Found] | None] = [None] * len(sets)
        until = self._clock.monotonic() + START_SECONDS
        waiting = iter(range(len(sets)))

        async def worker() -> None:
            for index in waiting:
                if self._clock.monotonic() >= until:
                    return
                results[index] = await self._set(sets[index])

        async with asyncio.TaskGroup() as workers:
            for _ in range(min(SETS_AT_ONCE, len(sets))):
                workers.create_task(worker())
        return results

    async def _set(self, images: tuple[Image, ...]) -> list[Found]:
        async with asyncio.TaskGroup() as group:
            looks = [group.create_task(self.look(image.url)) for image in images]
        findings = [look.result() for look in looks]
        pairs = enumerate(zip(images, findings, strict=True))
        return [Found(place, image, finding) for place, (image, finding) in pairs if finding is not None]

    # one image -------------------------------------------------------------------------------------------------------

    async def look(self, url: str) -> Finding | None:
        """The fault of the image at a URL, or None. Calls for one URL at the same time share one look."""
        asked_at = self._clock.monotonic()
        async with self._alone(url):
            known = self._remembered.get(url)
            if known is not None and (known.at >= asked_at or self._fresh(known)):
                return known.finding
            finding, validators = await self._look_twice(url, known)
            self._remembered.put(url, _Remembered(finding, validators, self._clock.monotonic()))
        metrics.PREFLIGHT.labels(finding.code if finding is not None else "ok").inc()
        return finding

    def _fresh(self, known: _Remembered) -> bool:
        return known.finding is None and self._clock.monotonic() - known.at < FRESH_SECONDS

    @asynccontextmanager
    async def _alone(self, url: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(url, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and self._locks.get(url) is lock:
                del self._locks[url]

    async def _look_twice(self, url: str, known: _Remembered | None) -> tuple[Finding | None, tuple[str, ...]]:
        """Look; after a transient fault, look once more after a pause."""
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(RETRY_SECONDS)
            try:
                finding, validators = await self._look(url, known)
            except _UnreachableError as error:
                return error.finding, ()
            except _NoAnswerError as error:
                finding, validators = error.finding, ()
                # A redirect may have led to another host: that one is not to blame for all images of this one.
                if attempt == TRIES - 1 and not error.connected and error.host == origin(url):
                    self._unreachable.put(error.host, finding)  # else its many images would each wait for it
            if finding is None or not finding.transient:
                break
        return finding, validators

    async def _look(self, url: str, known: _Remembered | None) -> tuple[Finding | None, tuple[str, ...]]:
        """HEAD, then the first bytes, unless HEAD shows the validators that are known. Raises _NoAnswerError."""
        start = await self._head(url)
        if start is not None:
            validators = _validators(start[1].headers)
            if known is not None and validators and validators == known.validators:
                return known.finding, validators
        where, answer = await self._follow("GET", start[0] if start else url, {"Range": f"bytes=0-{HEAD_BYTES - 1}"})
        if answer.status == 206 and not answer.whole and isinstance(measure(answer.head), Further):
            more = await self._follow("GET", where, {"Range": f"bytes=0-{MORE_BYTES - 1}"})
            where, answer = more if more[1].status in (200, 206) else (where, answer)
        status = 200 if _is_empty(answer) else answer.status
        look = Look(where, status, answer.head, _size(answer), answer.whole, redirected=where != url)
        return judge(look), _validators(answer.headers)

    async def _head(self, url: str) -> tuple[str, _Answer] | None:
        """The URL that HEAD leads to, and its answer; None for a server that fails to answer HEAD. Raises _NoAnswerError."""
        try:
            where, answer = await self._follow("HEAD", url, {})
        except _NoAnswerError as error:
            if not error.connected or not error.finding.transient:
                raise
            return None
        return (where, answer) if 200 <= answer.status < 300 else None

    async def _follow(self, method: str, url: str, headers: Mapping[str, str]) -> tuple[str, _Answer]:
        """Ask, and follow redirects: the last URL, and its answer. Raises _NoAnswerError."""
        for _ in range(MAX_REDIRECTS):
            answer = await self._ask(method, url, headers)
            location = answer.headers.get("location")
            if answer.status not in (301, 302, 303, 307, 308) or not location:
                return url, answer
            following = _joined(url, location.strip())
            if not following.lower().startswith(("http://", "https://")):
                return url, answer
            url = following
        return url, answer

    async def _ask(self, method: str, url: str, headers: Mapping[str, str]) -> _Answer:
        """One request; of a body, as much as it takes to measure the image. Raises _NoAnswerError."""
        timeout = aiohttp.ClientTimeout(total=HEAD_SECONDS if method == "HEAD" else REQUEST_SECONDS)
        try:
            target = exact(url)
            host = target.raw_host or ""
            via = self._proxy if self._proxy is not None and self._proxy.serves(host) else None
            self._guard.check_literal(target)
            options: Any = {"allow_redirects": False, "timeout": timeout, **through(via, target, headers)}
            if via is not None:
                async with asyncio.timeout(HEAD_SECONDS):
                    await self._guard.check_name(host)
            async with (
                self._politely(origin(url)),
                (self._session if via is None else self._through).request(method, target, **options) as response,
            ):
                if via is not None and response.status == 407:
                    raise refused_by_proxy(407, origin(url))
                answer = await _read(response, method)
        except (aiohttp.ClientError, OSError, ValueError, TransportError) as error:
            raise self._translated(error, url) from error
        self._timeouts.pop(origin(url), None)
        if answer.status in (429, 503):
            wait = retry_after(answer.headers, self._clock.now()) or 0.0
            self._paused[origin(url)] = self._clock.monotonic() + min(wait, MAX_PAUSE_SECONDS)
        return answer

    def _translated(
        self, error: aiohttp.ClientError | OSError | ValueError | TransportError, url: str
    ) -> _NoAnswerError:
        """The error in our words. A host with many timeouts in a row is taken to be unreachable."""
        failure = error if isinstance(error, TransportError) else translated(error, url)
        host = origin(url)
        finding = _unanswered(error, failure)
        if failure.kind == "timeout":
            self._timeouts[host] += 1
            if self._timeouts[host] >= TIMEOUTS:
                self._unreachable.put(host, finding)
        return _NoAnswerError(finding, host, connected=failure.kind != "no connection")

    @asynccontextmanager
    async def _politely(self, host: str) -> AsyncIterator[None]:
        """Wait until the host may be asked once more. Raises _UnreachableError if it was unreachable a moment ago."""
        turn = self._hosts.setdefault(host, asyncio.Semaphore(PER_HOST))
        async with turn:
            if (pause := self._paused.pop(host, 0.0) - self._clock.monotonic()) > 0:
                await asyncio.sleep(pause)
            if (finding := self._unreachable.get(host)) is not None:
                raise _UnreachableError(finding)
            async with self._all:
                yield
        if len(self._hosts) > REMEMBERED and not turn.locked():
            self._hosts.pop(host, None)


async def _read(response: aiohttp.ClientResponse, method: str) -> _Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    if method == "HEAD":
        return _Answer(response.status, headers, b"", whole=False)
    unpacked = _Unpacked(headers.get("content-encoding", ""))
    whole = False
    while len(unpacked.data) < MORE_BYTES:
        chunk = await response.content.read(READ_CHUNK)
        if not chunk:
            whole = True
            break
        unpacked.add(chunk)
        if len(unpacked.data) >= HEAD_BYTES and not isinstance(measure(unpacked.data), Further):
            break
    total = _total(headers, response.status)
    whole = whole and (response.status == 200 or (total is not None and total <= len(unpacked.data)))
    if not response.content.at_eof():
        response.close()
    return _Answer(response.status, headers, unpacked.data, whole)


class _Unpacked:
    """The beginning of a body. Some servers compress it although `identity` was asked for: then it is decompressed."""

    def __init__(self, encoding: str) -> None:
        self.data = b""
        self._packed = zlib.decompressobj(47) if encoding.lower().strip() in ("gzip", "x-gzip", "deflate") else None

    def add(self, chunk: bytes) -> None:
        if self._packed is not None:
            with contextlib.suppress(zlib.error):
                self.data += self._packed.decompress(chunk, MORE_BYTES)
            return
        self.data += chunk


def _total(headers: Mapping[str, str], status: int) -> int | None:
    """The size of the whole body in bytes: `Content-Range: bytes 0-9/1234`, or Content-Length."""
    text = (
        headers.get("content-range", "").rpartition("/")[2]
        if status in (206, 416)
        else headers.get("content-length", "")
    )
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _size(answer: _Answer) -> int | None:
    return len(answer.head) if answer.whole else _total(answer.headers, answer.status)


def _is_empty(answer: _Answer) -> bool:
    """Whether the body is empty: 416 is the answer to a range of an empty body."""
    return answer.status == 416 and _total(answer.headers, 416) == 0


def _validators(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The headers that tell whether an image is the same; empty where the server sends neither."""
    return tuple(f"{name}: {headers[name]}" for name in ("etag", "last-modified") if headers.get(name))


def _joined(url: str, location: str) -> str:
    """The URL of a redirect; empty if it is not a URL."""
    try:
        return urljoin(url, location)
    except ValueError:
        return ""


def _unanswered(error: Exception, failure: TransportError) -> Finding:
    """What it means for an image that a request raised `error`, in our words `failure`."""
    cause = getattr(error, "os_error", error)  # aiohttp's connector wraps what the resolver raised
    if isinstance(cause, PrivateAddressError):
        return Finding("image_private_address", f"is not to be asked: {cause.strerror}")
    if not failure.transient:
        return Finding("image_refused", f"cannot be asked: {failure}")
    return Finding("image_unreachable", f"cannot be reached: {failure}")
