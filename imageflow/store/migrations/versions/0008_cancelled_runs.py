"""Runs that a person cancelled or gave a window, and the version of the flow that a page went through last."""

import sqlalchemy as sa
from alembic import op

from imageflow.store.tables import Instant

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("cancelled", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    op.add_column("runs", sa.Column("window", sa.Boolean()))
    op.add_column("runs", sa.Column("cancelled_at", Instant()))
    op.add_column("registered_pages", sa.Column("version", sa.Integer()))
