"""When each key of a machine was used last."""

import sqlalchemy as sa
from alembic import op

from imageflow.store.tables import Instant

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("used_at", Instant()))
