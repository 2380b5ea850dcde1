"""What the API takes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec import UNSET

from imageflow.gateway.inputs import matched, moment
from imageflow.gateway.problem_details import Refusal


def test_an_instant_of_a_query() -> None:
    """A text with its zone; none where it is not given."""
    assert moment("since", "2026-01-31T14:00:00+02:00") == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert moment("since", UNSET) is None


@pytest.mark.parametrize("text", ["", "0.5", "1700000000", "2026-01-31", "2026-01-31T12:00:00", "2026-13-01T00:00:00Z"])
def test_no_instant(text: str) -> None:
    """It is refused, and the refusal says what is wanted."""
    with pytest.raises(Refusal, match="since: must be an instant with its zone, as in"):
        moment("since", text)


@pytest.mark.parametrize(
    ("text", "version"), [("", None), ("*", None), ('"7"', 7), ("7", 7), (' W/"12" ', 12), ('"999999999"', 999_999_999)]
)
def test_the_version_that_if_match_names(text: str, version: int | None) -> None:
    """As an entity tag, weak or not, or bare; none where any version will do."""
    assert matched(text) == version


@pytest.mark.parametrize("text", ["seven", '"-1"', '"7.0"', '"1234567890"', '"\u0667"', '"1", "2"'])
def test_no_version(text: str) -> None:
    """It is refused, and the refusal says what is wanted."""
    with pytest.raises(Refusal, match="If-Match: must be the number of a version"):
        matched(text)
