"""Errors that come with status 200: what a good answer says of itself, and what a bad one does. Pure.

With `erp.success` the flow says what a good answer looks like. Without it an answer is an error only if it has no rows and
says beside them that something went wrong: a success flag that is false, or an error that is not empty. A message alone is
none: many ERPs say "no records" that way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from imageflow import pointer
from imageflow.errors import ReadError
from imageflow.model import envelope
from imageflow.model.envelope import Field, compact
from imageflow.model.flow import Erp, Success

SHOWN_CHARS = 200

_SUCCESS = frozenset("success issuccess successful issuccessful succeeded ok isok basarili basarilimi".split())  # noqa: SIM905 - a table of words
_FAILURE = frozenset("haserror haserrors iserror hatavar hatavarmi failed isfailed".split())  # noqa: SIM905 - a table of words
_STATUS = frozenset("status state result resultstatus responsestatus durum".split())  # noqa: SIM905 - a table of words
_ERRORS = frozenset(
    """
    error errors errormessage errormessages errormsg errortext errordescription errordetail errordetails exception
    exceptionmessage fault faultstring hata hatalar hatamesaji hatamesaj hataaciklama
    """.split()  # noqa: SIM905 - a table of words
)
_CODES = frozenset("errorcode errcode errno hatakodu".split())  # noqa: SIM905 - a table of words
_BAD = frozenset("error errors fail failed failure nok ko err hata basarisiz exception false".split())  # noqa: SIM905 - a table of words
_GOOD = frozenset("ok success none null no noerror noerrors 0 false na n/a -".split())  # noqa: SIM905 - a table of words
_TEXTS = (*_ERRORS, "message", "messages", "msg", "mesaj", "detail", "details", "description", "aciklama", "errorcode")


def check(erp: Erp, document: Any, rows: Sequence[Any], place: Any) -> None:
    """Raises ReadError where the answer says that it is an error. `rows` came, `place` holds them in the document."""
    if erp.success is not None:
        _expected(erp.success, document)
    elif not rows and (wrong := next(_complaints(erp, document, place), None)) is not None:
        raise ReadError(
            f"the answer has no rows and says that something went wrong: {_shown(wrong)}{said(document, wrong.path)}. "
            f"If that means something else: pagination.ignore: [{wrong.path}]"
        )


def said(document: Any, but: str = "") -> str:
    """What an answer tells people at its top: its error, or its message."""
    if not isinstance(document, dict):
        return ""
    named = {compact(name): (name, value) for name, value in document.items() if isinstance(name, str) and name != but}
    for word in _TEXTS:
        name, value = named.get(word, ("", None))
        if value and not isinstance(value, bool):
            return f"; {name}: {_short(value)}"
    return ""


def _expected(success: Success, document: Any) -> None:
    found = pointer.find(document, success.path)
    if type(found) is type(success.value) and found == success.value:
        return
    if {type(found), type(success.value)} <= {int, float} and found == success.value:
        return
    what = "nothing" if found is pointer.MISSING else _short(found)
    raise ReadError(
        f"the answer has {what} at {success.path!r}, where a good one has {_short(success.value)} (erp.success)"
        f"{said(document, success.path)}"
    )


def _complaints(erp: Erp, document: Any, place: Any) -> Iterator[Field]:
    for field in envelope.fields(document, place, erp.rows_path):
        if _is_bad(field) and not any(envelope.is_at(field.path, entry) for entry in erp.pagination.ignore):
            yield field


def _is_bad(field: Field) -> bool:
    name, value = compact(field.names[-1]), field.value
    if name in _SUCCESS:
        return _no(value)
    if name in _FAILURE:
        return value is True
    if name in _STATUS:
        return isinstance(value, str) and compact(value) in _BAD
    if name in _CODES:
        return bool(value) and compact(str(value)) not in _GOOD and not envelope.names_nothing(value)
    return name in _ERRORS and _is_error(value)


def _no(value: Any) -> bool:
    return value is False or (isinstance(value, str) and compact(value) in (_BAD | {"no", "0"}))


def _is_error(value: Any) -> bool:
    """Whether what stands under `error` is one: not empty, not a word like "none", not an object of empty fields."""
    if isinstance(value, dict):
        return any(_is_error(item) for item in value.values())
    if isinstance(value, list):
        return any(_is_error(item) for item in value)
    if isinstance(value, str):
        return not envelope.names_nothing(value) and compact(value) not in _GOOD
    return bool(value)


def _shown(field: Field) -> str:
    return f"{field.path} is {_short(field.value)}"


def _short(value: Any) -> str:
    text = " ".join(msgspec.json.encode(value).decode("utf-8", "replace").split())
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…"
