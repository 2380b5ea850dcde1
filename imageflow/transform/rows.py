"""Rows out of the result of script and mapping. Pure: every JSON value becomes drafts, and no element is lost.

A draft is one row of the page: an image set to write, an image set that a later one of the page replaces, or a row that
cannot be written, with the reason. Its place in the list is the row's index within the page.

    [{"sku": "A1", "images": ["https://…/1.jpg", {"url": …, "order": 1, "image_type": "swatch"}]}]     image sets
    [{"sku": "A1", "url": "https://…/1.jpg", "order": 0}, {"sku": "A1", "url": …}]                      flat rows
    ["https://…/A1_0.jpg", {"url": "https://…/A1_1.jpg"}]              with the template {sku}_{image_order}.jpg

Flat rows of a product are one image set, at the place of the first. Of an inbound flow they wait for those of other pages:
see joining.py. One wrong image spoils its set: Omnitron deletes
what a request lacks, so the rest of the set must not be sent without it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from imageflow.model.filename_template import Key, Template, file_name, parse
from imageflow.model.flow import Definition
from imageflow.model.imageset import IMAGE_TYPES, NOT_CLEARED, Image
from imageflow.model.numbers import EXACT_BELOW, whole
from imageflow.pointer import describe
from imageflow.transform.image_url import MAX_CHARS, ImageUrl, image_url

MAX_PRODUCT_CHARS = 255
MAX_SET_BYTES = 800_000
"""An image set must fit into a message."""
FEW = MAX_SET_BYTES // (4 * MAX_CHARS + 60)
"""So many images fit into a message, however long their URLs are."""
MAX_ORDER = 2**31 - 1

FIELDS: dict[Key, tuple[str, ...]] = {"sku": ("sku", "product_sku"), "base_code": ("base_code",)}
"""The fields of a row that name the product."""

_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{1,9})?")
_UNFIT_FOR_PRODUCT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class ImageSet(msgspec.Struct, frozen=True):
    """A row to write: images by order. `ordered`: for each image, whether its order comes from the data or from its place.
    `encoded`: how many URLs had to be percent-encoded. `flat`: it was made of rows with one image each.
    """

    product: str
    key: Key
    images: tuple[Image, ...]
    ordered: tuple[bool, ...] = ()
    encoded: int = 0
    flat: bool = False

    def waits(self, definition: Definition) -> bool:
        """Whether it is held back until the read is complete."""
        return definition.holds_back == "all" or (self.flat and definition.holds_back == "flat")


SUPERSEDED = "a later row of the same page is for the same product"
DISPLACED = f"{SUPERSEDED}, and has none of these images"


class Superseded(msgspec.Struct, frozen=True):
    """An image set that a later one of the same page replaces. `displaced`: that has none of its images."""

    product: str
    key: Key
    images: tuple[Image, ...]
    displaced: bool = False

    @property
    def reason(self) -> str:
        return DISPLACED if self.displaced else SUPERSEDED


class Invalid(msgspec.Struct, frozen=True):
    """A row that cannot be written, and why. `payload`: its element or elements."""

    reason: str
    payload: Any
    product: str | None = None


Draft = ImageSet | Superseded | Invalid


class _WrongError(ValueError):
    """Something cannot be used; the text says what."""


class _Entry(msgspec.Struct, frozen=True):
    """An image as given, and the order that its file name says."""

    given: Any
    order: int | None = None


class _Placed(msgspec.Struct, frozen=True):
    """An image; whether its order comes from the data, and whether its URL had to be percent-encoded."""

    image: Image
    ordered: bool
    encoded: bool


class _Group:
    """The elements of one image set while they are collected. `flat`: rows with one image each."""

    def __init__(self, product: str, entries: list[_Entry], elements: list[Any], *, flat: bool) -> None:
        self.product = product
        self.entries = entries
        self.elements = elements
        self.flat = flat

    def add(self, element: Any, entry: _Entry) -> None:
        self.entries.append(entry)
        if not self.elements or self.elements[-1] is not element:
            self.elements.append(element)

    @property
    def payload(self) -> Any:
        return self.elements[0] if len(self.elements) == 1 else self.elements


def to_rows(result: Any, definition: Definition) -> list[Draft]:
    """The drafts of a page. Never raises."""
    elements = result if isinstance(result, list) else [result]
    try:
        template = parse(definition.filename_template)
    except ValueError as error:
        return [Invalid(str(error), element) for element in elements]
    if result is None:
        return [Invalid("the result is null, not a list of rows (a mapping gives null where nothing matches)", None)]
    collected = _by_field(elements, template, definition) if template.by_field else _by_file(elements, template)
    drafts = [_draft(item, template.key, definition) for item in collected]
    return _last_one_wins(drafts, definition)


def awaited(element: Any, definition: Definition) -> str | None:
    """The product that an element is a part of, which waits for it; as far as that can be told without the script."""
    template = parse(definition.filename_template)
    if not template.by_field or not isinstance(element, dict) or definition.holds_back == "nothing":
        return None
    flat = element.get("images") is None and element.get("url") is not None
    return _guess_product(element, template) if flat or definition.holds_back == "all" else None


# elements to groups ------------------------------------------------------------------------------------------------------


def _by_field(elements: Sequence[Any], template: Template, definition: Definition) -> list[_Group | Invalid]:
    collected: list[_Group | Invalid] = []
    flat: dict[str, _Group] = {}
    for element in elements:
        try:
            product, images = _read_element(element, template, definition)
        except _WrongError as error:
            collected.append(Invalid(str(error), element, _guess_product(element, template)))
            continue
        if images is not None:
            collected.append(_Group(product, [_Entry(image) for image in images], [element], flat=False))
            continue
        if product not in flat:
            flat[product] = _Group(product, [], [], flat=True)
            collected.append(flat[product])
        flat[product].add(element, _Entry(element))
    return collected


def _read_element(element: Any, template: Template, definition: Definition) -> tuple[str, list[Any] | None]:
    """Product and images; no images: a flat row."""
    if not isinstance(element, dict):
        raise _WrongError(f"a row must be an object, this is {describe(element)}")
    product = _product(element, template)
    images = element.get("images")
    if images is None:
        if element.get("url") is None:
            raise _WrongError("no images: the row has neither `images` nor `url`")
        return product, None
    if not isinstance(images, list):
        raise _WrongError(f"`images` must be a list, this is {describe(images)}")
    if not images and not definition.write.allow_clear:
        raise _WrongError(NOT_CLEARED)
    return product, images


def _by_file(elements: Sequence[Any], template: Template) -> list[_Group | Invalid]:
    collected: list[_Group | Invalid] = []
    groups: dict[str, _Group] = {}
    for element in elements:
        for image, where in _images_of(element):
            try:
                product, order = _assigned(image, template)
            except _WrongError as error:
                collected.append(Invalid(f"{where}{error}", image if where else element))
                continue
            if product not in groups:
                groups[product] = _Group(product, [], [], flat=True)
                collected.append(groups[product])
            groups[product].add(element, _Entry(image, order))
    return collected


def _images_of(element: Any) -> list[tuple[Any, str]]:
    """The images of an element, each with its place if there are several. An element without images: itself, which fails."""
    images = element.get("images") if isinstance(element, dict) else None
    if isinstance(images, list) and images:
        return [(image, f"images[{index}]: " if len(images) > 1 else "") for index, image in enumerate(images)]
    return [(element, "")]


def _assigned(image: Any, template: Template) -> tuple[str, int | None]:
    """The product that an image's file name says, and the order."""
    url = _url(image).text
    named = template.read(url)
    if named is None:
        raise _WrongError(f"the file name {_shown(file_name(url))} does not fit the filename template {template.text}")
    return _text(named.product, template.key), named.order


