"""The rows of an answer: where they are, and whether the flow takes an answer that has no list. Pure.

The reader and the dry run (`imageflow try`, `imageflow flow test`) judge an answer by the same function, `rows_of`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from imageflow import pointer
from imageflow.errors import ReadError
from imageflow.model.envelope import is_field
from imageflow.model.flow import Definition
from imageflow.model.page import ROWS_PER_PAGE_LIMIT
from imageflow.read import verdict
from imageflow.read.request import erp_of

MAX_DEPTH = 4


class Rows(NamedTuple):
    """The rows; `place` is what holds them in the document. Not `counted`: what came is not known to be rows. `none`: the
    answer has null in the list's place, and the flow says that this means no rows.
    """

    rows: list[Any]
    place: Any
    counted: bool = True
    none: bool = False


def rows_of(definition: Definition, document: Any) -> Rows:
    """The rows of an answer. Raises ReadError: what is there instead, or what the answer says that went wrong.

    With a script that has `process`, or a mapping and no rows_path, any document is a page.
    """
    erp = erp_of(definition)
    found = pointer.find(document, erp.rows_path)
    rows = _found(definition, document, found)
    verdict.check(erp, document, rows.rows if rows is not None else [], found if rows is None else rows.place)
    if rows is None:
        raise ReadError(_no_list(document, erp.rows_path, found))
    if len(rows.rows) > ROWS_PER_PAGE_LIMIT:
        raise ReadError(
            f"the answer has {len(rows.rows):,} rows; one page may have {ROWS_PER_PAGE_LIMIT:,}: use pagination"
        )
    return rows


def _found(definition: Definition, document: Any, found: Any) -> Rows | None:
    erp = erp_of(definition)
    if isinstance(found, list):
        return Rows(found, found)
    if erp.no_rows.null_list and _is_null(document, erp.rows_path):
        return Rows([], None, none=True)
    return _guessed(document, found, erp.rows_path) if takes_any(definition) else None


def takes_any(definition: Definition) -> bool:
    """Whether any JSON document may be a page: the flow itself makes rows of it, and nothing has to be counted."""
    erp = erp_of(definition)
    makes_rows = definition.has_process or (bool(definition.mapping) and not erp.rows_path)
    return makes_rows and not erp.pagination.counts


def _is_null(document: Any, path: str) -> bool:
    """Null in the list's place, or in the place of an object on the way there."""
    return bool(path or document is None) and pointer.way(document, path)[-1] is None


def _guessed(document: Any, found: Any, path: str) -> Rows:
    """The rows of an answer without a list at rows_path, as far as they can be told. They are counted and left out where
    the envelope is read; what becomes of the answer is the script's or the mapping's to say.
    """
    if found is None:
        return Rows([], None)
    if path and isinstance(found, dict):
        return Rows(list(found.values()), found) if is_keyed(found) else Rows([found], found)
    if found is not pointer.MISSING and not isinstance(found, dict):
        return Rows([found], None, counted=False)
    lists = sorted(_lists(document, 0), key=lambda one: (one[0], -len(one[1])))
    if lists:
        return Rows(lists[0][1], lists[0][1])
    keyed = next(_keyed(document, 0), None)
    return Rows([document], None, counted=False) if keyed is None else Rows(list(keyed.values()), keyed)


def _lists(value: Any, depth: int) -> Iterator[tuple[int, list[Any]]]:
    """Lists of objects, with their depth; not those inside of objects that are rows themselves."""
    if isinstance(value, list):
        if value and all(isinstance(item, dict) for item in value):
            yield depth, value
    elif isinstance(value, dict) and depth < MAX_DEPTH and not is_keyed(value):
        for item in value.values():
            yield from _lists(item, depth + 1)


def _keyed(value: Any, depth: int) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict) and depth < MAX_DEPTH:
        if is_keyed(value):
            yield value
            return
        for item in value.values():
            yield from _keyed(item, depth + 1)


def is_keyed(value: dict[str, Any]) -> bool:
    """Whether an object holds rows by their SKU or number: only objects of one shape or lists, under names that no
    envelope has.
    """
    if not value or any(is_field(name) for name in value):
        return False
    items = list(value.values())
    if all(isinstance(item, dict) for item in items):
        shapes = {frozenset(item) for item in items[:100]}
        return all(shapes) and (len(items) > 1 or not _holds_rows(items[0])) and _alike(list(shapes))
    return len(items) > 1 and all(isinstance(item, list) for item in items)


def _holds_rows(item: dict[str, Any]) -> bool:
    return any(isinstance(inner, dict) for inner in item.values())


def _alike(shapes: list[frozenset[str]]) -> bool:
    return bool(frozenset.intersection(*shapes))


def _no_list(document: Any, path: str, found: Any) -> str:
    if not path:
        return f"the answer is {pointer.describe(document)}, not a list: set erp.rows_path to where the list is"
    said = verdict.said(document)
    if found is None:
        return (
            f"the answer has null, not a list, at rows_path {path!r}{said}. "
            "If null means that there are no rows: erp.no_rows: {null_list: true}"
        )
    if found is pointer.MISSING:
        return f"the answer has nothing at rows_path {path!r}: it is {pointer.describe(document)}{said}"
    return f"the answer has {pointer.describe(found)}, not a list, at rows_path {path!r}{said}"
