"""Answers in XML, as JSON. Pure.

An element becomes a field of what it stands in: an object, if it has attributes or elements in it; else its text; null, if
there is nothing in it or it says `xsi:nil`. Attributes become fields that begin with `@`, text beside elements or
attributes `#text`. Elements of one name become a list, and what `rows_path` or `lists` names is one also if it stands
alone. Prefixes of namespaces are left out. All values are texts.

Hostile documents: a DTD is refused where it begins, and with it all entities of its own and everything outside of the
document. Depth and number of elements have a limit. Expat, which comes with Python, does the parsing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.parsers import expat

from imageflow.errors import ReadError

MAX_DEPTH = 100
MAX_NODES = 2_000_000
"""Elements and attributes: each is an object of its own in memory."""

TEXT = "#text"
_NIL = ("true", "1")


def document(text: bytes, rows_path: str, lists: Sequence[str]) -> Any:
    """The JSON of an XML document in UTF-8; the root element is its one field. Raises ReadError that names the line."""
    builder = _Builder(rows_path, lists)
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_dtd
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise ReadError(_not_well_formed(error)) from error
    return builder.document


class _Element:
    """An element whose end has not come yet."""

    __slots__ = ("fields", "name", "nil", "texts")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.fields: dict[str, Any] = {}
        self.texts: list[str] = []
        self.nil = False
        for given, value in attributes.items():
            if given == "xmlns" or given.startswith("xmlns:"):
                continue
            if _local(given) == "nil":
                self.nil = value in _NIL
            else:
                self.fields[f"@{_local(given)}"] = value


class _Builder:
    """Takes what a parser finds, in its order."""

    def __init__(self, rows_path: str, lists: Sequence[str]) -> None:
        parts = rows_path[1:].split("/") if rows_path.startswith("/") else rows_path.split(".") if rows_path else []
        self._around, self._row = parts[:-1], parts[-1] if parts else None
        self._lists = frozenset(lists)
        self._open = [_Element("", {})]
        self._nodes = 0

    @property
    def document(self) -> dict[str, Any]:
        return self._open[0].fields

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._nodes += 1 + len(attributes)
        if self._nodes > MAX_NODES:
            raise ReadError(
                f"the answer has more than {MAX_NODES:,} elements and attributes: use pagination, or let the ERP leave out "
                "what the flow does not need"
            )
        if len(self._open) > MAX_DEPTH:
            raise ReadError(f"the answer is nested deeper than {MAX_DEPTH} elements")
        self._open.append(_Element(_local(name), attributes))

    def data(self, text: str) -> None:
        texts = self._open[-1].texts
        if texts or not text.isspace():  # what only sets elements apart takes no memory
            texts.append(text)

    def end(self, _: str) -> None:
        element = self._open[-1]
        value = self._value(element)
        is_list = element.name in self._lists or (element.name == self._row and self._is_around(1))
        self._open.pop()
        fields = self._open[-1].fields
        known = fields.get(element.name)
        if isinstance(known, list):
            known.append(value)
        elif element.name in fields:
            fields[element.name] = [known, value]
        else:
            fields[element.name] = [value] if is_list else value

    def _value(self, element: _Element) -> Any:
        if element.nil:
            return None
        text = "".join(element.texts).strip()
        holds_rows = bool(self._around) and self._is_around(0)
        if holds_rows and self._row is not None and self._row not in element.fields:
            alone = not text and all(name.startswith("@") for name in element.fields)
            element.fields[self._row] = [] if alone else None
        if not element.fields:
            return text or None
        return {**element.fields, TEXT: text} if text else element.fields

    def _is_around(self, inner: int) -> bool:
        """Whether the element that is open, but for the `inner` ones in it, holds the rows."""
        names = [element.name for element in self._open[1 : len(self._open) - inner]]
        return names == self._around


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _refuse_dtd(name: str, *_: object) -> None:
    if name.lower() == "html":
        raise ReadError("the answer is HTML, not XML")
    raise ReadError("the answer has a DTD (<!DOCTYPE …>), which can make a document without end: it is refused")


def _not_well_formed(error: expat.ExpatError) -> str:
    reason = expat.ErrorString(error.code)
    hint = ": it may be truncated" if reason in ("no element found", "unclosed token", "unclosed CDATA section") else ""
    return f"the answer is not well-formed XML, line {error.lineno}, column {error.offset + 1}: {reason}{hint}"
