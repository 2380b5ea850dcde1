"""Image sets: which ones are the same for Omnitron."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageflow.model.imageset import Image, digest

IMAGES = st.lists(
    st.builds(Image, st.sampled_from(["a", "b", "c"]), st.integers(0, 3), st.sampled_from(["default", "swatch"])),
    max_size=5,
).map(tuple)


@given(IMAGES, st.randoms())
def test_the_order_of_the_list_does_not_matter(images: tuple[Image, ...], chance: random.Random):
    """The same images, listed in another way, are the same set."""
    assert digest(images) == digest(tuple(chance.sample(images, len(images))))


@given(IMAGES, IMAGES)
def test_other_images_are_another_set(one: tuple[Image, ...], other: tuple[Image, ...]):
    """Sets are the same only where URLs, orders and types are, repetitions included."""
    key = lambda image: (image.url, image.order, image.image_type)  # noqa: E731
    assert (digest(one) == digest(other)) is (sorted(one, key=key) == sorted(other, key=key))


@pytest.mark.parametrize("other", [Image("b", 1), Image("a", 2), Image("a", 1, "swatch")])
def test_each_field_counts(other: Image):
    """URL, order and type each make a difference."""
    assert digest((Image("a", 1),)) != digest((other,))
