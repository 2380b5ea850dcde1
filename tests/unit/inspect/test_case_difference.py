"""Which operation of a mapping made the first difference to what a case expects."""

from __future__ import annotations

from typing import Any

import pytest

from imageflow.inspect.case_difference import first_difference
from imageflow.jolt.explain import Explanation, Step
from imageflow.model.imageset import Image

A, B = Image("https://c.example/a.jpg", 0), Image("https://c.example/b.jpg", 1)
OLD = Image("http://c.example/a.jpg", 0)


def explanation(*outputs: Any) -> Explanation:
    return Explanation([Step(place, "shift", "", output) for place, output in enumerate(outputs)])


def row(product: str, *images: Any) -> dict[str, Any]:
    return {"sku": product, "images": list(images)}


@pytest.mark.parametrize(
    ("outputs", "expected", "actual", "line"),
    [
        ([[row("P", OLD.url)]] * 2, [A], [OLD], f'[0].images[0] is "{OLD.url}", expected "{A.url}"  <- mapping[0]'),
        (
            [[row("P", {"url": A.url})], [row("P", {"url": OLD.url})]],
            [A],
            [OLD],
            f'[0].images[0].url is "{OLD.url}", expected "{A.url}"  <- mapping[1]',
        ),
        (
            [[row("P", {"url": B.url, "order": 1}, {"url": OLD.url, "order": 0})]],
            [A, B],
            [OLD, B],
            f'[0].images[1].url is "{OLD.url}", expected "{A.url}"',
        ),
        (
            [[row("P", {"url": A.url})]],
            [A, B],
            [A],
            "[0].images[1] is nothing, expected an object with url  <- mapping[0]",
        ),
        ([[row("P", A.url, B.url)]], [A], [A, B], f'[0].images[1] is "{B.url}", expected nothing'),
        ([[{"sku": "P"}]], [A], [], "[0].images is nothing, expected a list of 1"),
        ([[{"images": [A.url]}]], [A], [], '[0].sku is nothing, expected "P"  <- mapping[0]'),
        ([[row("Q", A.url)]], [A], [], "[1] is nothing, expected an object with sku, images"),
        (
            [[{"sku": "P", "url": OLD.url}, {"sku": "P", "url": B.url}]],
            [A, B],
            [OLD, B],
            f'[0].url is "{OLD.url}", expected "{A.url}"',
        ),
        ([[{"sku": "P", "url": A.url}, {"sku": "P", "url": B.url}]], [A], [A, B], "[1] is an object with sku, url"),
        (
            [[row("P", {"url": A.url, "order": 0})]],
            [Image(A.url, 4)],
            [A],
            "[0].images[0].order is 0, expected 4",
        ),
        ([[5, row("P", " " + A.url, OLD.url)]], [A, B], [A, OLD], f'[1].images[1] is "{OLD.url}", expected "{B.url}"'),
    ],
)
def test_names_the_place_and_the_operation(outputs: Any, expected: Any, actual: Any, line: str) -> None:
    """As the result was written: what is right stays out of it, and the operation is the one that changed the place last."""
    found = first_difference(explanation(*outputs), {"P": expected}, {"P": actual} if actual else {})
    assert found is not None
    assert line in found


def test_says_nothing_where_nothing_can_be_said() -> None:
    """A mapping that failed or gave no list, and rows that are as expected."""
    failed = explanation([row("P", OLD.url)])
    failed.steps[0].error = "no"
    assert first_difference(failed, {"P": [A]}, {}) is None
    assert first_difference(explanation({"sku": "P"}), {"P": [A]}, {}) is None
    assert first_difference(explanation([row("P", A.url)]), {"P": [A]}, {"P": [A]}) is None
    assert first_difference(Explanation([]), {"P": [A]}, {}) is None
