"""Reasons that are our own are known; those of others are not."""

import typing

import pytest

from imageflow.console import reasons
from imageflow.console.reasons import Known, known
from imageflow.write import preflight


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("no url", Known("", "no url", {}, "")),
        ("images[2]: no url", Known("images[2]: ", "no url", {}, "")),
        (
            "no product: sku is missing or empty",
            Known("", "no product: %(field)s is missing or empty", {"field": "sku"}, ""),
        ),
        (
            "image_too_big: images[0] https://c.example/1.jpg has 9 MB",
            Known("", "an image has too many bytes", {}, ": images[0] https://c.example/1.jpg has 9 MB"),
        ),
        ("Omnitron answered 400", Known("", "Omnitron answered %(status)s", {"status": "400"}, "")),
        (
            "Omnitron answered 400: Bad: Request",
            Known("", "Omnitron answered %(status)s", {"status": "400"}, ": Bad: Request"),
        ),
        (
            "the ERP (https://erp.example:8443) answered 500: no",
            Known(
                "",
                "the ERP (%(where)s) answered %(status)s",
                {"where": "https://erp.example:8443", "status": "500"},
                ": no",
            ),
        ),
        ("a list of 3", Known("", "a list of %(count)s", {"count": "3"}, "")),
        ("an object with a, b", Known("", "an object with %(names)s", {"names": "a, b"}, "")),
        ("an object with nothing in it", Known("", "an object with nothing in it", {}, "")),
        ("Product with this SKU does not exist.", None),
        ("KeyError: 'no url'", None),
    ],
)
def test_what_a_reason_says(text, found):
    """The message, its values, and what stays as it is."""
    assert known(text) == found


def test_every_code_of_preflight_is_known():
    """None is left in English."""
    assert set(typing.get_args(preflight.Code)) <= reasons._CODES.keys()
