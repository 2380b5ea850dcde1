"""Open failures and their causes, kept instead of searched for."""

import sqlalchemy as sa
from alembic import op

from imageflow.store.tables import Instant, Key
from imageflow.store.text import keyed

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

OPEN = """
    WITH failed AS MATERIALIZED (
        SELECT r.run_id, r.number, r.product, r.version, r.fingerprint, r.stage, r.images, r.page, r.settled_at,
            runs.flow, runs.created_at
        FROM rows AS r JOIN runs ON runs.run_id = r.run_id
        WHERE r.state IN ('failed', 'retrying') AND r.state = 'failed'
    )
    INSERT INTO open_failures (run_id, number, flow, product, version, fingerprint, retryable, failed_at, checked)
    SELECT f.run_id, f.number, f.flow, CASE WHEN length(f.product) <= 125 THEN f.product END, f.version,
        COALESCE(f.fingerprint, ''),
        (f.stage IN ('login', 'write') AND f.product IS NOT NULL AND f.images <> '[]') OR COALESCE(f.page, 0) > 0,
        COALESCE(f.settled_at, f.created_at), true
    FROM failed AS f
    WHERE f.product IS NULL OR NOT EXISTS (
        SELECT 1 FROM rows AS n WHERE n.product = f.product AND n.version > f.version AND n.state <> 'superseded'
            AND (SELECT runs.flow FROM runs WHERE runs.run_id = n.run_id) = f.flow
    )
"""
LONG = """
    SELECT o.run_id, o.number, r.product FROM open_failures AS o
    JOIN rows AS r ON r.run_id = o.run_id AND r.number = o.number WHERE o.product IS NULL AND r.product IS NOT NULL
"""
NAME = "UPDATE open_failures SET product = :product WHERE run_id = :run_id AND number = :number"
RUN_CAUSES = """
    INSERT INTO run_causes (run_id, fingerprint, flow, created_at, failed, retryable, open)
    SELECT r.run_id, COALESCE(r.fingerprint, ''), runs.flow, runs.created_at, count(*),
        sum(CASE WHEN (r.stage IN ('login', 'write') AND r.product IS NOT NULL AND r.images <> '[]')
            OR COALESCE(r.page, 0) > 0 THEN 1 ELSE 0 END), count(o.number)
    FROM rows AS r JOIN runs ON runs.run_id = r.run_id
    LEFT JOIN open_failures AS o ON o.run_id = r.run_id AND o.number = r.number
    WHERE r.state IN ('failed', 'retrying') AND r.state = 'failed'
    GROUP BY r.run_id, COALESCE(r.fingerprint, ''), runs.flow, runs.created_at
"""
CAUSES = """
    INSERT INTO causes (flow, fingerprint, stage, http_status, reason, open, retryable, total, first_at, last_at, closed_at)
    SELECT c.flow, c.fingerprint, e.stage, e.http_status, e.reason, c.open, c.retryable, c.total, c.first_at, c.last_at,
        CASE WHEN c.open = 0 THEN c.last_at END
    FROM (
        SELECT runs.flow, COALESCE(r.fingerprint, '') AS fingerprint, count(o.number) AS open, count(*) AS total,
            sum(CASE WHEN o.retryable THEN 1 ELSE 0 END) AS retryable,
            min(COALESCE(r.settled_at, runs.created_at)) AS first_at,
            max(COALESCE(r.settled_at, runs.created_at)) AS last_at
        FROM rows AS r JOIN runs ON runs.run_id = r.run_id
        LEFT JOIN open_failures AS o ON o.run_id = r.run_id AND o.number = r.number
        WHERE r.state IN ('failed', 'retrying') AND r.state = 'failed'
        GROUP BY runs.flow, COALESCE(r.fingerprint, '')
    ) AS c JOIN (
        SELECT runs.flow, COALESCE(r.fingerprint, '') AS fingerprint, r.stage, r.http_status, r.reason,
            row_number() OVER (PARTITION BY runs.flow, COALESCE(r.fingerprint, '') ORDER BY r.version DESC) AS place
        FROM rows AS r JOIN runs ON runs.run_id = r.run_id
        WHERE r.state IN ('failed', 'retrying') AND r.state = 'failed'
    ) AS e ON e.flow = c.flow AND e.fingerprint = c.fingerprint AND e.place = 1
"""
DAYS = """
    INSERT INTO cause_days (flow, fingerprint, day, rows)
    SELECT runs.flow, COALESCE(r.fingerprint, ''), {day}, count(*)
    FROM rows AS r JOIN runs ON runs.run_id = r.run_id
    WHERE r.state IN ('failed', 'retrying') AND r.state = 'failed' AND r.settled_at IS NOT NULL
    GROUP BY runs.flow, COALESCE(r.fingerprint, ''), {day}
"""
DAY = {
    "postgresql": "date_trunc('day', r.settled_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'",
    "sqlite": "r.settled_at / 86400000000 * 86400000000",
}
FLOWS = "INSERT INTO failing_flows (flow, open) SELECT flow, sum(open) FROM causes GROUP BY flow"


