"""Two versions of a flow over the same page, row by row: what comes out the same, and what does not. Pure.

A row is found again by its product. One that failed before it had a product is found by its element: the row of the other
version that is of the same element, or of a product that the element names. Where the versions give one element two products,
its rows are found by what the element names: the product, or an image.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

import msgspec

from imageflow.inspect import row_origin
from imageflow.inspect.dry_run import DryRow

Kind = Literal["same", "fixed", "different", "broken", "renamed", "untried"]
"""`fixed`: it failed and would be written, or Omnitron refused its product and it would be sent for one that Omnitron has taken;
`different`: another image set, another product that Omnitron has taken, one that was not there, or a failure that goes away;
`broken`: it came out, and would fail, be missing, or be of a product that Omnitron refused; or it was not there and fails;
`renamed`: it came out, and would be sent for another SKU, which Omnitron has never taken; `untried`: Omnitron refused its product,
and it would be sent for another one, of which nothing is known.
"""
KINDS: tuple[Kind, ...] = ("same", "fixed", "different", "broken", "renamed", "untried")


class Pair(msgspec.Struct, frozen=True):
    """A row as it `was` with one version, and as it is `now` with the other; None: it does not come out."""

    kind: Kind
    was: DryRow | None
    now: DryRow | None

    @property
    def product(self) -> str | None:
        """What it is of, as far as either version says."""
        named = [row.product for row in (self.now, self.was) if row is not None and row.product is not None]
        return named[0] if named else None


def pairs(
    was: Iterable[DryRow],
    now: Iterable[DryRow],
    elements: Sequence[Any] = (),
    refused: Collection[str] = (),
    taken: Collection[str] = (),
) -> list[Pair]:
    """The rows of a page, as they were and as they are now: in the order that they were in, those that are new last. `elements`: those
    of the page; `refused`: products that Omnitron refused; `taken`: SKUs that it has taken before.

    Rows that a later one of the same page supersedes are left out.
    """
    old = [row for row in was if row.state != "superseded"]
    left = _Left(row for row in now if row.state != "superseded")
    found: list[DryRow | None] = [left.of_product(row) for row in old]
    for place, row in enumerate(old):
        if found[place] is None:
            found[place] = left.of_element(row)
    nameless = _Elements(row for place, row in enumerate(old) if found[place] is None and row.product is None)
    by_row = {id(row): place for place, row in enumerate(old)}
    for row in left.rows():
        failed = nameless.naming(row.product)
        if failed is not None:
            found[by_row[id(failed)]] = row
            left.take(row)
    if None in found and left.rows():
        places = _Places(elements)
        by_place = {at: row for row in reversed(left.rows()) if (at := places.of(row)) is not None}
        for number, row in enumerate(old):
            came_from = places.of(row) if found[number] is None else None
            if came_from is not None and came_from in by_place:
                found[number] = left.take(by_place.pop(came_from))
    paired = [_pair(row, other, refused, taken) for row, other in zip(old, found, strict=True)]
    return paired + [_pair(None, row, refused, taken) for row in left.rows()]


def _pair(was: DryRow | None, now: DryRow | None, refused: Collection[str], taken: Collection[str]) -> Pair:
    if was is not None and now is not None and was.state == now.state == "ready" and was.product != now.product:
        return Pair(_kind_renamed(was, now, refused, taken), was, now)
    return Pair(_kind(was, now), was, now)


def _kind_renamed(was: DryRow, now: DryRow, refused: Collection[str], taken: Collection[str]) -> Kind:
    """That a product was not refused yet says nothing: it may never have been sent. Only a SKU can be known to be taken."""
    before = was.product in refused
    if now.product in refused:
        return "different" if before else "broken"
    if now.key == "sku" and now.product in taken:
        return "fixed" if before else "different"
    if before:
        return "untried"
    return "renamed" if now.key == "sku" else "different"


def _kind(was: DryRow | None, now: DryRow | None) -> Kind:
    if now is None:
        return "broken" if was is not None and was.state == "ready" else "different"
    if now.state == "failed":
        return "same" if was is not None and was.state == "failed" else "broken"
    if was is None:
        return "different"
    if was.state == "failed":
        return "fixed"
    return "same" if (was.key, was.product, was.images) == (now.key, now.product, now.images) else "different"


class _Left:
    """The rows of a version that no row of the other has been found for yet."""

    def __init__(self, rows: Iterable[DryRow]) -> None:
        self._rows = {id(row): row for row in rows}
        self._by_product: dict[str, list[DryRow]] = {}
        for row in self._rows.values():
            if row.product is not None:
                self._by_product.setdefault(row.product, []).append(row)
        self._elements = _Elements(row for row in self._rows.values() if row.product is None)

    def rows(self) -> Sequence[DryRow]:
        return list(self._rows.values())

    def take(self, row: DryRow) -> DryRow:
        return self._rows.pop(id(row))

    def of_product(self, row: DryRow) -> DryRow | None:
        known = self._by_product.get(row.product or "")
        return self.take(known.pop(0)) if known else None

    def of_element(self, row: DryRow) -> DryRow | None:
        """The row without a product that is of the same element, or of an element that names the product."""
        found = self._elements.equal(row.payload) if row.product is None else self._elements.naming(row.product)
        return None if found is None else self.take(found)


class _Elements:
    """Failed rows that have no product, by what stands in their elements. Each is given once."""

    def __init__(self, rows: Iterable[DryRow]) -> None:
        self._whole: dict[bytes, list[DryRow]] = {}
        self._words: dict[str, list[DryRow]] = {}
        self._taken: set[int] = set()
        for row in rows:
            self._whole.setdefault(_text(row.payload), []).append(row)
            for word in {str(value) for value in row_origin.values(row.payload) if isinstance(value, str | int)}:
                self._words.setdefault(word, []).append(row)

    def equal(self, payload: Any) -> DryRow | None:
        return self._first(self._whole.get(_text(payload), ()))

    def naming(self, product: str | None) -> DryRow | None:
        return None if product is None else self._first(self._words.get(product, ()))

    def _first(self, rows: Iterable[DryRow]) -> DryRow | None:
        found = next((row for row in rows if id(row) not in self._taken), None)
        if found is not None:
            self._taken.add(id(found))
        return found


class _Places:
    """Which element of a page a row came from, by what only that element names: the row's product, or one of its images."""

    def __init__(self, elements: Sequence[Any]) -> None:
        self._places: dict[str, int | None] = {}
        for place, element in enumerate(elements):
            for word in {str(value) for value in row_origin.values(element) if isinstance(value, str | int)}:
                self._places[word] = None if word in self._places else place

    def of(self, row: DryRow) -> int | None:
        words = [row.product or "", *(image.url for image in row.images)]
        return next((place for word in words if (place := self._places.get(word)) is not None), None)


def _text(value: Any) -> bytes:
    return msgspec.json.encode(value)
