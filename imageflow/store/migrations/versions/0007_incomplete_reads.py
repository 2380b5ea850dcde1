"""What a read leaves open: whether rows did not come, and whether the watermark is to move."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("incomplete", sa.Boolean()))
    op.add_column("runs", sa.Column("moves_watermark", sa.Boolean()))
