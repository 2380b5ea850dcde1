"""The parameters of the request that a page answers: a mapping may read them."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pages", sa.Column("asked", sa.LargeBinary()))
