"""The ERP's answer: from bytes, in any of the formats, to a JSON document. `rows.py` finds the rows in it."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from imageflow.errors import LoginError, ReadError
from imageflow.http.client import Answer
from imageflow.http.origin import origin
from imageflow.model import charset as charsets
from imageflow.model.answer_format import CsvFormat, Format, JsonFormat, NdjsonFormat, XmlFormat
from imageflow.model.flow import Erp
from imageflow.read import csv_answer, ndjson_answer, paging, xml_answer
from imageflow.text.excerpt import quoted

REDIRECTS = frozenset((301, 302, 303, 307, 308))

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FOREIGN_LOGIN = (
    "if both are the same ERP, set erp.endpoint_url to that origin, let the ERP build its links with the name that it is "
    "asked by, or page without links (type offset, page)"
)


_ARCHIVES = (
    (b"\x1f\x8b", "is compressed with gzip, and does not say so (Content-Encoding)"),
    (b"PK\x03\x04", "is a ZIP archive or an Excel file"),
    (b"\xd0\xcf\x11\xe0", "is an old Excel file"),
    (b"%PDF", "is a PDF file"),
)


JSON = JsonFormat()


class Decoded(NamedTuple):
    """An answer as JSON: `text` in UTF-8, as the ERP wrote it wherever that is possible, and what it says."""

    text: bytes
    document: Any


def refuse(answer: Answer, where: str, wait: float | None, *, own: bool = True) -> None:
    """Raises ReadError or LoginError for an answer that is not a 2xx; `transient` where asking again may help. Not `own`:
    it is of a host in pagination.allow_hosts, to which no login goes.
    """
    if answer.ok:
        return
    kind = LoginError if answer.status in (401, 407) else ReadError
    text = f"the ERP ({where}) answered {answer.status}: {answer.excerpt()}".rstrip(": ")
    if not own and answer.status in (401, 403, 407):
        text += f". The login is not sent to {where}, as erp.endpoint_url has another origin: {_FOREIGN_LOGIN}"
    raise kind(text, transient=answer.transient, retry_after=wait)


def redirect(erp: Erp, method: str, url: str, answer: Answer) -> str | None:
    """Where a redirect leads; None where the answer is none. Raises ReadError where it may not be followed."""
    if answer.status not in REDIRECTS:
        return None
    target = answer.headers.get("location", "").strip()
    if not target:
        raise ReadError(f"the ERP ({origin(url)}) answered {answer.status} without saying where to go")
    to = paging.allowed(erp, target, url, f"the redirect ({answer.status})")
    if method != "GET":
        raise ReadError(
            f"the ERP redirects ({answer.status}) a POST: set erp.endpoint_url to where it leads: {origin(to)}"
        )
    return to


def is_empty(answer: Answer) -> bool:
    """Whether an answer has nothing in it."""
    return not answer.body.strip()


def decode(
    answer: Answer,
    charset: str | None = None,
    form: Format = JSON,
    rows_path: str = "",
) -> Decoded:
    """The JSON of a 2xx answer that is written as `form`; `charset`: of an answer that declares none; `rows_path`: where rows
    are in it, for a format that does not tell one row from a list of them. Raises ReadError that names what came instead.
    """
    text = _text(answer, form, charset or "utf-8")
    if not isinstance(form, JsonFormat) and (other := _other(answer, text, form)) is not None:
        raise ReadError(f"the answer is {other}, not {form.named}{_declared_kind(answer)}: {_short(text)}")
    match form:
        case JsonFormat():
            return _json(answer, text)
        case NdjsonFormat():
            return Decoded(*ndjson_answer.rows(text))
        case CsvFormat():
            rows = csv_answer.rows(text.decode("utf-8", "surrogatepass"), form)
            return Decoded(msgspec.json.encode(rows), rows)
        case XmlFormat():
            document = xml_answer.document(text, rows_path, form.lists)
            return Decoded(msgspec.json.encode(document), document)


def _text(answer: Answer, form: Format, charset: str) -> bytes:
    """The answer's text in UTF-8; there is something in it."""
    for begin, what in _ARCHIVES:
        if answer.body.startswith(begin):
            raise ReadError(f"the answer {what}, where {form.named} was expected{_declared_kind(answer)}")
    text = _utf8(answer, form, charset)
    if not text.strip():
        raise ReadError(
            f"the answer ({answer.status}) is empty where {form.named} was expected. If that means that there are no rows: "
            "erp.no_rows: {empty_body: true}"
        )
    if b"\0" in text and not isinstance(form, JsonFormat):
        raise ReadError("the answer holds NUL characters: it is no text, or is in UTF-16 (erp.charset: utf-16-le)")
    return text


