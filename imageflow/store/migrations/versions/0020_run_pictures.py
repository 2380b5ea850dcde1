"""What the page of a run shows: when its steps were at work, when writers were held, and what became of each page."""

import sqlalchemy as sa
from alembic import op

from imageflow.store.tables import Instant, Key

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "run_steps",
        sa.Column("run_id", Key, nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("first_at", Instant(), nullable=False),
        sa.Column("last_at", Instant(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("waited", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "step"),
    )
    op.create_table(
        "past_holds",
        sa.Column("domain", Key, nullable=False),
        sa.Column("owner", Key, nullable=False),
        sa.Column("since", Instant(), nullable=False),
        sa.Column("until", Instant(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("domain", "owner", "since"),
    )
    op.create_table(
        "page_maps",
        sa.Column("run_id", Key, primary_key=True),
        sa.Column("finished_at", Instant(), nullable=False),
        sa.Column("map", sa.LargeBinary(), nullable=False),
    )
    op.create_index("past_holds_by_end", "past_holds", ["until"])
    op.create_index("flow_versions_by_time", "flow_versions", ["saved_at"])
