"""Answers in NDJSON: a JSON value in each line. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from imageflow.errors import ReadError
from imageflow.model.page import ROWS_PER_PAGE_LIMIT
from imageflow.text.excerpt import quoted

SHOWN_CHARS = 120


def rows(text: bytes) -> tuple[bytes, list[Any]]:
    """The rows, and the same as the text of a JSON list, each as it was written. Raises ReadError that names the line."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if len(lines) > ROWS_PER_PAGE_LIMIT:
        raise ReadError(
            f"the answer has {len(lines):,} lines; one page may have {ROWS_PER_PAGE_LIMIT:,}: use pagination"
        )
    decode = msgspec.json.Decoder().decode
    found = []
    for number, line in lines:
        try:
            found.append(decode(line))
        except RecursionError:
            raise ReadError(f"line {number} of the answer is nested too deeply") from None
        except (msgspec.MsgspecError, ValueError) as error:
            raise ReadError(_not_a_line(text, number, line, error)) from error
    if len(found) == 1 and isinstance(found[0], list):
        raise ReadError("the answer is one JSON list, not a JSON value in each line: erp.format: json")
    return b"[" + b",".join(line for _, line in lines) + b"]", found


def _not_a_line(text: bytes, number: int, line: bytes, error: Exception) -> str:
    """Why a line is none."""
    shown = " ".join(line[: SHOWN_CHARS * 4].decode("utf-8", "replace").split())[:SHOWN_CHARS]
    if number == 1 and line.strip()[:1] in (b"{", b"[") and _is_document(text):
        return "the answer is one JSON document over several lines, not a JSON value in each line: erp.format: json"
    why = "is truncated" if "truncated" in str(error) else f"is not JSON ({error})"
    return f"line {number} of the answer {why}: {quoted(shown)}"


def _is_document(text: bytes) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True
