"""Formats of answers: which settings are refused, and what a name alone means."""

from __future__ import annotations

import typing
from typing import Any

import msgspec
import pytest

from imageflow.model.answer_format import (
    TYPES,
    CsvFormat,
    Format,
    FormatName,
    JsonFormat,
    NdjsonFormat,
    XmlFormat,
    format_of,
)


def complaints(kind: type[Any], field: str, value: Any) -> list[str]:
    """Where a field's check finds something wrong, and what."""
    return [f"{place} {said}".strip() for place, said in kind.meanings[field](value)]


@pytest.mark.parametrize(
    ("kind", "field", "value", "found"),
    [
        (CsvFormat, "delimiter", ";", []),
        (CsvFormat, "delimiter", "\t", []),
        (CsvFormat, "delimiter", "tab", []),
        (CsvFormat, "delimiter", ";;", ["must be a single character, such as ; or |, or the word tab"]),
        (CsvFormat, "delimiter", "Tab", ["must be a single character, such as ; or |, or the word tab"]),
        (CsvFormat, "delimiter", "\n", ["must be a single character, such as ; or |, or the word tab"]),
        (CsvFormat, "delimiter", "\r", ["must be a single character, such as ; or |, or the word tab"]),
        (CsvFormat, "delimiter", '"', ["must be a single character, such as ; or |, or the word tab"]),
        (CsvFormat, "quote", "", []),
        (CsvFormat, "quote", "'", []),
        (CsvFormat, "quote", "''", ["must be a single character; empty: cells are never quoted"]),
        (CsvFormat, "quote", "\n", ["must be a single character; empty: cells are never quoted"]),
        (CsvFormat, "columns", [], []),
        (CsvFormat, "columns", ["sku", "url", "SKU"], []),
        (
            CsvFormat,
            "columns",
            ["sku", "url", "sku", "sku"],
            [f"[{n}] is given twice: each column needs a name of its own" for n in (2, 3)],
        ),
        (XmlFormat, "lists", ["image", "Resim_1"], []),
        *(
            (XmlFormat, "lists", ["image", name], ["[1] must be the bare name of an element, without a path or prefix"])
            for name in ("a.b", "a/b", "x:image", "@id", "<image>", "an image")
        ),
    ],
)
def test_what_a_field_may_be(kind: type[Any], field: str, value: Any, found: list[str]) -> None:
    """One character, or tab; columns with names of their own; bare names of elements. The place is told of what is wrong."""
    assert complaints(kind, field, value) == found


@pytest.mark.parametrize(
    ("document", "taken"),
    [
        ({"type": "csv"}, True),
        ({"type": "csv", "delimiter": ";", "quote": "'"}, True),
        ({"type": "csv", "delimiter": "|", "quote": "|"}, False),
        ({"type": "csv", "delimiter": "tab", "quote": "\t"}, False),
        ({"type": "csv", "delimiter": ""}, False),
        ({"type": "csv", "skip_lines": 1000}, True),
        ({"type": "csv", "skip_lines": 1001}, False),
        ({"type": "csv", "skip_lines": -1}, False),
        ({"type": "csv", "lists": ["image"]}, False),
        ({"type": "xml", "lists": ["image"]}, True),
        ({"type": "json", "delimiter": ";"}, False),
        ({"type": "excel"}, False),
    ],
)
def test_which_formats_there_are(document: dict[str, Any], taken: bool) -> None:
    """By their type, with the fields of that type alone; what divides cells cannot quote them."""
    try:
        msgspec.convert(document, Format)
    except msgspec.ValidationError:
        assert not taken
    else:
        assert taken


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("json", JsonFormat()),
        ("ndjson", NdjsonFormat()),
        ("csv", CsvFormat()),
        ("xml", XmlFormat()),
        (CsvFormat(delimiter=";"), CsvFormat(delimiter=";")),
    ],
)
def test_a_format_by_its_name(given: FormatName | Format, meant: Format) -> None:
    """A name alone means the defaults; a format is what it is."""
    assert format_of(given) == meant


def test_every_format_has_a_name() -> None:
    """The names are the tags of the types, in their order; only documents can say something beside their rows."""
    assert typing.get_args(FormatName) == tuple(kind.__struct_config__.tag for kind in TYPES)
    assert typing.get_args(Format) == TYPES
    assert [kind.has_envelope for kind in TYPES] == [True, False, False, True]
    assert [kind.named for kind in TYPES] == ["JSON", "NDJSON", "CSV", "XML"]


def test_a_tab_has_a_word() -> None:
    """`tab` stands for the character; any other delimiter for itself."""
    assert [CsvFormat(delimiter=one).divider for one in ("tab", "\t", ";")] == ["\t", "\t", ";"]
