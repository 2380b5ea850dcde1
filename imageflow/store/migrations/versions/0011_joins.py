"""What is known of a run's pages when rows are joined across them."""

import sqlalchemy as sa
from alembic import op

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("broken_pages", sa.Integer()))
    op.create_table(
        "seen_products",
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("product", KEY, nullable=False),
        sa.Column("page", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "product"),
    )
