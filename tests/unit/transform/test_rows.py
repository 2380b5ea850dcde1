"""From results to drafts: what is accepted, what is refused and why, and that nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imageflow.model.imageset import Image
from imageflow.transform.rows import DISPLACED, Draft, ImageSet, Invalid, Superseded, awaited, to_rows
from tests.unit.transform.flows import definition

U = "https://c.example/"
BY_FILE = "{sku}_{image_order}.jpg"


def good(result: Any, **changes: Any) -> list[ImageSet]:
    drafts = to_rows(result, definition(**changes))
    assert all(isinstance(draft, ImageSet) for draft in drafts), drafts
    return drafts  # type: ignore[return-value]


def reason(result: Any, **changes: Any) -> str:
    (draft,) = to_rows(result, definition(**changes))
    assert isinstance(draft, Invalid), draft
    return draft.reason


def test_takes_image_sets() -> None:
    """Images are URLs or objects; order is the place, image_type `default`; unknown fields are ignored."""
    (draft,) = good(
        [
            {
                "sku": "A",
                "name": "x",
                "images": [U + "1", {"url": U + "2", "image_type": "swatch", "alt": 1}, {"url": U + "3"}],
            }
        ]
    )
    assert draft.product == "A"
    assert draft.key == "sku"
    assert draft.images == (Image(U + "1", 0), Image(U + "2", 1, "swatch"), Image(U + "3", 2))


def test_sorts_images_by_order() -> None:
    """Images are listed by their order; those without keep their place as order."""
    (draft,) = good(
        [{"sku": "A", "images": [{"url": U + "a", "order": 5}, {"url": U + "b"}, {"url": U + "c", "order": 0}]}]
    )
    assert [(image.url[-1], image.order) for image in draft.images] == [("c", 0), ("b", 1), ("a", 5)]
    assert draft.ordered == (True, False, True)


@pytest.mark.parametrize("order", [3, 3.0, "3", " 3 ", "3.0", "+3"])
def test_takes_orders_that_are_whole(order: Any) -> None:
    """3, 3.0 and "3" are the same order."""
    assert good([{"sku": "A", "images": [{"url": U, "order": order}]}])[0].images[0].order == 3


@pytest.mark.parametrize("order", [True, 1.5, "x", "", [], {}, float("inf"), 2**31, "1.5", "1e3", "٣"])
def test_refuses_orders_that_are_not(order: Any) -> None:
    """Anything else is a wrong image, named by its place."""
    assert reason([{"sku": "A", "images": [U + "0", {"url": U, "order": order}]}]).startswith("images[1]: order")


def test_joins_flat_rows_at_the_place_of_the_first() -> None:
    """Flat rows of a product are one image set, wherever on the page they are."""
    rows = [{"sku": "A", "url": U + "1"}, {"sku": "B", "url": U + "2"}, {"sku": "A", "url": U + "3", "order": None}]
    drafts = good(rows)
    assert [(d.product, [i.url[-1] for i in d.images], [i.order for i in d.images]) for d in drafts] == [
        ("A", ["1", "3"], [0, 1]),
        ("B", ["2"], [0]),
    ]


def test_one_wrong_flat_row_spoils_its_product_only() -> None:
    """The rest of a set is not sent without one of its images: Omnitron would delete it."""
    rows = [{"sku": "A", "url": U + "1"}, {"sku": "A", "url": "ftp://x"}, {"sku": "B", "url": U + "2"}]
    first, second = to_rows(rows, definition())
    assert isinstance(first, Invalid)
    assert first.product == "A"
    assert first.payload == rows[:2]
    assert first.reason.startswith("images[1]: 'ftp://x' is not an http(s) URL")
    assert isinstance(second, ImageSet)


def test_takes_a_lone_object() -> None:
    """A single object is a list of one."""
    assert good({"sku": "A", "images": [U]})[0].product == "A"


@pytest.mark.parametrize(
    ("given", "product"),
    [
        ("A 1", "A 1"),
        (" A ", "A"),
        (118, "118"),
        (118.0, "118"),
        (2**53 + 1, "9007199254740993"),
        (2.0**53 - 1, "9007199254740991"),
        (2**70, str(2**70)),
        (-0.0, "0"),
        (-7, "-7"),
        ("1e5", "1e5"),
        ("000123", "000123"),
        ("12345678901234567.0", "12345678901234567.0"),
        ("\u00a0A\u00a0", "A"),
        ("Ürün", "Ürün"),
    ],
)
def test_products_become_text(given: Any, product: str) -> None:
    """Numbers become text, blanks around a text go."""
    assert good([{"sku": given, "images": [U]}])[0].product == product


def test_product_sku_will_do() -> None:
    """Omnitron's own name for the field is understood, where `sku` says nothing."""
    assert good([{"sku": "", "product_sku": "A", "images": [U]}])[0].product == "A"


