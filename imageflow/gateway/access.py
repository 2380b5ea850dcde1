"""Who may come in: logins, tokens, and the keys of machines."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import NamedTuple

from imageflow.actions import credentials, users
from imageflow.actions.actor import Role
from imageflow.clock import Clock
from imageflow.errors import RequestError, StoreError, ThrottledError
from imageflow.gateway import login_pace
from imageflow.runtime.bounded import Recent
from imageflow.store import ApiKey, Store, User
from imageflow.store.logins import FAMILIAR, FAMILIAR_FOR
from imageflow.telemetry import metrics
from imageflow.text.excerpt import hidden_in_json
from imageflow.text.masking import hide_bearer

MAX_TOKEN_CHARS = 512
TOKEN_SECONDS = 12 * 3600.0
CACHE_SECONDS = 1.0
"""How long a gateway caches a credential. A revocation by another gateway or the command line counts after that time,
its own at once.
"""
CACHE_TOKENS = 1_000
NOTED_SECONDS = 60.0
"""The use of a key is recorded once in that time, and not with each request."""
LOGINS_AT_ONCE = 100
STRANGERS_AT_ONCE = 20
"""How many logins may wait: with names that exist, and with unknown ones. Each of the two has a queue of its own, which
hashes one password at a time, so that unknown names cannot keep users from logging in.
"""


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
    hide_bearer(token)
    return token


async def add_token(store: Store, secret_key: bytes, user: str, clock: Clock, seconds: float) -> str:
    """A new token of the user, good for `seconds`."""
    token = credentials.new_token()
    await store.save_token(credentials.digest(secret_key, token), user, clock.now() + timedelta(seconds=seconds))
    return token


def may(user: User, role: Role) -> bool:
    """Whether the user's role is that one or above."""
    return users.ROLES.index(user.role) >= users.ROLES.index(role)


def shown(user: User, body: bytes) -> bytes:
    """JSON as the user may see it: without excerpts of answers that are no JSON, unless they are an operator."""
    return body if may(user, "operator") else hidden_in_json(body)


class Credential(NamedTuple):
    """A token or a key, as the store knows it."""

    digest: str
    is_key: bool


Known = User | ApiKey
"""Whose a credential is."""


