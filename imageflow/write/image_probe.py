"""Looks at images over HTTP before they are written: HEAD, then the first bytes. `preflight.py` judges.

Image servers are strangers: they are asked politely (a few requests at once per host, a pause where they ask for one),
never trusted (bounded in bytes, time and redirects), and never asked where they are in a private network. A host name is
resolved once per connection, and the connection goes to the address that was looked at: a name that changes its mind in
between gains nothing. What was seen is remembered by URL, as long as its ETag or Last-Modified says that it is the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import zlib
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self
from urllib.parse import urljoin

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from imageflow.clock import Clock
from imageflow.errors import TransportError
from imageflow.http.client import USER_AGENT, exact, origin, retry_after, translated
from imageflow.model.imageset import Image
from imageflow.telemetry import metrics
from imageflow.write.preflight import (
    HEAD_BYTES,
    MORE_BYTES,
    Allowed,
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
"""A Retry-After is honoured up to here: the row is waiting."""
MAX_REDIRECTS = 5
FRESH_SECONDS = 10.0
"""So long an image that was well is not even asked for."""
AWAY_SECONDS = 5.0
"""So long a host that cannot be reached, or did not answer TIMEOUTS times in a row, is not asked again."""
TIMEOUTS = 2 * PER_HOST
REMEMBERED = 50_000
SETS_AT_ONCE = 16
START_SECONDS = 60.0
"""An image set that could not be begun by then is looked at another time."""
READ_CHUNK = 16 * 1024


class PrivateAddressError(OSError):
    """A host is in a private network."""


class _AwayError(Exception):
    """A host was found to be away: nothing was asked."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding


class _Answer(NamedTuple):
    """An answer's status and headers, and how its body begins."""

    status: int
    headers: Mapping[str, str]
    head: bytes
    whole: bool


class _Remembered(msgspec.Struct, frozen=True):
    """What was found, and the validators it was found with."""

    finding: Finding | None
    validators: tuple[str, ...]
    at: float


class _Guard(AbstractResolver):
    """Resolves names, and refuses those that lead into private networks."""

    def __init__(self, allowed: Allowed) -> None:
        self._resolver = ThreadedResolver()
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if not self._allowed.permits(host, [one["host"] for one in found]):
            raise PrivateAddressError(f"{host} is in a private network")
        return found

    async def close(self) -> None:
        await self._resolver.close()


