"""When a row was settled, and how often it was tried before."""

import sqlalchemy as sa
from alembic import op

from imageflow.store.tables import Instant

revision = "0006"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("rows", sa.Column("tries", sa.Text()))
    op.add_column("rows", sa.Column("settled_at", Instant()))
