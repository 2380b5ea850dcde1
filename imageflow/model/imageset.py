"""An image set: which images a product has, in which order."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from imageflow.model.bounds import SignedLong

NOT_CLEARED = "no images: an empty set deletes all images of the product, and write.allow_clear is not set"
"""Why an image set without images is refused, by the transformer and once more by the writer."""

IMAGE_TYPES = ("default", "swatch")


class Image(msgspec.Struct, frozen=True, gc=False, omit_defaults=False):
    """One image as Omnitron takes it: `url`, `order` and `image_type`."""

    url: str
    order: SignedLong = 0
    image_type: Literal["default", "swatch"] = "default"


def digest(images: tuple[Image, ...]) -> str:
    """A fingerprint by which two image sets are the same for Omnitron: the same URLs, orders and types, however listed."""
    canonical = sorted((image.order, image.url, image.image_type) for image in images)
    return hashlib.blake2b(msgspec.json.encode(canonical), digest_size=16).hexdigest()
