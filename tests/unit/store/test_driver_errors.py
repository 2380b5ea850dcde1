"""What the drivers raise, every class of it, and what becomes of it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from typing import Any

import aiosqlite
import asyncpg
import pytest
import sqlalchemy.exc
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from imageflow.errors import SettingsError, StoreError
from imageflow.secret import Secret
from imageflow.store.driver_errors import DRIVER_ERRORS, LostTransaction, connecting, translated, verdict
from imageflow.store.place import place_of
from tests.library_errors import errors_of

SERVER_CLASSES = {"08", "28", "3D", "40", "53", "55", "57", "58", "72", "F0", "XX"}
"""SQLSTATE classes that are not about our statement or our values."""
SERVER_CODES = {"25006", "25P03", "25P04", "42501", "42P01", "3F000"}
REPEATED = {"40001", "40P01", "57P01"}
CLIENT_MISTAKES = {
    "ClientConfigurationError",
    "DataError",
    "UnsupportedClientFeatureError",
    "UnsupportedServerFeatureError",
}
SQLALCHEMY_AWAY = {"TimeoutError", "DisconnectionError", "InvalidatePoolError"}
SQLALCHEMY_MISTAKES = {
    "AmbiguousColumnError",
    "AmbiguousForeignKeysError",
    "ArgumentError",
    "AwaitRequired",
    "CircularDependencyError",
    "CompileError",
    "ConstraintColumnNotFoundError",
    "DuplicateColumnError",
    "IdentifierError",
    "IllegalStateChangeError",
    "InvalidRequestError",
    "MissingGreenlet",
    "MultipleResultsFound",
    "NoDBAPILoaded",
    "NoForeignKeysError",
    "NoInspectionAvailable",
    "NoReferenceError",
    "NoReferencedColumnError",
    "NoReferencedTableError",
    "NoResultFound",
    "NoSuchColumnError",
    "NoSuchModuleError",
    "NoSuchTableError",
    "ObjectNotExecutableError",
    "PendingRollbackError",
    "ResourceClosedError",
    "StatementError",
    "UnboundExecutionError",
    "UnreflectableTableError",
    "UnsupportedCompilationError",
}
OTHERS_OF_ASYNCPG = {
    "asyncpg.cluster.ClusterError",  # of a part that starts servers
    "asyncpg.connect_utils._NextHostSignal",  # caught within asyncpg
    "asyncpg.connect_utils._RetryConnectSignal",
    "asyncpg.pgproto.pgproto.BufferError",
}
UNUSED_OF_SQLALCHEMY = ("sqlalchemy.orm.", "sqlalchemy.ext.asyncio.exc.", "sqlalchemy.util.queue.")
SQLITE_MISTAKES = {"ERROR", "TOOBIG", "CONSTRAINT", "MISMATCH", "MISUSE", "AUTH", "RANGE"}
SQLITE_AWAY = {
    *(
        "INTERNAL",
        "PERM",
        "ABORT",
        "BUSY",
        "LOCKED",
        "NOMEM",
        "READONLY",
        "INTERRUPT",
        "IOERR",
        "CORRUPT",
        "NOTFOUND",
        "FULL",
    ),
    *("CANTOPEN", "PROTOCOL", "EMPTY", "SCHEMA", "NOLFS", "FORMAT", "NOTADB"),
}


def below(kind: type[Any], package: str) -> Iterator[type[Any]]:
    """A class and every class under it that the package has; of SQLAlchemy, without its ORM and other parts not used."""
    if kind.__module__.partition(".")[0] == package and (
        package != "sqlalchemy" or kind.__module__ == "sqlalchemy.exc"
    ):
        yield kind
    for child in kind.__subclasses__():
        yield from below(child, package)


def each(*kinds: type[Any]) -> Any:
    package = kinds[0].__module__.partition(".")[0]
    found = dict.fromkeys(child for kind in kinds for child in below(kind, package))
    return pytest.mark.parametrize("kind", found, ids=lambda kind: kind.__name__)


def caught(error: Exception, *, committing: bool = False) -> Exception:
    """What the body of `translated` ends with when it raises that."""
    with pytest.raises(Exception) as found, translated() as committed:
        committed.extend([True] * committing)
        raise error
    return found.value


def wrapped(error: Exception) -> DBAPIError:
    """As SQLAlchemy raises what asyncpg raised: within its own class, within an error of its DB-API."""
    adapted = Exception(str(error))
    adapted.__cause__ = error
    return DBAPIError("SELECT 1", {}, adapted)


def sqlite_error(code: int, text: str = "it failed") -> sqlite3.Error:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


@each(asyncpg.PostgresError)
def test_every_error_of_postgresql(kind: type[Any]) -> None:
    """Connection, resources, shutdown, conflicts and locks are the server's, and transient; syntax, data and constraints
    are mistakes of ours and pass through. Only a transaction that was certainly not committed is repeated.
    """
    code = getattr(kind, "sqlstate", None) or "XX000"
    repeated = code in REPEATED or issubclass(kind, asyncpg.InvalidCachedStatementError)
    of_server = code[:2] in SERVER_CLASSES or code in SERVER_CODES or repeated
    for error in (kind("it failed"), wrapped(kind("it failed"))):
        found = caught(error)
        assert isinstance(found, StoreError) == of_server
        if isinstance(found, StoreError):
            assert found.transient
            assert found.__cause__ is error
            assert isinstance(found, LostTransaction) == repeated
        else:
            assert found is error


@each(asyncpg.InterfaceError, asyncpg.InternalClientError)
def test_every_error_of_asyncpg_itself(kind: type[Any]) -> None:
    """A connection that broke off is transient; what asyncpg refuses to do for us passes through."""
    for error in (kind("it failed"), wrapped(kind("it failed"))):
        found = caught(error)
        assert (found is error) == (kind.__name__ in CLIENT_MISTAKES)
        assert isinstance(found, LostTransaction) == (kind is asyncpg.InterfaceError)
        assert found is error or (isinstance(found, StoreError) and found.transient)


@each(sqlalchemy.exc.SQLAlchemyError)
def test_every_error_of_sqlalchemy(kind: type[Any]) -> None:
    """Each class is known: an absent connection is transient, misuse passes through. What the driver raised is judged by
    itself, but where SQLAlchemy has closed the connection, the transaction is run again.
    """
    if issubclass(kind, DBAPIError):
        lost = kind("SELECT 1", {}, Exception("closed"), connection_invalidated=True)
        assert isinstance(caught(lost), LostTransaction)
        mistake = kind("SELECT 1", {}, sqlite_error(sqlite3.SQLITE_ERROR))
        assert caught(mistake) is mistake
        return
    assert kind.__name__ in SQLALCHEMY_MISTAKES | SQLALCHEMY_AWAY | {"SQLAlchemyError"}
    error = kind.__new__(kind)
    found = caught(error)
    assert isinstance(found, StoreError) == (kind.__name__ in SQLALCHEMY_AWAY)
    assert found is error or found.__cause__ is error


@pytest.mark.parametrize("name", sorted(SQLITE_MISTAKES | SQLITE_AWAY))
def test_every_result_code_of_sqlite(name: str) -> None:
    """The file, the disk and other processes are transient; a wrong statement passes through. An extended code is judged
    as its primary code.
    """
    primary = getattr(sqlite3, f"SQLITE_{name}")
    extended = [code for key, code in vars(sqlite3).items() if key.startswith(f"SQLITE_{name}_")]
    for code in [primary, *(code for code in extended if code & 0xFF == primary)]:
        error = sqlite_error(code)
        found = caught(error)
        assert (found is error) == (name in SQLITE_MISTAKES)
        assert found is error or (isinstance(found, StoreError) and found.transient)


def test_every_result_code_is_known() -> None:
    """SQLite's primary result codes are 1 to 28, and its module names all of them that can end a statement."""
    known = {getattr(sqlite3, f"SQLITE_{name}") for name in SQLITE_MISTAKES | SQLITE_AWAY}
    assert known | {sqlite3.SQLITE_NOTICE, sqlite3.SQLITE_WARNING} == set(range(1, 29))