class Access:
    """Logins and tokens of one gateway process."""

    def __init__(self, store: Store, secret_key: bytes, clock: Clock) -> None:
        credentials.unknown_hash()  # now, so that the first unknown user does not take twice as long
        self._store = store
        self._secret_key = secret_key
        self._digest = functools.lru_cache(CACHE_TOKENS)(functools.partial(credentials.digest, secret_key))
        self._clock = clock
        self._cache: Recent[str, Known] = Recent(CACHE_TOKENS, CACHE_SECONDS, clock.monotonic)
        self._noted: Recent[str, bool] = Recent(CACHE_TOKENS, NOTED_SECONDS, clock.monotonic)
        self._looking: dict[tuple[Credential, int], asyncio.Task[Known]] = {}
        self._changes = 0
        self._users = _Line(LOGINS_AT_ONCE)
        self._strangers = _Line(STRANGERS_AT_ONCE)

    async def login(self, name: str, password: str, address: str) -> Token | None:
        """A fresh token, or None: no such user or another password.

        Raises ThrottledError after too many failures (login_pace.py) or while too many log in at once, StoreError when the
        database is away.
        """
        user = await self.verified(name, password, address)
        if user is None:
            return None
        expires_at = self._clock.now() + timedelta(seconds=TOKEN_SECONDS)
        return Token(await add_token(self._store, self._secret_key, user.name, self._clock, TOKEN_SECONDS), expires_at)

    async def verified(self, name: str, password: str, address: str) -> User | None:
        """The user whose password this is, or None. Raises as `login`."""
        user = await self._known(name[:200], password[: users.MAX_PASSWORD_CHARS], address)
        metrics.LOGINS.labels("gateway", "refused" if user is None else "ok").inc()
        return user

    async def _known(self, name: str, password: str, address: str) -> User | None:
        keys = self._keys(name, address)
        await self._check_pace(keys)
        user = await self._store.user(name)
        line = self._strangers if user is None else self._users
        async with line.turn():
            # Again: of many tries that waited here together, no more get through than of as many one by one.
            await self._check_pace(keys)
            if not await asyncio.to_thread(credentials.verify, user.password_hash if user else None, password):
                await self._store.count_login(keys, forget_after=login_pace.FORGET_AFTER)
                return None
        await self._store.forget_login("pair", keys["pair"])
        await self._store.count_login({FAMILIAR: keys["pair"]}, forget_after=FAMILIAR_FOR)
        return user

    def _keys(self, name: str, address: str) -> dict[str, str]:
        """The keys that failures are counted by. They are digests, so that the database lists neither names nor
        addresses.
        """
        texts = {"pair": f"{name}\n{address}", "address": address, "name": name}
        return {kind: credentials.digest(self._secret_key, f"{kind} {text}") for kind, text in texts.items()}

    async def _check_pace(self, keys: Mapping[str, str]) -> None:
        counts = await self._store.login_counts({**keys, FAMILIAR: keys["pair"]})
        failures = {kind: login_pace.Failures(*counts[kind]) for kind in login_pace.PACES if kind in counts}
        wait = login_pace.wait(failures, self._clock.now(), familiar=FAMILIAR in counts)
        if wait > 0:
            metrics.LOGINS.labels("gateway", "slowed").inc()
            raise ThrottledError("too many failed logins; try again later", wait)

    async def user(self, authorization: list[str]) -> User:
        """The user of a request, by its Authorization headers. Raises AuthenticationError, PermissionDenied for a key."""
        known = await self._whose(self.credential(authorization))
        if isinstance(known, ApiKey):
            raise PermissionDenied(
                f"this key opens the outbound door of the flow {known.flow!r} and nothing else; log in"
            )
        return known

    def credential(self, authorization: list[str]) -> Credential:
        """The credential of a request, by its Authorization headers. Raises AuthenticationError."""
        token = bearer(authorization)
        if token is None:
            raise AuthenticationError("an access token is needed: log in, then send Authorization: Bearer TOKEN")
        return Credential(self._digest(token), token.startswith(credentials.KEY_PREFIX))

    async def poster(self, credential: Credential, flow: str) -> str:
        """The name of a user or a key that may post rows to the flow. Raises AuthenticationError, PermissionDenied."""
        known = await self._whose(credential)
        if isinstance(known, ApiKey):
            if known.flow != flow:
                raise PermissionDenied("this key is of another flow")
            await self._note(known)
            return f"key {known.name}"
        if not may(known, "operator"):
            raise PermissionDenied("a viewer may not post rows; it takes the role operator or admin")
        return known.name

    async def _note(self, key: ApiKey) -> None:
        """Record that the key is used now. If that fails, the post goes on."""
        now = self._clock.now()
        if self._noted.get(key.id) or (key.used_at is not None and (now - key.used_at).total_seconds() < NOTED_SECONDS):
            return
        self._noted.put(key.id, True)
        with contextlib.suppress(StoreError):
            await self._store.note_key_use(key.id, now)

    async def _whose(self, credential: Credential) -> Known:
        return self._cache.get(credential.digest) or await self._looked_up(credential)

    async def _looked_up(self, credential: Credential) -> Known:
        """Concurrent requests with one credential share one query. After a change, no result from before it is cached."""
        changes = self._changes
        looking = self._looking.get((credential, changes))
        if looking is None:
            looking = asyncio.create_task(self._look_up(credential))
            self._looking[credential, changes] = looking
            looking.add_done_callback(lambda done: self._end_look_up(done, (credential, changes)))
        known = await asyncio.shield(looking)
        if changes == self._changes:
            self._cache.put(credential.digest, known)
        return known

    def _end_look_up(self, looking: asyncio.Task[Known], key: tuple[Credential, int]) -> None:
        del self._looking[key]
        if not looking.cancelled():
            looking.exception()  # those who wait for it have it; there may be nobody any more

    async def _look_up(self, credential: Credential) -> Known:
        if credential.is_key:
            key = await self._store.key(credential.digest, self._clock.now())
            if key is None:
                raise AuthenticationError("the key is unknown, revoked or has expired")
            return key
        user = await self._store.token_user(credential.digest, self._clock.now())
        if user is None:
            raise AuthenticationError("the access token is unknown or has expired; log in again")
        return user

    async def logout(self, authorization: list[str]) -> None:
        """Revoke the token. Other gateways may take it for CACHE_SECONDS more."""
        token = bearer(authorization)
        if token is not None:
            await self._store.revoke_token(credentials.digest(self._secret_key, token))
        self.forget()

    def forget(self) -> None:
        """Users or keys have changed: ask the store again."""
        self._changes += 1
        self._cache.clear()


class _Line:
    """A queue of at most `limit` logins, whose passwords are hashed one after the other."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting = 0
        self._hashing = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Raises ThrottledError where the line is full."""
        if self._waiting >= self._limit:
            raise ThrottledError("too many logins at once", 1.0, overload=True)
        self._waiting += 1
        try:
            async with self._hashing:
                yield
        finally:
            self._waiting -= 1
