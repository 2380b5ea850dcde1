"""The products that benchmarks write: three images each."""

from __future__ import annotations

from imageflow.model.imageset import Image

PAGE = 100
"""How many rows travel in one message."""


def images(n: int) -> tuple[Image, ...]:
    return tuple(Image(f"https://img.example.com/catalog/{n:07}/{order}.jpg", order) for order in range(3))
