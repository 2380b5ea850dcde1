"""Which elements of a page a row was made of. Pure.

A script may make anything of an answer, so the elements cannot be read off the row. So: guess the elements that name the
product, run these alone through the flow, and see whether the same row comes out. `narrow` says what to run next.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from imageflow.model.filename_template import file_name
from imageflow.pointer import find

MAX_TEXT_CHARS = 10_000
MAX_RUNS = 150

Places = tuple[int, ...]


class Document:
    """A page as parsed JSON. Raises ValueError where it is none."""

    def __init__(self, body: bytes, rows_path: str) -> None:
        self._body = body
        self._rows_path = rows_path
        self.elements = self._found(self._parsed())

    def only(self, places: Places) -> bytes:
        """The page with these elements alone. Raises ValueError where it cannot be written."""
        document = self._parsed()
        found = self._listed(document)
        if found is not None:
            found[:] = [found[place] for place in places]
        return msgspec.json.encode(document)

    def _parsed(self) -> Any:
        try:
            return msgspec.json.decode(self._body)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ValueError(f"the page is not JSON: {error}") from error

    def _listed(self, document: Any) -> list[Any] | None:
        found = document if isinstance(document, list) else find(document, self._rows_path)
        return found if isinstance(found, list) else None

    def _found(self, document: Any) -> list[Any]:
        found = self._listed(document)
        return [document] if found is None else found


def candidates(elements: Sequence[Any], product: str) -> Places:
    """Where the product is named: as a whole value if anywhere, else as a part of one; empty where nowhere."""
    exact = tuple(place for place, element in enumerate(elements) if names(element, product, exactly=True))
    return exact or tuple(place for place, element in enumerate(elements) if names(element, product))


def names(element: Any, product: str, *, exactly: bool = False) -> bool:
    """Whether the product is a value (or a field's name) in the element; not `exactly`: also a word within one."""
    word = re.compile(rf"(?<![^\W_]){re.escape(product)}(?![^\W_])")
    return any(_is(value, product) or (not exactly and _holds(value, word)) for value in values(element))


def values(element: Any) -> Iterator[Any]:
    """What stands in the element, at any depth, that is no list or object; also the names of fields."""
    left = [element]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += [*value, *value.values()]
        elif isinstance(value, list):
            left += value
        else:
            yield value


def _is(value: Any, product: str) -> bool:
    if isinstance(value, (bool, float)) or value is None:
        return False
    return (value if isinstance(value, str) else str(value)) == product


def _holds(value: Any, word: re.Pattern[str]) -> bool:
    if not isinstance(value, str) or len(value) > MAX_TEXT_CHARS:
        return False
    return word.search(value) is not None or ("%" in value and word.search(file_name(value)) is not None)


def narrow(count: int, guess: Places) -> Generator[Places, bool, None]:
    """Yields elements to run and is sent whether the row came out of them alone: first the guess, then all, then ever
    fewer (delta debugging: halves, then quarters and what is left without one, …). The last that it came out of are the
    fewest. At most MAX_RUNS runs, and none once the run of all elements did not give the row.
    """
    everything = tuple(range(count))
    found = guess
    if not guess or not (yield guess):
        if guess == everything or not (yield everything):
            return
        found = everything
    runs, parts = 2, 2
    while len(found) > 1:
        for places in _parts(found, parts):
            if runs >= MAX_RUNS:
                return
            runs += 1
            if (yield places):
                parts = 2 if len(places) * 2 <= len(found) else max(parts - 1, 2)
                found = places
                break
        else:
            if parts >= len(found):
                return
            parts = min(parts * 2, len(found))


def _parts(places: Places, count: int) -> Iterator[Places]:
    """The places in so many parts; then all but one of them, for each."""
    bounds = [len(places) * part // count for part in range(count + 1)]
    parts = [places[first:last] for first, last in pairwise(bounds)]
    yield from parts
    if count > 2:
        yield from (tuple(place for place in places if place not in set(part)) for part in parts)
