"""How many image URLs of a run had to be percent-encoded."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("encoded_urls", sa.BigInteger()))
