"""What names of fields say: of a product, an image, a place."""

from __future__ import annotations

from imageflow.inspect import row_words


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
