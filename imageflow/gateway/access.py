"""Who may come in: users, passwords, tokens, and the keys of machines.

Passwords are kept as Argon2id hashes. A token is 32 random bytes in URL-safe text, and so is a key behind its prefix;
the store has only their HMAC under the secret key, so that neither a stolen database nor a guessed row opens the door.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import hmac
import re
import secrets
import unicodedata
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, get_args

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from imageflow.clock import Clock
from imageflow.errors import RequestError
from imageflow.gateway.problem_details import Refusal
from imageflow.runtime.bounded import Recent
from imageflow.store import ApiKey, AuditEntry, Store, User
from imageflow.telemetry import metrics

Role = Literal["viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""Each may do what those before it may."""
MIN_PASSWORD_CHARS = 8
MAX_PASSWORD_CHARS = 1024
MAX_TOKEN_CHARS = 512
TOKEN_SECONDS = 12 * 3600.0
CACHE_SECONDS = 10.0
CACHE_TOKENS = 1_000
LOGIN_FAILURES = 10
LOGIN_WINDOW_SECONDS = 300.0
LOGIN_KEYS = 10_000
HASHES_AT_ONCE = 2
LOGINS_AT_ONCE = 100
KEY_PREFIX = "ifk."
"""What a key begins with, and no token can: it is told from a token, and found where somebody left it lying about."""
MAX_KEY_NAME_CHARS = 100
MAX_KEY_DAYS = 3650

_NAME = re.compile(r"[A-Za-z0-9._@+-]{1,150}")
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class UserError(RequestError):
    """A user or a key cannot be added like this."""


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


def digest(secret_key: bytes, token: str) -> str:
    """What the store keeps of a token."""
    return hmac.new(secret_key, token.encode(), hashlib.sha256).hexdigest()


@functools.cache
def _nobody() -> str:
    """Verified in place of an unknown user's hash: who is unknown takes as long as who has another password."""
    return _hasher.hash(secrets.token_urlsafe(32))


def verify(password_hash: str | None, password: str) -> bool:
    """Whether the password is the one hashed. Slow on purpose, and as slow for a user who does not exist (None)."""
    try:
        _hasher.verify(_nobody() if password_hash is None else password_hash, _normal(password))
    except (VerificationError, InvalidHashError):
        return False
    return password_hash is not None


def _normal(password: str) -> bytes:
    """The same letters typed on another machine are the same password."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


async def add_user(store: Store, name: str, password: str, role: str, *, audit: AuditEntry | None = None) -> None:
    """Add a user or change their password and role. Raises UserError that says what is wrong."""
    if not _NAME.fullmatch(name):
        raise UserError("a user's name is 1 to 150 of the letters a-z and A-Z, digits and . _ @ + -")
    if role not in ROLES:
        raise UserError(f"a role is {', '.join(ROLES[:-1])} or {ROLES[-1]}, not {role!r}")
    if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
        raise UserError(f"a password has {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} characters")
    password_hash = await asyncio.to_thread(_hasher.hash, _normal(password))
    user = msgspec.convert({"name": name, "password_hash": password_hash, "role": role}, User)
    await store.save_user(user, audit=audit)


async def add_token(store: Store, secret_key: bytes, user: str, clock: Clock, seconds: float) -> str:
    """A new token of the user, good for `seconds`."""
    token = secrets.token_urlsafe(32)
    await store.save_token(digest(secret_key, token), user, clock.now() + timedelta(seconds=seconds))
    return token


def may(user: User, role: Role) -> bool:
    """Whether the user's role is that one or above."""
    return ROLES.index(user.role) >= ROLES.index(role)


