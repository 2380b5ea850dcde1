"""Which versions of flows came over the API. Those that exist count as the operator's own, as before."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("flow_versions", sa.Column("bounded", sa.Boolean(), nullable=False, server_default=sa.false()))
