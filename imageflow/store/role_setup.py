"""Gives each service its role in PostgreSQL: makes the roles, and grants what service_roles says. As the owner of the schema."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import asyncpg

from imageflow.errors import SettingsError, StoreError
from imageflow.secret import Secret
from imageflow.store import service_roles
from imageflow.store.driver_errors import connecting, translated
from imageflow.store.place import place_of
from imageflow.store.postgresql import CONNECT_SECONDS
from imageflow.store.tables import metadata

WRONG_PASSWORD = (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)
SUPERUSERS = "SELECT rolname FROM pg_roles WHERE rolsuper AND rolname = ANY($1::text[])"
OWNED = "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass($1)"


async def set_up_roles(owner: Secret, services: Mapping[str, Secret] | None = None) -> dict[str, str]:
    """Grant each service's rights to its role: that of its URL in `services`, which is made if it cannot log in, or, without
    `services`, to those of the usual names that exist. Returns the roles by service.

    All or nothing. Raises SettingsError for a URL that cannot be a service's, StoreError where the owner may not do it.
    Without `services`, another account than the owner's changes nothing.
    """
    services = services or {}
    wanted = {service: account(url) for service, url in services.items()}
    missing = {role: password for s, (role, password) in wanted.items() if not await _can_log_in(services[s])}
    with connecting(place_of(owner)):
        connection = await asyncpg.connect(owner.reveal(), timeout=CONNECT_SECONDS)
    try:
        with translated():
            async with connection.transaction():
                return await _set_up(connection, {service: role for service, (role, _) in wanted.items()}, missing)
    finally:
        await connection.close()


def account(url: Secret) -> tuple[str, str]:
    """User and password of a URL. Raises SettingsError, which shows neither."""
    parts = urlsplit(url.reveal())
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not user or not password or not password.isascii():
        raise SettingsError("a service's store URL needs a user and a password of ASCII characters")
    return user, password


async def _can_log_in(url: Secret) -> bool:
    """Whether the role exists and has the password of its URL. One to which the database is closed yet has logged in, too."""
    try:
        with connecting(place_of(url)):
            connection = await asyncpg.connect(url.reveal(), timeout=CONNECT_SECONDS)
    except StoreError as error:
        cause = error.__cause__
        if isinstance(cause, asyncpg.InsufficientPrivilegeError):
            return True
        if isinstance(cause, WRONG_PASSWORD):
            return False
        raise
    await connection.close()
    return True


async def _set_up(
    connection: asyncpg.Connection, roles: Mapping[str, str], missing: Mapping[str, str]
) -> dict[str, str]:
    existing = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
    for role, password in sorted(missing.items()):
        await connection.execute(service_roles.making(role, password, exists=role in existing))
    usual = {service: service_roles.role_name(service) for service in service_roles.SERVICES}
    chosen = dict(roles) or {service: role for service, role in usual.items() if role in existing}
    await _check(connection, chosen)
    if not chosen or (not roles and not await connection.fetchval(OWNED, "flows")):
        return {}
    where = await connection.fetchrow("SELECT current_database() AS database, current_schema() AS schema")
    tables = sorted({*metadata.tables, service_roles.REVISION_TABLE})
    for statement in service_roles.closing(where["database"], where["schema"], tables):
        await connection.execute(statement)
    for service, role in chosen.items():
        for statement in service_roles.granting(service, role, where["database"], where["schema"], tables):
            await connection.execute(statement)
    return chosen


async def _check(connection: asyncpg.Connection, roles: Mapping[str, str]) -> None:
    me = await connection.fetchval("SELECT current_user")
    great = {row["rolname"] for row in await connection.fetch(SUPERUSERS, list(roles.values()))}
    if unfit := sorted({role for role in roles.values() if role == me} | great):
        raise SettingsError(
            f"the role {unfit[0]} cannot be a service's: it is the owner's or a superuser, which no grant limits; "
            f"give the service's store URL another user"
        )
