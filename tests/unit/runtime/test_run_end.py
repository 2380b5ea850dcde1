"""The line that a log has of a run's end."""

from __future__ import annotations

from datetime import UTC, datetime

from structlog.testing import capture_logs

from imageflow.model.run import Counts, Run, Trigger
from imageflow.runtime.run_end import log_ended


def test_the_end_of_a_run_is_logged_with_its_counts():
    """One line a run: which, of which flow, how it ended, and how many rows are in which state."""
    at = datetime(2026, 3, 1, tzinfo=UTC)
    run = Run(
        run_id="r1",
        flow="winter",
        version=1,
        trigger=Trigger("person"),
        status="partial",
        created_at=at,
        counts=Counts(total=3, written=1, failed=2),
    )
    with capture_logs() as lines:
        log_ended([run])
    (line,) = lines
    assert {name: line[name] for name in ("event", "run", "flow", "status", "total", "written", "failed")} == {
        "event": "run ended",
        "run": "r1",
        "flow": "winter",
        "status": "partial",
        "total": 3,
        "written": 1,
        "failed": 2,
    }