@pytest.mark.parametrize(
    ("element", "words"),
    [
        (7, "a row must be an object, this is a number"),
        (None, "a row must be an object, this is null"),
        ([], "a row must be an object"),
        (U + "A_1.jpg", "a row must be an object, this is a text"),
        ({"images": [U]}, "no product: sku is missing or empty"),
        ({"sku": "  ", "images": [U]}, "no product: sku is missing or empty"),
        ({"sku": None, "images": [U]}, "no product"),
        ({"sku": True, "images": [U]}, "no product: sku must be a text, this is a boolean"),
        ({"sku": 1.5, "images": [U]}, "no product: sku is 1.5"),
        ({"sku": float("nan"), "images": [U]}, "no product: sku is nan"),
        ({"sku": 10**400, "images": [U]}, "no product: sku is a very large number"),
        ({"sku": 1e300, "images": [U]}, "no product: sku is 1e+300"),
        (
            {"sku": 12345678901234567.0, "images": [U]},
            "sku is 1.2345678901234568e+16, and a number of this form may have",
        ),
        ({"sku": 2.0**53, "images": [U]}, "may have lost digits: it must be a text"),
        ({"sku": -(2.0**53), "images": [U]}, "may have lost digits"),
        ({"sku": 12.5, "images": [U]}, "no product: sku is 12.5, not a text"),
        ({"sku": float("inf"), "images": [U]}, "may have lost digits"),
        ({"sku": "a\0b", "images": [U]}, "control characters"),
        ({"sku": "x" * 256, "images": [U]}, "longer than 255"),
        ({"base_code": "B", "images": [U]}, "no sku: the row has base_code only, and filename_template is {sku}"),
        ({"sku": "A"}, "no images: the row has neither"),
        ({"sku": "A", "images": None}, "no images"),
        ({"sku": "A", "images": []}, "no images: an empty set deletes all images"),
        ({"sku": "A", "images": {}}, "`images` must be a list, this is an object"),
        ({"sku": "A", "images": U}, "`images` must be a list, this is a text"),
        ({"sku": "A", "images": [{"order": 1}]}, "images[0]: no url"),
        ({"sku": "A", "images": [{"url": ""}]}, "images[0]: no url"),
        ({"sku": "A", "images": [None]}, "images[0]: an image must be a URL or an object with `url`, this is null"),
        ({"sku": "A", "images": [U, {"url": 5}]}, "images[1]: an image must be a URL"),
        ({"sku": "A", "images": ["//c.example/1.jpg"]}, "is not an http(s) URL"),
        ({"sku": "A", "images": ["https://"]}, "is not an http(s) URL"),
        ({"sku": "A", "images": ["javascript:alert(1)"]}, "is not an http(s) URL"),
        ({"sku": "A", "images": [U + "a\nb.jpg"]}, "has control characters in it"),
        ({"sku": "A", "images": [U + "a b.jpg", U + "a%20b.jpg "]}, "images[1]: the same URL as images[0]"),
        ({"sku": "A", "images": [U + "x" * 5000]}, "longer than 4096"),
        ({"sku": "A", "images": [U, U + "2", {"url": U}]}, "images[2]: the same URL as images[0]"),
        ({"sku": "A", "images": [{"url": U, "image_type": "hero"}]}, "image_type 'hero' is neither default nor swatch"),
        ({"sku": "A", "images": [{"url": U, "image_type": 1}]}, "image_type 1 is neither"),
        ({"sku": "A", "images": [f"{U}{i}{'x' * 4000}" for i in range(250)]}, "too large for one request"),
    ],
)
def test_refuses_with_a_reason(element: Any, words: str) -> None:
    """What cannot be written says why, in words, and keeps the element."""
    (draft,) = to_rows([element], definition())
    assert isinstance(draft, Invalid)
    assert words in draft.reason
    assert draft.payload is element


def test_names_the_awaited_an_invalid_row() -> None:
    """A row whose product is known is found by it, though it is invalid."""
    (draft,) = to_rows([{"sku": 12, "images": []}], definition())
    assert isinstance(draft, Invalid)
    assert draft.product == "12"


def test_null_types_and_orders_are_defaults() -> None:
    """null is as good as absent."""
    (draft,) = good([{"sku": "A", "images": [{"url": U, "order": None, "image_type": None}]}])
    assert draft.images == (Image(U, 0, "default"),)


def test_empty_sets_need_permission() -> None:
    """With write.allow_clear an empty set is a row that clears a product."""
    assert good([{"sku": "A", "images": []}], write={"allow_clear": True})[0].images == ()


