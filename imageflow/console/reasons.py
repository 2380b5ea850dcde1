"""Reasons that the product itself gives for failures, so that a page can say them in its language. What an ERP, Omnitron or a script
said stays as it is. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple


def N_(text: str) -> str:  # noqa: N802 - what is extracted for the catalogues
    return text


class Known(NamedTuple):
    """A message with the values in it; before and after it, what stays as it is."""

    before: str
    message: str
    values: Mapping[str, str]
    after: str


_PLACE = re.compile(r"(images\[\d+\]: )?(.*)", re.DOTALL)
_WHOLE = tuple(
    (re.compile(pattern, re.DOTALL), message)
    for pattern, message in (
        (r"no images: the row has neither `images` nor `url`", N_("no images: the row has neither images nor url")),
        (r"no product: (?P<field>\w+) is missing or empty", N_("no product: %(field)s is missing or empty")),
        (r"no product: (?P<field>\w+) is empty", N_("no product: %(field)s is empty")),
        (r"no product: (?P<field>\w+) must be a text, this is .*", N_("no product: %(field)s must be a text")),
        (r"no url", N_("no url")),
        (r"a later row of the same page is for the same product", N_("a later row of the same page is for the same product")),
        (
            r"a later row of the same page is for the same product, and has none of these images",
            N_("a later row of the same page is for the same product, and has none of these images"),
        ),
        (r"`images` must be a list, this is .*", N_("images must be a list")),
        (r"a row must be an object, this is .*", N_("a row must be an object")),
        (r"(?P<url>\S+) is not an http\(s\) URL", N_("%(url)s is not an http(s) URL")),
        (r"the same URL as (?P<place>images\[\d+\]): (?P<url>.*)", N_("the same URL as %(place)s: %(url)s")),
        (r"somebody has saved version (?P<version>\d+) meanwhile", N_("somebody has saved version %(version)s meanwhile")),
        (
            r"(?P<host>\S+) is in a private network; the setting IMAGEFLOW_ALLOW_PRIVATE names those that may be asked",
            N_("%(host)s is in a private network; the setting IMAGEFLOW_ALLOW_PRIVATE names those that may be asked"),
        ),
        (r"a list of (?P<count>\d+)", N_("a list of %(count)s")),
        (r"must be JSON, as in (?P<example>.+)", N_("must be JSON, as in %(example)s")),
        (r"an object with nothing in it", N_("an object with nothing in it")),
        (r"an object with (?P<names>.+)", N_("an object with %(names)s")),
        (r"nothing", N_("nothing")),
        (r"no answer within (?P<seconds>[\d.]+) seconds", N_("no answer within %(seconds)s seconds")),
    )
)  # fmt: skip
_CODES = {
    "image_unreachable": N_("an image cannot be reached"),
    "image_not_found": N_("an image is not there"),
    "image_refused": N_("the host of an image refuses it"),
    "image_bad_redirect": N_("an image is redirected to nowhere"),
    "image_login_page": N_("a log-in page comes instead of an image"),
    "image_wrong_type": N_("a file is no PNG or JPEG"),
    "image_damaged": N_("an image is damaged"),
    "image_too_large_dimensions": N_("an image has too many pixels"),
    "image_too_big": N_("an image has too many bytes"),
    "image_private_address": N_("an image is in a private network"),
}
_BEFORE_WORDS = tuple(
    (re.compile(rf"{pattern}(: .*)?", re.DOTALL), message)
    for pattern, message in (
        (r"Omnitron answered (?P<status>\d+)", N_("Omnitron answered %(status)s")),
        (r"the ERP \((?P<where>[^()]+)\) answered (?P<status>\d+)", N_("the ERP (%(where)s) answered %(status)s")),
    )
)
"""Sentences of ours, with the words of others after a colon."""
_CODE = re.compile(rf"({'|'.join(_CODES)}): (.*)", re.DOTALL)


def known(text: str) -> Known | None:
    """What a reason says, if it is one of ours; None: it is not."""
    if found := _CODE.fullmatch(text):
        return Known("", _CODES[found[1]], {}, f": {found[2]}")
    for pattern, message in _BEFORE_WORDS:
        if found := pattern.fullmatch(text):
            return Known("", message, found.groupdict(), found[found.re.groups] or "")
    place = _PLACE.fullmatch(text)
    before, said = (place[1] or "", place[2]) if place is not None else ("", text)
    for pattern, message in _WHOLE:
        if found := pattern.fullmatch(said):
            return Known(before, message, found.groupdict(), "")
    return None
