"""File names are read by the flow's template."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageflow.model.filename_template import Named, file_name, parse


@pytest.mark.parametrize(
    ("template", "url", "named"),
    [
        ("{sku}_{image_order}.jpg", "https://c.example/a/A1_2.jpg", Named("A1", 2)),
        ("{sku}_{image_order}.jpg", "https://c.example/A_1_b_02.jpg", Named("A_1_b", 2)),
        ("{sku}_{image_order}.jpg", "https://c.example/A1_2.jpg?v=3_4.jpg#x_5.jpg", Named("A1", 2)),
        ("{sku}_{image_order}.jpg", "https://c.example/A%201%5F7_2.JPG", Named("A 1_7", 2)),
        ("{sku}_{image_order}.jpg", "https://c.example/A1_front.jpg", None),
        ("{sku}_{image_order}.jpg", "https://c.example/A1_2.png", None),
        ("{sku}_{image_order}.jpg", "https://c.example/_2.jpg", None),
        ("{sku}_{image_order}.jpg", "https://c.example/A1_.jpg", None),
        ("{sku}_{image_order}.jpg", "https://c.example/A1.jpg", None),
        ("{sku}_{image_order}.jpg", "https://c.example/A1_٣.jpg", None),
        ("{sku}_{image_order}.jpg", "https://c.example/", None),
        ("{sku}.jpg", "https://c.example/A1.b.jpg", Named("A1.b", None)),
        ("img-{base_code}-{color}-{image_order}.png", "https://c.example/IMG-B-7-red-1.png", Named("B-7", 1)),
        ("{image_order}-{sku}.jpg", "https://c.example/1-A.jpg", Named("A", 1)),
        ("{sku}__{image_order}", "https://c.example/A_1__3", Named("A_1", 3)),
    ],
)
def test_reads_file_names(template: str, url: str, named: Named | None) -> None:
    """The last separator counts, queries and case of the extension do not, and what does not fit is None."""
    assert parse(template).read(url) == named


@pytest.mark.parametrize(
    "template",
    ["", "x.jpg", "{color}.jpg", "{sku}{image_order}.jpg", "{sku}_{sku}", "{sku", "{sku}/{image_order}.jpg", "{}"],
)
def test_refuses_templates_that_say_nothing(template: str) -> None:
    """A template names a product, has separators between its fields, and is a file name."""
    with pytest.raises(ValueError, match="the filename template"):
        parse(template)


@pytest.mark.parametrize(("template", "key"), [("{sku}", "sku"), (" {base_code} ", "base_code")])
def test_knows_fields_of_rows(template: str, key: str) -> None:
    """A lone field says which field of a row names the product."""
    assert parse(template).by_field
    assert parse(template).key == key


@given(sku=st.text("AB_-.1", min_size=1, max_size=20), order=st.integers(0, 10**9 - 1))
def test_reads_back_what_it_wrote(sku: str, order: int) -> None:
    """Whatever separators a SKU holds, it comes back whole."""
    assert parse("{sku}_{image_order}.jpg").read(f"https://c.example/{sku}_{order}.jpg") == Named(sku, order)


@given(st.text())
def test_never_raises(name: str) -> None:
    """Any text is a URL whose file name fits or does not."""
    parse("{sku}_{image_order}.jpg").read(name)
    file_name(name)


def test_a_name_that_is_not_utf8_fits_nothing() -> None:
    """%DE is a letter of windows-1254: read as UTF-8 it would name another product."""
    assert parse("{sku}_{image_order}.jpg").read("https://c.example/%DEIK_1.jpg") is None
    assert parse("{sku}_{image_order}.jpg").read("https://c.example/100%_1.jpg") == ("100%", 1)
