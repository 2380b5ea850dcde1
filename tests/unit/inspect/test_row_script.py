"""The script that is made of rows of many kinds: it is run, and gives what is meant."""

from __future__ import annotations

from typing import Any

import pytest

from imageflow.inspect.probe_facts import keyed_in
from imageflow.inspect.row_script import RowPart, as_it_is, row_part
from imageflow.inspect.row_shape import Order, Pictures, Shape, shape_of

U = "https://c.example/"


def made(rows: list[Any], *, keyed: bool = False, path: str = "") -> RowPart:
    return row_part(shape_of(rows, keyed=keyed), path)


def run(part: RowPart, rows: list[Any]) -> list[Any]:
    """The rows that the script makes; without one, the rows."""
    assert part.fields is not None, part.questions
    if "script" not in part.fields:
        return rows
    scope: dict[str, Any] = {}
    exec(compile(part.fields["script"], "script", "exec"), scope)
    return [row for row in map(scope["process_row"], rows) if row is not None]


def pictures(*names: str) -> list[str]:
    return [f"{U}{name}.jpg" for name in names]


A, B = pictures("A1/1", "A1/2"), pictures("B1/1")

ROWS: dict[str, tuple[list[Any], list[Any]]] = {
    "as ImageFlow has it": (
        [{"sku": "A1", "images": A}, {"sku": "B1", "images": B}],
        [{"sku": "A1", "images": A}, {"sku": "B1", "images": B}],
    ),
    "urls": (
        [{"code": "A1", "title": "x", "pictures": A}, {"code": "B1", "title": "y", "pictures": B}],
        [{"sku": "A1", "images": A}, {"sku": "B1", "images": B}],
    ),
    "objects": (
        [{"itemNo": "A1", "media": [{"href": A[0], "position": 2}, {"href": A[1], "position": 1}]}],
        [{"sku": "A1", "images": [{"url": A[0], "order": 2}, {"url": A[1], "order": 1}]}],
    ),
    "objects without a place": (
        [{"stock_code": "A1", "images": [{"id": 7, "src": A[0]}]}],
        [{"sku": "A1", "images": [A[0]]}],
    ),
    "objects with the known names": (
        [{"code": "A1", "images": [{"url": A[0], "order": 1, "alt": "x"}]}],
        [{"sku": "A1", "images": [{"url": A[0], "order": 1, "alt": "x"}]}],
    ),
    "nodes": (
        [{"node": {"product": {"sku": "A1"}, "images": {"edges": [{"node": {"src": A[0]}}]}}}],
        [{"sku": "A1", "images": [A[0]]}],
    ),
    "comma": (
        [{"sku": "A1", "images": f"{A[0]}, {A[1]}"}, {"sku": "B1", "images": B[0]}],
        [{"sku": "A1", "images": A}, {"sku": "B1", "images": B}],
    ),
    "bar": ([{"sku": "A1", "resimler": "|".join(A)}], [{"sku": "A1", "images": A}]),
    "numbered": (
        [
            {"sku": "A1", "image1": A[0], "image2": None, "image10": A[1]},
            {"sku": "B1", "image1": "", "image2": B[0], "image10": None},
        ],
        [{"sku": "A1", "images": A}, {"sku": "B1", "images": B}],
    ),
    "an object of images": (
        [{"sku": "A1", "photos": {"main": A[0], "back": A[1]}}, {"sku": "B1", "photos": {"main": B[0]}}],
        [{"sku": "A1", "images": A}, {"sku": "B1", "images": B}],
    ),
    "one row for each image": (
        [{"StokKodu": "A1", "ResimUrl": A[0], "Sira": 0}, {"StokKodu": "A1", "ResimUrl": A[1], "Sira": 1}],
        [{"sku": "A1", "url": A[0], "order": 0}, {"sku": "A1", "url": A[1], "order": 1}],
    ),
    "a table of texts": (
        [{"Ürün": "A1", "Görsel": A[0], "No": "0"}, {"Ürün": "A1", "Görsel": A[1], "No": ""}],
        [{"sku": "A1", "url": A[0], "order": "0"}, {"sku": "A1", "url": A[1], "order": None}],
    ),
    "flat as ImageFlow has it": (
        [{"sku": "A1", "url": A[0], "order": 1}, {"sku": "A1", "url": A[1], "order": 2}],
        [{"sku": "A1", "url": A[0], "order": 1}, {"sku": "A1", "url": A[1], "order": 2}],
    ),
    "some have none": (
        [{"sku": "A1", "images": A}, {"sku": "B1", "images": []}, {"sku": "C1", "images": None}, {"sku": "D1"}],
        [{"sku": "A1", "images": A}],
    ),
    "some objects have none": (
        [{"code": "A1", "gallery": {"items": [{"link": A[0]}, {"link": None}, None]}}, {"code": "B1", "gallery": None}],
        [{"sku": "A1", "images": [A[0]]}],
    ),
    "some tables have none": (
        [{"code": "A1", "photo": A[0]}, {"code": "B1", "photo": ""}, {"code": "A1", "photo": A[1]}],
        [{"sku": "A1", "url": A[0]}, {"sku": "A1", "url": A[1]}],
    ),
    "one of a list stands alone": (
        [
            {"sku": "A1", "images": {"image": A}},
            {"sku": "B1", "images": {"image": B[0]}},
            {"sku": "C1", "images": None},
        ],
        [{"sku": "A1", "images": A}, {"sku": "B1", "images": B}],
    ),
    "an id that is in the addresses": (
        [{"id": 4711, "images": [f"{U}4711/1.png"]}, {"id": 4712, "images": [f"{U}4712/1.png"]}],
        [{"sku": 4711, "images": [f"{U}4711/1.png"]}, {"sku": 4712, "images": [f"{U}4712/1.png"]}],
    ),
    "thumbnails beside": (
        [{"sku": "A1", "thumbnails": pictures("t"), "images": A}],
        [{"sku": "A1", "thumbnails": pictures("t"), "images": A}],
    ),
    "a quote in a name": (
        [{'co"de': "A1", "images": [A[0]]}, {'co"de': "B1", "images": [B[0]]}],
        [{"sku": "A1", "images": [A[0]]}, {"sku": "B1", "images": [B[0]]}],
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_made(name: str) -> None:
    """The script gives image sets, or flat rows, of what stands in the rows; rows that need none get none."""
    rows, expected = ROWS[name]
    part = made(rows)
    assert run(part, rows) == expected
    assert ("script" in (part.fields or {})) == (rows != expected)


def test_rows_of_one_image_are_joined_over_pages() -> None:
    """A product continues on the next page: `group: run`. Where none has two, that is a question."""
    part = made(ROWS["one row for each image"][0])
    assert (part.fields or {})["group"] == "run"
    assert part.questions == ()
    (question,) = made([{"sku": "A1", "image": A[0]}, {"sku": "B1", "image": B[0]}]).questions
    assert "does each product have one image" in question


def test_file_names_say_the_product() -> None:
    """A template that every file's name fits; rows that are URLs, or have one at `url`, need no script."""
    urls = [f"{U}A1_0.jpg", f"{U}B-2_1.JPG?x=1"]
    template = {"filename_template": "{sku}_{image_order}.jpg"}
    assert made(urls).fields == template
    assert made([{"url": url} for url in urls]).fields == template
    part = made([{"picture": {"href": url}} for url in urls])
    assert run(part, [{"picture": {"href": urls[0]}}]) == [{"url": urls[0]}]


def test_products_as_fields() -> None:
    """An object with a field for each product: `process` makes rows of it, wherever it stands."""
    for items, expected in (
        ({"A1": A, "B1": B}, [("A1", A), ("B1", B)]),
        ({"A1": {"images": A}, "B1": {"images": B}}, [("A1", A), ("B1", B)]),
        ({"A1": {"images": [{"src": A[0]}]}, "B1": {"images": []}}, [("A1", A[:1])]),
        ({"A1": {"image1": A[0], "image2": A[1]}, "B1": {"image1": B[0], "image2": None}}, [("A1", A), ("B1", B)]),
        ({"A1": {"images": A}, "B1": {"images": B[0]}}, [("A1", A), ("B1", B)]),
    ):
        document = {"status": "ok", "data": {"products": items}}
        (found,) = keyed_in(document)
        assert found == ("data.products", items)
        part = made(list(items.values()), keyed=True, path=found[0])
        assert part.fields is not None
        scope: dict[str, Any] = {}
        exec(compile(part.fields["script"], "script", "exec"), scope)
        assert scope["process"](document) == [{"sku": sku, "images": images} for sku, images in expected]


def test_whole_urls_are_made_of_paths() -> None:
    """Where images are paths, the script has a place for what they begin with, and says nothing wrong until it is filled in."""
    for images in (["A1/1.jpg"], "A1/1.jpg;A1/2.jpg", {"main": "A1/1.jpg", "back": "A1/2.jpg"}, [{"src": "A1/1.jpg"}]):
        rows = [{"sku": "A1", "images": images}]
        part = made(rows)
        assert part.fields is not None
        part.fields["script"] = part.fields["script"].replace('BASE = ""', f'BASE = "{U}"')
        assert run(part, rows)[0]["images"][0] == f"{U}A1/1.jpg"


SETS, FLAT = Pictures("list", ("images",)), Pictures("single", ("url",))
PLACE = Order(("order",))


@pytest.mark.parametrize(
    ("shape", "none"),
    [
        (Shape(("sku",), SETS), True),
        (Shape(("product_sku",), SETS), True),
        (Shape(("code",), SETS), False),
        (Shape(("product", "sku"), SETS), False),
        (Shape(None, SETS), False),
        (Shape((), SETS, keyed=True), False),
        (Shape(("sku",), None), False),
        (Shape(("sku",), SETS._replace(way=("photos",))), False),
        (Shape(("sku",), SETS._replace(form="text")), False),
        (Shape(("sku",), SETS._replace(form="keyed")), False),
        (Shape(("sku",), SETS._replace(absolute=False)), False),
        (Shape(("sku",), SETS._replace(always=False)), False),
        (Shape(("sku",), SETS._replace(alone=True)), False),
        (Shape(("sku",), SETS._replace(holes=True)), False),
        (Shape(("sku",), SETS._replace(url=("url",))), True),
        (Shape(("sku",), SETS._replace(url=("url",), order=PLACE)), True),
        (Shape(("sku",), SETS._replace(url=("url",), order=Order(("position",)))), False),
        (Shape(("sku",), SETS._replace(url=("url",), order=Order(("order",), text=True))), False),
        (Shape(("sku",), SETS._replace(url=("src",))), False),
        (Shape(("sku",), FLAT), True),
        (Shape(("sku",), FLAT, PLACE), True),
        (Shape(("sku",), FLAT, Order(("no",))), False),
        (Shape(("sku",), FLAT._replace(way=("src",))), False),
        (Shape(None, FLAT, template="{sku}.jpg"), True),
        (Shape(None, FLAT._replace(way=()), template="{sku}.jpg"), True),
        (Shape(None, FLAT._replace(way=("image", "url")), template="{sku}.jpg"), False),
    ],
)
def test_which_rows_need_no_script(shape: Shape, none: bool) -> None:
    """Those with ImageFlow's own names in their places, whole URLs, and images in every row; of others a script makes such rows."""
    assert as_it_is(shape) is none
    fields = row_part(shape).fields
    assert fields is None or ("script" not in fields) is none


@pytest.mark.parametrize(
    ("shape", "fields"),
    [
        (Shape(("sku",), SETS), {}),
        (Shape(("sku",), FLAT), {"group": "run"}),
        (Shape(None, FLAT, template="{sku}.jpg"), {"filename_template": "{sku}.jpg"}),
        (Shape(None, SETS), None),
        (Shape(("sku",), None), None),
    ],
)
def test_what_stands_beside_the_script(shape: Shape, fields: dict[str, Any] | None) -> None:
    """Rows of one image each are joined; a template says the SKU; without a product or images there is nothing. All that is asked
    is asked in any case.
    """
    assert row_part(shape._replace(questions=("which?",))) == (fields, ("which?",))


def test_a_way_with_gaps() -> None:
    """A row that lacks an object on the way to its images has none, and is passed over."""
    shape = Shape(("code",), Pictures("list", ("a", "b", "c"), ("src",), holes=True, always=False))
    rows = [
        {"code": "A1", "a": {"b": {"c": [{"src": A[0]}, {}, None]}}},
        *({"code": "B1", **gap} for gap in ({}, {"a": None}, {"a": {"b": None}}, {"a": {"b": {"c": None}}})),
    ]
    assert run(row_part(shape), rows) == [{"sku": "A1", "images": [A[0]]}]
