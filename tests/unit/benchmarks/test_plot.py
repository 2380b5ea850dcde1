"""Plots as text."""

from xml.etree import ElementTree as ET

import pytest

from tests.benchmarks.plot import HEIGHT, WIDTH, Band, Line, plot, thinned, ticks


@pytest.mark.parametrize(
    ("highest", "wanted"),
    [
        (5, [0, 1, 2, 3, 4, 5]),
        (0.3, [0, 0.1, 0.2, 0.3]),
        (4100, [0, 1000, 2000, 3000, 4000, 5000]),
        (10, [0, 2, 4, 6, 8, 10]),
    ],
)
def test_ticks_are_round_and_cover_the_highest(highest, wanted):
    """A handful of round numbers, the last not below the highest value."""
    assert ticks(highest) == wanted


def test_a_plot_is_svg_that_holds_every_point():
    """Well-formed, its lines within the page, names escaped."""
    lines = [Line("a < b", [(0, 0), (10, 50), (20, 100)]), Line("best", [(0, 90), (20, 90)], dots=True, dashed=True)]
    root = ET.fromstring(plot("rate & limit", "seconds", "rows/s", lines, [Band(5, 10, "slow")]))
    drawn = [element.get("points") for element in root if element.tag.endswith("polyline")]
    points = [tuple(map(float, point.split(","))) for line in drawn for point in line.split()]
    assert len(points) == 5
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    assert points[0][1] > points[1][1] > points[2][1]
    assert "a < b" in [element.text for element in root]


def test_thinned_points():
    """Of each stretch the highest stays, so that no peak is lost."""
    assert thinned([(1, 5.0), (2, 9.0), (3, 2.0), (4, 3.0), (5, 1.0)], 3) == [(2, 9.0), (4, 3.0), (5, 1.0)]
    assert thinned([(1, 5.0), (2, 9.0)], 3) == [(1, 5.0), (2, 9.0)]
