"""Rows that wait until the read is complete, and their join by product. Pure.

Omnitron replaces a product's images by what one request holds, so all rows of a product must be known before it is written.
Where some may be missing, because the read broke off or a page or row is wrong, the product is not written: that would take
pictures away from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

import msgspec

from imageflow.model.filename_template import Key
from imageflow.model.imageset import Image
from imageflow.model.row import RowLog
from imageflow.model.run import Run
from imageflow.store import HeldRow
from imageflow.transform.rows import ImageSet, check_size

NO_ORDER: Final = -(2**31)
"""The order of a held image without one: the join gives it its place among all images of the product."""


class Joined(msgspec.Struct, frozen=True):
    """The image set of a product over all pages of a run. `reason`: why it cannot be written, if so."""

    product: str
    key: Key
    version: int
    images: tuple[Image, ...]
    reason: str | None = None


def held_row(row: ImageSet, version: int) -> HeldRow:
    """The row as it is held back, with NO_ORDER where an image's order is only its place within the page."""
    pairs = zip(row.images, row.ordered, strict=True)
    images = tuple(image if ordered else Image(image.url, NO_ORDER, image.image_type) for image, ordered in pairs)
    return HeldRow(row.product, row.key, version, images)


def beside(log: RowLog) -> HeldRow | None:
    """What another row of the run, not held back, means for the join of its product: the images of a set that was written, or
    that the product is spoiled. None: nothing.
    """
    if log.product is None or log.state == "superseded":
        return None
    spoiled = log.state == "failed" and not log.images
    reason = f"not written without row {log.row} of this product, which is wrong: {log.reason}" if spoiled else None
    return HeldRow(log.product, log.key, log.version, log.images, reason)


def lacking(run: Run) -> str | None:
    """Why rows may be missing from a run that is to be joined, and what to do; None where all came."""
    if run.error is not None:
        why = "the read failed"
    elif run.incomplete:
        why = "the read is incomplete"
    elif run.broken_pages:
        why = "a page failed as a whole"
    else:
        return None
    return (
        f"not written, because {why}: rows of this product may be missing, and Omnitron would delete their images. The next "
        f"complete run writes it: imageflow run {run.flow}"
    )


def join(held: Iterable[HeldRow]) -> list[Joined]:
    """Held rows (by product, then version; products complete) as one image set per product: the images of all its rows
    in that order; of a URL that comes twice the later one counts.
    """
    return [_joined(list(rows)) for _, rows in groupby(held, key=lambda row: row.product)]


def _joined(rows: Sequence[HeldRow]) -> Joined:
    found: dict[str, Image] = {}
    for row in rows:
        for image in row.images:
            found.pop(image.url, None)
            found[image.url] = image
    placed = [
        Image(image.url, place, image.image_type) if image.order == NO_ORDER else image
        for place, image in enumerate(found.values())
    ]
    images = tuple(sorted(placed, key=lambda image: image.order))
    reason = next((row.reason for row in rows if row.reason is not None), None)
    try:
        check_size(images)
    except ValueError as error:
        reason = str(error)
    return Joined(rows[0].product, rows[0].key, max(row.version for row in rows), images, reason)
