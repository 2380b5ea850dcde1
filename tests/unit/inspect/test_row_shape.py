"""Where product and images are in rows of many kinds, and the script that is made of it: it is run, and gives what is meant."""

from __future__ import annotations

from typing import Any

import pytest

from imageflow.inspect import row_words
from imageflow.inspect.probe_facts import keyed_in
from imageflow.inspect.row_script import RowPart, row_part
from imageflow.inspect.row_shape import Shape, at, shape_of

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


def test_no_questions_where_all_is_told() -> None:
    """Names that say it, or values that are in the addresses, need no question."""
    assert all(made(ROWS[name][0]).questions == () for name in ("urls", "objects", "nodes", "numbered", "comma"))


def test_rows_of_one_image_are_joined_over_pages() -> None:
    """A product continues on the next page: `group: run`. Where none has two, that is a question."""
    part = made(ROWS["one row for each image"][0])
    assert (part.fields or {})["group"] == "run"
    assert part.questions == ()
    (question,) = made([{"sku": "A1", "image": A[0]}, {"sku": "B1", "image": B[0]}]).questions
    assert "has each product one image" in question


@pytest.mark.parametrize(
    ("rows", "question"),
    [
        (
            [{"id": 1, "barcode": "869", "images": pictures("x")}],
            "is barcode the SKU that Omnitron knows? It may also be id",
        ),
        ([{"a": "P-1", "images": pictures("x")}, {"a": "P-2", "images": pictures("y")}], "is a the SKU"),
        ([{"code": "A1", "images": A, "photos": B}], "are the images in images? URLs are also in photos"),
        ([{"sku": "A1", "content": [f"{U}A1"]}], "is content the URL of an image?"),
        ([{"sku": "A1", "images": ["A1_1.jpg"]}], "what images holds are no whole URLs"),
        ([{"sku": "A1", "images": A}, {"sku": "A1", "images": B}], "A1 is in more than one row"),
    ],
)
def test_what_is_not_sure_is_asked(rows: list[Any], question: str) -> None:
    """The likeliest is taken, and asked about."""
    part = made(rows)
    assert part.fields is not None
    assert question in "\n".join(part.questions)


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
def test_nothing_is_made_where_nothing_is_found(rows: list[Any], question: str) -> None:
    """Then it is a question, and there is no script."""
    part = made(rows)
    assert part.fields is None
    assert question in "\n".join(part.questions)


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


@pytest.mark.parametrize(
    "document",
    [
        {"a": [{"sku": "S1"}], "b": [{"sku": "S2"}]},
        {"products": {"A1": {"images": A}}},
        {"a": [{"images": A}], "b": [{"images": A}]},
        {"a": {"name": "x"}, "b": {"name": "y"}},
        [{"A1": A, "B1": B}],
    ],
)
def test_what_is_no_object_of_products(document: Any) -> None:
    """Lists of rows, a single object, objects without images."""
    assert list(keyed_in(document)) == []
    assert made([[1], [2]], keyed=True).fields is None


def test_whole_urls_are_made_of_paths() -> None:
    """Where images are paths, the script has a place for what they begin with, and says nothing wrong until it is filled in."""
    for images in (["A1/1.jpg"], "A1/1.jpg;A1/2.jpg", {"main": "A1/1.jpg", "back": "A1/2.jpg"}, [{"src": "A1/1.jpg"}]):
        rows = [{"sku": "A1", "images": images}]
        part = made(rows)
        assert part.fields is not None
        part.fields["script"] = part.fields["script"].replace('BASE = ""', f'BASE = "{U}"')
        assert run(part, rows)[0]["images"][0] == f"{U}A1/1.jpg"


def test_at() -> None:
    """A way leads through objects; where it ends early there is nothing."""
    assert at({"a": {"b": 1}}, ("a", "b")) == 1
    assert not at({"a": [1]}, ("a", "b"))
    assert Shape(None, None).flat is False


def test_words() -> None:
    """Names in any style; those of thumbnails count less than those that say nothing."""
    ranks = [row_words.product_rank((name,)) for name in ("SKU", "Stok_Kodu", "code", "barkod", "id", "colour")]
    assert ranks == [0, 1, 2, 3, 4, None]
    assert row_words.product_rank(("product", "code")) == 1
    assert [row_words.picture_rank((name,)) for name in ("Görseller", "url", "x", "thumbnail")] == [0, 1, 2, 3]
    assert row_words.is_order(("display_order",))
    assert not row_words.is_order(("name",))
    assert (row_words.stem("Image_10"), row_words.shown(()), row_words.shown(("a", "b"))) == (
        "image",
        "the row itself",
        "a.b",
    )