def test_the_later_image_set_wins() -> None:
    """Of two image sets of a product on a page the earlier is superseded; an invalid one supersedes nothing."""
    rows = [{"sku": "A", "images": [U + "1"]}, {"sku": "A", "images": [U + "2"]}, {"sku": "A", "images": []}]
    first, second, third = to_rows(rows, definition())
    assert isinstance(first, Superseded)
    assert isinstance(second, ImageSet)
    assert isinstance(third, Invalid)


@pytest.mark.parametrize(
    ("earlier", "later", "displaced"),
    [
        (["1"], ["2"], True),
        (["1", "2"], ["3", "4"], True),
        (["1", "2"], ["2", "3"], False),
        (["1"], ["1"], False),
        ([], ["1"], False),
        (["1"], [], False),
    ],
)
def test_a_set_that_shares_nothing_with_the_later_one(earlier: list[str], later: list[str], displaced: bool) -> None:
    """Most likely each row is one image: its reason says so. A newer state of a product has most of its images still."""
    rows = [{"sku": "A", "images": [U + name for name in names]} for names in (earlier, ["9"], later)]
    first, second, last = to_rows(rows, definition(write={"allow_clear": True}))
    assert isinstance(first, Superseded)
    assert (first.displaced, first.reason == DISPLACED) == (displaced, displaced)
    assert isinstance(second, Superseded)
    assert isinstance(last, ImageSet)


def test_a_run_that_joins_supersedes_nothing() -> None:
    """With group: run image sets of a product are joined, on one page as on two; flat rows are as with `auto`."""
    rows = [{"sku": "A", "images": [U + "1"]}, {"sku": "A", "images": [U + "2"]}]
    assert len(good(rows, group="run")) == 2
    mixed = [{"sku": "A", "images": [U + "1"]}, {"sku": "A", "url": U + "2"}]
    assert [draft.flat for draft in good(mixed)] == [False, True]
    first, second = to_rows(mixed, definition(group="page"))
    assert isinstance(first, Superseded)
    assert isinstance(second, ImageSet)


@pytest.mark.parametrize(
    ("changes", "waiting"),
    [
        ({}, [False, True]),
        ({"group": "auto"}, [False, True]),
        ({"group": "page"}, [False, False]),
        ({"group": "run"}, [True, True]),
        ({"direction": "outbound", "erp": None}, [False, False]),
        ({"direction": "outbound", "erp": None, "group": "run"}, [True, True]),
        ({"filename_template": BY_FILE}, [True]),
    ],
)
def test_what_waits_for_other_pages(changes: dict[str, Any], waiting: list[bool]) -> None:
    """Flat rows of an inbound flow, unless its `group` says otherwise; a post has no other pages."""
    rows: list[Any] = [{"sku": "A", "images": [U]}, {"sku": "B", "url": U}]
    if "filename_template" in changes:
        rows = [{"images": [U + "A_1.jpg", U + "A_2.jpg"]}]
    flow = definition(**changes)
    assert [draft.waits(flow) for draft in good(rows, **changes)] == waiting


def test_a_url_twice() -> None:
    """In an image set it is a mistake, also among flat rows that are joined at once; of flat rows that wait the later counts."""
    flat = [{"sku": "A", "url": U, "order": 1}, {"sku": "A", "url": U, "order": 2}]
    assert good(flat)[0].images == (Image(U, 2),)
    assert "the same URL" in reason(flat, group="page")
    assert "the same URL" in reason(flat, direction="outbound", erp=None)
    assert "the same URL" in reason([{"sku": "A", "images": [U, U]}])


def test_a_url_that_comes_twice_stands_where_it_came_last() -> None:
    """Among images of the same order the sequence of the rows decides, and the later row counts."""
    flat = [{"sku": "A", "url": U + name, "order": 1} for name in ("1", "2", "1")]
    assert good(flat)[0].images == (Image(U + "2", 1), Image(U + "1", 1))


@pytest.mark.parametrize(
    ("element", "group", "product"),
    [
        ({"sku": 7, "url": U}, "auto", "7"),
        ({"sku": 7, "url": U}, "page", None),
        ({"sku": 7, "images": [U]}, "auto", None),
        ({"sku": 7, "images": [U]}, "run", "7"),
        ({"sku": 7, "x": 1}, "auto", None),
        ({"sku": "", "url": U}, "auto", None),
        ("x", "run", None),
        (None, "run", None),
    ],
)
def test_which_product_waits_for_an_element(element: Any, group: str, product: str | None) -> None:
    """What an element that the script failed for was a part of, by its own fields."""
    assert awaited(element, definition(group=group)) == product
    assert awaited(element, definition(group=group, filename_template=BY_FILE)) is None


def test_base_codes() -> None:
    """{base_code} takes that field, and says so of rows that have a sku only."""
    assert good([{"base_code": 7, "images": [U]}], filename_template="{base_code}")[0].key == "base_code"
    assert "no base_code: the row has sku only" in reason(
        [{"sku": "A", "images": [U]}], filename_template="{base_code}"
    )


