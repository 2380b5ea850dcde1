"""What a flow's script printed, with its page."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pages", sa.Column("printed", sa.Text()))
