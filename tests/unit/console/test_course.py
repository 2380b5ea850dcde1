"""The course of a run as a timeline."""

from datetime import timedelta

import msgspec
import pytest

from imageflow.console.course import course, share
from imageflow.console.plots import Span
from imageflow.model.run_step import Hold, RunStep
from tests.unit.model.test_run_step import BEGAN, RUN, at

READ, WRITE = RunStep("r", "read", at(0), at(60)), RunStep("r", "write", at(5), at(90), 10)


def test_a_run_that_goes_on():
    """Its bars, the hold over the last, and what is known of the time: where it began, now, its end, the hold, and the read."""
    found = course(RUN, [READ, WRITE], [Hold(at(20), at(40), "503"), Hold(at(-9), at(10), "503")], 30.0, at(100))
    assert found.steps == ["read", "write"]
    assert found.spans == [
        Span("read", 0, 60),
        Span("write", 5, 90, "go"),
        Span("write", 20, 40, "wait"),
        Span("write", 0, 10, "wait"),
    ]
    assert [(one.at, one.event) for one in found.moments] == [
        (0, "began"),
        (100, "now"),
        (130, "done"),
        (20, "held"),
        (0, "held"),
        (60, "read"),
    ]
    assert found.moments[4].instant == at(0)


def test_a_run_that_ended():
    """All steps are done; a hold that goes on ends with the run."""
    ended = msgspec.structs.replace(RUN, status="partial", finished_at=at(95))
    found = course(ended, [WRITE], [Hold(at(50), None, "503")], None, at(500))
    assert found.spans == [Span("write", 0, 85), Span("write", 45, 90, "wait")]
    assert [(one.at, one.event) for one in found.moments] == [(0, "began"), (90, "ended"), (45, "held")]


@pytest.mark.parametrize(
    ("name", "changes", "kind"),
    [
        ("login", {"read_complete": False}, "done"),
        ("read", {"read_complete": False}, "go"),
        ("read", {}, "done"),
        ("transform", {"pages": 2, "pages_done": 1}, "go"),
        ("transform", {"pages": 2, "pages_done": 2}, "done"),
        ("write", {"pages": 2, "pages_done": 2}, "go"),
    ],
)
def test_which_steps_are_done(name, changes, kind):
    """By what the run says."""
    run = msgspec.structs.replace(RUN, **changes)
    [span] = course(run, [RunStep("r", name, at(0), at(1))], [], None, at(2)).spans
    assert span.kind == kind


def test_a_hold_alone_has_a_lane():
    """Writers may be held before they have done anything."""
    assert course(RUN, [READ], [Hold(at(1), None, "503")], None, at(2)).steps == ["read", "write"]


def test_nothing_is_drawn_of_nothing():
    """A run of an older version has no steps."""
    assert course(RUN, [], [], None, at(1)) is None


@pytest.mark.parametrize(("seconds", "found"), [(-5, 0), (0, 0), (25, 0.25), (100, 1), (900, 1)])
def test_shares_of_time(seconds, found):
    """From 0 to 1, whatever is asked for."""
    assert share(at(seconds), BEGAN, at(100)) == found
    assert share(at(1), BEGAN, BEGAN - timedelta(seconds=1)) == 0
