"""The first schema."""

import sqlalchemy as sa
from alembic import op

from imageflow.store.tables import Instant

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "fires",
        sa.Column("flow", KEY, nullable=False),
        sa.Column("fire_time", Instant(), nullable=False),
        sa.Column("run_id", KEY),
        sa.PrimaryKeyConstraint("flow", "fire_time"),
    )
    op.create_table(
        "flow_versions",
        sa.Column("flow", KEY, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("saved_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("flow", "version"),
    )
    op.create_table(
        "flows",
        sa.Column("name", KEY, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "held_rows",
        sa.Column("id", SERIAL, sa.Identity(), nullable=False),
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("product", KEY, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("held_rows_by_product", "held_rows", ["run_id", "product", "version"])
    op.create_table(
        "ledger",
        sa.Column("domain", KEY, nullable=False),
        sa.Column("product", KEY, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text()),
        sa.Column("run_id", KEY),
        sa.Column("number", sa.BigInteger()),
        sa.Column("claim_token", KEY),
        sa.Column("claim_owner", KEY),
        sa.Column("claim_version", sa.BigInteger()),
        sa.PrimaryKeyConstraint("domain", "product"),
        postgresql_with={"fillfactor": 70},
    )
    op.create_table(
        "outbox",
        sa.Column("id", SERIAL, sa.Identity(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("stored_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("outbox_by_run", "outbox", ["run_id"])
    op.create_table(
        "owners",
        sa.Column("owner", KEY, nullable=False),
        sa.Column("alive_until", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("owner"),
    )
    op.create_table(
        "pages",
        sa.Column("seq", SERIAL, sa.Identity(), nullable=False),
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("page", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
    op.create_index("pages_by_run", "pages", ["run_id", "page"], unique=True)
    op.create_table(
        "post_keys",
        sa.Column("flow", KEY, nullable=False),
        sa.Column("key", KEY, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("posted_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("flow", "key"),
    )
    op.create_index("post_keys_by_time", "post_keys", ["posted_at"])
    op.create_table(
        "registered_pages",
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("page", sa.Integer(), nullable=False),
        sa.Column("numbers", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "page"),
    )
    op.create_table(
        "rows",
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("product", KEY),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("http_status", sa.Integer()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("images", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text()),
        sa.Column("page", sa.Integer()),
        sa.Column("retryable", sa.Boolean(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text()),
        sa.PrimaryKeyConstraint("run_id", "number"),
    )
    op.create_index("rows_by_product", "rows", ["product"], postgresql_using="hash")
    op.create_index(
        "rows_failed",
        "rows",
        ["run_id", "number"],
        postgresql_where=sa.text("state IN ('failed', 'retrying')"),
        sqlite_where=sa.text("state IN ('failed', 'retrying')"),
    )
    op.create_table(
        "runs",
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("flow", KEY, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("triggered", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("started_at", Instant()),
        sa.Column("finished_at", Instant()),
        sa.Column("since", Instant()),
        sa.Column("until", Instant()),
        sa.Column("cursor", sa.Text()),
        sa.Column("pages", sa.Integer(), nullable=False),
        sa.Column("pages_done", sa.Integer(), nullable=False),
        sa.Column("read_complete", sa.Boolean(), nullable=False),
        sa.Column("joining", sa.Boolean(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("error_stage", sa.Text()),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("written", sa.BigInteger(), nullable=False),
        sa.Column("unchanged", sa.BigInteger(), nullable=False),
        sa.Column("superseded", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("warnings", sa.Text(), nullable=False),
        sa.Column("released", sa.Boolean(), nullable=False),
        sa.Column("join_sent", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
        postgresql_with={"fillfactor": 50},
    )
    op.create_index(
        "runs_active",
        "runs",
        ["flow", "created_at"],
        postgresql_where=sa.text("finished_at IS NULL"),
        sqlite_where=sa.text("finished_at IS NULL"),
    )
    op.create_index("runs_by_flow", "runs", ["flow", "created_at"])
    op.create_index("runs_by_time", "runs", ["created_at"])
    op.create_table(
        "tokens",
        sa.Column("digest", KEY, nullable=False),
        sa.Column("user_name", KEY, nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("tokens_by_expiry", "tokens", ["expires_at"])
    op.create_table(
        "users",
        sa.Column("name", KEY, nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "watermarks",
        sa.Column("flow", KEY, nullable=False),
        sa.Column("since", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("flow"),
    )
