"""What moved over time, in steps."""

from datetime import UTC, datetime, timedelta

from imageflow.model.run import Counts
from imageflow.model.series import Point, Seen, grouped, moved, step_of

NOW = datetime(2026, 1, 1, 12, 7, 30, tzinfo=UTC)
STEP = datetime(2026, 1, 1, 12, 5, tzinfo=UTC)


def test_the_step_of_an_instant():
    """Steps of five minutes, of an hour, of a day begin at their round times."""
    assert step_of(NOW) == STEP
    assert step_of(NOW, timedelta(hours=1)) == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert step_of(NOW, timedelta(days=1)) == datetime(2026, 1, 1, tzinfo=UTC)
    assert step_of(STEP) == STEP


def test_counts_that_grew_are_what_moved():
    """Runs of a flow add up; one that ended counts in the step of its end; a count that shrank counts nothing."""
    runs = [
        Seen("a", "f", Counts(9, written=5, failed=1), None),
        Seen("b", "f", Counts(9, written=2), NOW - timedelta(minutes=5)),
        Seen("c", "f", Counts(9, unchanged=3), NOW),
        Seen("d", "g", Counts(9, cancelled=4), NOW + timedelta(hours=1)),
        Seen("e", "g", Counts(9), None),
    ]
    known = {"a": Counts(9, written=4, failed=3), "e": Counts(9)}
    earlier = STEP - timedelta(minutes=5)
    assert moved(runs, known, NOW) == {
        ("f", STEP): Point(STEP, written=1, unchanged=3),
        ("f", earlier): Point(earlier, written=2),
        ("g", STEP): Point(STEP, cancelled=4),
    }


def test_points_are_grouped_without_holes():
    """Each step has its point, also where nothing moved."""
    hour = timedelta(hours=1)
    points = [Point(STEP, written=1), Point(STEP + timedelta(minutes=5), failed=2), Point(STEP + 2 * hour, written=3)]
    found = grouped(points, hour, STEP, STEP + 3 * hour)
    assert [(point.at.hour, point.written, point.failed) for point in found] == [
        (12, 1, 2),
        (13, 0, 0),
        (14, 3, 0),
        (15, 0, 0),
    ]
    assert grouped([], hour, NOW, NOW) == [Point(step_of(NOW, hour))]