async def add_key(
    store: Store,
    secret_key: bytes,
    flow: str,
    name: str,
    days: int | None,
    clock: Clock,
    audit: Callable[[str], AuditEntry],
) -> tuple[ApiKey, str]:
    """A new key of a flow, good for `days` (None: until it is revoked), and its text, which nobody can show again.

    `audit` makes the audit log's entry, given the key's id. Raises NotFoundError without that flow, UserError that says
    what is wrong.
    """
    if not 1 <= len(name.strip()) <= MAX_KEY_NAME_CHARS or not name.isprintable():
        raise UserError(f"a key's name is 1 to {MAX_KEY_NAME_CHARS} printable characters")
    if days is not None and not 1 <= days <= MAX_KEY_DAYS:
        raise UserError(f"a key is good for 1 to {MAX_KEY_DAYS} days, or without days until it is revoked")
    await store.flow(flow)
    now = clock.now()
    expires_at = None if days is None else now + timedelta(days=days)
    text = KEY_PREFIX + secrets.token_urlsafe(32)
    key_id = secrets.token_hex(6)
    entry = audit(key_id)
    key = ApiKey(key_id, flow, name.strip(), entry.who, now, expires_at)
    await store.add_key(key, digest(secret_key, text), audit=entry)
    return key, text


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
        _nobody()  # now, so that the first who is unknown does not take twice as long
        self._store = store
        self._secret_key = secret_key
        self._clock = clock
        self._failures = Failures()
        self._cache: Recent[str, Known] = Recent(CACHE_TOKENS, CACHE_SECONDS, clock.monotonic)
        self._hashing = asyncio.Semaphore(HASHES_AT_ONCE)
        self._logins = 0

    async def login(self, name: str, password: str, address: str) -> Token | None:
        """A fresh token, or None: no such user or another password. Refusal 429 after too many failures, 503 when too
        many log in at once; StoreError when the database is away.
        """
        if self._logins >= LOGINS_AT_ONCE:
            raise Refusal(503, "too many logins at once", retry_after=1)
        self._logins += 1
        try:
            user = await self._known(name[:200], password[:MAX_PASSWORD_CHARS], address)
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
            if not await asyncio.to_thread(verify, user.password_hash if user else None, password):
                self._failures.add(key, self._clock.monotonic())
                return None
        self._failures.forget(key)
        return user

    def _check_failures(self, key: tuple[str, str]) -> None:
        wait = self._failures.wait(key, self._clock.monotonic())
        if wait is not None:
            metrics.LOGINS.labels("gateway", "slowed").inc()
            raise Refusal(429, "too many failed logins; try again later", retry_after=wait)

    async def user(self, authorization: list[str]) -> User:
        """The user of a request, by its Authorization headers. Refusal 401 that says what to do, 403 for a key."""
        known = await self._whose(authorization)
        if isinstance(known, ApiKey):
            raise Refusal(403, f"this key opens the outbound door of the flow {known.flow!r} and nothing else; log in")
        return known

    async def poster(self, authorization: list[str], flow: str) -> str:
        """The name of who may post rows to the flow: operators, and machines with a key of it. Refusal 401 or 403."""
        known = await self._whose(authorization)
        if isinstance(known, ApiKey):
            if known.flow != flow:
                raise Refusal(403, "this key is of another flow")
            return f"key {known.name}"
        if not may(known, "operator"):
            raise Refusal(403, "a viewer may not post rows; it takes the role operator or admin")
        return known.name

    async def _whose(self, authorization: list[str]) -> Known:
        token = bearer(authorization)
        if token is None:
            raise Refusal(401, "an access token is needed: log in, then send Authorization: Bearer TOKEN")
        token_digest = digest(self._secret_key, token)
        known = self._cache.get(token_digest)
        if known is None:
            known = await self._look_up(token_digest, is_key=token.startswith(KEY_PREFIX))
            self._cache.put(token_digest, known)
        return known

    async def _look_up(self, token_digest: str, *, is_key: bool) -> Known:
        if is_key:
            key = await self._store.key(token_digest, self._clock.now())
            if key is None:
                raise Refusal(401, "the key is unknown, revoked or has expired")
            return key
        user = await self._store.token_user(token_digest, self._clock.now())
        if user is None:
            raise Refusal(401, "the access token is unknown or has expired; log in again")
        return user

    async def logout(self, authorization: list[str]) -> None:
        """The token opens nothing any more; other gateways know after CACHE_SECONDS."""
        token = bearer(authorization)
        if token is not None:
            await self._store.revoke_token(digest(self._secret_key, token))
        self.forget()

    async def add_key(
        self, flow: str, name: str, days: int | None, audit: Callable[[str], AuditEntry]
    ) -> tuple[ApiKey, str]:
        """See `add_key` above."""
        return await add_key(self._store, self._secret_key, flow, name, days, self._clock, audit)

    def forget(self) -> None:
        """Users or keys have changed: ask the store again."""
        self._cache.clear()
