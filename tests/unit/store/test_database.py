"""What databases raise, and what becomes of it."""

from __future__ import annotations

import sqlite3
from typing import Any

import asyncpg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from imageflow.errors import StoreError
from imageflow.store.database import MIGRATIONS, _revisions, away, may_repeat, newest_revision, translated


def postgres_errors() -> list[type[Any]]:
    found = [getattr(asyncpg, name) for name in dir(asyncpg)]
    return [
        one
        for one in found
        if isinstance(one, type) and issubclass(one, asyncpg.PostgresError) and getattr(one, "sqlstate", None)
    ]


def sqlite_error(code: int, text: str = "it failed") -> sqlite3.Error:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize("kind", postgres_errors(), ids=lambda kind: kind.__name__)
def test_every_error_of_postgresql_is_sorted(kind: type[Any]) -> None:
    """Connection, resources, shutdown, conflicts and locks are the database's; syntax, data and constraints are ours."""
    code = kind.sqlstate
    theirs = code[:2] in {"08", "28", "3D", "40", "53", "57", "58", "XX"} and code not in {"40000", "40002", "40003"}
    theirs = theirs or code in {"25006", "25P03", "42P01", "3F000", "55000", "55P03"}
    theirs = theirs or kind is asyncpg.InvalidCachedStatementError
    if code[:2] != "55":
        assert (away(kind("it failed")) is not None) == theirs


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        ConnectionRefusedError(111, "Connection refused"),
        OSError("Multiple exceptions"),
        PoolTimeoutError("QueuePool limit"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.ConnectionDoesNotExistError("gone"),
        sqlite_error(sqlite3.SQLITE_BUSY),
        sqlite_error(sqlite3.SQLITE_IOERR | 1 << 8),
        sqlite_error(sqlite3.SQLITE_FULL),
        sqlite_error(sqlite3.SQLITE_CANTOPEN),
    ],
)
def test_a_database_that_is_away(error: Exception) -> None:
    """It is a transient StoreError."""
    with pytest.raises(StoreError) as caught, translated():
        raise error
    assert caught.value.transient
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [sqlite_error(sqlite3.SQLITE_ERROR, "near x: syntax error"), InvalidRequestError("wrong"), ValueError("wrong")],
)
def test_our_own_mistakes_pass_through(error: Exception) -> None:
    """They are not taken for an outage, which would be tried again for ever."""
    with pytest.raises(type(error)) as caught, translated():
        raise error
    assert caught.value is error


def test_what_is_run_again() -> None:
    """A deadlock is, before the commit; a database that refuses connections is not."""
    assert may_repeat(asyncpg.DeadlockDetectedError("deadlock"))
    assert may_repeat(asyncpg.SerializationError("conflict"))
    assert not may_repeat(asyncpg.TooManyConnectionsError("full"))
    assert not may_repeat(ConnectionRefusedError())
    with pytest.raises(StoreError) as caught, translated() as committing:
        committing.append(True)
        raise asyncpg.DeadlockDetectedError("deadlock")
    assert type(caught.value) is StoreError


def test_revisions_are_named_by_their_files():
    """What the files' names say is what Alembic reads in them, and they are one chain in the order of their names."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    chain = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert chain == sorted(_revisions(), reverse=True)
    assert chain[0] == newest_revision()
