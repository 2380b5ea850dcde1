"""The formats of an ERP's answers: how each is written, and what a flow says of it. Pure.

`read/answer.py` turns an answer of any of them into JSON: that is what is stored, and what script and mapping get.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from imageflow.model.field_types import Complaints, Meaning, Text

TAB = "tab"
DELIMITERS = (",", ";", "\t", "|")
"""Those that exports use, to name the right one where another one came."""

SKIP_AT_MOST = 1000


def _delimiter(text: str) -> Complaints:
    if text != TAB and (len(text) != 1 or text in '\r\n"'):
        yield "", f"must be a single character, such as ; or |, or the word {TAB}"


def _quote(text: str) -> Complaints:
    if len(text) > 1 or text in tuple("\r\n"):
        yield "", "must be a single character; empty: cells are never quoted"


def _columns(columns: list[str]) -> Complaints:
    for index, name in enumerate(columns):
        if columns.index(name) < index:
            yield f"[{index}]", "is given twice: each column needs a name of its own"


def _names(names: list[str]) -> Complaints:
    for index, name in enumerate(names):
        if any(letter in name for letter in "./:@<> "):
            yield f"[{index}]", "must be the bare name of an element, without a path or prefix"


class _Format(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How answers are written."""

    meanings: ClassVar[Mapping[str, Meaning]] = {}
    """Checks of single fields, for what their types cannot say; `flow lint` runs them."""
    named: ClassVar[str] = "JSON"
    accept: ClassVar[str] = "application/json"
    has_envelope: ClassVar[bool] = True
    """Whether an answer can say something beside its rows."""


class JsonFormat(_Format, frozen=True, tag="json"):
    """A JSON document."""


class NdjsonFormat(_Format, frozen=True, tag="ndjson"):
    """JSON values, one in each line, each of which is a row."""

    named: ClassVar = "NDJSON"
    accept: ClassVar = "application/x-ndjson, application/jsonl, application/json;q=0.5, */*;q=0.1"
    has_envelope: ClassVar = False


class CsvFormat(_Format, frozen=True, tag="csv"):
    """A table of texts: each line is a row, an object with the names of the columns. Cells stay texts, as they are written."""

    meanings: ClassVar = {"delimiter": _delimiter, "quote": _quote, "columns": _columns}
    named: ClassVar = "CSV"
    accept: ClassVar = "text/csv, text/plain;q=0.5, */*;q=0.1"
    has_envelope: ClassVar = False
    delimiter: Annotated[
        Text, Meta(description="What divides the cells of a line: one character, or tab.", examples=[";"])
    ] = ","
    quote: Annotated[
        str,
        Meta(
            description="What stands around a cell that holds a delimiter or a line break; twice in such a cell, it is part of it. Empty: cells are never quoted."
        ),
    ] = '"'
    columns: Annotated[
        tuple[Text, ...],
        Meta(
            description="The names of the columns, for answers without a header. Otherwise the first line names them.",
            examples=[["sku", "url"]],
        ),
    ] = ()
    skip_lines: Annotated[
        Annotated[int, Meta(ge=0, le=SKIP_AT_MOST)],
        Meta(description="So many lines at the beginning are left out: a title, or a header that columns replaces."),
    ] = 0

    def __post_init__(self) -> None:
        if self.quote == self.divider:
            raise ValueError("quote: must not be the delimiter")

    @property
    def divider(self) -> str:
        """The delimiter as a character."""
        return "\t" if self.delimiter == TAB else self.delimiter


class XmlFormat(_Format, frozen=True, tag="xml"):
    """An XML document, as JSON: elements are fields, attributes are fields that begin with @."""

    meanings: ClassVar = {"lists": _names}
    named: ClassVar = "XML"
    accept: ClassVar = "application/xml, text/xml;q=0.9, */*;q=0.1"
    lists: Annotated[
        tuple[Text, ...],
        Meta(
            description="Elements that are always a list, also where one alone came. What rows_path names is one anyway.",
            examples=[["image"]],
        ),
    ] = ()


Format = JsonFormat | NdjsonFormat | CsvFormat | XmlFormat
FormatName = Literal["json", "ndjson", "csv", "xml"]
TYPES: tuple[type[_Format], ...] = (JsonFormat, NdjsonFormat, CsvFormat, XmlFormat)

_PLAIN: dict[FormatName, Format] = {
    "json": JsonFormat(),
    "ndjson": NdjsonFormat(),
    "csv": CsvFormat(),
    "xml": XmlFormat(),
}


def format_of(given: FormatName | Format) -> Format:
    """A format that may be given by its name alone: then with its defaults."""
    return _PLAIN[given] if isinstance(given, str) else given
