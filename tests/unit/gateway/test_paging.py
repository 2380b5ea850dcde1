"""Cursors and pages."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from imageflow.gateway.paging import Page, cursor, instant, microseconds, page, position
from imageflow.gateway.problem_details import Refusal


@given(st.integers(min_value=0), st.text())
def test_a_cursor_is_the_position_that_it_was_made_of(number, name):
    """What `cursor` made, `position` reads; it is safe in a URL."""
    text = cursor(number, name)
    assert position(text, tuple[int, str]) == (number, name)
    assert text.replace("-", "a").replace("_", "a").isalnum()


@pytest.mark.parametrize("text", ["nonsense", "!!!", "e30", cursor("a"), cursor(1, 2, 3)])
def test_a_cursor_of_another_list_is_refused(text):
    """Anything but this list's cursor is a 400."""
    with pytest.raises(Refusal) as why:
        position(text, tuple[int, str])
    assert why.value.status == 400


def test_no_cursor_is_the_beginning():
    """A query without a cursor asks for the first page."""
    assert position(UNSET, tuple[int]) is None


def test_a_page_says_whether_there_is_more():
    """One more than the limit was found: the page ends with the limit, and names its last item."""
    assert page([1, 2, 3], 2, str, cursor) == Page(["1", "2"], cursor(2))
    assert page([1, 2], 2, str, cursor) == Page(["1", "2"], None)
    assert page([], 2, str, cursor) == Page([], None)


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2090, 1, 1), timezones=st.just(UTC)))
def test_a_cursor_holds_an_instant(at):
    """An instant comes back from its number to the microsecond."""
    assert instant(microseconds(at)) == at