def _json(answer: Answer, text: bytes) -> Decoded:
    try:
        return Decoded(text, msgspec.json.decode(text))
    except RecursionError:
        raise ReadError("the answer is nested too deeply") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise ReadError(_not_json(answer, text, error)) from error


def _other(answer: Answer, text: bytes, form: Format) -> str | None:
    """What an answer plainly is that is not in the format."""
    begin = text.lstrip()[:200].lower()
    if begin.startswith((b"<!doctype html", b"<html")) or (begin[:1] == b"<" and "html" in _kind(answer)):
        return "HTML"
    if isinstance(form, XmlFormat):
        return None if begin[:1] == b"<" else "JSON" if begin[:1] in (b"{", b"[") else "a text"
    if begin[:1] == b"<":
        return "HTML or XML"
    if isinstance(form, CsvFormat) and re.match(rb'\{\s*["}]|\[\s*[\[{"\]]', begin):
        return "JSON"
    return None


def _kind(answer: Answer) -> str:
    return answer.headers.get("content-type", "").partition(";")[0].strip()[:60].lower()


def _declared_kind(answer: Answer) -> str:
    return f" ({kind})" if (kind := _kind(answer)) else ""


def _utf8(answer: Answer, form: Format, default: str) -> bytes:
    for bom, charset in _BOMS:
        if answer.body.startswith(bom):
            return _recode(answer.body[len(bom) :], charset)
    return _recode(answer.body, _declared(answer) or _declared_in_xml(answer.body, form) or default)


def _declared_in_xml(body: bytes, form: Format) -> str | None:
    if not isinstance(form, XmlFormat):
        return None
    found = re.match(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([\w.:-]{1,40})["']""", body[:200])
    return found[1].decode("ascii", "replace") if found else None


def _declared(answer: Answer) -> str | None:
    match = re.search(r"charset\s*=\s*[\"']?([^\s;\"',]+)", answer.headers.get("content-type", ""), re.IGNORECASE)
    return match[1] if match else None


def _recode(body: bytes, charset: str) -> bytes:
    try:
        codec = charsets.codec(charset)
    except ValueError as error:
        raise ReadError(f"the answer's charset {error}") from error
    try:
        text = body.decode(codec)
    except UnicodeDecodeError as error:
        raise ReadError(
            f"the answer is not {charset} text (byte {error.start}): erp.charset says what an ERP writes that does not "
            "declare it"
        ) from error
    return body if codec == "utf-8" else text.encode("utf-8", "surrogatepass")


def _not_json(answer: Answer, text: bytes, error: Exception) -> str:
    declared = _declared_kind(answer)
    if text.lstrip().startswith(b"<"):
        return f"the answer is HTML or XML, not JSON{declared}: {_short(text)}. If it is XML: erp.format: xml"
    if "truncated" in str(error):
        return f"the answer's JSON is truncated after {len(text):,} bytes{declared}: {_short(text)}"
    hint = next((f". If it is {named}: erp.format: {name}" for name, named in _hints(answer, text)), "")
    return f"the answer is not JSON{declared}: {error}: {_short(text)}{hint}"


def _hints(answer: Answer, text: bytes) -> Iterator[tuple[str, str]]:
    """The format that an answer seems to be in."""
    first, _, rest = text.lstrip().partition(b"\n")
    if rest.strip() and first.strip().startswith(b"{") and first.strip().endswith(b"}"):
        yield "ndjson", "NDJSON"
    elif "csv" in _kind(answer) or (
        rest.strip() and csv_answer.divider_of(first.decode("utf-8", "replace")) and first[:1] not in b"[{"
    ):
        yield "csv", "CSV"


def _short(text: bytes, limit: int = 200) -> str:
    line = " ".join(text[: limit * 4].decode("utf-8", "replace").split())
    return quoted(line if len(line) <= limit else line[:limit] + "…")