class ImageProbe:
    """Use as an async context manager."""

    def __init__(self, clock: Clock, allowed: Allowed) -> None:
        self._clock = clock
        self._allowed = allowed
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()
        self._looking: dict[str, asyncio.Lock] = {}
        self._hosts: dict[str, asyncio.Semaphore] = {}
        self._away: dict[str, tuple[float, Finding]] = {}
        self._timeouts: Counter[str] = Counter()
        self._paused: dict[str, float] = {}
        self._all = asyncio.Semaphore(CONNECTIONS)
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, resolver=_Guard(self._allowed), ttl_dns_cache=30),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": USER_AGENT, "Accept": "image/png,image/jpeg", "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._session.close()

    # image sets ------------------------------------------------------------------------------------------------------

    async def inspect(self, sets: Sequence[tuple[Image, ...]]) -> list[list[Found] | None]:
        """What is wrong with the images of each set; None for a set that there was no time for."""
        results: list[list[Found] | None] = [None] * len(sets)
        until = self._clock.monotonic() + START_SECONDS
        waiting = iter(range(len(sets)))

        async def lane() -> None:
            for index in waiting:
                if self._clock.monotonic() >= until:
                    return
                results[index] = await self._set(sets[index])

        async with asyncio.TaskGroup() as lanes:
            for _ in range(min(SETS_AT_ONCE, len(sets))):
                lanes.create_task(lane())
        return results

    async def _set(self, images: tuple[Image, ...]) -> list[Found]:
        async with asyncio.TaskGroup() as group:
            looks = [group.create_task(self.look(image.url)) for image in images]
        findings = [look.result() for look in looks]
        pairs = enumerate(zip(images, findings, strict=True))
        return [Found(place, image, finding) for place, (image, finding) in pairs if finding is not None]

    # one image -------------------------------------------------------------------------------------------------------

    async def look(self, url: str) -> Finding | None:
        """What is wrong with the image at a URL. Several who ask at once look once."""
        asked_at = self._clock.monotonic()
        async with self._alone(url):
            known = self._remembered.get(url)
            if known is not None and (known.at >= asked_at or self._fresh(known)):
                return known.finding
            finding, validators = await self._look_again(url, known)
            self._remember(url, _Remembered(finding, validators, self._clock.monotonic()))
        metrics.PREFLIGHT.labels(finding.code if finding is not None else "ok").inc()
        return finding

    def _fresh(self, known: _Remembered) -> bool:
        return known.finding is None and self._clock.monotonic() - known.at < FRESH_SECONDS

    def _remember(self, url: str, seen: _Remembered) -> None:
        self._remembered[url] = seen
        self._remembered.move_to_end(url)
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)

    @asynccontextmanager
    async def _alone(self, url: str) -> AsyncIterator[None]:
        lock = self._looking.setdefault(url, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and self._looking.get(url) is lock:
                del self._looking[url]

    async def _look_again(self, url: str, known: _Remembered | None) -> tuple[Finding | None, tuple[str, ...]]:
        """Look, and where nobody answered, once more after a pause."""
        host = origin(url)
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(RETRY_SECONDS)
            try:
                finding, validators = await self._look(url, known)
            except _AwayError as away:
                return away.finding, ()
            except TransportError as error:
                finding, validators = _unanswered(error), ()
                if attempt == TRIES - 1 and _is_away(error) and host in str(error):
                    self._note_away(host, finding)
            if finding is None or not finding.transient:
                break
        return finding, validators

    def _note_away(self, host: str, finding: Finding) -> None:
        """Remember a host that is away: the many images that it has would each wait for it."""
        now = self._clock.monotonic()
        self._away = {one: noted for one, noted in self._away.items() if noted[0] > now}
        self._away[host] = now + AWAY_SECONDS, finding

    async def _look(self, url: str, known: _Remembered | None) -> tuple[Finding | None, tuple[str, ...]]:
        """HEAD, then the first bytes, unless HEAD says that it is what it was. Raises TransportError."""
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
        """Where HEAD leads to and its answer; None where the server does not know HEAD, or is beyond it."""
        try:
            where, answer = await self._follow("HEAD", url, {})
        except TransportError as error:
            if _is_away(error) or not _unanswered(error).transient:
                raise
            return None
        return (where, answer) if 200 <= answer.status < 300 else None

    async def _follow(self, method: str, url: str, headers: Mapping[str, str]) -> tuple[str, _Answer]:
        """Ask, and follow redirects: where they led, and what was said there. Raises TransportError."""
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
        """One request; of a body, as much as it takes to measure the image. Raises TransportError."""
        timeout = aiohttp.ClientTimeout(total=HEAD_SECONDS if method == "HEAD" else REQUEST_SECONDS)
        options: Any = {"headers": headers, "allow_redirects": False, "timeout": timeout}
        try:
            target = exact(url)
            self._check_literal(target)
            async with (
                self._politely(origin(url)),
                self._session.request(method, target, **options) as response,
            ):
                answer = await _read(response, method)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._translated(error, url) from error
        self._timeouts.pop(origin(url), None)
        if answer.status in (429, 503):
            wait = retry_after(answer.headers, self._clock.now()) or 0.0
            self._paused[origin(url)] = self._clock.monotonic() + min(wait, MAX_PAUSE_SECONDS)
        return answer

    def _translated(self, error: aiohttp.ClientError | OSError | ValueError, url: str) -> TransportError:
        """The error in our words. A host that never answers in time is taken to be away."""
        failure = translated(error, url)
        if isinstance(error, TimeoutError):
            self._timeouts[origin(url)] += 1
            if self._timeouts[origin(url)] >= TIMEOUTS:
                self._note_away(origin(url), _unanswered(failure))
        return failure

    def _check_literal(self, target: URL) -> None:
        """An address in a URL is not resolved: it is judged here. What only looks like one (`127.1`, `2130706433`) would
        be read as one by the system, so it counts as private.
        """
        host = (target.raw_host or "").strip("[]")
        looks_like_one = ":" in host or host.replace(".", "").isdigit()
        if looks_like_one and not self._allowed.permits(host, [host]):
            raise PrivateAddressError(f"{host} is in a private network")

    @asynccontextmanager
    async def _politely(self, host: str) -> AsyncIterator[None]:
        """Wait until the host may be asked once more. Raises _AwayError where it was found to be away just now."""
        turn = self._hosts.setdefault(host, asyncio.Semaphore(PER_HOST))
        async with turn:
            if (pause := self._paused.pop(host, 0.0) - self._clock.monotonic()) > 0:
                await asyncio.sleep(pause)
            if (away := self._away.get(host)) is not None and away[0] > self._clock.monotonic():
                raise _AwayError(away[1])
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
    """The beginning of a body, unpacked where a server packs what was asked for unpacked."""

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
    """How many bytes the whole body has: `Content-Range: bytes 0-9/1234`, or Content-Length."""
    text = (
        headers.get("content-range", "").rpartition("/")[2]
        if status in (206, 416)
        else headers.get("content-length", "")
    )
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _size(answer: _Answer) -> int | None:
    return len(answer.head) if answer.whole else _total(answer.headers, answer.status)


def _is_empty(answer: _Answer) -> bool:
    """There is no first byte: that is how a range of nothing is answered."""
    return answer.status == 416 and _total(answer.headers, 416) == 0


def _validators(headers: Mapping[str, str]) -> tuple[str, ...]:
    """What says that an image is the same; nothing where the server gives neither of them."""
    return tuple(f"{name}: {headers[name]}" for name in ("etag", "last-modified") if headers.get(name))


def _joined(url: str, location: str) -> str:
    """Where a redirect leads; nowhere, if that is no URL."""
    try:
        return urljoin(url, location)
    except ValueError:
        return ""


def _is_away(error: TransportError) -> bool:
    """Whether there was no connection at all."""
    return error.kind == "no connection"


def _unanswered(error: TransportError) -> Finding:
    """What it means that there is no answer."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PrivateAddressError):
            return Finding("image_private_address", f"is not to be asked: {cause}")
        if isinstance(cause, ssl.SSLCertVerificationError):
            break
        cause = cause.__cause__ or getattr(cause, "os_error", None)
    if not error.transient:
        return Finding("image_refused", f"cannot be asked: {error}")
    return Finding("image_unreachable", f"cannot be reached: {error}")
