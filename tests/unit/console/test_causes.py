"""What failures are called, and whom they are for."""

import pytest

from imageflow.console.causes import broken_places, cause


@pytest.mark.parametrize(
    ("stage", "status", "reason", "name", "who", "again"),
    [
        ("login", None, "refused", "login", "access", True),
        ("read", 200, "no list", "read", "erp", False),
        ("script", None, "KeyError: 'pictures'", "script", "flow", False),
        ("mapping", None, "x", "mapping", "flow", False),
        ("rows", None, "no sku", "rows", "flow", False),
        ("rows", None, "no images: the row has neither `images` nor `url`", "no images", "erp", False),
        ("rows", None, "images[2]: no url", "no images", "erp", False),
        ("rows", None, "images[2]: no URL, said the script", "rows", "flow", False),
        ("rows", None, "images[1]: 'C:\\side.jpg' is not an http(s) URL", "no address", "erp", False),
        ("script", None, "'a' is not an http(s) URL", "script", "flow", False),
        ("write", None, "the run was cancelled before the row was sent", "cancelled", "nobody", True),
        ("write", 400, "Product with this SKU does not exist.", "unknown sku", "catalogue", True),
        ("write", 400, "product_sku: Object with sku=A does not exist.", "unknown sku", "catalogue", True),
        ("write", 404, None, "unknown sku", "catalogue", True),
        ("write", 400, "images: 3: url: Image dimensions exceed 2000x2000.", "too large", "erp", False),
        ("write", None, "image_too_big: images[0] x has 9 MB", "too large", "erp", False),
        ("write", None, "image_damaged: images[0] x is a damaged PNG", "not a picture", "erp", False),
        ("write", None, "image_not_found: images[0] x", "unreachable", "cdn", True),
        ("write", None, "image 2 is not a PNG or JPEG", "not a picture", "erp", False),
        ("write", None, "image 2 cannot be reached: 404", "unreachable", "cdn", True),
        ("write", None, "no answer within 30 seconds", "no answer", "nobody", True),
        ("write", 429, "slow down", "too many", "nobody", True),
        ("write", 429, "too large a rate", "too many", "nobody", True),
        ("write", 503, "away", "away", "omnitron", True),
        ("write", 503, "upstream: protocol dimension mismatch", "away", "omnitron", True),
        ("write", None, "connection refused", "away", "omnitron", True),
        ("write", 400, "bad", "refused", "omnitron", False),
    ],
)
def test_what_a_failure_is(stage, status, reason, name, who, again):
    """By its stage, its status and its words."""
    assert cause(stage, status, reason) == (name, who, again)


@pytest.mark.parametrize(
    ("stage", "status", "reason", "expected"),
    [
        ("rows", None, "no sku", True),
        ("write", 404, None, True),
        ("write", 400, "bad", True),
        ("write", None, "image_not_found: images[0] x", True),
        ("write", 503, "away", False),
        ("write", 429, None, False),
        ("login", None, "refused", False),
        ("read", 200, "no list", False),
    ],
)
def test_what_a_change_of_the_flow_may_mend(stage, status, reason, expected):
    """What Omnitron refuses of a row, too; not that somebody is away."""
    assert cause(stage, status, reason).of_rows is expected


@pytest.mark.parametrize(
    ("reason", "places"),
    [
        ("images: 3: url: Image dimensions exceed 2000x2000.", {3}),
        ("images[0].url: x; images[2].url: y", {0, 2}),
        ("image 2 is not a PNG", {2}),
        ("Image dimensions exceed 2000x2000.", set()),
        (None, set()),
    ],
)
def test_which_images_are_meant(reason, places):
    """As far as the words say."""
    assert broken_places(reason) == places
