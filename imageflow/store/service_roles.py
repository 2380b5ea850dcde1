"""Which service needs what of the database: the rights of each service's role in PostgreSQL. The only place that says so.

A role that has less than all of them can be a door for strangers' scripts, or for a stranger who got through one: the
transformer sees no user, no key and no token, and changes no flow.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable, Iterator, Mapping

SERVICES = ("scheduler", "reader", "transformer", "writer", "gateway")
REVISION_TABLE = "alembic_version"

_READ = "SELECT"
_ADD = "SELECT, INSERT"
_CHANGE = "SELECT, INSERT, UPDATE"
_ALL = "SELECT, INSERT, UPDATE, DELETE"
_CLEAN_UP = "SELECT, UPDATE, DELETE"
"""A DELETE that skips what other transactions have in use locks rows, for which PostgreSQL wants the right to UPDATE.
"""
_QUEUE = "SELECT, INSERT, DELETE"
_OUTBOX = "SELECT, INSERT, UPDATE (stored_at), DELETE"  # what was sent is locked in order before it is deleted

_EVERY_SERVICE = {REVISION_TABLE: _READ, "flows": _READ, "flow_versions": _READ, "outbox": _OUTBOX, "services": _ALL}
"""Every service learns of new flows, publishes what a crash left behind in the outbox, and says that it is alive."""

_FAILURES = {
    "open_failures": _ALL,
    "failing_flows": _CHANGE,
    "causes": _CHANGE,
    "cause_days": _CHANGE,
    "run_causes": _CHANGE,
}
"""A service that logs rows also keeps the records about failed ones."""

RIGHTS: Mapping[str, Mapping[str, str]] = {
    "scheduler": _EVERY_SERVICE
    | dict.fromkeys((*_FAILURES, "flow_minutes", "counted_runs", "queue_minutes", "page_maps"), _ALL)
    | {
        "flows": "SELECT, UPDATE (version)",  # it locks the flow whose next run it releases
        "runs": _ALL,
        "fires": _ALL,
        "leases": _ALL,
        "alarms": _ALL,
        "notices": _ALL,
        "holds": _READ,
        "past_holds": _CLEAN_UP,
        "run_steps": "SELECT, DELETE",
        "watermarks": _READ,
        "ledger": "SELECT, UPDATE",
        "owners": _CLEAN_UP,
        "pages": _CLEAN_UP,
        "rows": _CLEAN_UP,
        "post_keys": _CLEAN_UP,
        "registered_pages": "SELECT, DELETE",
        "held_rows": "SELECT, DELETE",
        "seen_products": "SELECT, DELETE",
        "tokens": "SELECT (digest, expires_at), UPDATE (expires_at), DELETE",
    },
    "reader": _EVERY_SERVICE
    | {
        "runs": "SELECT, UPDATE",
        "run_steps": _CHANGE,
        "pages": _ADD,
        "held_rows": _READ,
        "watermarks": _CHANGE,
    },
    "transformer": _EVERY_SERVICE
    | _FAILURES
    | {
        "runs": "SELECT, UPDATE",
        "run_steps": _CHANGE,
        "pages": "SELECT, UPDATE (printed)",
        "registered_pages": _CHANGE,
        "seen_products": _ADD,
        "held_rows": _QUEUE,
        "rows": _CHANGE,
        "ledger": "SELECT, UPDATE (version, run_id, number)",  # of what is unchanged; what Omnitron has, it cannot say
        "watermarks": _CHANGE,
    },
    "writer": _EVERY_SERVICE
    | _FAILURES
    | {
        "runs": "SELECT, UPDATE",
        "run_steps": _CHANGE,
        "rows": _CHANGE,
        "ledger": _CHANGE,
        "owners": _ALL,
        "holds": _ALL,
        "past_holds": _ADD,
        "held_rows": _READ,
        "watermarks": _CHANGE,
    },
    "gateway": _EVERY_SERVICE
    | dict.fromkeys(
        (
            *("flows", "flow_versions", "users", "tokens", "api_keys", "logins", "watermarks", "fires", "leases"),
            *("runs", "rows", "pages", "registered_pages", "seen_products", "held_rows", "post_keys", "outbox"),
            *("ledger", "owners", "holds", "alarms", "notices"),
            *(*_FAILURES, "flow_minutes", "counted_runs", "queue_minutes", "services"),
            *("run_steps", "page_maps", "past_holds"),
        ),
        _ALL,
    )
    | {"audit_log": _ADD},  # what is in it stays there
}
"""By service, its rights by table: as in GRANT. The gateway's are those of an administrator who comes by the API, and of
one who calls commands in its container.
"""


def role_name(service: str) -> str:
    """The name of a service's role, unless it was given another one."""
    return f"imageflow_{service}"


def quoted(name: str) -> str:
    """A name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def closing(database: str, schema: str, tables: Iterable[str]) -> Iterator[str]:
    """Statements that take from everybody but the owner what PostgreSQL gives to everybody."""
    yield f"REVOKE ALL ON DATABASE {quoted(database)} FROM PUBLIC"
    yield f"REVOKE ALL ON SCHEMA {quoted(schema)} FROM PUBLIC"
    for table in tables:
        yield f"REVOKE ALL ON TABLE {quoted(schema)}.{quoted(table)} FROM PUBLIC"


def granting(service: str, role: str, database: str, schema: str, tables: Iterable[str]) -> Iterator[str]:
    """Statements after which `role` has the rights of the service on these tables, and no others."""
    yield f"GRANT CONNECT ON DATABASE {quoted(database)} TO {quoted(role)}"
    yield f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {quoted(role)}"
    for table in tables:
        where = f"ON TABLE {quoted(schema)}.{quoted(table)}"
        yield f"REVOKE ALL {where} FROM {quoted(role)}"
        if rights := RIGHTS[service].get(table):
            yield f"GRANT {rights} {where} TO {quoted(role)}"


def scram_verifier(password: str, salt: bytes | None = None, rounds: int = 4096) -> str:
    """What PostgreSQL keeps of a password (RFC 5802, 5803): so no statement, and no log of the server, holds the password."""
    salt = salt or os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    shown = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${rounds}:{shown[0]}${shown[1]}:{shown[2]}"


def making(role: str, password: str, *, exists: bool) -> str:
    """The statement that makes a role that can log in with this password; a new one has no other attribute."""
    verb = "ALTER" if exists else "CREATE"
    attributes = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS" if not exists else "LOGIN"
    return f"{verb} ROLE {quoted(role)} {attributes} PASSWORD '{scram_verifier(password)}'"
