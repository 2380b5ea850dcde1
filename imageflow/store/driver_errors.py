"""What SQLAlchemy and the drivers raise, translated: the only place that knows their exceptions.

StoreError says that the database is away, and is always transient. Everything that a driver can raise becomes one, but
for two kinds. What shows a mistake of ours (a statement that the database refuses, a value that it cannot take, misuse
of SQLAlchemy) passes through as it is, with its traceback: as a StoreError it would be waited out again and again. And
settings that the driver cannot read are a SettingsError.

The decision reads types, SQLSTATEs and SQLite's result codes, never a text.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import asyncpg
from asyncpg.pgproto.pgproto import BufferError as PgBufferError
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from imageflow.errors import SettingsError, StoreError

_CUT_OFF = (asyncpg.InternalClientError, PgBufferError)
_OF_DRIVERS = (asyncpg.PostgresError, asyncpg.InterfaceError, *_CUT_OFF, sqlite3.Error)
DRIVER_ERRORS = (SQLAlchemyError, OSError, *_OF_DRIVERS)
"""What a statement, a commit or a connection of the pool may raise. OSError includes TimeoutError and ConnectionError."""

CLASHES = (asyncpg.IntegrityConstraintViolationError, sqlite3.IntegrityError)
"""What an INSERT of Tx.run raises where a row is there already."""

_CONFLICTS = ("40001", "40P01", "57P01")
"""Serialisation, deadlock, and a backend that was told to stop: the transaction was not committed."""
_NO_SCHEMA = ("42P01", "3F000")
"""No such table, no such schema."""
_NOT_ALLOWED = "42501"
_TOOK_TOO_LONG = "57014"
_OWNER_HELPS = "`imageflow db upgrade`, with the account of the schema's owner, brings schema and rights up to date"
_NOT_OURS = ("25006", "25P03", "25P04", _NOT_ALLOWED)
"""Of the classes of our mistakes, those that we do not cause: read only (a standby), two time-outs, rights taken away."""
_OURS = tuple(
    "02 03 07 09 0A 0B 0F 0L 0P 0Z 10 20 21 22 23 24 25 26 27 2B 2D 2F 34 38 39 3B 3F 42 44 54 HV P0".split()  # noqa: SIM905 - a table of words
)
"""SQLSTATE classes of a wrong statement or value: syntax, data, constraints, cursors, limits. All others are of the
server: connection (08), authorisation (28), no database (3D), rollback (40), resources (53), object state (55), operator
(57), system (58), snapshots (72), configuration (F0), internal (XX), and what a later version may add."""
_SQLITE_OURS = frozenset(
    (
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_MISUSE,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_RANGE,
    )
)
"""SQLite's result codes for the same. All others are of the file, the disk or another process."""


class Away(NamedTuple):
    """The database is to blame. `reason` is for people and contains no URL and no parameter. `lost`: the transaction was
    not committed, and may succeed when it is run again at once.
    """

    reason: str
    lost: bool = False


OUTDATED = Away("the database has no schema, or an older one; run `imageflow db upgrade`")


class LostTransaction(StoreError):
    """The transaction was not committed, and may succeed when it is run again at once."""


def _never() -> bool:
    return False


@contextmanager
def translated(is_outdated: Callable[[], bool] = _never) -> Iterator[list[bool]]:
    """Translate what the body raises. The body puts something in the list when it commits: from then on, a transaction
    that broke off may have been committed.

    `is_outdated` says whether the schema is missing or older: SQLite has no code of its own for a missing table.
    """
    committing: list[bool] = []
    try:
        yield committing
    except DRIVER_ERRORS as error:
        away = verdict(error)
        if away is None and isinstance(_cause(error), sqlite3.OperationalError) and is_outdated():
            away = OUTDATED
        if away is None:
            raise
        raise _store_error(away, committed=bool(committing)) from error


@contextmanager
def connecting(place: str) -> Iterator[None]:
    """Translate what a connection attempt raises: whatever it is, for a server that is not PostgreSQL may make the driver
    raise anything. `place`: where the database is, without user and password.
    """
    try:
        yield
    except asyncpg.ClientConfigurationError as error:
        raise SettingsError("IMAGEFLOW_STORE_URL: the driver cannot use these parameters") from error
    except Exception as error:
        away = verdict(error) or Away(f"the database cannot be connected to: {type(error).__name__}")
        raise _store_error(away._replace(reason=f"{away.reason} ({place})"), committed=False) from error


def verdict(error: Exception) -> Away | None:
    """What an exception says of the database; None: it shows a mistake of ours."""
    if isinstance(error, TimeoutError):
        return Away("the database did not answer in time")
    if isinstance(error, PoolTimeoutError):
        return Away("no connection to the database became free in time")
    cause = _cause(error)
    away = _of_driver(cause)
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return Away(away.reason if away else _broken(cause), lost=True)
    return away


def _store_error(away: Away, *, committed: bool) -> StoreError:
    return LostTransaction(away.reason) if away.lost and not committed else StoreError(away.reason)


def _cause(error: Exception) -> BaseException:
    """What the driver itself raised: SQLAlchemy wraps it, for asyncpg twice."""
    cause: BaseException = error
    if isinstance(cause, DBAPIError) and cause.orig is not None:
        cause = cause.orig
    if not isinstance(cause, _OF_DRIVERS) and cause.__cause__ is not None:
        cause = cause.__cause__
    return cause


def _of_driver(cause: BaseException) -> Away | None:
    if isinstance(cause, asyncpg.PostgresError):
        return _postgresql(cause)
    if isinstance(cause, sqlite3.Error):
        return _sqlite(cause)
    if isinstance(cause, OSError):
        return Away(f"the database cannot be reached: {cause.strerror or type(cause).__name__}")
    # of asyncpg's InterfaceErrors, the class itself says that the connection was closed; its subclasses are mistakes
    if type(cause) is asyncpg.InterfaceError:
        return Away(_broken(cause), lost=True)
    if isinstance(cause, (*_CUT_OFF, DisconnectionError)):
        return Away(_broken(cause))
    return None


def _broken(cause: BaseException) -> str:
    return f"the connection to the database broke off: {type(cause).__name__}"


def _sqlite(error: sqlite3.Error) -> Away | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # not of SQLite, but of the modules above it, which have this class for a closed connection only
        return Away("the database is closed") if isinstance(error, sqlite3.OperationalError) else None
    return None if code & 0xFF in _SQLITE_OURS else Away(f"the database file cannot be used: {error}")


def _postgresql(error: asyncpg.PostgresError) -> Away | None:
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return Away("the schema of the database has just changed", lost=True)
    code = error.sqlstate or ""
    if code in _NO_SCHEMA:
        return OUTDATED
    if code.startswith(_OURS) and code not in _NOT_OURS:
        return None
    if code == _TOOK_TOO_LONG:
        return Away(
            "the database ended a statement that took too long: ask for less (a filter, a smaller limit), or look at its load"
        )
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    if code == _NOT_ALLOWED:
        return Away(f"the database refuses: {said}; {_OWNER_HELPS}")
    return Away(f"the database is away: {said}", lost=code in _CONFLICTS)
