"""From a URL to a store."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from imageflow.clock import Clock, SystemClock
from imageflow.errors import SettingsError
from imageflow.private_files import private_directory
from imageflow.secret import Secret
from imageflow.settings import Settings
from imageflow.store import Store
from imageflow.store.database import Database
from imageflow.store.sqlite import SqliteDatabase


def connect(
    url: Secret, clock: Clock, *, connections: int | None = None, statement_seconds: float | None = None
) -> Store:
    """The store at `sqlite:///PATH` (four slashes: an absolute path) or `postgresql://USER:PASSWORD@HOST/DATABASE`.

    Nothing is opened before the store is entered. `connections`: so many at most; `statement_seconds`: PostgreSQL ends a
    statement that takes longer. Raises SettingsError, which never shows the URL.
    """
    return Store(database(url, clock, connections=connections, statement_seconds=statement_seconds))


@asynccontextmanager
async def open_store(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Store]:
    """The store that the settings name, with its schema up to date."""
    private_directory(settings.data_dir)
    async with connect(settings.store_url, clock or SystemClock()) as store:
        await store.upgrade()
        yield store


def database(
    url: Secret, clock: Clock, *, connections: int | None = None, statement_seconds: float | None = None
) -> Database:
    """The database under the store at `url`. Raises SettingsError."""
    scheme, separator, rest = url.reveal().partition("://")
    if separator and scheme == "sqlite":
        if not rest.startswith("/") or rest in ("/", "/:memory:"):
            raise SettingsError("IMAGEFLOW_STORE_URL: must be sqlite:///PATH of a file")
        return SqliteDatabase(Path(rest[1:]), clock, readers=connections)
    if separator and scheme in ("postgresql", "postgres"):
        from imageflow.store.postgresql import PostgresDatabase  # noqa: PLC0415 - imports much that SQLite does without

        _check(url)
        return PostgresDatabase(url, clock, connections=connections, statement_seconds=statement_seconds)
    raise SettingsError("IMAGEFLOW_STORE_URL: must start with sqlite:// or postgresql://")


def _check(url: Secret) -> None:
    """A URL whose password holds `/`, `#` or `?` in plain would make the driver quote it in its complaint."""
    hosts = re.split(r"[/?#]", url.reveal().partition("://")[2], maxsplit=1)[0].rpartition("@")[2]
    if not all(re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(:\d{1,5})?", host) for host in hosts.split(",")):
        raise SettingsError(
            "IMAGEFLOW_STORE_URL: is not a valid URL; special characters of a password must be percent-encoded"
        )