# what is in an element ---------------------------------------------------------------------------------------------------


def _product(element: dict[str, Any], template: Template) -> str:
    for field in FIELDS[template.key]:
        if _given(element.get(field)):
            return _text(element[field], field)
    other: Key = "base_code" if template.key == "sku" else "sku"
    for field in FIELDS[other]:
        if _given(element.get(field)):
            raise _WrongError(f"no {template.key}: the row has {field} only, and filename_template is {template.text}")
    raise _WrongError(f"no product: {template.key} is missing or empty")


def _given(value: Any) -> bool:
    return value is not None and not (isinstance(value, str) and not value.strip())


def _guess_product(element: Any, template: Template) -> str | None:
    try:
        return _product(element, template) if isinstance(element, dict) else None
    except _WrongError:
        return None


def _text(value: Any, field: str) -> str:
    """A product's name. Numbers become text without a fraction of zero: 12.0 is "12"."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _WrongError(f"no product: {field} must be a text, this is {describe(value)}")
    number = value if isinstance(value, str) else whole(value)
    if number is None and isinstance(value, float) and abs(value) >= EXACT_BELOW:
        raise _WrongError(
            f"no product: {field} is {_shown(value)}, and a number of this form may have lost digits: it must be a text"
        )
    if number is None or (isinstance(number, int) and abs(number) >= 10**MAX_PRODUCT_CHARS):
        raise _WrongError(f"no product: {field} is {_shown(value)}, not a text")
    text = str(number).strip()
    if not text:
        raise _WrongError(f"no product: {field} is empty")
    if len(text) > MAX_PRODUCT_CHARS or _UNFIT_FOR_PRODUCT.search(text):
        raise _WrongError(
            f"no product: {field} {_shown(text)} is longer than {MAX_PRODUCT_CHARS} or has control characters"
        )
    return text


def _url(image: Any) -> ImageUrl:
    given = image.get("url") if isinstance(image, dict) else image
    if isinstance(given, str):
        try:
            return image_url(given)
        except ValueError as error:
            if given.strip():
                raise _WrongError(f"{_shown(given)} {error}") from error
    elif given is not None or not isinstance(image, dict):
        raise _WrongError(f"an image must be a URL or an object with `url`, this is {describe(given)}")
    raise _WrongError("no url")


def _order(value: Any) -> int | None:
    """None where there is none."""
    if value is None or (type(value) is int and 0 <= value <= MAX_ORDER):
        return value
    number: Any = value
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        number = float(value)
    count = whole(number) if isinstance(number, (int, float)) and not isinstance(number, bool) else None
    if count is None or abs(count) > MAX_ORDER:
        raise _WrongError(f"order {_shown(value)} is not a whole number")
    return count


def _image_type(value: Any) -> Literal["default", "swatch"]:
    if value is None or value == "default":
        return "default"
    if value == "swatch":
        return "swatch"
    raise _WrongError(f"image_type {_shown(value)} is neither {' nor '.join(IMAGE_TYPES)}")


def _shown(value: Any) -> str:
    """A value in an error's text, short, in quotes if it is a text."""
    if isinstance(value, (dict, list)) or value is None:
        return describe(value)
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a very large number"
    text = repr(value[:100] if isinstance(value, str) else value)
    return text.encode("ascii", "backslashreplace").decode() if _UNFIT_FOR_PRODUCT.search(text) else text


