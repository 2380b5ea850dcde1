"""What may still come over the newest image set of a product, so that it is written again."""

import sqlalchemy as sa
from alembic import op

from imageflow.store.tables import Instant

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("ledger", sa.Column("doubt_low", sa.BigInteger()))
    op.add_column("ledger", sa.Column("doubt_high", sa.BigInteger()))
    op.add_column("ledger", sa.Column("doubt_until", Instant()))
    op.add_column("ledger", sa.Column("rewrites", sa.Integer()))
    op.create_index(
        "ledger_in_doubt",
        "ledger",
        ["doubt_until"],
        postgresql_where=sa.text("doubt_until IS NOT NULL"),
        sqlite_where=sa.text("doubt_until IS NOT NULL"),
    )
