"""What a run's read waits for: the failure after which the ERP is asked again, and when."""

import sqlalchemy as sa
from alembic import op

from imageflow.store.tables import Instant

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("waits_for", sa.Text()))
    op.add_column("runs", sa.Column("again_at", Instant()))
