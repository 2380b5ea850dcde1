"""Which versions a run's rows went by besides its own: a page must not look through the rows for it."""

from datetime import UTC, datetime, timedelta

import pytest

from imageflow.inspect.resent import Resent, resent
from imageflow.model.run import Run, Trigger
from imageflow.store import AuditEntry, AuditRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = Run(run_id="r1", flow="winter", version=1, trigger=Trigger("person"), status="partial", created_at=NOW)


def steered(minute, what="run.retry", of="run r1", **detail):
    return AuditRecord(minute, NOW + timedelta(minutes=minute), AuditEntry("ada", what, of, "test", detail))


def at(minute):
    return NOW + timedelta(minutes=minute)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ([], []),
        ([steered(5, version=1, rows=3)], []),
        ([steered(5, version=2, rows=3)], [Resent(2, 3, at(5))]),
        ([steered(5, version=2, rows=3), steered(9, version=2, rows=1)], [Resent(2, 4, at(9))]),
        (
            [steered(5, version=3, rows=3), steered(9, version=2, rows=1), steered(10, version=1, rows=1)],
            [Resent(2, 1, at(9)), Resent(3, 3, at(5))],
        ),
        ([steered(5, version=2, rows=0), steered(6, version=2)], []),
        ([steered(5, rows=3), steered(6, "run.cancel", version=2, rows=3)], []),
        ([steered(5, of="run r2", version=2, rows=3)], []),
    ],
)
def test_other_versions_that_rows_were_sent_by(asked, found):
    """With how many rows, and when the last time; the run's own version is none of them."""
    assert resent(RUN, asked) == found
