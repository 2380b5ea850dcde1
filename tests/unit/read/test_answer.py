"""Answers: what is JSON, and what each thing that is not is called."""

from __future__ import annotations

import codecs
from typing import Any

import msgspec
import pytest

from imageflow.errors import LoginError, ReadError
from imageflow.http.client import Answer
from imageflow.model.answer_format import CsvFormat, Format, NdjsonFormat, XmlFormat
from imageflow.read import answer
from imageflow.read.answer import JSON

from .flows import flow

ROWS = '[{"ad": "çanta", "n": 123456789012345678901234567890}]'


def given(body: bytes, content_type: str = "application/json", status: int = 200, **headers: str) -> Answer:
    return Answer(status, {"content-type": content_type, **headers}, body)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (ROWS.encode(), "application/json"),
        (ROWS.encode(), "text/html; charset=utf8"),
        (ROWS.encode(), "application/json; charset=us-ascii"),
        (codecs.BOM_UTF8 + ROWS.encode(), "application/json"),
        (ROWS.encode("utf-16"), "application/json"),
        (ROWS.encode("utf-16-le"), "application/json; charset=utf-16-le"),
        (ROWS.encode("iso-8859-9"), 'application/json; charset="ISO-8859-9"'),
        (ROWS.encode("cp1254"), "application/json;charset=windows-1254"),
    ],
)
def test_charsets(body: bytes, content_type: str):
    """Byte order marks and declared charsets are understood; the text becomes UTF-8; big integers stay exact."""
    decoded = answer.decode(given(body, content_type))
    assert decoded.text == ROWS.encode()
    assert decoded.document == msgspec.json.decode(ROWS)
    assert isinstance(decoded.document[0]["n"], int)


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        (b"", "application/json", "empty"),
        (b" \n", "application/json", "empty"),
        (b"<html>Login</html>", "text/html", "HTML or XML.*text/html.*Login"),
        (b"\n <?xml?>", "application/json", "HTML or XML"),
        (b'{"results": [1, 2', "application/json", "truncated"),
        (b"[] trailing", "application/json", "not JSON"),
        (b"[NaN]", "application/json", "not JSON"),
        (b"[-Infinity]", "application/json", "not JSON"),
        (b"[1e999]", "application/json", "not JSON"),
        (b"Fatal error", "text/plain", "not JSON.*Fatal error"),
        (b"[" * 100_000, "application/json", "nested"),
        (b'["\xe7"]', "application/json", "not utf-8 text"),
        (b"[]", "application/json; charset=klingon", "'klingon' is not known"),
        (b"[]", "application/json; charset=unicode_escape", "no charset of texts"),
        (b"[]", "application/json; charset=hex", "not known"),
        (b"1" * 10_000, "application/json", "not JSON"),
    ],
)
def test_not_json(body: bytes, content_type: str, text: str):
    """What is not JSON is an error that says what it is, in a few words."""
    with pytest.raises(ReadError, match=text) as caught:
        answer.decode(given(body, content_type))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_transient_refusals(status: int):
    """These may go away; the wait that was asked for is kept."""
    with pytest.raises(ReadError, match=str(status)) as caught:
        answer.refuse(given(b"busy", status=status), "https://erp", 7.0)
    assert (caught.value.transient, caught.value.retry_after) == (True, 7.0)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, ReadError), (403, ReadError), (404, ReadError), (304, ReadError), (401, LoginError), (407, LoginError)],
)
def test_permanent_refusals(status: int, kind: type[Exception]):
    """These do not; the answer's excerpt is in the text; 401 and 407 are the login's."""
    with pytest.raises(kind, match=f"{status}: ⟦no such thing⟧") as caught:
        answer.refuse(given(b"no such\nthing", status=status), "https://erp", None)
    assert not caught.value.transient  # type: ignore[attr-defined]


def test_a_charset_that_is_not_declared():
    """`erp.charset` counts where the answer declares none; a byte order mark and a declared one win."""
    text = '["ŞIK-ğüİı"]'
    assert answer.decode(given(text.encode("cp1254")), "windows-1254").document == ["ŞIK-ğüİı"]
    assert answer.decode(given(text.encode(), "application/json; charset=utf-8"), "windows-1254").document == [
        "ŞIK-ğüİı"
    ]
    assert answer.decode(given(codecs.BOM_UTF8 + text.encode()), "windows-1254").document == ["ŞIK-ğüİı"]
    with pytest.raises(ReadError, match=r"erp\.charset"):
        answer.decode(given(text.encode("cp1254")))


