"""Flows that a person disabled, or deleted."""

import sqlalchemy as sa
from alembic import op

from imageflow.store.tables import Instant

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("flows", sa.Column("switched_off", sa.Boolean()))
    op.add_column("flows", sa.Column("deleted_at", Instant()))