@each(sqlite3.Error)
def test_every_error_of_sqlite_without_a_code(kind: type[Any]) -> None:
    """Python's module and SQLAlchemy raise them: an OperationalError for a closed connection, the others for misuse."""
    error = kind("no active connection")
    assert isinstance(caught(error), StoreError) == issubclass(kind, sqlite3.OperationalError)


def test_aiosqlite_has_no_errors_of_its_own() -> None:
    """Its names are those of sqlite3."""
    own = [value for value in vars(aiosqlite).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert own
    assert all(value.__module__ == "sqlite3" for value in own)


@each(OSError)
def test_every_error_of_the_system(kind: type[Any]) -> None:
    """A socket, a file or a deadline that fails is transient, raw or wrapped, and never says where it was going."""
    for error in (kind(111, "Connection refused", "/a/secret/path"), kind(), wrapped(kind(111, "Connection refused"))):
        found = caught(error)
        assert isinstance(found, StoreError)
        assert type(found) is StoreError
        assert found.transient
        assert "secret" not in str(found)


def test_the_pool_gives_no_connection() -> None:
    """Waiting for a connection in vain is transient."""
    assert isinstance(caught(PoolTimeoutError("QueuePool limit")), StoreError)


@pytest.mark.parametrize(
    "error",
    [ValueError("wrong"), KeyError("wrong"), InvalidRequestError("wrong"), IntegrityError("x", {}, Exception("twice"))],
)
def test_our_own_mistakes_pass_through(error: Exception) -> None:
    """They are not taken for an outage, which would be waited out again and again."""
    assert caught(error) is error


def test_a_broken_commit_is_not_repeated() -> None:
    """Once the COMMIT is under way, the transaction may have been committed: the error is a plain StoreError."""
    assert type(caught(asyncpg.DeadlockDetectedError("deadlock"))) is LostTransaction
    assert type(caught(asyncpg.DeadlockDetectedError("deadlock"), committing=True)) is StoreError


def test_a_missing_table_in_sqlite() -> None:
    """SQLite has the same code for it as for a syntax error, so the schema decides which of both it was."""
    error = sqlite_error(sqlite3.SQLITE_ERROR, "no such table: runs")
    with pytest.raises(StoreError, match="imageflow db upgrade"), translated(lambda: True):
        raise error
    with pytest.raises(sqlite3.OperationalError), translated(lambda: False):
        raise error


@each(*DRIVER_ERRORS)
def test_every_error_of_a_connection_attempt(kind: type[Any]) -> None:
    """It is a transient StoreError whatever it is, but for a URL that the driver cannot read: that is a setting."""
    error = kind.__new__(kind)
    wanted = SettingsError if kind.__name__ == "ClientConfigurationError" else StoreError
    with pytest.raises(wanted) as found, connecting("PostgreSQL at db:5432/x"):
        raise error
    assert found.value.transient == (wanted is StoreError)
    assert found.value.__cause__ is error


@pytest.mark.parametrize(
    "error", [StopAsyncIteration(), RuntimeError(), ValueError("http"), IndexError(), BufferError()]
)
def test_a_server_that_is_not_postgresql(error: Exception) -> None:
    """Whatever the driver makes of its answers, the service waits and goes on."""
    assert verdict(error) is None
    with pytest.raises(StoreError) as found, connecting("PostgreSQL at db:5432/x"):
        raise error
    assert found.value.transient


def test_a_cancelled_connection_attempt() -> None:
    """Cancellation is not translated."""
    with pytest.raises(asyncio.CancelledError), connecting("PostgreSQL at db:5432/x"):
        raise asyncio.CancelledError


def test_all_classes_of_the_drivers_are_known() -> None:
    """Each class that a driver defines is below one of those that are enumerated above, or named here; a new kind fails."""
    roots = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
    assert {name for name, kind in errors_of("asyncpg").items() if not issubclass(kind, roots)} == OTHERS_OF_ASYNCPG
    enumerated = set(below(sqlalchemy.exc.SQLAlchemyError, "sqlalchemy"))
    others = {name for name, kind in errors_of("sqlalchemy").items() if kind not in enumerated}
    assert {name for name in others if not name.startswith(UNUSED_OF_SQLALCHEMY)} == {
        "sqlalchemy.exc.EmulatedDBAPIException",  # what asyncpg raised is its cause
        "sqlalchemy.connectors.asyncio.AsyncAdapt_Error",
    }


def test_an_answer_that_is_none() -> None:
    """What asyncpg raises for a message that breaks off within is an outage too."""
    found = caught(errors_of("asyncpg")["asyncpg.pgproto.pgproto.BufferError"]("cut"))  # type: ignore[arg-type]
    assert isinstance(found, StoreError)
    assert found.transient


def test_a_connection_attempt_says_where() -> None:
    """Host, port and database, and neither user nor password."""
    place = place_of(Secret("postgresql://flow:s3cret@db.example.com/imageflow?sslmode=require"))
    with pytest.raises(StoreError) as found, connecting(place):
        raise ConnectionRefusedError(111, "Connection refused")
    refused = "the database cannot be reached: Connection refused (PostgreSQL at db.example.com:5432/imageflow)"
    assert str(found.value) == refused
