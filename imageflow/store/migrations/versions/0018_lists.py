"""Indexes for lists whose filter matches few of many rows, runs or changes."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _index("rows_by_state", "rows", "run_id", "state", "number", where="state <> 'unchanged'")
    _index("rows_by_stage", "rows", "run_id", "stage", "number", where="stage <> 'write'")
    _index("runs_by_status", "runs", "status", "created_at", where="finished_at IS NOT NULL AND status <> 'success'")
    _index("open_failures_nameless", "open_failures", "version", where="product IS NULL")
    op.drop_index("open_failures_by_cause", "open_failures")
    _index("open_failures_by_cause", "open_failures", "flow", "fingerprint", "version", "run_id", "number")
    _index("audit_by_who", "audit_log", "who", "id")
    _index("audit_by_what", "audit_log", "what", "id")


def _index(name: str, table: str, *columns: str, where: str | None = None) -> None:
    only = None if where is None else sa.text(where)
    op.create_index(name, table, list(columns), postgresql_where=only, sqlite_where=only)
