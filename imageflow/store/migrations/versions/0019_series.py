"""What moved over time, and who is alive."""

import sqlalchemy as sa
from alembic import op

from imageflow.store.tables import Instant, Key

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

COUNTS = ("written", "unchanged", "superseded", "failed", "cancelled")


def upgrade() -> None:
    op.create_table(
        "flow_minutes",
        sa.Column("flow", Key, nullable=False),
        sa.Column("minute", Instant(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in COUNTS),
        sa.PrimaryKeyConstraint("flow", "minute"),
    )
    op.create_table(
        "counted_runs",
        sa.Column("run_id", Key, primary_key=True),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in COUNTS),
    )
    op.create_table(
        "queue_minutes",
        sa.Column("queue", Key, nullable=False),
        sa.Column("minute", Instant(), nullable=False),
        sa.Column("ready", sa.BigInteger(), nullable=False),
        sa.Column("consumers", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("queue", "minute"),
    )
    op.create_table(
        "services",
        sa.Column("owner", Key, primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("alive_until", Instant(), nullable=False),
        sa.Column("doing", sa.Text(), nullable=False),
    )
    op.create_index("flow_minutes_by_minute", "flow_minutes", ["minute"])
    op.create_index("queue_minutes_by_minute", "queue_minutes", ["minute"])
    ended = sa.text("finished_at IS NOT NULL")
    op.create_index("runs_by_end", "runs", ["flow", "finished_at"], postgresql_where=ended, sqlite_where=ended)