def test_products_out_of_file_names() -> None:
    """With a longer template rows are URLs, {"url"} or {"images"}, and the file names say product and order."""
    rows = [
        U + "A_1_1.jpg",
        {"url": U + "B_0.jpg"},
        {"images": [U + "A_1_0.jpg", {"url": U + "B_1.jpg", "image_type": "swatch"}]},
    ]
    drafts = good(rows, filename_template=BY_FILE)
    assert [(d.product, [(i.url[len(U) :], i.order) for i in d.images]) for d in drafts] == [
        ("A_1", [("A_1_0.jpg", 0), ("A_1_1.jpg", 1)]),
        ("B", [("B_0.jpg", 0), ("B_1.jpg", 1)]),
    ]
    assert drafts[1].images[1].image_type == "swatch"


def test_file_names_that_do_not_fit() -> None:
    """A file name that does not fit names itself and the template, and spoils nothing else."""
    fits, wrong = to_rows([{"images": [U + "A_1.jpg", U + "cover.jpg"]}], definition(filename_template=BY_FILE))
    assert isinstance(fits, ImageSet)
    assert isinstance(wrong, Invalid)
    assert wrong.reason == f"images[1]: the file name 'cover.jpg' does not fit the filename template {BY_FILE}"
    assert wrong.payload == U + "cover.jpg"


@pytest.mark.parametrize("element", [None, 3, {}, {"images": []}, {"images": None}, [], {"url": ""}, "", "x"])
def test_nothing_to_read_a_file_name_from(element: Any) -> None:
    """Whatever holds no image is one invalid row."""
    (draft,) = to_rows([element], definition(filename_template=BY_FILE))
    assert isinstance(draft, Invalid)


def test_a_bad_template_fails_every_row() -> None:
    """A template that says nothing is the reason of every row."""
    assert len(to_rows([1, 2], definition(filename_template="{color}.jpg"))) == 2


def test_a_null_result_is_no_empty_success() -> None:
    """A mapping that matched nothing is one failed row, not nothing."""
    assert "the result is null" in reason(None)
    assert to_rows([], definition()) == []


# what must always hold ---------------------------------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from([U, U + "A_1.jpg", "A"])
)
fields = st.sampled_from(["sku", "product_sku", "base_code", "url", "images", "order", "image_type", "x"])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(fields, inner, max_size=5), max_leaves=20
)
options = st.fixed_dictionaries(
    {
        "filename_template": st.sampled_from(["{sku}", "{base_code}", BY_FILE, "{x}"]),
        "group": st.sampled_from(["page", "run"]),
        "write": st.sampled_from([{}, {"allow_clear": True}]),
    }
)


@pytest.mark.slow
@given(result=values, changes=options)
@settings(max_examples=300, deadline=None)
def test_any_json_becomes_drafts(result: Any, changes: dict[str, Any]) -> None:
    """Never an exception, and something comes of every result that is not an empty list."""
    drafts = to_rows(result, definition(**changes))
    assert drafts or result == []
    for draft in drafts:
        if isinstance(draft, ImageSet):
            assert draft.product.strip()
            assert len({image.url for image in draft.images}) == len(draft.images) == len(draft.ordered)
            assert [image.order for image in draft.images] == sorted(image.order for image in draft.images)


products = st.sampled_from(["A", "B", "C", "", None])
urls = st.sampled_from([f"{U}{n}" for n in range(4)] + ["ftp://x"])
sets = st.fixed_dictionaries({"sku": products, "images": st.lists(urls, max_size=3)})
flat_rows = st.fixed_dictionaries({"sku": products, "url": urls})


def counted(drafts: Sequence[Draft], elements: Sequence[Any]) -> int:
    """Elements that the drafts account for: invalid ones by their payload, sets one each, flat sets by their images."""
    invalid = [draft for draft in drafts if isinstance(draft, Invalid)]
    return sum(len(d.payload) if isinstance(d.payload, list) else 1 for d in invalid) + sum(
        len(draft.images) for draft in drafts if not isinstance(draft, Invalid)
    )


@given(st.lists(flat_rows, max_size=12))
def test_no_flat_row_is_lost(elements: list[Any]) -> None:
    """Every flat row is an image of a set, or in the payload of an invalid one."""
    assert counted(to_rows(elements, definition(group="page")), elements) == len(elements)


@given(st.lists(sets, max_size=12))
def test_no_image_set_is_lost(elements: list[Any]) -> None:
    """Every image set is one draft, at its own place; of each product one is written at most."""
    drafts = to_rows(elements, definition())
    assert len(drafts) == len(elements)
    written = [draft.product for draft in drafts if isinstance(draft, ImageSet)]
    assert len(written) == len(set(written))
