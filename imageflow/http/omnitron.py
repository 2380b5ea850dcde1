"""Omnitron's API: shared logins, and look-ups of products."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from imageflow import secret
from imageflow.clock import Clock
from imageflow.errors import LoginError, StageError
from imageflow.http.client import Answer, Transport
from imageflow.http.login_session import Session
from imageflow.http.origin import exact_origin, origin, retry_after
from imageflow.http.post_client import PostClient
from imageflow.model.flow import Definition
from imageflow.secret import Secret

MAX_SESSIONS = 1000
JSON_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}


class OmnitronError(StageError):
    """Omnitron's answer to a look-up cannot be used. `transient` and `retry_after` say whether to ask again."""

    stage = "write"

    def __init__(
        self,
        message: str | None = None,
        *,
        status: int | None = None,
        transient: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, transient=transient, retry_after=retry_after)
        self.status = status


class _Credentials(msgspec.Struct, frozen=True):
    domain: str
    login_path: str
    username: Secret
    password: Secret
    bounded: bool


class Access(NamedTuple):
    """A flow's way to tokens: see OmnitronSessions.token and invalidate."""

    session: Session
    log_in: Callable[[], Awaitable[str]]

    async def token(self) -> str:
        return await self.session.token(self.log_in)

    def invalidate(self, token: str) -> None:
        self.session.forget(token)


class OmnitronSessions:
    """One session per domain and user, whatever the number of flows and rows; bounded flows have their own."""

    def __init__(self, transport: Transport, environ: Mapping[str, str], clock: Clock) -> None:
        self._transport = transport
        self._environ = environ
        self._clock = clock
        self._sessions: dict[_Credentials, Session] = {}

    async def token(self, flow: Definition) -> str:
        """A token for the flow's Omnitron.

        Raises SecretError for a secret that is not set; LoginError when the credentials are refused, and, `transient`,
        when Omnitron is busy or out of order; TransportError when it cannot be reached.
        """
        return await self.access(flow).token()

    def access(self, flow: Definition) -> Access:
        """The session of a flow, its secrets read once: for many requests. Raises SecretError."""
        credentials = self._credentials(flow)
        session = self._sessions.get(credentials)
        if session is None:
            session = self._open(credentials)
        return Access(session, lambda: self._log_in(credentials, flow.write.timeout))

    def post_client(self, flow: Definition, url: str) -> PostClient:
        """A client for the flow's writes. Raises TransportError for a URL that cannot be asked."""
        guard = self._transport.guard if flow.bounded else None
        return PostClient(url, guard=guard, proxy=self._transport.proxy)

    def invalidate(self, flow: Definition, token: str) -> None:
        """Omnitron answered 401 to `token`: drop it, unless a newer one took its place already."""
        for credentials, session in self._sessions.items():
            if credentials.domain == flow.omnitron.domain:
                session.forget(token)

    async def get_json(self, flow: Definition, path_or_url: str) -> Any:
        """What Omnitron answers to a GET of a path, or of a URL of the same host (the `next` of a list).

        Raises what `token` raises, TransportError, and OmnitronError for any answer that is not a 2xx with JSON.
        """
        url = _url(flow.omnitron.domain, path_or_url)
        answer, token = await self._get(flow, url)
        if answer.status == 401:
            self.invalidate(flow, token)
            answer, _ = await self._get(flow, url)
        return _json(answer, url, retry_after(answer.headers, self._clock.now()))

    async def _get(self, flow: Definition, url: str) -> tuple[Answer, str]:
        token = await self.token(flow)
        headers = {**JSON_HEADERS, "Authorization": f"Token {token}"}
        asked = self._transport.request("GET", url, headers=headers, timeout=flow.write.timeout, bounded=flow.bounded)
        return await asked, token

    def _credentials(self, flow: Definition) -> _Credentials:
        return _Credentials(
            flow.omnitron.domain,
            flow.omnitron.login_path,
            secret.resolve(flow.omnitron.username, self._environ, bounded=flow.bounded),
            secret.resolve(flow.omnitron.password, self._environ, bounded=flow.bounded),
            flow.bounded,
        )

    def _open(self, credentials: _Credentials) -> Session:
        while len(self._sessions) >= MAX_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        return self._sessions.setdefault(credentials, Session(self._clock, credentials.domain))

    async def _log_in(self, credentials: _Credentials, timeout: float) -> str:
        url = credentials.domain + credentials.login_path
        body = {"username": credentials.username.reveal(), "password": credentials.password.reveal()}
        answer = await self._transport.request(
            "POST",
            url,
            headers=JSON_HEADERS,
            body=msgspec.json.encode(body),
            timeout=timeout,
            bounded=credentials.bounded,
        )
        return _key(answer, url, retry_after(answer.headers, self._clock.now()))


def _key(answer: Answer, url: str, wait: float | None) -> str:
    """The token in the answer to a login; raises LoginError that says what Omnitron said."""
    where = f"the login at Omnitron ({origin(url)})"
    if not answer.ok:
        said = answer.excerpt()
        raise LoginError(
            f"{where} was refused: {answer.status} {said}".rstrip(), transient=answer.transient, retry_after=wait
        )
    try:
        document = msgspec.json.decode(answer.body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # a maintenance page with status 200 passes; wrong credentials do not look like that
        raise LoginError(f"{where} was answered without JSON", transient=True, retry_after=wait) from None
    key = document.get("key") if isinstance(document, dict) else None
    if not isinstance(key, str) or not key.isascii() or not key.isprintable() or not key.strip():
        raise LoginError(f'{where} was answered without a usable "key"', transient=False)
    return key


def _url(domain: str, path_or_url: str) -> str:
    """The URL to ask. Omnitron behind a proxy writes http:// in its links: the domain's own scheme is used."""
    if "://" not in path_or_url:
        return domain + "/" + path_or_url.lstrip("/")
    try:
        same = exact_origin(path_or_url).host == exact_origin(domain).host
    except ValueError:
        same = False
    if not same:
        raise OmnitronError(f"a link of Omnitron leads to another host: {origin(path_or_url)[:200]}")
    ours, theirs = urlsplit(domain), urlsplit(path_or_url)
    return theirs._replace(scheme=ours.scheme, netloc=ours.netloc, fragment="").geturl()


def _json(answer: Answer, url: str, wait: float | None) -> Any:
    where = f"Omnitron ({origin(url)}{urlsplit(url).path})"
    if not answer.ok:
        said = answer.excerpt()
        raise OmnitronError(
            f"{where} answered {answer.status} {said}".rstrip(),
            status=answer.status,
            retry_after=wait,
            transient=answer.transient or answer.status == 401,
        )
    try:
        return msgspec.json.decode(answer.body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise OmnitronError(f"{where} answered without JSON", status=answer.status, transient=True) from error
