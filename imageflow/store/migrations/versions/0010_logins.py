"""Failed logins, counted by all gateways together, and the addresses from which users have logged in."""

import sqlalchemy as sa
from alembic import op

from imageflow.store.tables import Instant, Key

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "logins",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", Key, nullable=False),
        sa.Column("times", sa.BigInteger(), nullable=False),
        sa.Column("last_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("kind", "key"),
    )
    op.create_index("logins_by_time", "logins", ["last_at"])
