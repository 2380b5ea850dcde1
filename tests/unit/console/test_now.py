"""A flow on the page Now: its day as a strip, and its mark."""

from datetime import timedelta

import msgspec
import pytest

from imageflow.actions.now import HALF_HOUR, FlowNow
from imageflow.console.pages.now import bars, line, mark
from imageflow.console.plots import Bar, Flag
from imageflow.model.run_step import Hold
from imageflow.model.series import Point
from imageflow.store import SavedVersion
from tests.unit.model.test_run_step import BEGAN, RUN
from tests.unit.schedule.test_alarm import flow

POINTS = [Point(BEGAN + n * HALF_HOUR, written=n, unchanged=1, failed=2) for n in range(4)]


def now(**changes):
    found = FlowNow(flow(), RUN, POINTS, 0, None, None, [], [])
    return found._replace(**changes)


def half_hours(number):
    return BEGAN + number * HALF_HOUR


@pytest.mark.parametrize(
    ("hold", "held"),
    [
        (Hold(half_hours(1), half_hours(2), "503"), [False, True, False, False]),
        (Hold(half_hours(1.5), half_hours(2.5), "503"), [False, True, True, False]),
        (Hold(half_hours(2.5), None, "503"), [False, False, True, True]),
        (Hold(half_hours(-3), half_hours(-1), "503"), [False] * 4),
    ],
)
def test_a_half_hour_in_which_writers_held_back(hold, held):
    """It is hatched, if the hold covers any of it; what moved is shown all the same."""
    assert bars(now(held=[hold])) == [Bar(n, 1, 2, here) for n, here in enumerate(held)]


def test_versions_are_flags_where_they_were_saved():
    """A share of the day that is shown, with who saved what."""
    saved = [SavedVersion("winter", 7, "ada", half_hours(1)), SavedVersion("winter", 8, "bob", half_hours(3))]
    found = line(now(saved=saved), half_hours(4))
    assert found.flags == [Flag(0.25, "v7, ada"), Flag(0.75, "v8, bob")]
    assert found.erp == "erp.example.com"


def test_a_flow_that_has_never_moved():
    """It has no strip, and nothing to say of the ERP where there is none."""
    outbound = flow()
    outbound = msgspec.structs.replace(outbound, definition=msgspec.structs.replace(outbound.definition, erp=None))
    found = line(now(flow=outbound, last=None, points=[]), BEGAN)
    assert (found.bars, found.flags, found.erp, found.mark) == ([], [], "", "unchanged")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "written"),
        ({"flow": flow(enabled=False)}, "off"),
        ({"held": [Hold(BEGAN, None, "503")]}, "waiting"),
        ({"held": [Hold(BEGAN, BEGAN + timedelta(1), "503")]}, "written"),
        ({"last": None}, "unchanged"),
        ({"last": msgspec.structs.replace(RUN, status="failed")}, "failed"),
        ({"last": msgspec.structs.replace(RUN, status="partial")}, "written"),
        ({"flow": flow(enabled=False), "held": [Hold(BEGAN, None, "503")]}, "off"),
    ],
)
def test_marks(changes, expected):
    """One word for each flow; a switched off flow waits for nothing."""
    assert mark(now(**changes)) == expected
