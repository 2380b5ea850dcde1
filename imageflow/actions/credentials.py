"""What the store keeps of passwords, tokens and keys, and how a given one is compared with it. Pure, but for chance.

Passwords are kept as Argon2id hashes. A token is 32 random bytes in URL-safe text, and so is a key behind its prefix;
the store has only their HMAC under the secret key, so that neither a stolen database nor a guessed row opens the door.
"""

from __future__ import annotations

import functools
import hmac
import secrets
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

KEY_PREFIX = "ifk."
"""What a key begins with, and no token can: so the two are told apart, and a scanner finds a key that was published."""

_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def new_token() -> str:
    """A token's text."""
    return secrets.token_urlsafe(32)


def new_key() -> str:
    """A key's text."""
    return KEY_PREFIX + new_token()


def digest(secret_key: bytes, text: str) -> str:
    """What the store keeps of a token or a key."""
    return hmac.digest(secret_key, text.encode(), "sha256").hex()


def hash_password(password: str) -> str:
    """What the store keeps of a password. Slow on purpose."""
    return _hasher.hash(_normal(password))


def verify(password_hash: str | None, password: str) -> bool:
    """Whether the password is the one hashed. Slow on purpose, and as slow for a user who does not exist (None)."""
    try:
        _hasher.verify(unknown_hash() if password_hash is None else password_hash, _normal(password))
    except (VerificationError, InvalidHashError):
        return False
    return password_hash is not None


@functools.cache
def unknown_hash() -> str:
    """A hash to verify in place of an unknown user's, so that the time of an answer does not tell who is a user."""
    return _hasher.hash(secrets.token_urlsafe(32))


def _normal(password: str) -> bytes:
    """The same letters typed on another machine are the same password."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
