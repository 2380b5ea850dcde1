"""The types of single fields: durations, rates, paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageflow.model.field_types import Duration, Rate, json_path


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90s", 90), ("1h30m", 5400), ("250ms", 0.25), ("1.5m", 90), ("2d", 172_800), (30, 30), (0.5, 0.5), (0, 0)],
)
def test_durations(written: object, seconds: float):
    """Units add up; a bare number is seconds."""
    assert Duration.parse(written) == seconds


@pytest.mark.parametrize("written", ["", "s", "10", "10 s", "-1s", "5w", -1, True, None, [], "9999d", float("nan")])
def test_what_is_no_duration(written: object):
    """Other texts, negative numbers and centuries are refused."""
    with pytest.raises(ValueError, match="must be a duration"):
        Duration.parse(written)


@pytest.mark.parametrize(("written", "rate"), [("10/s", 10), ("300/m", 5), ("3600/h", 1), ("0.5/s", 0.5)])
def test_rates(written: str, rate: float):
    """A rate is events per second."""
    assert Rate.parse(written) == rate


@pytest.mark.parametrize("written", [10, "10", "10/d", "0/s", "/s", "-1/s", "2000000/s", None, True])
def test_what_is_no_rate(written: object):
    """Numbers without a unit, nothing, and rates beyond reason are refused."""
    with pytest.raises(ValueError, match="must be a rate"):
        Rate.parse(written)


@pytest.mark.parametrize("path", ["", "results", "data.items.0.id", "/data/items", "/a~1b/~0c", "$id", "a$.b"])
def test_paths(path: str):
    """Dotted paths and JSON Pointers are right; the empty path is the document."""
    assert list(json_path(path)) == []


@pytest.mark.parametrize(
    "path", ["$.items", "$", "$[0]", "items[0]", "items[*].id", " items", "items ", "a..b", ".a", "/~2"]
)
def test_paths_that_are_written_otherwise(path: str):
    """JSONPath, brackets, stray spaces and empty parts are named."""
    assert len(list(json_path(path))) == 1


@given(st.text())
def test_any_text_is_judged(path: str):
    """No text makes the check fail."""
    assert len(list(json_path(path))) <= 1
