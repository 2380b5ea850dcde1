"""A login token that many requests share. One login serves all that wait for it, and many 401 lead to one login."""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from imageflow.clock import Clock
from imageflow.errors import LoginError, StageError, TransportError
from imageflow.telemetry import metrics
from imageflow.text.masking import hide

REFUSED_SECONDS = 5.0
"""How long a refused login is not tried again: many rows with a wrong password would lock the account."""

UNREACHABLE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 60.0
RENEWED_BEFORE_SECONDS = 60.0
"""So long before it expires a token is renewed, but not before half of its time: a request may be long on its way."""


class Issued(NamedTuple):
    """What a login gave, and for how many seconds it is good (None: nobody said)."""

    text: str
    seconds: float | None = None


class Token(str):
    """The token of one login. Tokens are compared by identity: two logins that gave the same text gave two tokens."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Token(***)"


class Session:
    """Logs in when a token is asked for and there is none; all who ask meanwhile get the same outcome."""

    def __init__(self, clock: Clock, domain: str = "") -> None:
        """`domain`: the server's, for the metrics."""
        self._clock = clock
        self._domain = domain
        self._lock = asyncio.Lock()
        self._token: Token | None = None
        self._renewed_at = self._expires_at = math.inf
        self._failure: Exception | None = None
        self._failed_until = 0.0
        self._failures = 0

    async def token(self, login: Callable[[], Awaitable[str | Issued]]) -> Token:
        """The token; `login` is called where there is none, or where it will soon expire. A failure of `login` is raised to all
        who wait for it, and to those who ask within the pause after it, unless the token is still good. On cancellation the
        next one who waits logs in.
        """
        if (token := self._good_until(self._renewed_at)) is not None:
            return token
        seen = self._failures
        async with self._lock:
            if (token := self._good_until(self._renewed_at)) is not None:
                return token
            try:
                if self._failure is not None and (
                    self._failures != seen or self._clock.monotonic() < self._failed_until
                ):
                    raise copy.copy(self._failure)
                return await self._log_in(login)
            except (StageError, TransportError):
                if (token := self._good_until(self._expires_at)) is not None:
                    return token
                raise

    def _good_until(self, end: float) -> Token | None:
        return self._token if self._clock.monotonic() < end else None

    async def _log_in(self, login: Callable[[], Awaitable[str | Issued]]) -> Token:
        try:
            given = await login()
        except (StageError, TransportError) as error:
            refused = isinstance(error, LoginError) and not error.transient
            metrics.LOGINS.labels(self._domain, "refused" if refused else "unavailable").inc()
            pause = REFUSED_SECONDS if refused else UNREACHABLE_SECONDS
            self._failure = error
            self._failures += 1
            self._failed_until = self._clock.monotonic() + min(max(pause, error.retry_after or 0.0), MAX_PAUSE_SECONDS)
            raise
        issued = given if isinstance(given, Issued) else Issued(given)
        self._renewed_at = self._expires_at = math.inf
        if issued.seconds is not None:
            now = self._clock.monotonic()
            self._expires_at = now + issued.seconds
            self._renewed_at = self._expires_at - min(RENEWED_BEFORE_SECONDS, issued.seconds / 2)
        hide(issued.text)
        metrics.LOGINS.labels(self._domain, "ok").inc()
        self._failure = None
        self._token = Token(issued.text)
        return self._token

    def holds(self, token: str) -> bool:
        """Whether that is the current token (a plain string is compared by its text)."""
        return self._token is token or (not isinstance(token, Token) and self._token == token)

    def forget(self, token: str) -> None:
        """The token was refused: the next request for one logs in, unless there is a newer token already."""
        if self.holds(token):
            self._token = None
