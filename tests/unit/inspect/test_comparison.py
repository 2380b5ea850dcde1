"""Two versions over the same page: which rows belong together, and what became of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from imageflow.inspect.comparison import Pair, pairs
from imageflow.inspect.dry_run import DryRow
from imageflow.model.imageset import Image


def ready(product: str, *names: str) -> DryRow:
    return DryRow(product, tuple(Image(f"https://c.example/{name}") for name in names or ("1",)), "ready")


def failed(product: str | None = None, payload: Any = None) -> DryRow:
    return DryRow(product, (), "failed", "no", payload=payload)


def told(found: list[Pair]) -> list[tuple[str, str | None]]:
    return [(pair.kind, pair.product) for pair in found]


@pytest.mark.parametrize(
    ("was", "now", "kind"),
    [
        ([ready("A")], [ready("A")], "same"),
        ([failed("A")], [failed("A")], "same"),
        ([failed("A")], [ready("A")], "fixed"),
        ([ready("A")], [ready("A", "2")], "different"),
        ([], [ready("A")], "different"),
        ([failed("A")], [], "different"),
        ([ready("A")], [failed("A")], "broken"),
        ([ready("A")], [], "broken"),
        ([], [failed("A")], "broken"),
    ],
)
def test_what_became_of_a_row(was: list[DryRow], now: list[DryRow], kind: str) -> None:
    """By its state and its images, before and after."""
    assert told(pairs(was, now)) == [(kind, "A")]


def test_rows_without_a_product_are_found_by_their_element() -> None:
    """A failure that was mended is the row of a product that its element names; one that is the same is of an equal element; each
    is found once, and the other way round as well.
    """
    element = {"code": "A", "pics": None}
    assert told(pairs([failed(None, element)], [ready("A")])) == [("fixed", "A")]
    assert told(pairs([ready("A")], [failed(None, element)])) == [("broken", "A")]
    assert told(pairs([failed(None, element)], [failed(None, dict(element))])) == [("same", None)]
    assert told(pairs([failed(None, element)], [failed(None, {"code": "B"})])) == [
        ("different", None),
        ("broken", None),
    ]
    twice = pairs([failed(None, element)], [ready("A"), ready("A", "2")])
    assert told(twice) == [("fixed", "A"), ("different", "A")]
    assert told(pairs([failed(None, {"code": 7})], [ready("7")])) == [("fixed", "7")]


def test_the_order_of_a_page_stays() -> None:
    """The rows as they were, those that are new last; superseded ones are left out."""
    was = [ready("A"), failed(None, {"code": "B"}), ready("C"), DryRow("C", (), "superseded")]
    now = [ready("D"), ready("C", "9"), ready("B"), ready("A")]
    assert told(pairs(was, now)) == [("same", "A"), ("fixed", "B"), ("different", "C"), ("different", "D")]


ELEMENTS = [{"code": "F-1", "barcode": "869", "media": ["https://c.example/9"]}, {"code": "F-2", "barcode": "870"}]


@pytest.mark.parametrize(
    ("was", "now", "refused", "taken", "kind"),
    [
        ("869", "F-1", {"869"}, {"F-1"}, "fixed"),
        ("869", "F-1", {"869"}, set(), "untried"),
        ("869", "F-1", set(), {"F-1"}, "different"),
        ("869", "F-1", set(), {"869"}, "renamed"),
        ("869", "F-1", set(), set(), "renamed"),
        ("F-1", "869", {"869"}, set(), "broken"),
        ("F-1", "869", {"869"}, {"869"}, "broken"),
        ("869", "F-1", {"869", "F-1"}, {"F-1"}, "different"),
        ("869", "869", {"869"}, set(), "same"),
    ],
)
def test_another_product_of_the_same_element(was: str, now: str, refused: set[str], taken: set[str], kind: str) -> None:
    """The rows of an element belong together, whatever products the versions make of it. What Omnitron refused is no loss, and only
    what it has taken before is a gain.
    """
    found = pairs([ready(was), ready("870")], [ready("F-2"), ready(now)], ELEMENTS, refused, {*taken, "F-2"})
    assert told(found) == [(kind, now), ("different", "F-2")]


@pytest.mark.parametrize(("refused", "kind"), [({"869"}, "untried"), (set(), "different")])
def test_another_base_code_of_the_same_element(refused: set[str], kind: str) -> None:
    """What Omnitron took is known by SKU: of a base code it is never said that Omnitron took it, or never had it."""
    now = msgspec.structs.replace(ready("F-1"), key="base_code")
    assert told(pairs([ready("869")], [now], ELEMENTS, refused, {"F-1"})) == [(kind, "F-1")]


def test_a_product_that_no_element_names() -> None:
    """Its row is found by an image that its element alone has; nothing is guessed where several have it."""
    made = [ready("X", "9")]
    assert told(pairs([ready("Y", "9")], made, ELEMENTS)) == [("renamed", "X")]
    assert told(pairs([ready("Y", "9")], made, [*ELEMENTS, ELEMENTS[0]])) == [("broken", "Y"), ("different", "X")]
