"""Where product and images are in rows of many kinds, and what is asked about them."""

from __future__ import annotations

from typing import Any

import pytest

from imageflow.inspect.row_shape import Order, Pictures, Shape, at, shape_of

U = "https://c.example/"


def addresses(*names: str) -> list[str]:
    return [f"{U}{name}.jpg" for name in names]


A, B = addresses("A1/1", "A1/2"), addresses("B1/1")


@pytest.mark.parametrize(
    ("rows", "product", "pictures", "order"),
    [
        (
            [{"code": "A1", "pictures": A}, {"code": "B1", "pictures": B}],
            ("code",),
            Pictures("list", ("pictures",)),
            None,
        ),
        (
            [{"sku": "A1", "media": [{"href": A[0], "position": 2}, {"href": A[1], "position": 1}]}],
            ("sku",),
            Pictures("list", ("media",), ("href",), Order(("position",))),
            None,
        ),
        (
            [{"node": {"product": {"sku": "A1"}, "images": {"edges": [{"node": {"src": A[0]}}]}}}],
            ("node", "product", "sku"),
            Pictures("list", ("node", "images", "edges"), ("node", "src")),
            None,
        ),
        (
            [{"sku": "A1", "images": f"{A[0]}, {A[1]}"}, {"sku": "B1", "images": B[0]}],
            ("sku",),
            Pictures("text", ("images",), separator=","),
            None,
        ),
        (
            [{"sku": "A1", "image10": A[1], "image2": None, "image1": A[0]}, {"sku": "B1", "image2": B[0]}],
            ("sku",),
            Pictures("numbered", (), names=("image1", "image2", "image10")),
            None,
        ),
        (
            [{"sku": "A1", "photos": {"main": A[0], "back": A[1]}}, {"sku": "B1", "photos": {}}],
            ("sku",),
            Pictures("keyed", ("photos",), always=False),
            None,
        ),
        (
            [{"sku": "A1", "url": A[0], "no": "0"}, {"sku": "A1", "url": A[1], "no": ""}],
            ("sku",),
            Pictures("single", ("url",)),
            Order(("no",), text=True),
        ),
        (
            [{"sku": "A1", "images": [A[0], None]}, {"sku": "B1", "images": B[0]}, {"sku": "C1"}],
            ("sku",),
            Pictures("list", ("images",), always=False, alone=True, holes=True),
            None,
        ),
    ],
)
def test_shapes(rows: list[Any], product: tuple[str, ...], pictures: Pictures, order: Order | None) -> None:
    """Where the SKU, the images and their places are, in rows that leave no doubt: nothing is asked."""
    assert shape_of(rows) == Shape(product, pictures, order)


@pytest.mark.parametrize(
    ("rows", "question"),
    [
        (
            [{"id": 1, "barcode": "869", "images": addresses("x")}],
            "is barcode the SKU that Omnitron knows? It may also be id",
        ),
        ([{"a": "P-1", "images": addresses("x")}, {"a": "P-2", "images": addresses("y")}], "is a the SKU"),
        ([{"code": "A1", "images": A, "photos": B}], "are the images in images? URLs are also in photos"),
        ([{"sku": "A1", "content": [f"{U}A1"]}], "is content the URL of an image?"),
        ([{"sku": "A1", "images": ["A1_1.jpg"]}], "what images holds are no whole URLs"),
        ([{"sku": "A1", "images": A}, {"sku": "A1", "images": B}], "A1 is in more than one row"),
    ],
)
def test_what_is_not_sure_is_asked(rows: list[Any], question: str) -> None:
    """The likeliest is taken, and asked about."""
    found = shape_of(rows)
    assert found.product is not None
    assert found.pictures is not None
    assert question in "\n".join(found.questions)


@pytest.mark.parametrize(
    ("rows", "question"),
    [
        ([{"sku": "A1", "name": "x"}], "where are a product's images? A row has sku, name"),
        ([{"when": "2026-01-01", "images": A}], "which field is the product's SKU?"),
        ([[1, 2]], "rows are no objects"),
        ([f"{U}picture.jpg"], "the rows are URLs alone"),
        ([{"images": [{"size": 3}], "sku": "A1"}], "where are a product's images?"),
        ([{"images": [7], "sku": "A1"}], "where are a product's images?"),
        ([{"images": [None], "sku": "A1"}], "where are a product's images?"),
    ],
)
def test_what_is_not_found_is_asked(rows: list[Any], question: str) -> None:
    """Product or images are left open, and there is no template of file names either."""
    found = shape_of(rows)
    assert found.product is None
    assert found.template is None
    assert question in "\n".join(found.questions)


def test_at() -> None:
    """A way leads through objects; where it ends early there is nothing."""
    assert at({"a": {"b": 1}}, ("a", "b")) == 1
    assert not at({"a": [1]}, ("a", "b"))
    assert Shape(None, None).flat is False


def test_rows_that_stood_under_the_names_of_their_products() -> None:
    """Their lists are the images; the name is the product. Lists of something else hold none."""
    assert shape_of([A, B], keyed=True) == Shape((), Pictures("list", ()), keyed=True)
    assert shape_of([{"images": A}, {"images": B}], keyed=True) == Shape((), Pictures("list", ("images",)), keyed=True)
    assert shape_of([[1], [2]], keyed=True) == Shape(None, None, questions=("where are the images?",))