def test_a_host_that_gets_no_login():
    """A 401 of an allowed host says that the login is not sent there, and what to do."""
    with pytest.raises(LoginError, match=r"login is not sent to https://inner, .*set erp.endpoint_url"):
        answer.refuse(given(b"who are you", status=401), "https://inner", None, own=False)
    with pytest.raises(ReadError) as caught:
        answer.refuse(given(b"", status=404), "https://inner", None, own=False)
    assert "login" not in str(caught.value)


def test_redirects():
    """A redirect of a GET within the origin is followed, any other refused."""
    erp = flow().erp
    assert erp is not None
    url = "https://erp.example.com/images/?a=1"
    assert answer.redirect(erp, "GET", url, given(b"", status=302, location="/x")) == "https://erp.example.com/x"
    assert answer.redirect(erp, "GET", url, given(b"")) is None
    for method, status, target, text in (
        ("GET", 302, "https://evil.example.com/", "another origin"),
        ("GET", 302, "", "without saying where"),
        ("POST", 307, "/x", "redirects .307. a POST"),
    ):
        with pytest.raises(ReadError, match=text):
            answer.redirect(erp, method, url, given(b"", status=status, location=target))


CSV = CsvFormat(delimiter=";")
XML = XmlFormat()


@pytest.mark.parametrize(
    ("body", "form", "document"),
    [
        (b"sku;url\n01;\xc3\xa7\n", CSV, [{"sku": "01", "url": "ç"}]),
        (codecs.BOM_UTF8 + b"sku;url\n", CSV, []),
        ("sku;url\nŞ;u\n".encode("utf-16"), CSV, [{"sku": "Ş", "url": "u"}]),
        (b'{"n": 1.50}\n{"n": 2}\n', NdjsonFormat(), [{"n": 1.5}, {"n": 2}]),
        (b"<c><p>1</p></c>", XML, {"c": {"p": ["1"]}}),
        (b'\n<?xml version="1.0" encoding="iso-8859-9"?><c/>', XML, {"c": {"p": []}}),
        ('<?xml version="1.0" encoding="cp1254"?><c><p>Ş</p></c>'.encode("cp1254"), XML, {"c": {"p": ["Ş"]}}),
    ],
)
def test_formats(body: bytes, form: Format, document: Any):
    """An answer in any format becomes JSON, in UTF-8."""
    if body.startswith(b"\n"):
        body = body[1:]
    decoded = answer.decode(given(body, "text/plain"), None, form, "c.p")
    assert decoded.document == document
    assert msgspec.json.decode(decoded.text) == document


@pytest.mark.parametrize(
    ("body", "kind", "form", "text"),
    [
        (b"<!doctype HTML>", "text/csv", CSV, "is HTML, not CSV .text/csv."),
        (b"<div>", "text/html", XML, "is HTML, not XML"),
        (b"<div>", "text/csv", CSV, "is HTML or XML, not CSV"),
        (b'[{"a": 1}]', "", CSV, "is JSON, not CSV"),
        (b"[]", "", XML, "is JSON, not XML"),
        (b"sku", "", XML, "is a text, not XML"),
        (b" ", "", NdjsonFormat(), "is empty where NDJSON was expected.*empty_body"),
        (
            b"PK\x03\x04",
            "application/zip",
            CSV,
            "is a ZIP archive or an Excel file, where CSV was expected .application/zip",
        ),
        (b"\x1f\x8b\x08", "", JSON, "is compressed with gzip.*where JSON was expected"),
        (b"\xd0\xcf\x11\xe0", "", CSV, "is an old Excel file"),
        (b"%PDF-1.7", "", CSV, "is a PDF file"),
        ("sku;url\n".encode("utf-16-le"), "", CSV, "holds NUL characters.*erp.charset: utf-16-le"),
        (b"\xff;", "", CSV, "is not utf-8 text"),
        (b"<c/>", "", JSON, "If it is XML: erp.format: xml"),
        (b"a;b\n1;2\n", "", JSON, "If it is CSV: erp.format: csv"),
        (b"a\n", "text/csv", JSON, "If it is CSV: erp.format: csv"),
        (b'{"a": 1}\n{"a": 2}', "", JSON, "If it is NDJSON: erp.format: ndjson"),
        (b"Fatal error\nno more", "", JSON, r"is not JSON: .*no more\W*$"),
    ],
)
def test_what_is_not_in_the_format(body: bytes, kind: str, form: Format, text: str):
    """It is named for what it is, with what to do where that can be told."""
    with pytest.raises(ReadError, match=text):
        answer.decode(given(body, kind), None, form)


def test_empty_answers():
    """Blanks are nothing."""
    assert answer.is_empty(given(b" \r\n"))
    assert not answer.is_empty(given(b"[]"))
