"""Which elements a row was made of."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imageflow.inspect.row_origin import MAX_RUNS, Document, candidates, narrow


def fewest(count: int, guess: tuple[int, ...], needed: set[int]) -> tuple[tuple[int, ...] | None, int]:
    """What narrowing comes to where the row needs exactly these elements, and after how many runs."""
    found, runs = None, 0
    steps = narrow(count, guess)
    try:
        places = next(steps)
        while True:
            runs += 1
            came = needed <= set(places)
            found = places if came else found
            places = steps.send(came)
    except StopIteration:
        return found, runs


@settings(deadline=None)
@given(st.integers(1, 300), st.data())
def test_narrowing_finds_what_is_needed(count, data):
    """Whatever the guess: what is found has all that the row needs, and runs are bounded."""
    needed = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=5))
    guess = tuple(sorted(data.draw(st.sets(st.integers(0, count - 1), max_size=8))))
    found, runs = fewest(count, guess, needed)
    assert found is not None
    assert needed <= set(found)
    assert runs <= MAX_RUNS
    if len(needed) <= 2:
        assert set(found) == needed


def test_a_good_guess_takes_one_run():
    """The product is named in one element: that alone is run."""
    assert fewest(1000, (7,), {7}) == ((7,), 1)


def test_a_row_that_does_not_come_again():
    """Neither the guess nor the whole page gives the row: nothing is found, and nothing more is tried."""
    assert fewest(10, (3,), {99}) == (None, 2)
    assert fewest(1, (0,), {99}) == (None, 1)
    assert fewest(0, (), {99}) == (None, 0)


def test_where_a_product_is_named():
    """As a whole value first, numbers and field names too; else as a word in a text or in a file's name."""
    elements = [{"sku": "A1"}, {"sku": "A10"}, {"url": "https://c.example/A1_0.jpg"}, {"A1": []}, [["x", "A1"]]]
    assert candidates(elements, "A1") == (0, 3, 4)
    assert candidates([{"code": 12}, {"code": 121}, {"stock": 12.0}], "12") == (0,)
    assert candidates([{"u": "https://c.example/TR-A1.jpg"}, {"u": "https://c.example/XA1.jpg"}], "A1") == (0,)
    assert candidates([{"u": "https://c.example/%C3%9C1.jpg"}], "Ü1") == (0,)
    assert candidates([True, None, 1.5, {"a": "b"}], "True") == ()


@pytest.mark.parametrize("path", ["results", "data.items", "/data/items", ""])
def test_a_page_with_fewer_elements(path):
    """What is around the list stays; an answer that is the list itself is a list again."""
    document = {"results": [1, 2, 3], "data": {"items": [4, 5], "n": 2}, "total": 3}
    page = Document(msgspec.json.encode(document), path)
    if not path:
        assert page.elements == [document]
        assert msgspec.json.decode(page.only((0,))) == document
        return
    only = msgspec.json.decode(page.only((1,)))
    assert Document(msgspec.json.encode(only), path).elements == [page.elements[1]]
    assert only["total"] == 3
    plain = Document(b"[5, 6, 7]", path)
    assert msgspec.json.decode(plain.only((0, 2))) == [5, 7]


def test_what_is_no_json():
    """A page that cannot be taken apart is a ValueError that says so."""
    with pytest.raises(ValueError, match="not JSON"):
        Document(b"<html>", "results")