def upgrade() -> None:
    _tables()
    _index("rows_by_cause", "rows", "run_id", "fingerprint", "number", where="state = 'failed'")
    _index("open_failures_by_product", "open_failures", "flow", "product")
    _index("open_failures_by_cause", "open_failures", "flow", "fingerprint", "version")
    _index("open_failures_unchecked", "open_failures", "failed_at", where="NOT checked")
    _index("causes_open", "causes", "open", "flow", "fingerprint", where="closed_at IS NULL")
    _index("causes_closed", "causes", "closed_at", "flow", "fingerprint", where="closed_at IS NOT NULL")
    _index("cause_days_by_day", "cause_days", "day")
    _index("run_causes_open", "run_causes", "flow", "fingerprint", "created_at", "run_id", where="open > 0")
    fill(op.get_bind())


def fill(connection: sa.Connection) -> None:
    """Make the new tables' records of the rows that failed."""
    if connection.execute(sa.text("SELECT 1 FROM runs WHERE failed > 0 LIMIT 1")).first() is None:
        return
    connection.execute(sa.text(OPEN))
    for run_id, number, product in connection.execute(sa.text(LONG)).all():
        connection.execute(sa.text(NAME), {"product": keyed(product), "run_id": run_id, "number": number})
    for statement in (RUN_CAUSES, CAUSES, DAYS.format(day=DAY[connection.dialect.name]), FLOWS):
        connection.execute(sa.text(statement))


def _tables() -> None:
    op.create_table(
        "open_failures",
        sa.Column("run_id", Key, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("flow", Key, nullable=False),
        sa.Column("product", Key),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", Key, nullable=False),
        sa.Column("retryable", sa.Boolean(), nullable=False),
        sa.Column("failed_at", Instant(), nullable=False),
        sa.Column("checked", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "number"),
    )
    op.create_table(
        "failing_flows", sa.Column("flow", Key, primary_key=True), sa.Column("open", sa.BigInteger(), nullable=False)
    )
    op.create_table(
        "causes",
        sa.Column("flow", Key, nullable=False),
        sa.Column("fingerprint", Key, nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("http_status", sa.Integer()),
        sa.Column("reason", sa.Text()),
        sa.Column("open", sa.BigInteger(), nullable=False),
        sa.Column("retryable", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("first_at", Instant(), nullable=False),
        sa.Column("last_at", Instant(), nullable=False),
        sa.Column("closed_at", Instant()),
        sa.PrimaryKeyConstraint("flow", "fingerprint"),
    )
    op.create_table(
        "cause_days",
        sa.Column("flow", Key, nullable=False),
        sa.Column("fingerprint", Key, nullable=False),
        sa.Column("day", Instant(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("flow", "fingerprint", "day"),
    )
    op.create_table(
        "run_causes",
        sa.Column("run_id", Key, nullable=False),
        sa.Column("fingerprint", Key, nullable=False),
        sa.Column("flow", Key, nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("retryable", sa.BigInteger(), nullable=False),
        sa.Column("open", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "fingerprint"),
    )


def _index(name: str, table: str, *columns: str, where: str | None = None) -> None:
    only = None if where is None else sa.text(where)
    op.create_index(name, table, list(columns), postgresql_where=only, sqlite_where=only)
