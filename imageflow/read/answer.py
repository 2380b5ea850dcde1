"""The ERP's answer: from bytes to a document, and from the document to its rows. Nothing is ever taken for an empty list."""

from __future__ import annotations

import codecs
import re
from typing import Any, NamedTuple

import msgspec

from imageflow import pointer
from imageflow.errors import LoginError, ReadError
from imageflow.http.client import Answer, origin
from imageflow.model.flow import Erp
from imageflow.model.page import ROWS_PER_PAGE_LIMIT
from imageflow.read import paging

REDIRECTS = frozenset((301, 302, 303, 307, 308))

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NOT_FOR_ANSWERS = frozenset(
    ("unicode-escape", "unicode_escape", "raw-unicode-escape", "idna", "punycode", "undefined", "utf-7")
)


class Decoded(NamedTuple):
    """An answer's JSON: `text` in UTF-8, as the ERP wrote it wherever that is possible, and what it says."""

    text: bytes
    document: Any


def refuse(answer: Answer, where: str, wait: float | None) -> None:
    """Raises ReadError or LoginError for an answer that is not a 2xx; `transient` where asking again may help."""
    if answer.ok:
        return
    kind = LoginError if answer.status in (401, 407) else ReadError
    text = f"the ERP ({where}) answered {answer.status}: {answer.excerpt()}".rstrip(": ")
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


def read(answer: Answer, path: str) -> tuple[Decoded, list[Any]]:
    """An answer's JSON and its rows. A 202 without them says that they are being prepared: asking again may help."""
    try:
        decoded = decode(answer)
        return decoded, rows(decoded.document, path)
    except ReadError as error:
        raise ReadError(str(error), transient=answer.status == 202) from error


def decode(answer: Answer) -> Decoded:
    """The JSON of a 2xx answer. Raises ReadError that names what came instead."""
    text = _utf8(answer)
    if not text.strip():
        raise ReadError(f"the answer ({answer.status}) is empty where JSON was expected")
    try:
        return Decoded(text, msgspec.json.decode(text))
    except RecursionError:
        raise ReadError("the answer is nested too deeply") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise ReadError(_not_json(answer, text, error)) from error


def rows(document: Any, path: str) -> list[Any]:
    """The list at `path` (empty: the answer itself). Raises ReadError that names what is there instead."""
    found = pointer.find(document, path)
    if not isinstance(found, list):
        raise ReadError(_no_list(document, path, found))
    if len(found) > ROWS_PER_PAGE_LIMIT:
        raise ReadError(
            f"the answer has {len(found):,} rows; one page may have {ROWS_PER_PAGE_LIMIT:,}: use pagination"
        )
    return found


def _no_list(document: Any, path: str, found: Any) -> str:
    if not path:
        return f"the answer is {pointer.describe(document)}, not a list: set erp.rows_path to where the list is"
    if found is pointer.MISSING:
        return f"the answer has nothing at rows_path {path!r}: it is {pointer.describe(document)}{_said(document)}"
    return f"the answer has {pointer.describe(found)}, not a list, at rows_path {path!r}{_said(document)}"


def _said(document: Any) -> str:
    """The message of an error that came with status 200."""
    if isinstance(document, dict):
        for name in ("error", "message", "detail", "errors"):
            value = document.get(name)
            if value and not isinstance(value, bool):
                return f"; {name}: {_short(msgspec.json.encode(value))}"
    return ""


def _utf8(answer: Answer) -> bytes:
    for bom, charset in _BOMS:
        if answer.body.startswith(bom):
            return _recode(answer.body[len(bom) :], charset)
    return _recode(answer.body, _declared(answer))


def _declared(answer: Answer) -> str:
    match = re.search(r"charset\s*=\s*[\"']?([^\s;\"',]+)", answer.headers.get("content-type", ""), re.IGNORECASE)
    return match[1] if match else "utf-8"


def _recode(body: bytes, charset: str) -> bytes:
    codec = _codec(charset)
    try:
        text = body.decode(codec)
    except UnicodeDecodeError as error:
        raise ReadError(f"the answer is not {charset} text (byte {error.start})") from error
    return body if codec == "utf-8" else text.encode("utf-8", "surrogatepass")


def _codec(charset: str) -> str:
    try:
        codec = codecs.lookup(charset)
        "".encode(codec.name)  # a codec that is not of text (zip, hex) raises LookupError
    except (LookupError, ValueError) as error:
        raise ReadError(f"the answer's charset {charset[:40]!r} is not known") from error
    if codec.name in _NOT_FOR_ANSWERS:
        raise ReadError(f"the answer's charset {charset[:40]!r} is not one for JSON")
    return "utf-8" if codec.name == "ascii" else codec.name


def _not_json(answer: Answer, text: bytes, error: Exception) -> str:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip()[:60]
    declared = f" ({kind})" if kind else ""
    if text.lstrip().startswith(b"<"):
        return f"the answer is HTML or XML, not JSON{declared}: {_short(text)}"
    if "truncated" in str(error):
        return f"the answer's JSON is truncated after {len(text):,} bytes{declared}: {_short(text)}"
    return f"the answer is not JSON{declared}: {error}: {_short(text)}"


def _short(text: bytes, limit: int = 200) -> str:
    line = " ".join(text[: limit * 4].decode("utf-8", "replace").split())
    return line if len(line) <= limit else line[:limit] + "…"
