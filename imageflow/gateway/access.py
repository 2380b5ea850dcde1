"""Who may come in: logins, tokens, and the keys of machines."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import datetime, timedelta
from typing import NamedTuple

from imageflow.actions import credentials, users
from imageflow.actions.actor import Role
from imageflow.clock import Clock
from imageflow.errors import RequestError, ThrottledError
from imageflow.runtime.bounded import Recent
from imageflow.store import ApiKey, Store, User
from imageflow.telemetry import metrics

MAX_TOKEN_CHARS = 512
TOKEN_SECONDS = 12 * 3600.0
CACHE_SECONDS = 10.0
CACHE_TOKENS = 1_000
LOGIN_FAILURES = 10
LOGIN_WINDOW_SECONDS = 300.0
LOGIN_KEYS = 10_000
HASHES_AT_ONCE = 2
LOGINS_AT_ONCE = 100


class AuthenticationError(RequestError):
    """The gateway does not know who asks."""


class PermissionDenied(RequestError):
    """The role, or the key, does not allow it."""


class Token(NamedTuple):
    """A fresh token and when it expires."""

    text: str
    expires_at: datetime


def bearer(values: list[str]) -> str | None:
    """The token of `Authorization: Bearer …` or `Token …`; None unless there is exactly one such header."""
    scheme, _, token = values[0].strip().partition(" ") if len(values) == 1 else ("", "", "")
    token = token.strip()
    if scheme.lower() not in ("bearer", "token") or not 0 < len(token) <= MAX_TOKEN_CHARS or not token.isascii():
        return None
    return token


async def add_token(store: Store, secret_key: bytes, user: str, clock: Clock, seconds: float) -> str:
    """A new token of the user, good for `seconds`."""
    token = credentials.new_token()
    await store.save_token(credentials.digest(secret_key, token), user, clock.now() + timedelta(seconds=seconds))
    return token


def may(user: User, role: Role) -> bool:
    """Whether the user's role is that one or above."""
    return users.ROLES.index(user.role) >= users.ROLES.index(role)


class Failures:
    """Failed logins per key (user and address) within a window: what slows a guesser down. Remembers `keys` keys."""

    def __init__(
        self, limit: int = LOGIN_FAILURES, window: float = LOGIN_WINDOW_SECONDS, keys: int = LOGIN_KEYS
    ) -> None:
        self._limit = limit
        self._window = window
        self._failures: Recent[tuple[str, str], deque[float]] = Recent(keys)

    def wait(self, key: tuple[str, str], now: float) -> float | None:
        """Seconds until the next try is allowed; None: it is now."""
        times = self._failures.get(key)
        while times and times[0] <= now - self._window:
            times.popleft()
        if not times:
            self._failures.forget(key)
            return None
        return times[0] + self._window - now if len(times) >= self._limit else None

    def add(self, key: tuple[str, str], now: float) -> None:
        times = self._failures.get(key)
        if times is None:
            times = self._failures.put(key, deque(maxlen=self._limit))
        times.append(now)

    def forget(self, key: tuple[str, str]) -> None:
        self._failures.forget(key)


Known = User | ApiKey
"""Whose a credential is."""


class Access:
    """Logins and tokens of one gateway process."""

    def __init__(self, store: Store, secret_key: bytes, clock: Clock) -> None:
        credentials.unknown_hash()  # now, so that the first unknown user does not take twice as long
        self._store = store
        self._secret_key = secret_key
        self._clock = clock
        self._failures = Failures()
        self._cache: Recent[str, Known] = Recent(CACHE_TOKENS, CACHE_SECONDS, clock.monotonic)
        self._hashing = asyncio.Semaphore(HASHES_AT_ONCE)
        self._logins = 0

    async def login(self, name: str, password: str, address: str) -> Token | None:
        """A fresh token, or None: no such user or another password. Raises
        ThrottledError after too many failures or while too many log in at once, StoreError when the database is away.
        """
        if self._logins >= LOGINS_AT_ONCE:
            raise ThrottledError("too many logins at once", 1.0, overload=True)
        self._logins += 1
        try:
            user = await self._known(name[:200], password[: users.MAX_PASSWORD_CHARS], address)
        finally:
            self._logins -= 1
        metrics.LOGINS.labels("gateway", "refused" if user is None else "ok").inc()
        if user is None:
            return None
        expires_at = self._clock.now() + timedelta(seconds=TOKEN_SECONDS)
        return Token(await add_token(self._store, self._secret_key, user.name, self._clock, TOKEN_SECONDS), expires_at)

    async def _known(self, name: str, password: str, address: str) -> User | None:
        key = (name, address)
        self._check_failures(key)
        async with self._hashing:
            # Again: of many tries that waited here together, no more get through than of as many one by one.
            self._check_failures(key)
            user = await self._store.user(name)
            if not await asyncio.to_thread(credentials.verify, user.password_hash if user else None, password):
                self._failures.add(key, self._clock.monotonic())
                return None
        self._failures.forget(key)
        return user

    def _check_failures(self, key: tuple[str, str]) -> None:
        wait = self._failures.wait(key, self._clock.monotonic())
        if wait is not None:
            metrics.LOGINS.labels("gateway", "slowed").inc()
            raise ThrottledError("too many failed logins; try again later", wait)

    async def user(self, authorization: list[str]) -> User:
        """The user of a request, by its Authorization headers. Raises AuthenticationError, PermissionDenied for a key."""
        known = await self._whose(authorization)
        if isinstance(known, ApiKey):
            raise PermissionDenied(
                f"this key opens the outbound door of the flow {known.flow!r} and nothing else; log in"
            )
        return known

    async def poster(self, authorization: list[str], flow: str) -> str:
        """The name of a user or a key that may post rows to the flow. Raises AuthenticationError, PermissionDenied."""
        known = await self._whose(authorization)
        if isinstance(known, ApiKey):
            if known.flow != flow:
                raise PermissionDenied("this key is of another flow")
            return f"key {known.name}"
        if not may(known, "operator"):
            raise PermissionDenied("a viewer may not post rows; it takes the role operator or admin")
        return known.name

    async def _whose(self, authorization: list[str]) -> Known:
        token = bearer(authorization)
        if token is None:
            raise AuthenticationError("an access token is needed: log in, then send Authorization: Bearer TOKEN")
        token_digest = credentials.digest(self._secret_key, token)
        known = self._cache.get(token_digest)
        if known is None:
            known = await self._look_up(token_digest, is_key=token.startswith(credentials.KEY_PREFIX))
            self._cache.put(token_digest, known)
        return known

    async def _look_up(self, token_digest: str, *, is_key: bool) -> Known:
        if is_key:
            key = await self._store.key(token_digest, self._clock.now())
            if key is None:
                raise AuthenticationError("the key is unknown, revoked or has expired")
            return key
        user = await self._store.token_user(token_digest, self._clock.now())
        if user is None:
            raise AuthenticationError("the access token is unknown or has expired; log in again")
        return user

    async def logout(self, authorization: list[str]) -> None:
        """The token opens nothing any more; other gateways know after CACHE_SECONDS."""
        token = bearer(authorization)
        if token is not None:
            await self._store.revoke_token(credentials.digest(self._secret_key, token))
        self.forget()

    def forget(self) -> None:
        """Users or keys have changed: ask the store again."""
        self._cache.clear()
