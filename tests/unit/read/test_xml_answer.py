"""XML as JSON; hostile XML is refused before it takes anything."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageflow.errors import ReadError
from imageflow.read import xml_answer

CATALOG = b"""<?xml version="1.0" encoding="iso-8859-9"?>
<c:catalog xmlns:c="urn:c" total="2">
  <!-- a note --><?php echo ?>
  <c:product id="1"><sku>0012</sku><image>a &amp; b</image><image><![CDATA[<c>]]></image><gone/></c:product>
  <c:product><sku xsi:nil="true" xmlns:xsi="x"/><name lang="tr">  Mavi <b>!</b> </name></c:product>
</c:catalog>"""


def read(text: bytes, rows_path: str = "catalog.product", *lists: str) -> Any:
    return xml_answer.document(text, rows_path, lists)


def test_elements_and_attributes():
    """Elements are fields, attributes begin with @, elements of one name are a list; nothing in one is null."""
    assert read(CATALOG) == {
        "catalog": {
            "@total": "2",
            "product": [
                {"@id": "1", "sku": "0012", "image": ["a & b", "<c>"], "gone": None},
                {"sku": None, "name": {"@lang": "tr", "b": "!", "#text": "Mavi"}},
            ],
        }
    }


@pytest.mark.parametrize(
    ("text", "path", "lists", "document"),
    [
        (b"<c><p><i>1</i></p></c>", "c.p", ("i",), {"c": {"p": [{"i": ["1"]}]}}),
        (b"<c><p/></c>", "/c/p", (), {"c": {"p": [None]}}),
        (b"<p>1</p>", "p", (), {"p": ["1"]}),
        (b"<c/>", "c.p", (), {"c": {"p": []}}),
        (b"<c total='0'> </c>", "c.p", (), {"c": {"@total": "0", "p": []}}),
        (b"<c><x/></c>", "c.p", (), {"c": {"x": None, "p": None}}),
        (b"<c>no permission</c>", "c.p", (), {"c": {"p": None, "#text": "no permission"}}),
        (b"<error>e</error>", "c.p", (), {"error": "e"}),
        (b"<c><d><p>1</p></d><p>2</p></c>", "c.d.p", (), {"c": {"d": {"p": ["1"]}, "p": "2"}}),
        (b"<c><a>1</a><b/><a/></c>", "", (), {"c": {"a": ["1", None], "b": None}}),
    ],
)
def test_rows_are_a_list(text: bytes, path: str, lists: tuple[str, ...], document: Any):
    """One row is a list of one; an element without rows is an empty list; where something else is, null: it is no empty read."""
    assert read(text, path, *lists) == document


BOMB = b"""<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;">]>
<catalog><product>&c;</product></catalog>"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "has a DTD.*refused"),
        (b'<!DOCTYPE c SYSTEM "http://127.0.0.1:9/x.dtd"><c/>', "has a DTD"),
        (b'<!DOCTYPE c [<!ENTITY x SYSTEM "file:///etc/passwd">]><c>&x;</c>', "has a DTD"),
        (b'<!DOCTYPE c [<!ENTITY % p SYSTEM "http://127.0.0.1:9/">%p;]><c/>', "has a DTD"),
        (b"<!DOCTYPE html><p>", "is HTML, not XML"),
        (b"<c>&undefined;</c>", "not well-formed XML, line 1, column 4: undefined entity"),
        (b"<c><p>1</p>", "line 1, column 12: no element found: it may be truncated"),
        (b"<c><p>1</p", "unclosed token: it may be truncated"),
        (b"<c></p>", "mismatched tag"),
        (b"<c/><d/>", "junk after document element"),
        (b"<a>" * 101 + b"</a>" * 101, "nested deeper than 100 elements"),
        (b"<a>" * 1_000_000, "nested deeper than 100 elements"),
    ],
)
def test_wrong_and_hostile_documents(text: bytes, said: str):
    """What is no XML, and what would take memory or reach out, is refused with a sentence."""
    with pytest.raises(ReadError, match=said):
        read(text)


def test_too_many_elements(monkeypatch: pytest.MonkeyPatch):
    """Elements and attributes have a limit."""
    monkeypatch.setattr(xml_answer, "MAX_NODES", 5)
    assert read(b"<c><p a='1' b='2'/><p/></c>")["c"]["p"] == [{"@a": "1", "@b": "2"}, None]
    with pytest.raises(ReadError, match="more than 5 elements and attributes"):
        read(b"<c><p a='1' b='2'/><p/><p/></c>")


def test_a_million_characters_of_blanks_take_nothing():
    """What only sets elements apart is not kept."""
    builder = xml_answer._Builder("", ())
    builder.start("c", {})
    builder.data(" " * 1000)
    assert builder._open[-1].texts == []


@given(st.binary(max_size=200))
def test_any_bytes_are_a_document_or_refused(data: bytes):
    """No bytes lead to another error than ReadError."""
    for text in (data, b"<c>" + data + b"</c>"):
        try:
            found = read(text)
        except ReadError:
            continue
        assert isinstance(found, dict)
