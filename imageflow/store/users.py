"""Users and the tokens that they logged in with."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select

from imageflow.store import User
from imageflow.store.database import Tx
from imageflow.store.tables import tokens, users
from imageflow.store.text import clean
from imageflow.store.transaction import Sql, reads, writes


class UsersSql(Sql):
    """The methods of the store about users."""

    @writes
    async def save_user(self, tx: Tx, user: User) -> None:
        values = {"password_hash": user.password_hash, "role": user.role}
        statement = tx.insert(users).values(name=user.name, **values)
        await tx.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))

    @reads
    async def user(self, tx: Tx, name: str) -> User | None:
        row = await tx.first(select(users).where(users.c.name == clean(name)))
        return None if row is None else User(row.name, row.password_hash, row.role)

    @writes
    async def save_token(self, tx: Tx, digest: str, user: str, expires_at: datetime) -> None:
        """Expired tokens go at this occasion."""
        await tx.execute(delete(tokens).where(tokens.c.expires_at <= tx.now))
        values = {"user_name": user, "expires_at": expires_at}
        statement = tx.insert(tokens).values(digest=digest, **values)
        await tx.execute(statement.on_conflict_do_update(index_elements=["digest"], set_=values))

    @reads
    async def token_user(self, tx: Tx, digest: str, now: datetime) -> User | None:
        valid = (tokens.c.digest == clean(digest), tokens.c.expires_at > now)
        row = await tx.first(select(users).join(tokens, tokens.c.user_name == users.c.name).where(*valid))
        return None if row is None else User(row.name, row.password_hash, row.role)
