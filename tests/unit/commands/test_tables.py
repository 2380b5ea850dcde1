"""Tables that people read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from imageflow.commands.tables import GAP, INDENT, Column, Line, fitted, layout, table

COLUMNS = (Column("RUN"), Column("FLOW", gives_way=True), Column("STATUS"), Column("ROWS", right=True, moves=True))
WINTER = Line(["20261124-034312-9f3c01ab52", "winter-images-tr", "failed", "1,200"])


def test_headings_and_sides():
    """A heading over each column; texts stand left, numbers right; a column without content is left out."""
    lines = [WINTER, Line(["r2", "posts", "ok", "7"])]
    assert table([*COLUMNS, Column("NOTHING")], [Line([*line.cells, ""]) for line in lines]).splitlines() == [
        "RUN                         FLOW              STATUS   ROWS",
        "20261124-034312-9f3c01ab52  winter-images-tr  failed  1,200",
        "r2                          posts             ok          7",
    ]


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (60, ["20261124-034312-9f3c01ab52  winter-images-tr  failed  1,200"]),
        (57, ["20261124-034312-9f3c01ab52  winter-images…  failed  1,200"]),
        (51, ["20261124-034312-9f3c01ab52  winter-…  failed  1,200"]),
        (50, ["20261124-034312-9f3c01ab52  winter-images…  failed", "    rows 1,200"]),
        (20, ["20261124-034312-9f3c01ab52  winter-…  failed", "    rows 1,200"]),
        (None, ["20261124-034312-9f3c01ab52  winter-images-tr  failed  1,200"]),
    ],
)
def test_what_gives_way(width, lines):
    """First letters of a name, then columns that may move; what is copied into commands is never cut."""
    assert table(COLUMNS, [WINTER], width=width).splitlines()[1:] == lines


def test_long_texts():
    """A tail stands beside where it fits, else under the line in whole words; notes stand under it always."""
    line = Line(["a"], "it said https://example.com/" + "x" * 30, ["warning: w"])
    assert table([Column("N")], [line], width=70).splitlines()[1:] == [
        "a  it said https://example.com/" + "x" * 30,
        "    warning: w",
    ]
    assert table([Column("N")], [line], width=30).splitlines()[1:] == [
        "a",
        "    it said",
        "    https://example.com/" + "x" * 30,
        "    warning: w",
    ]
    assert table([Column("N")], [line]).splitlines()[1] == "a  it said https://example.com/" + "x" * 30


def test_wide_letters_keep_columns_straight():
    """Letters that take two cells are counted so, also where they are cut."""
    lines = [Line(["r1", "日本語の冬の画像", "ok", "1"]), Line(["r2", "winter", "ok", "1"])]
    for width in (None, 25):
        shown = table(COLUMNS, lines, width=width).splitlines()
        assert {cell_len(line[: line.index("ok")]) for line in shown[1:] if "ok" in line} == {
            cell_len(shown[0][: shown[0].index("STATUS")])
        }


def test_colours_are_ours_alone():
    """A state has its colour, a heading is bold; escapes of others are gone; without colour there is none."""
    line = Line(["\x1b[2Jr", "a\nb\u202e", "failed", "1"], "\x1b]0;owned\x07", ["\x9b31m"])
    colored = table(COLUMNS, [line], color=True)
    assert "\x1b[31mfailed\x1b[0m" in colored
    assert colored.startswith("\x1b[1mRUN")
    assert colored.count("\x1b") == 4
    plain = table(COLUMNS, [line])
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(plain)
    assert len(plain.splitlines()) == 3


@given(
    st.lists(
        st.tuples(st.text(max_size=30), st.text(max_size=30), st.text(max_size=10), st.text(max_size=80)), min_size=1
    ),
    st.integers(20, 160),
)
def test_a_stranger_breaks_no_table(rows, width):
    """Whatever the texts are: a heading, and a line for each row; no line is longer than the width unless one word is."""
    shown = table(COLUMNS, [Line((*row[:3], "1"), row[3]) for row in rows], width=width).split("\n")
    assert len([line for line in shown if not line.startswith(" " * INDENT)]) <= len(rows) + 1
    assert len(shown) >= len(rows) + 1
    assert not any(char in line for line in shown for char in "\x1b\r\x85\u2028")


@given(st.lists(st.integers(0, 40), min_size=4, max_size=4), st.integers(1, 200))
def test_a_layout_has_every_column_once(widths, width):
    """Each column with content stands on the line or under it; the line fits, or nothing more can give way."""
    found = layout(COLUMNS, widths, width)
    assert sorted([*found.shown, *found.under]) == [place for place in range(4) if widths[place]]
    total = sum(found.widths) + GAP * (len(found.widths) - 1)
    if total > width:
        assert not any(COLUMNS[place].moves for place in found.shown)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("short", ["short"]),
        ("a sentence that is longer than that", ["a sentence that is", "    longer than that"]),
        ("  read    page 1 of the run r1", ["  read    page 1 of", "          the run r1"]),
        ("a  " + "x" * 30, ["a  " + "x" * 30]),
        ("one\ntwo", ["one", "two"]),
        ("      six blanks before it, then", ["      six blanks", "      before it,", "      then"]),
        (
            "    12:00:00 a column that is wider than may be indented  said",
            ["    12:00:00 a", "    column that is", "    wider than may", "    be indented ", "    said"],
        ),
        ("next: do it, then look", ["next: do it, then", "      look"]),
        ("the way: imageflow up; look", ["the way:", "    imageflow up;", "    look"]),
        ("so `imageflow up` then look", ["so `imageflow up`", "    then look"]),
        ("do: imageflow flow delete a", ["do: imageflow flow", "    delete a"]),
    ],
)
def test_long_lines_go_on_below(text, lines):
    """Under the last column of the line; words are never cut."""
    assert fitted(text, 20).split("\n") == lines
    assert fitted(text, None) == text


@given(st.text(max_size=200), st.integers(20, 100))
def test_fitting_loses_no_word(text, width):
    """The same words in the same order."""
    assert fitted(text, width).split() == text.split()
