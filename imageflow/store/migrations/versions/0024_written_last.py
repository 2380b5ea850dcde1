"""An index for the rows that were written last, over all runs."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    only = sa.text("state = 'written'")
    op.create_index("rows_written", "rows", ["settled_at"], postgresql_where=only, sqlite_where=only)
