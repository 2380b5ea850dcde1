"""By which version of its flow a row was sent: what is said of Omnitron may be what was mended before a retry."""

from datetime import UTC, datetime, timedelta

import pytest

from imageflow.inspect.product_history import sent_by
from imageflow.model.run import Run, Trigger
from imageflow.store import AuditEntry, AuditRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = Run(run_id="r1", flow="winter", version=3, trigger=Trigger("person"), status="partial", created_at=NOW)


def steered(minute, what="run.retry", of="run r1", **detail):
    return AuditRecord(minute, NOW + timedelta(minutes=minute), AuditEntry("ada", what, of, "test", detail))


@pytest.mark.parametrize(
    ("asked", "minute", "version"),
    [
        ([], 5, 3),
        ([steered(10, version=4)], 5, 3),
        ([steered(10, version=4)], 15, 4),
        ([steered(10, version=4), steered(20, version=6)], 15, 4),
        ([steered(10, version=4), steered(20, version=6)], 25, 6),
        ([steered(10, "run.cancel", version=9)], 15, 3),
        ([steered(10)], 15, 3),
        ([steered(10, of="run r2", version=4)], 15, 3),
        ([steered(10, version=4)], None, 3),
    ],
)
def test_the_version_that_a_row_was_sent_by(asked, minute, version):
    """That of the last retry before it was settled; else the run's."""
    assert sent_by(RUN, asked, None if minute is None else NOW + timedelta(minutes=minute)) == version