# groups to drafts --------------------------------------------------------------------------------------------------------


def _draft(group: _Group | Invalid, key: Key, definition: Definition) -> Draft:
    if isinstance(group, Invalid):
        return group
    try:
        placed = _image_set(group.entries, twice_is_wrong=definition.holds_back == "nothing" or not group.flat)
    except _WrongError as error:
        return Invalid(str(error), group.payload, group.product)
    images, ordered = tuple(one.image for one in placed), tuple(one.ordered for one in placed)
    encoded = sum(one.encoded for one in placed)
    return ImageSet(group.product, key, images, ordered, encoded=encoded, flat=group.flat)


_by_order = operator.attrgetter("image.order")


def _image_set(entries: Sequence[_Entry], *, twice_is_wrong: bool) -> list[_Placed]:
    """The images by order. Raises _WrongError naming the image."""
    found: dict[str, _Placed] = {}
    for index, entry in enumerate(entries):
        try:
            placed = _image(entry, index)
        except _WrongError as error:
            raise _WrongError(f"images[{index}]: {error}") from error
        url = placed.image.url
        if url in found:
            if twice_is_wrong:
                raise _WrongError(f"images[{index}]: the same URL as images[{list(found).index(url)}]: {_shown(url)}")
            del found[url]
        found[url] = placed
    check_size([placed.image for placed in found.values()])
    return sorted(found.values(), key=_by_order)


def _image(entry: _Entry, place: int) -> _Placed:
    url = _url(entry.given)
    fields = entry.given if isinstance(entry.given, dict) else {}
    order = entry.order if entry.order is not None else _order(fields.get("order"))
    image = Image(url.text, place if order is None else order, _image_type(fields.get("image_type")))
    return _Placed(image, order is not None, url.encoded)


def check_size(images: Sequence[Image]) -> None:
    """Raises ValueError for an image set that does not fit into a message."""
    if len(images) > FEW and sum(len(image.url.encode()) + 60 for image in images) > MAX_SET_BYTES:
        raise _WrongError(f"{len(images)} images with their URLs are too large for one request")


def _last_one_wins(drafts: list[Draft], definition: Definition) -> list[Draft]:
    """Of the image sets of a product that go out at once the last one; what waits is joined."""
    last: dict[str, ImageSet] = {}
    result: list[Draft] = []
    for draft in reversed(drafts):
        if isinstance(draft, ImageSet) and not draft.waits(definition):
            later = last.setdefault(draft.product, draft)
            result.append(draft if later is draft else _superseded(draft, later))
        else:
            result.append(draft)
    return result[::-1]


def _superseded(draft: ImageSet, later: ImageSet) -> Superseded:
    urls = {image.url for image in draft.images}
    displaced = bool(urls and later.images) and urls.isdisjoint(image.url for image in later.images)
    return Superseded(draft.product, draft.key, draft.images, displaced)
