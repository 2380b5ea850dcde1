"""Identifiers that a run is limited to, and the files that people keep them in. Pure.

A file's first column counts, one identifier a line, without a heading. Understood is what spreadsheets save: columns
parted by commas, semicolons or tabs, quotes, a byte order mark, UTF-16 with one, lines of Windows, Unix and old Macs.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Sequence

DELIMITERS = ("\t", ";", ",")
"""Of several that fit, the first is meant: a semicolon or tab is rarely part of a name, a comma often is."""
SEPARATOR = ","
"""What joins the identifiers of one request."""

_HOW = 'in Excel: Save As, "CSV UTF-8"'
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""UTF-32's mark begins like UTF-16's: it is looked for first."""
_NO_TEXT = ((b"PK\x03\x04", "an Excel workbook"), (b"\xd0\xcf\x11\xe0", "an old Excel workbook"), (b"%PDF", "a PDF"))
_QUOTED = re.compile(r'(?<![^\t;,\r\n])"(?:[^"]|"")*"')
"""A cell in quotes: they begin it. Inside a cell they are signs like any other: `16" Monitor`."""
_ROUNDED = re.compile(r"[0-9][.,][0-9]+E\+[0-9]{2,}", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def distinct(texts: Iterable[str]) -> tuple[str, ...]:
    """Identifiers in their order, without blanks and repetitions."""
    return tuple(dict.fromkeys(text for item in texts if (text := item.strip())))


def with_separator(identifiers: Iterable[str]) -> list[str]:
    """Those that would be taken for two, because a request joins identifiers by commas."""
    return [identifier for identifier in identifiers if SEPARATOR in identifier]


def first_column(data: bytes) -> tuple[str, ...]:
    """The identifiers in a file. Raises ValueError that says what is wrong with it, where, and what to do."""
    text = _text(data)
    found = [_checked(cell, number) for number, cell in _cells(text)]
    return distinct(found)


def _text(data: bytes) -> str:
    for beginning, what in _NO_TEXT:
        if data.startswith(beginning):
            raise ValueError(f"is {what}, not CSV: save it as CSV ({_HOW})")
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(_not_read(data, encoding, error)) from error
    if "\0" in text:
        raise ValueError(f"is not UTF-8: it looks like UTF-16 without a byte order mark; save it as UTF-8 ({_HOW})")
    return text


def _not_read(data: bytes, encoding: str, error: UnicodeDecodeError) -> str:
    if encoding != "utf-8":
        return f"is not the {encoding.removesuffix('-sig').upper()} that its beginning says; save it as UTF-8 ({_HOW})"
    line = data.count(b"\n", 0, error.start) + 1
    return (
        f"is not UTF-8: line {line} has the byte 0x{data[error.start]:02X}. It may be windows-1254, which Excel saves as "
        f"plain CSV in Turkey; save it as UTF-8 ({_HOW})"
    )


def _cells(text: str) -> list[tuple[int, str]]:
    """Line number and first column of each line that has one."""
    lines = io.StringIO(text, newline="").readlines()
    named = re.fullmatch(r"sep=(.)\s*", lines[0], re.IGNORECASE) if lines else None
    skipped = 1 if named else 0
    delimiter = named[1] if named else _delimiter(_QUOTED.sub("", text).splitlines())
    reader = csv.reader(lines[skipped:], delimiter=delimiter, strict=True)
    try:
        return [(reader.line_num + skipped, line[0]) for line in reader if line]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num + skipped} cannot be read as CSV: {error}") from error


def _delimiter(lines: Sequence[str]) -> str:
    """What parts the columns: what is on most lines. Raises ValueError where commas part some lines only: they may as well
    belong to the names.
    """
    bare = {number: line for number, line in enumerate(lines, 1) if line.strip()}
    count = {sign: sum(sign in line for line in bare.values()) for sign in DELIMITERS}
    found = max(DELIMITERS, key=lambda sign: count[sign])
    if found == SEPARATOR and count[found] < len(bare):
        one = next(number for number, line in bare.items() if SEPARATOR in line)
        other = next(number for number, line in bare.items() if SEPARATOR not in line)
        raise ValueError(
            f"line {one} has a comma and line {other} has none: put identifiers that hold a comma in quotes, or give "
            "each line the same columns"
        )
    return found


def _checked(cell: str, line: int) -> str:
    """A cell as an identifier; `="007"` is how files tell Excel that 007 is a text."""
    text = cell.strip()
    if text.startswith('="') and text.endswith('"') and len(text) > 2:
        text = text[2:-1]
    if _ROUNDED.fullmatch(text):
        raise ValueError(
            f"line {line} is {text}: Excel has rounded a long number; format the column as text, save again"
        )
    if _CONTROL.search(text):
        raise ValueError(f"line {line}: {text[:60]!r} has a line break or another control character in it")
    return text
