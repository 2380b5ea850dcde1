"""When rows of a run that had ended were put through again: since then it is at work, and not since it began."""

import sqlalchemy as sa
from alembic import op

from imageflow.store.tables import Instant

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("retried_at", Instant()))
