"""The join of held rows: which images a product gets, and when it must not be written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from imageflow.model.imageset import Image
from imageflow.model.row import RowLog
from imageflow.model.run import Run, Trigger
from imageflow.store import HeldRow
from imageflow.transform.joining import NO_ORDER, Joined, beside, held_row, join, lacking
from imageflow.transform.rows import ImageSet

U = "https://c.example/"


def held(version: int, *images: Image, product: str = "A", reason: str | None = None) -> HeldRow:
    return HeldRow(product, "sku", version, images, reason)


def test_orders_by_place_are_left_to_the_join() -> None:
    """An order that is only the place within a page means nothing among all images of the product."""
    row = ImageSet("A", "sku", (Image(U + "1", 0), Image(U + "2", 7)), (False, True))
    assert held_row(row, 5) == held(5, Image(U + "1", NO_ORDER), Image(U + "2", 7))


def test_images_in_the_order_of_their_rows() -> None:
    """All images of a product, those without an order by their place; the version is the newest row's."""
    rows = [held(1, Image(U + "1", NO_ORDER)), held(2, Image(U + "2", NO_ORDER)), held(3, product="B")]
    assert join(rows) == [
        Joined("A", "sku", 2, (Image(U + "1", 0), Image(U + "2", 1))),
        Joined("B", "sku", 3, ()),
    ]


def test_of_a_url_that_comes_twice_the_later_counts() -> None:
    """Pages that overlap repeat rows."""
    (joined,) = join([held(1, Image(U + "1", 1), Image(U + "2", 2)), held(2, Image(U + "1", 3))])
    assert joined.images == (Image(U + "2", 2), Image(U + "1", 3))


def test_one_wrong_row_spoils_its_product() -> None:
    """The reason of any of its rows is that of the product."""
    spoiled, good = join([held(1, Image(U)), held(2, reason="row 3 is wrong"), held(1, Image(U), product="B")])
    assert (spoiled.reason, good.reason) == ("row 3 is wrong", None)


def test_a_set_that_is_too_large() -> None:
    """It cannot be sent in one request."""
    (joined,) = join([held(n, Image(f"{U}{n}{'x' * 4000}", NO_ORDER)) for n in range(250)])
    assert "too large" in (joined.reason or "")


def log(**fields: Any) -> RowLog:
    return RowLog(
        **{"run_id": "r", "row": 3, "product": "A", "state": "failed", "stage": "rows", "version": 7, **fields}
    )


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        (log(state="written", images=(Image(U),)), held(7, Image(U))),
        (log(state="unchanged", images=(Image(U),)), held(7, Image(U))),
        (log(stage="write", reason="404", images=(Image(U),)), held(7, Image(U))),
        (log(state="written"), held(7)),
        (log(state="superseded", images=(Image(U),)), None),
        (log(product=None, reason="no product"), None),
        (log(reason="no url"), held(7, reason="not written without row 3 of this product, which is wrong: no url")),
    ],
)
def test_what_other_rows_of_the_run_mean(entry: RowLog, found: HeldRow | None) -> None:
    """A set's images join in; a row that could not be read spoils its product."""
    assert beside(entry) == found


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, None),
        ({"error": "502"}, "because the read failed"),
        ({"incomplete": True}, "because the read is incomplete"),
        ({"broken_pages": 1}, "because a page failed as a whole"),
        ({"error": "502", "incomplete": True}, "because the read failed"),
    ],
)
def test_when_rows_may_be_missing(fields: dict[str, Any], words: str | None) -> None:
    """Only a whole read may be joined; the reason says what to do."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    run = Run(run_id="r", flow="f", version=1, trigger=Trigger("person"), status="draining", created_at=now, **fields)
    reason = lacking(run)
    assert (
        (reason is None) if words is None else (reason is not None and words in reason and "imageflow run f" in reason)
    )


def test_join_keeps_given_orders() -> None:
    """Orders that the data gave hold across pages."""
    rows = [
        held(1, Image(U + "c", 2), Image(U + "d", 3)),
        held(2, Image(U + "a", 0)),
        held(3, Image(U, 0), product="B"),
    ]
    first, second = join(rows)
    assert [image.url[-1] for image in first.images] == ["a", "c", "d"]
    assert (first.version, second.product) == (2, "B")


def test_join_counts_places_over_all_pages() -> None:
    """Images without an order follow each other, page by page."""
    rows = [held(n, Image(f"{U}{n}a", NO_ORDER), Image(f"{U}{n}b", NO_ORDER)) for n in (1, 2)]
    (joined,) = join(rows)
    assert [(image.url[len(U) :], image.order) for image in joined.images] == [
        ("1a", 0),
        ("1b", 1),
        ("2a", 2),
        ("2b", 3),
    ]


def test_join_takes_the_later_of_a_url_that_comes_twice() -> None:
    """A URL on two pages is one image: the later."""
    (joined,) = join([held(1, Image(U, 0), Image(U + "x", 1)), held(2, Image(U, 5, "swatch"))])
    assert joined.images == (Image(U + "x", 1), Image(U, 5, "swatch"))


def test_join_places_a_url_that_comes_twice_where_it_came_last() -> None:
    """Without orders, an image that a later page has again stands where that page has it."""
    pages = [("1", "2"), ("3", "1"), ("4",)]
    rows = [held(n, *(Image(U + name, NO_ORDER) for name in names)) for n, names in enumerate(pages)]
    (joined,) = join(rows)
    assert joined.images == tuple(Image(U + name, place) for place, name in enumerate("2314"))


def test_join_refuses_what_no_request_holds() -> None:
    """A set that is too large for a request is refused with that reason."""
    rows = [held(page, *(Image(f"{U}{page}/{n}/{'x' * 4000}") for n in range(100))) for page in (1, 2, 3)]
    assert "too large" in (join(rows)[0].reason or "")
