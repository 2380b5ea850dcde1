"""Keys of machines: each opens the outbound door of one flow."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import NamedTuple

from imageflow.actions import credentials
from imageflow.actions.actor import Actor
from imageflow.actions.users import UserError
from imageflow.clock import Clock
from imageflow.errors import NotFoundError
from imageflow.store import ApiKey, Store

MAX_NAME_CHARS = 100
MAX_DAYS = 3650


class NewKey(NamedTuple):
    """A key that was just made, and its text: the store keeps no more than a digest of it."""

    key: ApiKey
    text: str


async def add(
    store: Store, secret_key: bytes, flow: str, name: str, days: int | None, actor: Actor, clock: Clock
) -> NewKey:
    """Make a key of a flow, good for `days` (None: until it is revoked). Raises NotFoundError, UserError."""
    if not 1 <= len(name.strip()) <= MAX_NAME_CHARS or not name.isprintable():
        raise UserError(f"a key's name is 1 to {MAX_NAME_CHARS} printable characters")
    if days is not None and not 1 <= days <= MAX_DAYS:
        raise UserError(f"a key is good for 1 to {MAX_DAYS} days, or without days until it is revoked")
    await store.flow(flow)
    now = clock.now()
    expires_at = None if days is None else now + timedelta(days=days)
    made = NewKey(ApiKey(secrets.token_hex(6), flow, name.strip(), actor.who, now, expires_at), credentials.new_key())
    entry = actor.entry("key.add", f"key {made.key.id}", flow=flow, name=name, days=days)
    await store.add_key(made.key, credentials.digest(secret_key, made.text), audit=entry)
    return made


async def listed(store: Store, flow: str | None) -> list[ApiKey]:
    """Keys of a flow, or all; also those that have expired; by flow, name and id. Raises NotFoundError."""
    if flow is not None:
        await store.flow(flow)
    return sorted(await store.keys(flow), key=lambda key: (key.flow, key.name, key.id))


async def id_of(store: Store, text: str) -> str:
    """The id of the key that has this id, or alone this name. Raises NotFoundError."""
    found = await store.keys(None)
    named = [key.id for key in found if key.name == text]
    if any(key.id == text for key in found):
        return text
    if not named:
        raise NotFoundError(f"there is no key with the id or name {text!r}: imageflow key list shows both")
    if len(named) > 1:
        raise NotFoundError(f"{len(named)} keys have the name {text!r}; give the id of one: {', '.join(sorted(named))}")
    return named[0]


async def revoke(store: Store, key_id: str, actor: Actor) -> ApiKey:
    """Revoke a key; the key that is gone. Raises NotFoundError."""
    return await store.revoke_key(key_id, audit=actor.entry("key.revoke", f"key {key_id}"))
