"""Users of the gateway: add, change, remove, list."""

from __future__ import annotations

import asyncio
import re
from typing import get_args

import msgspec

from imageflow.actions import credentials
from imageflow.actions.actor import Actor, Role
from imageflow.actions.common_passwords import is_common
from imageflow.errors import RequestError
from imageflow.store import Store, User

ROLES: tuple[Role, ...] = get_args(Role)
"""Each may do what those before it may."""
MIN_PASSWORD_CHARS = 8
MAX_PASSWORD_CHARS = 1024

_NAME = re.compile(r"[A-Za-z0-9._@+-]{1,150}")


class UserError(RequestError):
    """A user or a key cannot be added like this."""


class OwnUserError(RequestError):
    """A user cannot remove themselves or change their own role: so one admin stays."""


async def save(store: Store, name: str, password: str, role: str, actor: Actor) -> User:
    """Add a user, or change their password and role. Raises UserError that says what is wrong, OwnUserError."""
    _check_not_own(actor, name, role)
    check(name, password, role)
    password_hash = await asyncio.to_thread(credentials.hash_password, password)
    user = msgspec.convert({"name": name, "password_hash": password_hash, "role": role}, User)
    await store.save_user(user, audit=actor.entry("user.save", f"user {name}", role=role))
    return user


def check(name: str, password: str, role: str) -> None:
    """Raises UserError where a user cannot be saved like this."""
    if not _NAME.fullmatch(name):
        raise UserError("a user's name is 1 to 150 of the letters a-z and A-Z, digits and . _ @ + -")
    if role not in ROLES:
        raise UserError(f"a role is {', '.join(ROLES[:-1])} or {ROLES[-1]}, not {role!r}")
    if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
        raise UserError(f"a password has {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} characters")
    if is_common(password, name):
        raise UserError(
            "this password is one of those that are guessed first; take several words, or let a program make one"
        )


async def set_role(store: Store, name: str, role: Role, actor: Actor) -> None:
    """Change a user's role. Raises NotFoundError, OwnUserError."""
    _check_not_own(actor, name, role)
    await store.set_role(name, role, audit=actor.entry("user.role", f"user {name}", role=role))


async def remove(store: Store, name: str, actor: Actor) -> None:
    """Remove a user and their tokens. Raises NotFoundError, OwnUserError."""
    _check_not_own(actor, name, None)
    await store.remove_user(name, audit=actor.entry("user.remove", f"user {name}"))


async def listed(store: Store) -> list[User]:
    """All users, by name (databases order names in ways of their own)."""
    return sorted(await store.users(), key=lambda user: user.name)


def _check_not_own(actor: Actor, name: str, role: str | None) -> None:
    """`role`: the user's after the change; None: there is no user any more."""
    if actor.role is not None and actor.who == name and actor.role != role:
        raise OwnUserError("you cannot remove yourself or change your own role: this keeps at least one admin")
