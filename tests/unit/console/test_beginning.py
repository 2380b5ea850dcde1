"""By what a SKU that nothing is known of is looked for."""

import pytest

from imageflow.console.pages.products import beginning


@pytest.mark.parametrize(
    ("sku", "head"),
    [
        ("OLD-SKU", "OLD-"),
        ("AB-12-RED", "AB-12-"),
        ("8690000001", "86900000"),
        ("ABCD", "AB"),
        ("ABC", ""),
        ("-A", ""),
        ("OLD-", "OL"),
        ("", ""),
    ],
)
def test_what_skus_of_the_same_kind_begin_with(sku, head):
    """All up to its last part, or but its last letters; nothing where that says nothing."""
    assert beginning(sku) == head
