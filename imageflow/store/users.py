"""Users, the tokens that they logged in with, and the keys of machines."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec
from sqlalchemy import Row as SqlRow
from sqlalchemy import delete, or_, select, update

from imageflow.errors import NotFoundError
from imageflow.store.audit import AuditEntry, record
from imageflow.store.database import Tx
from imageflow.store.tables import api_keys, tokens, users
from imageflow.store.text import clean
from imageflow.store.transaction import Sql, reads, writes

NOBODY = ""
"""The user of a setup token: no user has this name."""


class User(msgspec.Struct, frozen=True):
    """A person or machine that may log in."""

    name: str
    password_hash: str
    role: Literal["viewer", "operator", "admin"]


class ApiKey(msgspec.Struct, frozen=True):
    """A machine's key: it opens the outbound door of one flow and nothing else, until it expires (None: never). `used_at`: when it
    did last, to about a minute.
    """

    id: str
    flow: str
    name: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None = None


class UsersSql(Sql):
    """The methods of the store about users."""

    @writes
    async def save_user(self, tx: Tx, user: User, *, audit: AuditEntry | None = None) -> None:
        """Add a user, or change their password and role. Another password ends their tokens."""
        values = {"password_hash": user.password_hash, "role": user.role}
        statement = tx.insert(users).values(name=user.name, **values)
        known = await tx.value(select(users.c.password_hash).where(users.c.name == user.name).with_for_update())
        await tx.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))
        if known is not None and known != user.password_hash:
            await tx.execute(delete(tokens).where(tokens.c.user_name == user.name))
        await record(tx, audit)

    @reads
    async def user(self, tx: Tx, name: str) -> User | None:
        row = await tx.first(select(users).where(users.c.name == clean(name)))
        return None if row is None else _user(row)

    @reads
    async def users(self, tx: Tx) -> list[User]:
        """All users by name."""
        return [_user(row) for row in await tx.all(select(users).order_by(users.c.name))]

    @writes
    async def set_role(self, tx: Tx, name: str, role: str, *, audit: AuditEntry | None = None) -> None:
        """Raises NotFoundError."""
        if not await tx.count(update(users).where(users.c.name == clean(name)).values(role=role)):
            raise _unknown(name)
        await record(tx, audit)

    @writes
    async def remove_user(self, tx: Tx, name: str, *, audit: AuditEntry | None = None) -> None:
        """The user and their tokens. Raises NotFoundError."""
        await tx.execute(delete(tokens).where(tokens.c.user_name == clean(name)))
        if not await tx.count(delete(users).where(users.c.name == clean(name))):
            raise _unknown(name)
        await record(tx, audit)

    @writes
    async def save_token(self, tx: Tx, digest: str, user: str, expires_at: datetime) -> None:
        """Expired tokens go at this occasion."""
        await tx.execute(delete(tokens).where(tokens.c.expires_at <= tx.now))
        values = {"user_name": user, "expires_at": expires_at}
        statement = tx.insert(tokens).values(digest=digest, **values)
        await tx.execute(statement.on_conflict_do_update(index_elements=["digest"], set_=values))

    @reads
    async def token_user(self, tx: Tx, digest: str, now: datetime) -> User | None:
        """Whose unexpired token that is."""
        valid = (tokens.c.digest == clean(digest), tokens.c.expires_at > now)
        row = await tx.first(select(users).join(tokens, tokens.c.user_name == users.c.name).where(*valid))
        return None if row is None else _user(row)

    @writes
    async def take_token(self, tx: Tx, digest: str, now: datetime) -> str | None:
        """Use an unexpired token up: the name of its user; None where there is no such token, or another took it."""
        wanted = (tokens.c.digest == clean(digest), tokens.c.expires_at > now)
        row = await tx.first(delete(tokens).where(*wanted).returning(tokens.c.user_name))
        return None if row is None else str(row.user_name)

    @writes
    async def save_setup_token(self, tx: Tx, digest: str, expires_at: datetime) -> None:
        """A token of no user, which makes the first one. It takes the place of any other."""
        await tx.execute(delete(tokens).where(tokens.c.user_name == NOBODY))
        await tx.execute(tx.insert(tokens).values(digest=digest, user_name=NOBODY, expires_at=expires_at))

    @reads
    async def is_setup_token(self, tx: Tx, digest: str, now: datetime) -> bool:
        wanted = (tokens.c.digest == clean(digest), tokens.c.user_name == NOBODY, tokens.c.expires_at > now)
        return await tx.first(select(tokens.c.digest).where(*wanted)) is not None

    @writes
    async def revoke_token(self, tx: Tx, digest: str) -> None:
        await tx.execute(delete(tokens).where(tokens.c.digest == clean(digest)))

    @writes
    async def add_key(self, tx: Tx, key: ApiKey, digest: str, *, audit: AuditEntry | None = None) -> None:
        """Add a machine's key; only its digest is kept."""
        values = {
            "id": key.id,
            "flow": key.flow,
            "name": clean(key.name),
            "created_by": clean(key.created_by),
            "created_at": key.created_at,
            "expires_at": key.expires_at,
        }
        if await tx.count(tx.insert(api_keys).values(digest=digest, **values).on_conflict_do_nothing()):
            await record(tx, audit)

    @reads
    async def keys(self, tx: Tx, flow: str | None = None) -> list[ApiKey]:
        """Keys by flow, then name; also those that have expired."""
        statement = select(api_keys).order_by(api_keys.c.flow, api_keys.c.name, api_keys.c.id)
        if flow is not None:
            statement = statement.where(api_keys.c.flow == clean(flow))
        return [_key(row) for row in await tx.all(statement)]

    @reads
    async def key(self, tx: Tx, digest: str, now: datetime) -> ApiKey | None:
        """The unexpired key with that digest."""
        valid = or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now)
        row = await tx.first(select(api_keys).where(api_keys.c.digest == clean(digest), valid))
        return None if row is None else _key(row)

    @writes
    async def note_key_use(self, tx: Tx, key_id: str, now: datetime) -> None:
        """A key was used. An earlier instant than what is known changes nothing."""
        older = or_(api_keys.c.used_at.is_(None), api_keys.c.used_at < now)
        await tx.execute(update(api_keys).where(api_keys.c.id == clean(key_id), older).values(used_at=now))

    @writes
    async def revoke_key(self, tx: Tx, key_id: str, *, audit: AuditEntry | None = None) -> ApiKey:
        """Forget a key. Raises NotFoundError."""
        row = await tx.first(delete(api_keys).where(api_keys.c.id == clean(key_id)).returning(*api_keys.c))
        if row is None:
            raise NotFoundError(f"there is no key {key_id!r}")
        await record(tx, audit, flow=row.flow, name=row.name)
        return _key(row)


def _user(row: SqlRow[Any]) -> User:
    return User(row.name, row.password_hash, row.role)


def _key(row: SqlRow[Any]) -> ApiKey:
    return ApiKey(row.id, row.flow, row.name, row.created_by, row.created_at, row.expires_at, row.used_at)


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(f"there is no user {name!r}")
