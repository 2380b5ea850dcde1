"""What a process notes of steps, and what follows from it: waits, holds, how long a run takes still."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from imageflow.model.run import Counts, Run, Trigger
from imageflow.model.run_step import Hold, Notes, RunStep, held_seconds, seconds_left

BEGAN = datetime(2026, 1, 2, 3, tzinfo=UTC)
RUN = Run(
    run_id="r",
    flow="f",
    version=1,
    trigger=Trigger("schedule"),
    status="draining",
    created_at=BEGAN,
    started_at=BEGAN,
    read_complete=True,
    counts=Counts(1000, written=400, unchanged=100),
)


def at(seconds):
    return BEGAN + timedelta(seconds=seconds)


def test_notes_of_a_step_add_up():
    """From the first to the last instant, with all rows; what was taken is forgotten, unless it is given back."""
    notes = Notes()
    notes.worked("r", "write", at(1), at(2), 100)
    notes.worked("r", "write", at(0), at(1), 50)
    notes.worked("r", "read", at(3), at(4))
    read, write = RunStep("r", "read", at(3), at(4)), RunStep("r", "write", at(0), at(2), 150)
    taken = notes.take(at(4))
    assert taken == [read, write]
    assert notes.take(at(4)) == []
    notes.worked("r", "write", at(5), at(6), 1)
    notes.give_back(taken)
    assert notes.take(at(6)) == [read, RunStep("r", "write", at(0), at(6), 151)]


def test_waits_that_overlap_count_once():
    """Many deliveries that are put off at the same time are one wait, also where the notes were taken meanwhile."""
    notes = Notes()
    for now in (0, 0, 1):
        notes.waits("r", "write", at(now), 5)
    assert notes.take(at(1)) == [RunStep("r", "write", at(0), at(1), 0, 6.0)]
    notes.waits("r", "write", at(2), 2)
    assert notes.take(at(2)) == []
    notes.waits("r", "write", at(4), 5)
    assert notes.take(at(20)) == [RunStep("r", "write", at(4), at(4), 0, 3.0)]
    notes.waits("r", "write", at(21), 1)
    assert notes.take(at(22)) == [RunStep("r", "write", at(21), at(21), 0, 1.0)]


@pytest.mark.parametrize(
    ("spans", "seconds"),
    [
        ([], 0),
        ([(10, 20)], 10),
        ([(10, 20), (15, 30), (12, 13)], 20),
        ([(-50, 5), (90, None)], 15),
        ([(200, 300)], 0),
    ],
)
def test_seconds_that_were_held(spans, seconds):
    """Between two instants, each second once."""
    holds = [Hold(at(since), None if until is None else at(until), "503") for since, until in spans]
    assert held_seconds(holds, at(0), at(100)) == seconds


WRITE = RunStep("r", "write", at(50), at(150), 500)


@pytest.mark.parametrize(
    ("changes", "steps", "holds", "left"),
    [
        ({}, [], [], 150.0),
        ({}, [WRITE], [], 100.0),
        ({}, [WRITE], [Hold(at(60), at(110), "503")], 50.0),
        ({}, [WRITE], [Hold(at(60), None, "503")], None),
        ({}, [msgspec.structs.replace(WRITE, rows=0)], [], 100.0),
        ({}, [msgspec.structs.replace(WRITE, rows=250)], [], 200.0),
        ({}, [msgspec.structs.replace(WRITE, first_at=at(145))], [], 5.0),
        ({}, [msgspec.structs.replace(WRITE, first_at=at(146))], [], None),
        ({}, [WRITE], [Hold(at(52), at(149), "503")], None),
        ({"read_complete": False}, [WRITE], [], None),
        ({"status": "partial"}, [WRITE], [], None),
        ({"cancelled_at": at(140)}, [WRITE], [], None),
        ({"counts": Counts(1000)}, [WRITE], [], None),
        ({"counts": Counts(5, written=5)}, [WRITE], [], None),
    ],
)
def test_seconds_that_a_run_takes_still(changes, steps, holds, left):
    """As it went since it wrote, without the time in which it was held; nothing is said while that is not known."""
    assert seconds_left(msgspec.structs.replace(RUN, **changes), steps, holds, at(150)) == left
