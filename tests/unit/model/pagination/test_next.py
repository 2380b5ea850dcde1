"""Pagination by what the answer names as the next page."""

from __future__ import annotations

from typing import Any

import pytest

from imageflow.errors import ReadError
from imageflow.model.pagination.contract import Last
from imageflow.model.pagination.next import next_target

from .pages import erp, got, rows, turn


@pytest.mark.parametrize("value", [None, "", "  ", False, [], {}, 0])
@pytest.mark.parametrize("kind", ["url", "token"])
def test_next_ends(kind: str, value: Any):
    """Nothing, null or an empty value under the field ends the read."""
    assert turn(erp(type="next", kind=kind, param="t"), got(rows(0, 3), next=value)) == Last()


def test_next_ends_without_the_field():
    """The field may be absent, and anywhere on its path something may be missing."""
    assert turn(erp(type="next", field="meta.next"), got(rows(0, 3))) == Last()


def test_next_token():
    """A token goes into its parameter; numbers are tokens too."""
    definition = erp(type="next", kind="token", param="cursor", field="meta.next")
    result = turn(definition, got(rows(0, 3), meta={"next": 17}))
    assert definition.pagination.parameters(result.cursor) == {"cursor": "17"}


@pytest.mark.parametrize("value", [{"href": "x"}, ["x"], True, 1.5])
def test_next_token_of_a_wrong_type(value: Any):
    """What is no token is an error."""
    with pytest.raises(ReadError, match="token was expected"):
        turn(erp(type="next", kind="token", param="t"), got(rows(0, 3), next=value))


@pytest.mark.parametrize("value", [{"href": "x"}, 17, True])
def test_next_url_of_a_wrong_type(value: Any):
    """What is no URL is an error."""
    with pytest.raises(ReadError, match="URL was expected"):
        turn(erp(type="next"), got(rows(0, 3), next=value))


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ('<https://a/?p=2>; rel="next"', "https://a/?p=2"),
        ("<https://a/?p=2>;rel=next", "https://a/?p=2"),
        ('<https://a/1>; rel="prev", <https://a/3>; title="x, y"; rel="last next"', "https://a/3"),
        ('<https://a/1>; rel="prev"', None),
        ('<https://a/1,2;3>; REL="NEXT"', "https://a/1,2;3"),
        ('<https://a/1>; title="a; rel=next"', None),
        ("", None),
        ("nonsense", None),
    ],
)
def test_link_header(header: str, target: str | None):
    """The Link header's rel=next, among others and however quoted."""
    assert next_target(header) == target


def test_tokens_that_are_too_long():
    """A token that no request can carry is an error."""
    with pytest.raises(ReadError, match="the token at 'next' has 20,000 characters"):
        turn(erp(type="next", kind="token", param="t"), got(rows(0, 1), next="x" * 20_000))
