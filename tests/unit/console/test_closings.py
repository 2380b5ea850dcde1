"""How causes closed, and what helped most often."""

from datetime import UTC, datetime, timedelta

from imageflow.console import closings
from imageflow.console.causes import cause
from imageflow.console.closings import Helped
from imageflow.store import AuditEntry, AuditRecord, Cause

NOW = datetime(2026, 1, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


def gone(group="g", stage="write", status=404, flow="winter"):
    """A cause that was open for an hour until now."""
    kept = Cause(flow, group, stage, status, "no", 0, 0, NOW, None, None, None, 0, 3, NOW - HOUR, NOW - HOUR, NOW, ())
    return kept, cause(stage, status, "no")


def change(what, on, at=NOW - HOUR / 2, **detail):
    return AuditRecord(1, at, AuditEntry("ada", what, on, "", detail))


def ways(found, *changes):
    return [one.way for one in closings.closed(found, changes)]


def test_how_a_cause_closed():
    """By a retry of it while it was open, by a version of its flow, or by itself."""
    again, saved = change("run.retry", "run r", group="g"), change("flow.save", "flow winter")
    assert ways([gone()]) == ["newer"]
    assert ways([gone()], again) == ["again"]
    assert ways([gone("other")], again) == ["newer"]
    assert ways([gone()], change("run.retry", "run r", row=4, causes=["f", "g"])) == ["again"]
    assert ways([gone("other")], change("run.retry", "run r", row=4, causes=["f", "g"])) == ["newer"]
    assert ways([gone()], saved) == ["version"]
    assert ways([gone(flow="summer")], saved) == ["newer"]
    assert ways([gone()], saved, again) == ["again"]
    assert ways([gone(stage="script", status=None)], saved, again) == ["version"]
    assert ways([gone()], change("run.retry", "run r", NOW - 2 * HOUR, group="g")) == ["newer"]


def test_what_helped_most_often():
    """With causes of one name, or with all."""
    found = closings.closed(
        [gone(), gone("h"), gone("i", "script", None)], [change("run.retry", "run r", group=name) for name in "gh"]
    )
    assert closings.helped(found) == Helped("again", 2, 3)
    assert closings.helped(found, "script") == Helped("newer", 1, 1)
    assert closings.helped(found, "login") is None
