"""What headers say of a message, and what they say of the messages that follow from it."""

from __future__ import annotations

import time

import pytest

from imageflow.telemetry import message_headers


def test_what_a_message_says() -> None:
    """Both instants are read from the headers."""
    received = message_headers.of({"published": "1790000000.5", "read": "1789999999.250"})
    assert (received.published, received.read) == (1790000000.5, 1789999999.25)


@pytest.mark.parametrize("text", ["", "soon", "-1", "0", "nan", "inf", "1e12"])
def test_what_is_no_instant(text: str) -> None:
    """A message without an instant, or with a wrong one, was published now, and when its page was read is not known."""
    before = time.time()
    received = message_headers.of({"published": text, "read": text})
    assert before <= received.published <= time.time()
    assert received.read is None


def test_what_follows_keeps_the_time_of_its_page() -> None:
    """While a message is handled, what is published has its page's time and the time of now."""
    with message_headers.handling(message_headers.of({"read": "1789999999.25"})):
        assert message_headers.read_at() == 1789999999.25
        following = message_headers.following()
    assert following["read"] == "1789999999.250"
    assert float(following["published"]) == pytest.approx(time.time(), abs=5)
    assert message_headers.read_at() is None


def test_what_follows_from_no_page_is_about_one_read_now() -> None:
    """The reader's messages are the first about their page."""
    following = message_headers.following()
    assert following["read"] == following["published"]


def test_what_goes_beside_has_the_same_parent() -> None:
    """The next page's message continues the trace of this one's, and is about no page yet."""
    parent = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "tracestate": "x=1"}
    with message_headers.handling(message_headers.of({**parent, "read": "1789999999.25"})):
        beside = message_headers.beside()
    assert {name: beside[name] for name in parent} == parent
    assert "read" not in beside
