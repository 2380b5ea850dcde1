"""Plots: what is drawn, that it is bounded, and that nothing of it is an inline style."""

import re

from markupsafe import Markup

from imageflow.console import plots
from imageflow.console.plots import Bar, Flag, LaneRun, Link, Mark, Span
from imageflow.model import page_map


def classes(svg):
    return re.findall(r'<path class="([^"]*)"', svg)


def test_a_strip_says_by_position_what_failed():
    """What came well stands above the line, what failed hangs below it, a hold is hatched."""
    drawn = plots.strip([Bar(3, 5), Bar(0, 0, 2), Bar(held=True)], "rows")
    assert classes(drawn) == ["axis", "held", "still", "up", "down"]
    assert 'aria-label="rows"' in drawn
    below = re.search(r'class="down" d="M[\d.]+ ([\d.]+)', drawn)
    assert float(below[1]) > 28
    assert plots.strip([], "rows") == ""


def test_labels_are_escaped():
    """A label is text."""
    assert "<b>" not in plots.strip([Bar(1)], "<b>") + plots.balance([], "<b>") + plots.days([1], "<b>")


def test_days_without_failures_have_no_bar():
    """Only the line is left."""
    assert classes(plots.days([0, 0], "days")) == ["axis"]
    assert classes(plots.days([0, 3], "days")) == ["axis", "down"]


def test_a_balance_shows_each_part():
    """One row of a million is at least visible; without rows there is one empty bar."""
    drawn = plots.balance([("written", 999_999), ("failed", 1), ("superseded", 0)], "balance")
    assert classes(drawn) == ["b-written", "b-failed"]
    assert re.search(r'class="b-failed" d="M[\d.]+ 0h2v', drawn)
    assert classes(plots.balance([], "nothing")) == ["b-none"]


URL, NAME = "?page={}#rows", "page {}"


def test_squares_are_as_bad_as_their_worst_page():
    """Of more pages than there is room for, each square stands for several; failed ones have a diamond, and lead to their rows."""
    drawn = plots.squares("u" * 3999 + "f", "pages", URL, NAME)
    assert classes(drawn) == ["u", "f", "hole"]
    assert re.search(r'class="u" d="([^"]*)"', drawn)[1].count("M") == 1999
    assert '<a href="?page=4000#rows" aria-label="page 4000">' in drawn
    assert 'role="group"' in drawn
    assert classes(plots.squares("wn", "pages", URL, NAME)) == ["w", "n"]


def test_the_chosen_page_has_a_frame():
    """If there is such a page."""
    assert "pick" in classes(plots.squares("uu", "pages", URL, NAME, picked=2))
    assert "pick" not in classes(plots.squares("uu", "pages", URL, NAME, picked=3))


def test_a_million_rows_stay_small():
    """One path for each colour, and so many links at most: 2,000 squares are a few dozen kilobytes."""
    drawn = plots.squares("uwfp" * 500, "pages", URL, NAME)
    assert len(drawn) < 110_000
    assert drawn.count("<a ") == plots.LINKED
    assert set(page_map.LETTERS) == set(plots.CLASSES)


def test_a_timeline_for_a_phone():
    """It is as wide as a phone's card, so that its letters are not made smaller; fewer instants have room."""
    marks = [Mark(0, "12:00"), Mark(60, "12:01"), Mark(50, "all read")]
    drawn = plots.timeline([Span("read", 0, 60)], [("read", "Reading")], marks, "steps", narrow=True)
    assert 'class="time narrow" viewBox="0 0 340 ' in drawn
    assert "12:01" in drawn
    assert "all read" not in drawn


def test_a_timeline_has_a_lane_for_each_step():
    """With the names, the bars in their lanes, the marks that have room below, and flags."""
    spans = [Span("read", 0, 60), Span("write", 5, 120, "go"), Span("write", 60, 80, "wait")]
    marks = [Mark(0, "11:41"), Mark(120, "now"), Mark(119, "held")]
    drawn = plots.timeline(spans, [("read", "Reading"), ("write", "w")], marks, "steps", flags=[Mark(60, "v7, ayse")])
    assert classes(drawn) == ["lane", "done", "lane", "go", "wait", "axis", "flag"]
    assert ">Reading<" in drawn
    assert 'text-anchor="end">now' in drawn
    assert "held" not in drawn
    assert "<title>v7, ayse</title>" in drawn


def test_flags_stay_within_the_plot():
    """And are few."""
    drawn = plots.strip([Bar(1)], "a", flags=[Flag(0.5, str(one)) for one in range(100)] + [Flag(7, "late")])
    assert classes(drawn).count("flag") == plots.MOST_FLAGS
    assert re.search(r'd="M282 0[^"]*"><title>late', drawn)
    assert "flag" in classes(plots.days([1], "a", flags=[Flag(-1, "early")]))


def test_a_lane_marks_runs_that_failed():
    """Length is time, height is rows; what failed has a mark below the line, and the shortest run is visible."""
    runs = [LaneRun(0, 0.5, 1, "success", "a"), LaneRun(1, 1, 0, "partial", "b")]
    drawn = plots.lane(runs, "runs")
    assert classes(drawn) == ["lane", "s-success", "s-partial", "s-failed"]
    assert re.search(r's-partial" d="M997 \d+h3v4', drawn)
    marked = plots.lane(runs, "runs", held=[(0.1, 0.2)], flags=[Flag(0.3, "v2, ayse")])
    assert classes(marked) == ["lane", "held", "s-success", "s-partial", "s-failed", "flag"]


def test_what_became_of_each_picture():
    """By its URL: it stays, moves, is new or goes; the same picture twice counts twice."""
    found = plots.links(["a", "b", "c", "c"], ["b", "a", "c", "d"])
    assert found == [
        Link(1, 0, "moved"),
        Link(0, 1, "moved"),
        Link(2, 2, ""),
        Link(None, 3, "new"),
        Link(3, None, "gone"),
    ]
    assert classes(plots.joined(found)) == ["moved", "", "new", "gone"]
    assert isinstance(plots.joined([]), Markup)


def test_cells_of_rows():
    """Columns from the left, of eight; a cell that stands for several rows is as bad as the worst; broken ones have a diamond."""
    drawn = plots.cells(["same"] * 7 + ["fixed", "different", "broken"], "rows")
    assert classes(drawn) == ["same", "fixed", "different", "broken", "hole"]
    assert re.search(r'class="fixed" d="M0 42h', drawn)
    assert re.search(r'class="different" d="M10 0h', drawn)
    many = plots.cells(["same"] * 1990 + ["fixed"] + ["same"] * 9 + ["fixed", "broken"], "rows", most=1000)
    assert classes(many) == ["same", "fixed", "broken", "hole"]
    assert classes(plots.cells([], "none")) == []


def test_no_inline_style():
    """The policy would block it."""
    everything = [
        plots.strip([Bar(1, 1, 1, held=True)], "a"),
        plots.days([1], "a"),
        plots.balance([("written", 1)], "a"),
        plots.squares("f", "a", URL, NAME, picked=1),
        plots.timeline([Span("a", 0, 1)], [("a", "a")], [], "a", flags=[Mark(0, "a")]),
        plots.joined(plots.links(["a"], ["b"])),
        plots.cells(["broken"], "a"),
    ]
    assert not [plot for plot in everything if "style" in plot or "<script" in plot]
