"""Which topics follow from two looks at the store."""

from datetime import UTC, datetime

import msgspec
import pytest

from imageflow.gateway.changes import SYSTEM_LOOKS, Look, topics, wanted
from imageflow.model.run import Counts, Run, Trigger

RUN = Run(
    run_id="r1",
    flow="f",
    version=1,
    trigger=Trigger("person"),
    status="reading",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)
EMPTY = Look((), {}, (), ())


def look(**changes):
    return EMPTY._replace(runs={"r1": msgspec.structs.replace(RUN, **changes)})


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (EMPTY, EMPTY, []),
        (EMPTY, look(), ["flows", "runs", "run:r1"]),
        (look(), look(), []),
        (look(), look(pages=2), ["runs", "run:r1"]),
        (look(), look(counts=Counts(total=3, written=1)), ["runs", "run:r1"]),
        (look(), look(counts=Counts(total=3, failed=1)), ["runs", "run:r1", "errors"]),
        (look(), look(status="success"), ["flows", "runs", "run:r1"]),
        (EMPTY, EMPTY._replace(flows={("f", 2)}), ["flows"]),
        (EMPTY, EMPTY._replace(holds={("https://a", "503")}), ["holds"]),
        (EMPTY, EMPTY._replace(alarms={(1, True)}), ["alarms"]),
    ],
)
def test_what_changed(before, now, told):
    """A topic for each kind of change, and none where nothing changed."""
    assert topics(before, now, 1) == told


def test_the_system_is_due_now_and_then():
    """Depths and ages change without a trace in the store."""
    assert [number for number in range(1, 11) if topics(EMPTY, EMPTY, number)] == [SYSTEM_LOOKS, 2 * SYSTEM_LOOKS]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", set()),
        ("flows", {"flows"}),
        ("flows,run:20260101-000000-0a", {"flows", "run:20260101-000000-0a"}),
        ("everything", None),
        ("run:", None),
        ("run:a\nb", None),
    ],
)
def test_wanted(text, names):
    """Topics with commas between them; an unknown one is refused."""
    assert wanted(text) == names
