"""The ERP's answer: from bytes to a document. `rows.py` finds the rows in it."""

from __future__ import annotations

import codecs
import re
from typing import Any, NamedTuple

import msgspec

from imageflow.errors import LoginError, ReadError
from imageflow.http.client import Answer
from imageflow.http.origin import origin
from imageflow.model import charset as charsets
from imageflow.model.flow import Erp
from imageflow.read import paging

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


class Decoded(NamedTuple):
    """An answer's JSON: `text` in UTF-8, as the ERP wrote it wherever that is possible, and what it says."""

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


def decode(answer: Answer, charset: str | None = None) -> Decoded:
    """The JSON of a 2xx answer; `charset`: of an answer that declares none. Raises ReadError that names what came instead."""
    text = _utf8(answer, charset or "utf-8")
    if not text.strip():
        raise ReadError(f"the answer ({answer.status}) is empty where JSON was expected")
    try:
        return Decoded(text, msgspec.json.decode(text))
    except RecursionError:
        raise ReadError("the answer is nested too deeply") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise ReadError(_not_json(answer, text, error)) from error


def _utf8(answer: Answer, default: str) -> bytes:
    for bom, charset in _BOMS:
        if answer.body.startswith(bom):
            return _recode(answer.body[len(bom) :], charset)
    return _recode(answer.body, _declared(answer) or default)


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
