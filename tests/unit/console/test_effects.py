"""What settings did in a run."""

from datetime import UTC, datetime, timedelta

from imageflow.console import effects
from imageflow.model.run import Counts, Run, Trigger
from imageflow.store import ErrorGroup

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def run(run_id="r", kind="schedule", status="partial", **changes):
    about = {"flow": "winter", "version": 1, "created_at": NOW, "started_at": NOW, **changes}
    return Run(run_id=run_id, trigger=Trigger(kind), status=status, **about)


def group(stage, rows, reason=None, http_status=None):
    return ErrorGroup("0" * 16, stage, http_status, reason, rows, 0, 1, None)


def test_the_last_run_with_rows():
    """Else the last that has ended; one that goes on has no effect yet."""
    going, empty, full = run("a", status="reading"), run("b", status="empty"), run("c", counts=Counts(total=3))
    assert effects.last([going, empty, full]) is full
    assert effects.last([going, empty]) is empty
    assert effects.last([going]) is None


def test_what_it_did():
    """Pages and their time, rows that failed by stage, images that preflight refused, how runs began."""
    done = run(counts=Counts(total=9, failed=7), pages=4, finished_at=NOW + timedelta(seconds=20))
    errors = [
        group("script", 1),
        group("mapping", 2),
        group("script", 1),
        group("write", 2, "image 2: image_too_large_dimensions: 3000x2400"),
        group("write", 1, "images 3: url", 400),
    ]
    found = effects.effect([done, run("m", "fetch_missing"), run("p", "person")], done, errors, NOW)
    assert (found.seconds, found.page_seconds) == (20, 5)
    assert (found.broken, found.preflight, found.refused) == ({"script": 2, "mapping": 2}, 2, 1)
    assert (found.by_schedule, found.known, found.missing.run_id) == (1, 3, "m")
    going = effects.effect([], run(), [], NOW + timedelta(seconds=7))
    assert (going.seconds, going.page_seconds, going.missing) == (7, None, None)
    again = run(pages=4, retried_at=NOW + timedelta(hours=1), finished_at=NOW + timedelta(hours=1, seconds=2))
    retried = effects.effect([], again, [], NOW)
    assert (retried.seconds, retried.page_seconds) == (2, None)
