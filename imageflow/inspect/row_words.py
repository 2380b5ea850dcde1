"""Words that ERPs have for products, images and their order, in English and Turkish. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from imageflow.model.envelope import compact

DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?")
"""A date as ERPs write it in JSON."""

_PRODUCTS: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        "sku productsku variantsku itemsku skucode skuno skunumber stockkeepingunit",
        """stockcode stockno stocknumber stokkodu stokkod stokno itemno itemnumber itemcode productcode productno productnumber
        urunkodu urunkod urunno articleno articlenumber articlecode artno artikelnummer materialno materialnumber materialcode
        matnr malzemekodu partno partnumber variantcode varyantkodu""",
        "code kod kodu urun product item article stok stock material malzeme no number reference ref",
        "barcode ean ean13 gtin upc barkod",
        "id productid itemid stockid urunid uuid key name",
        "basecode modelcode stylecode parentsku parentcode groupcode model",
    )
)
"""Names of the field that names a product; the likeliest first."""
_PICTURES = re.compile(r"image|img|picture|pic|photo|foto|media|resim|gorsel|gallery|galeri|asset")
_LESS = re.compile(r"thumb|icon|logo|small|mini|avatar|swatch|video|brand|marka")
_ADDRESSES = frozenset(["url", "src", "href", "link", "uri", "path", "source", "file", "filename", "location"])
_ORDERS = frozenset(
    [
        "order",
        "sort",
        "sortorder",
        "sortindex",
        "position",
        "pos",
        "sequence",
        "seq",
        "seqno",
        "index",
        "idx",
        "rank",
        "priority",
        "displayorder",
        "imageorder",
        "imageno",
        "line",
        "lineno",
        "sira",
        "sirano",
        "siralama",
        "no",
        "number",
        "num",
        "ordinal",
    ]
)


def product_rank(way: Sequence[str]) -> int | None:
    """How likely a field names the product by its name, alone or with that of what it is in; 0 is the likeliest."""
    names = {compact(way[-1]), compact("".join(way[-2:]))}
    return next((rank for rank, known in enumerate(_PRODUCTS) if names & known), None)


def picture_rank(way: Sequence[str]) -> int:
    """How likely a field holds images by the names on its way: 0 says so, 1 is called like an address, 2 like neither; 3 are
    other pictures, as thumbnails are.
    """
    names = [compact(name) for name in way]
    if any(_LESS.search(name) for name in names):
        return 3
    if any(_PICTURES.search(name) for name in names):
        return 0
    return 1 if stem(way[-1]) in _ADDRESSES or names[-1].endswith(("url", "link")) else 2


def is_order(way: Sequence[str]) -> bool:
    """Whether a field is called like an image's place among others."""
    return compact(way[-1]) in _ORDERS


def stem(name: str) -> str:
    """A name without its number: `image`, of `image_1`, `Image2` and `image`."""
    return re.sub(r"\d+", "", compact(name))


def shown(way: Sequence[str]) -> str:
    """A way for people: `product.images`."""
    return ".".join(way) or "the row itself"
