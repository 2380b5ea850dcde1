"""Which operation of a mapping made the first difference between what a case expects and what came. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imageflow.jolt.explain import Explanation, difference
from imageflow.jolt.explain_text import difference_line
from imageflow.model.imageset import Image
from imageflow.transform.rows import FIELDS

Sets = Mapping[str, Sequence[Image]]
"""Images by product, in their order."""


def first_difference(explanation: Explanation, expected: Sets, actual: Sets) -> str | None:
    """The first place where the mapping's result is not as expected, with the operation that gave it its value. None
    where the result is as expected, or cannot be compared.
    """
    last = explanation.steps[-1] if explanation.steps else None
    if last is None or last.error or not isinstance(last.output, list):
        return None
    wrong = {product: images for product, images in expected.items() if list(actual.get(product, ())) != list(images)}
    found = difference(explanation.steps, list(_wanted(last.output, wrong, actual)))
    return difference_line(found) if found is not None else None


def _wanted(result: list[Any], wrong: Sets, actual: Sets) -> Iterator[Any]:
    """The expected result. It differs from the actual one only in what is wrong with the `wrong` products. A row
    without a product stands for a missing one.
    """
    seen: dict[str, int] = {}
    named = {_product_of(row) for row in result}
    missing = [product for product in wrong if product not in named]
    for row in result:
        product = _product_of(row)
        place = seen[product] = seen.get(product, -1) + 1
        images, came = wrong.get(product), actual.get(product, ())
        if not product and isinstance(row, dict) and missing:
            yield {"sku": missing.pop(0), **row}
        elif images is None:
            yield row
        elif "url" in row:
            yield from [_as(row, images[place], came[place : place + 1])] if place < len(images) else []
        else:
            yield {**row, "images": _images(row.get("images"), images, came)}
    yield from ({"sku": product, "images": []} for product in missing)


def _product_of(row: Any) -> str:
    names = (name for fields in FIELDS.values() for name in fields)
    return next((str(row[name]) for name in names if name in row), "") if isinstance(row, dict) else ""


def _images(given: Any, images: Sequence[Image], came: Sequence[Image]) -> list[Any]:
    """The images of a row as they would have to be; those that are right stay as they were written."""
    given = given if isinstance(given, list) else []
    places = sorted(range(len(given)), key=lambda place: _order(given[place], place))
    wanted = {
        place: _as(given[place], image, came[number : number + 1])
        for number, (place, image) in enumerate(zip(places, images, strict=False))
    }
    return [*(wanted[place] for place in sorted(wanted)), *({"url": image.url} for image in images[len(given) :])]


def _order(image: Any, place: int) -> float:
    order = image.get("order") if isinstance(image, dict) else None
    return order if isinstance(order, int | float) else place


def _as(given: Any, image: Image, came: Sequence[Image]) -> Any:
    """An image as it would have to be, in the form in which it was given."""
    if not isinstance(given, dict):
        return given if came and came[0].url == image.url else image.url
    have = came[0] if came else None
    fields = [name for name in Image.__struct_fields__ if have is None or getattr(have, name) != getattr(image, name)]
    named = {name: getattr(image, name) for name in fields if have is not None or name in given or name == "url"}
    return {**given, **named}
