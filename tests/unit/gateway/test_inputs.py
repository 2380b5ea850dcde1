"""What the API takes."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from msgspec import UNSET

from imageflow.gateway.inputs import Paged, RunQuery, complaint, matched, moment
from imageflow.gateway.problem_details import Refusal

NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)


def test_an_instant_of_a_query() -> None:
    """As on the command line, in UTC where nothing else is said; none where it is not given."""
    assert moment("since", "2026-01-31T14:00:00+02:00", NOW) == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert moment("since", "2026-01-31", NOW) == datetime(2026, 1, 31, tzinfo=UTC)
    assert moment("since", "24h", NOW) == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert moment("since", UNSET, NOW) is None


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        (
            {"status": "foo"},
            RunQuery,
            "Invalid enum value 'foo' - at `$.status`; there are: cancelled, draining, empty, failed, partial, queued, reading, success",
        ),
        ({"limit": "x"}, RunQuery, "Expected `int`, got `str` - at `$.limit`"),
        ({"nonsense": "1"}, Paged, "Object contains unknown field `nonsense`"),
        ({}, int, "Expected `int`, got `object`"),
    ],
)
def test_what_is_wrong_with_a_query(given: dict[str, str], kind: type, said: str) -> None:
    """Where it must be one of a few words, with the words."""
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(given, kind, strict=False)
    assert complaint(refused.value, kind) == said


@pytest.mark.parametrize("text", ["", "0.5", "1700000000", "2026-13-01T00:00:00Z", "tomorrow"])
def test_no_instant(text: str) -> None:
    """It is refused, and the refusal says what is wanted."""
    with pytest.raises(
        Refusal, match=r"since: must be an ISO date, as in 2026-01-31 or .*, or so long ago, as in 90m, 24h or 7d, not"
    ):
        moment("since", text, NOW)


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
