"""The headers that both brokers write when a message is retried or parked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageflow.broker import MAX_HEADERS_BYTES, MAX_REASON_CHARS, attempts, bounded, parked, retried

HEADERS = st.dictionaries(st.text(max_size=20), st.text(max_size=200), max_size=8)


@pytest.mark.parametrize(
    ("text", "count"), [("", 0), ("0", 0), ("3", 3), ("-1", 0), ("1.5", 0), ("x", 0), ("²", 0), ("9" * 10, 0)]
)
def test_attempts(text: str, count: int) -> None:
    """The header is a number from 0; what another program wrote there instead is no attempt."""
    assert attempts({"attempts": text}) == count
    assert attempts({}) == 0


@given(HEADERS)
def test_a_failure_counts_and_a_pause_does_not(headers: dict[str, str]) -> None:
    """A failed attempt raises the count by one; a postponed message keeps all its headers."""
    assert attempts(retried(headers, failed=True)) == attempts(headers) + 1
    assert retried(headers, failed=False) == headers


def test_a_parked_message_says_why() -> None:
    """Reason, queue and time come to the message's own headers; the reason has a bound."""
    found = parked({"flow": "f", "reason": "an older one"}, "imageflow.read", "x" * 9000, 1_790_000_000.7)
    assert found == {
        "flow": "f",
        "queue": "imageflow.read",
        "reason": "x" * MAX_REASON_CHARS,
        "parked_at": "2026-09-21T14:13:20+00:00",
    }


@given(st.dictionaries(st.text(max_size=9), st.integers(0, MAX_HEADERS_BYTES), max_size=9))
def test_headers_are_bounded(sizes: dict[str, int]) -> None:
    """Together they fit; the small ones are kept first, and headers that fit are kept whole."""
    headers = {name: "x" * size for name, size in sizes.items()}
    kept = bounded(headers)
    assert sum(len(name.encode()) + len(value) for name, value in kept.items()) <= MAX_HEADERS_BYTES
    assert kept.items() <= headers.items()
    weights = {name: len(name.encode()) + len(value) for name, value in headers.items()}
    if sum(weights.values()) <= MAX_HEADERS_BYTES:
        assert kept == headers
    elif kept:
        assert max(weights[name] for name in kept) <= min(weights[name] for name in headers.keys() - kept.keys())
