"""How causes closed, and what helped most often."""

from datetime import UTC, datetime, timedelta

from imageflow.console import closings
from imageflow.console.causes import cause
from imageflow.console.closings import Helped
from imageflow.model.run import Run, Trigger
from imageflow.store import AuditEntry, AuditRecord, Cause, InRetry

NOW = datetime(2026, 1, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


def gone(group="g", stage="write", status=404, flow="winter"):
    """A cause that was open for an hour until now."""
    kept = Cause(flow, group, stage, status, "no", 0, 0, NOW, None, None, None, 0, 3, NOW - HOUR, NOW - HOUR, NOW, ())
    return kept, cause(stage, status, "no")


def change(what, on, at=NOW - HOUR / 2, **detail):
    return AuditRecord(1, at, AuditEntry("ada", what, on, "", detail))


def ways(found, *changes, since=None):
    return [one.way for one in closings.closed(found, changes, since)]


def test_how_a_cause_closed():
    """By the retry of its last open row, as the row was or by another version; else by newer rows, perhaps of a new version."""
    again, saved = change("run.retry", "run r", NOW, version=2), change("flow.save", "flow winter")
    anew = change("run.retry", "run r", NOW, version=2, from_pages=1, versions_before=[1, 2])
    as_before = change("run.retry", "run r", NOW, version=2, from_pages=1, versions_before=[2])
    assert ways([gone()]) == ["newer"]
    assert ways([gone()], again) == ["again"]
    assert ways([gone()], saved, as_before) == ["again"]
    assert ways([gone()], saved, anew) == ["version"]
    assert ways([gone()], change("run.retry", "run r", NOW - HOUR / 2, group="g")) == ["newer"]
    assert ways([gone()], saved) == ["newer version"]
    assert ways([gone()], change("flow.rollback", "flow winter")) == ["newer version"]
    assert ways([gone(flow="summer")], saved) == ["newer"]
    assert ways([gone()], change("flow.save", "flow winter", NOW - 2 * HOUR)) == ["newer"]


def test_what_the_audit_log_is_not_asked_for():
    """Of a cause that is older than the changes that are looked at, only a retry tells how it closed."""
    again = change("run.retry", "run r", NOW, version=2)
    assert ways([gone()], since=NOW - HOUR / 2) == [None]
    assert ways([gone()], again, since=NOW - HOUR / 2) == ["again"]
    assert ways([gone()], since=NOW - HOUR) == ["newer"]
    assert closings.helped(closings.closed([gone()], [], NOW)) is None


def test_what_helped_most_often():
    """With causes of one name, or with all."""
    written = [gone(), gone("h")]
    found = closings.closed(written, [change("run.retry", "run r", NOW)])
    found += closings.closed([gone("i", "script", None)], [])
    assert closings.helped(found) == Helped("again", 2, 3)
    assert closings.helped(found, "script") == Helped("newer", 1, 1)
    assert closings.helped(found, "login") is None
    assert closings.helped(found[1:]) is None
    assert closings.helped(found, least=3) == Helped("again", 2, 3)
    assert closings.helped(found, least=4) is None


def run(run_id="r", flow="winter", **fields):
    kept = {"version": 1, "trigger": Trigger("person"), "status": "success", "created_at": NOW - HOUR}
    return Run(run_id=run_id, flow=flow, **{**kept, **fields})


def test_what_is_being_tried_again_has_not_closed():
    """While rows of a run that was retried for the cause are under way, in its flow."""
    error, _ = gone()
    known = closings.retries([change("run.retry", "run r", NOW, rows=3, causes=["g"])])
    assert closings.in_retry(error, known, [InRetry("r", "winter", 2)])
    assert not closings.in_retry(error, known, [InRetry("r", "summer", 2), InRetry("other", "winter", 2)])
    assert not closings.in_retry(error, known, [])
    before = closings.retries([change("run.retry", "run r", NOW - 2 * HOUR, rows=3, causes=["g"])])
    assert not closings.in_retry(error, before, [InRetry("r", "winter", 2)])
    other = closings.retries(
        [change("run.retry", "run r", NOW, rows=3, causes=["h"]), change("flow.save", "flow winter")]
    )
    assert not closings.in_retry(error, other, [InRetry("r", "winter", 2)])


def test_when_a_cause_closed():
    """Once the runs had ended whose rows were tried again; when newer rows came, where there was no retry."""
    error, _ = gone()
    known = closings.retries(
        [
            change("run.retry", "run r", NOW, rows=2, causes=["g"]),
            change("run.retry", "run q", NOW - HOUR / 4, rows=1, causes=["g"]),
            change("run.retry", "run s", NOW - HOUR / 4, rows=1, causes=["g"]),
        ]
    )
    first, last = run("q", finished_at=NOW + HOUR), run("r", finished_at=NOW + 2 * HOUR, retried_at=NOW)
    strange = run("s", "summer", finished_at=NOW + 9 * HOUR)
    found = {"q": first, "r": last, "s": strange}
    assert closings.closed_at(error, known, found) == NOW + 2 * HOUR
    assert closings.closed_at(error, [], {}) == NOW
    assert closings.closed_at(error, known, {"q": first, "s": strange}) is None
    once_more = run("r", finished_at=NOW + 9 * HOUR, retried_at=NOW + HOUR)
    assert closings.closed_at(error, known, {**found, "r": once_more}) is None
