"""The tables. `migrations/` builds them; a contract test holds that both agree.

Names of rows' numbers: `row` is a word of SQL, so the column is `number`. Texts that are keys compare byte by byte
(collation "C"), in PostgreSQL as in SQLite.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    false,
    text,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware datetime, UTC when it comes out: timestamptz in PostgreSQL, microseconds since 1970 in SQLite."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(BigInteger())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if dialect.name == "postgresql":
            result: datetime = value.astimezone(UTC)
            return result
        return _EPOCH + timedelta(microseconds=value)


Key = Text().with_variant(Text(collation="C"), "postgresql")
Serial = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData()

flows = Table(
    "flows",
    metadata,
    Column("name", Key, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("switched_off", Boolean),
    Column("deleted_at", Instant),
)

flow_versions = Table(
    "flow_versions",
    metadata,
    Column("flow", Key, nullable=False),
    Column("version", Integer, nullable=False),
    Column("document", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("saved_at", Instant, nullable=False),
    Column("bounded", Boolean, nullable=False, server_default=false()),
    PrimaryKeyConstraint("flow", "version"),
    Index("flow_versions_by_time", "saved_at"),
)

runs = Table(
    "runs",
    metadata,
    Column("run_id", Key, primary_key=True),
    Column("flow", Key, nullable=False),
    Column("version", Integer, nullable=False),
    Column("triggered", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    Column("since", Instant),
    Column("until", Instant),
    Column("cursor", Text),
    Column("pages", Integer, nullable=False),
    Column("pages_done", Integer, nullable=False),
    Column("read_complete", Boolean, nullable=False),
    Column("joining", Boolean, nullable=False),
    Column("error", Text),
    Column("error_stage", Text),
    Column("total", BigInteger, nullable=False),
    Column("written", BigInteger, nullable=False),
    Column("unchanged", BigInteger, nullable=False),
    Column("superseded", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("cancelled", BigInteger, nullable=False, server_default=text("0")),
    Column("warnings", Text, nullable=False),
    Column("released", Boolean, nullable=False),
    Column("join_sent", Boolean, nullable=False),
    Column("incomplete", Boolean),
    Column("moves_watermark", Boolean),
    Column("window", Boolean),
    Column("cancelled_at", Instant),
    Column("encoded_urls", BigInteger),
    Column("broken_pages", Integer),
    Column("waits_for", Text),
    Column("again_at", Instant),
    Column("retried_at", Instant),
    Index("runs_by_flow", "flow", "created_at"),
    Index("runs_by_time", "created_at"),
    Index(
        "runs_active",
        "flow",
        "created_at",
        postgresql_where=text("finished_at IS NULL"),
        sqlite_where=text("finished_at IS NULL"),
    ),
    Index(
        "runs_by_status",
        "status",
        "created_at",
        postgresql_where=text("finished_at IS NOT NULL AND status <> 'success'"),
        sqlite_where=text("finished_at IS NOT NULL AND status <> 'success'"),
    ),
    Index(
        "runs_by_end",
        "flow",
        "finished_at",
        postgresql_where=text("finished_at IS NOT NULL"),
        sqlite_where=text("finished_at IS NOT NULL"),
    ),
    postgresql_with={"fillfactor": 50},
)

pages = Table(
    "pages",
    metadata,
    Column("seq", Serial, Identity(), primary_key=True),
    Column("run_id", Key, nullable=False),
    Column("page", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("printed", Text),
    Column("asked", LargeBinary),
    Index("pages_by_run", "run_id", "page", unique=True),
    sqlite_autoincrement=True,
)

registered_pages = Table(
    "registered_pages",
    metadata,
    Column("run_id", Key, nullable=False),
    Column("page", Integer, nullable=False),
    Column("numbers", Text, nullable=False),
    Column("version", Integer),
    PrimaryKeyConstraint("run_id", "page"),
)

seen_products = Table(
    "seen_products",
    metadata,
    Column("run_id", Key, nullable=False),
    Column("product", Key, nullable=False),
    Column("page", Integer, nullable=False),
    PrimaryKeyConstraint("run_id", "product"),
)

held_rows = Table(
    "held_rows",
    metadata,
    Column("id", Serial, Identity(), primary_key=True),
    Column("run_id", Key, nullable=False),
    Column("product", Key, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Index("held_rows_by_product", "run_id", "product", "version"),
)

rows = Table(
    "rows",
    metadata,
    Column("run_id", Key, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("product", Key),
    Column("state", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("reason", Text),
    Column("http_status", Integer),
    Column("attempts", Integer, nullable=False),
    Column("images", Text, nullable=False),
    Column("payload", Text),
    Column("page", Integer),
    Column("retryable", Boolean, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    Column("fingerprint", Text),
    Column("tries", Text),
    Column("settled_at", Instant),
    PrimaryKeyConstraint("run_id", "number"),
    # A hash index takes products of any length; a B-tree of PostgreSQL refuses those above 2.7 kB.
    Index("rows_by_product", "product", postgresql_using="hash"),
    Index(
        "rows_failed",
        "run_id",
        "number",
        postgresql_where=text("state IN ('failed', 'retrying')"),
        sqlite_where=text("state IN ('failed', 'retrying')"),
    ),
    Index(
        "rows_by_state",
        "run_id",
        "state",
        "number",
        postgresql_where=text("state <> 'unchanged'"),
        sqlite_where=text("state <> 'unchanged'"),
    ),
    Index(
        "rows_by_stage",
        "run_id",
        "stage",
        "number",
        postgresql_where=text("stage <> 'write'"),
        sqlite_where=text("stage <> 'write'"),
    ),
    Index(
        "rows_by_cause",
        "run_id",
        "fingerprint",
        "number",
        postgresql_where=text("state = 'failed'"),
        sqlite_where=text("state = 'failed'"),
    ),
    Index(
        "rows_written",
        "settled_at",
        postgresql_where=text("state = 'written'"),
        sqlite_where=text("state = 'written'"),
    ),
)

# What follows from the logs of failed rows, see open_failures.py.

open_failures = Table(
    "open_failures",
    metadata,
    Column("run_id", Key, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("flow", Key, nullable=False),
    Column("product", Key),
    Column("version", BigInteger, nullable=False),
    Column("fingerprint", Key, nullable=False),
    Column("retryable", Boolean, nullable=False),
    Column("failed_at", Instant, nullable=False),
    Column("checked", Boolean, nullable=False),
    PrimaryKeyConstraint("run_id", "number"),
    Index("open_failures_by_product", "flow", "product"),
    Index("open_failures_by_cause", "flow", "fingerprint", "version", "run_id", "number"),
    Index(
        "open_failures_nameless",
        "version",
        postgresql_where=text("product IS NULL"),
        sqlite_where=text("product IS NULL"),
    ),
    Index(
        "open_failures_unchecked",
        "failed_at",
        postgresql_where=text("NOT checked"),
        sqlite_where=text("NOT checked"),
    ),
)

failing_flows = Table(
    "failing_flows",
    metadata,
    Column("flow", Key, primary_key=True),
    Column("open", BigInteger, nullable=False),
)

causes = Table(
    "causes",
    metadata,
    Column("flow", Key, nullable=False),
    Column("fingerprint", Key, nullable=False),
    Column("stage", Text, nullable=False),
    Column("http_status", Integer),
    Column("reason", Text),
    Column("open", BigInteger, nullable=False),
    Column("retryable", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("closed_at", Instant),
    PrimaryKeyConstraint("flow", "fingerprint"),
    Index(
        "causes_open",
        "open",
        "flow",
        "fingerprint",
        postgresql_where=text("closed_at IS NULL"),
        sqlite_where=text("closed_at IS NULL"),
    ),
    Index(
        "causes_closed",
        "closed_at",
        "flow",
        "fingerprint",
        postgresql_where=text("closed_at IS NOT NULL"),
        sqlite_where=text("closed_at IS NOT NULL"),
    ),
)

cause_days = Table(
    "cause_days",
    metadata,
    Column("flow", Key, nullable=False),
    Column("fingerprint", Key, nullable=False),
    Column("day", Instant, nullable=False),
    Column("rows", BigInteger, nullable=False),
    PrimaryKeyConstraint("flow", "fingerprint", "day"),
    Index("cause_days_by_day", "day"),
)

run_causes = Table(
    "run_causes",
    metadata,
    Column("run_id", Key, nullable=False),
    Column("fingerprint", Key, nullable=False),
    Column("flow", Key, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("retryable", BigInteger, nullable=False),
    Column("open", BigInteger, nullable=False),
    PrimaryKeyConstraint("run_id", "fingerprint"),
    Index(
        "run_causes_open",
        "flow",
        "fingerprint",
        "created_at",
        "run_id",
        postgresql_where=text("open > 0"),
        sqlite_where=text("open > 0"),
    ),
)

ledger = Table(
    "ledger",
    metadata,
    Column("domain", Key, nullable=False),
    Column("product", Key, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("digest", Text),
    Column("run_id", Key),
    Column("number", BigInteger),
    Column("claim_token", Key),
    Column("claim_owner", Key),
    Column("claim_version", BigInteger),
    Column("doubt_low", BigInteger),
    Column("doubt_high", BigInteger),
    Column("doubt_until", Instant),
    Column("rewrites", Integer),
    PrimaryKeyConstraint("domain", "product"),
    Index(
        "ledger_in_doubt",
        "doubt_until",
        postgresql_where=text("doubt_until IS NOT NULL"),
        sqlite_where=text("doubt_until IS NOT NULL"),
    ),
    postgresql_with={"fillfactor": 70},
)

owners = Table(
    "owners",
    metadata,
    Column("owner", Key, primary_key=True),
    Column("alive_until", Instant, nullable=False),
)

watermarks = Table(
    "watermarks",
    metadata,
    Column("flow", Key, primary_key=True),
    Column("since", Instant, nullable=False),
)

fires = Table(
    "fires",
    metadata,
    Column("flow", Key, nullable=False),
    Column("fire_time", Instant, nullable=False),
    Column("run_id", Key),
    PrimaryKeyConstraint("flow", "fire_time"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Serial, Identity(), primary_key=True),
    Column("queue", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("run_id", Key, nullable=False),
    Column("stored_at", Instant, nullable=False),
    Index("outbox_by_run", "run_id"),
    sqlite_autoincrement=True,
)

post_keys = Table(
    "post_keys",
    metadata,
    Column("flow", Key, nullable=False),
    Column("key", Key, nullable=False),
    Column("digest", Text, nullable=False),
    Column("run_id", Key, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("posted_at", Instant, nullable=False),
    PrimaryKeyConstraint("flow", "key"),
    Index("post_keys_by_time", "posted_at"),
)

logins = Table(
    "logins",
    metadata,
    Column("kind", Text, nullable=False),
    Column("key", Key, nullable=False),
    Column("times", BigInteger, nullable=False),
    Column("last_at", Instant, nullable=False),
    PrimaryKeyConstraint("kind", "key"),
    Index("logins_by_time", "last_at"),
)

users = Table(
    "users",
    metadata,
    Column("name", Key, primary_key=True),
    Column("password_hash", Text, nullable=False),
    Column("role", Text, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("digest", Key, primary_key=True),
    Column("user_name", Key, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Index("tokens_by_expiry", "expires_at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Key, primary_key=True),
    Column("digest", Key, nullable=False),
    Column("flow", Key, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("used_at", Instant),
    Index("api_keys_by_digest", "digest", unique=True),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", Serial, Identity(), primary_key=True),
    Column("at", Instant, nullable=False),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("audit_by_who", "who", "id"),
    Index("audit_by_what", "what", "id"),
    sqlite_autoincrement=True,
)

alarms = Table(
    "alarms",
    metadata,
    Column("id", Serial, Identity(), primary_key=True),
    Column("flow", Key, nullable=False),
    Column("kind", Key, nullable=False),
    Column("text", Text, nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("closed_at", Instant),
    Column("notice", Text),
    Index(
        "alarms_open",
        "flow",
        "kind",
        unique=True,
        postgresql_where=text("closed_at IS NULL"),
        sqlite_where=text("closed_at IS NULL"),
    ),
    sqlite_autoincrement=True,
)

notices = Table(
    "notices",
    metadata,
    Column("id", Serial, Identity(), primary_key=True),
    Column("alarm", BigInteger, nullable=False),
    Column("flow", Key, nullable=False),
    Column("event", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Instant, nullable=False),
    sqlite_autoincrement=True,
)

holds = Table(
    "holds",
    metadata,
    Column("domain", Key, nullable=False),
    Column("owner", Key, nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", Instant, nullable=False),
    Column("alive_until", Instant, nullable=False),
    PrimaryKeyConstraint("domain", "owner"),
)

past_holds = Table(
    "past_holds",
    metadata,
    Column("domain", Key, nullable=False),
    Column("owner", Key, nullable=False),
    Column("since", Instant, nullable=False),
    Column("until", Instant, nullable=False),
    Column("reason", Text, nullable=False),
    PrimaryKeyConstraint("domain", "owner", "since"),
    Index("past_holds_by_end", "until"),
)

leases = Table(
    "leases",
    metadata,
    Column("name", Key, primary_key=True),
    Column("holder", Key, nullable=False),
    Column("until", Instant, nullable=False),
)

# What moved over time, see series.py, and who is alive, see services.py.

flow_minutes = Table(
    "flow_minutes",
    metadata,
    Column("flow", Key, nullable=False),
    Column("minute", Instant, nullable=False),
    Column("written", BigInteger, nullable=False),
    Column("unchanged", BigInteger, nullable=False),
    Column("superseded", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("cancelled", BigInteger, nullable=False),
    PrimaryKeyConstraint("flow", "minute"),
    Index("flow_minutes_by_minute", "minute"),
)

counted_runs = Table(
    "counted_runs",
    metadata,
    Column("run_id", Key, primary_key=True),
    Column("written", BigInteger, nullable=False),
    Column("unchanged", BigInteger, nullable=False),
    Column("superseded", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("cancelled", BigInteger, nullable=False),
)

queue_minutes = Table(
    "queue_minutes",
    metadata,
    Column("queue", Key, nullable=False),
    Column("minute", Instant, nullable=False),
    Column("ready", BigInteger, nullable=False),
    Column("consumers", BigInteger, nullable=False),
    PrimaryKeyConstraint("queue", "minute"),
    Index("queue_minutes_by_minute", "minute"),
)

services = Table(
    "services",
    metadata,
    Column("owner", Key, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("version", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("alive_until", Instant, nullable=False),
    Column("doing", Text, nullable=False),
)

# What the page of a run shows, see run_steps.py and page_maps.py.

run_steps = Table(
    "run_steps",
    metadata,
    Column("run_id", Key, nullable=False),
    Column("step", Text, nullable=False),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("waited", BigInteger, nullable=False),
    PrimaryKeyConstraint("run_id", "step"),
)

page_maps = Table(
    "page_maps",
    metadata,
    Column("run_id", Key, primary_key=True),
    Column("finished_at", Instant, nullable=False),
    Column("map", LargeBinary, nullable=False),
)
