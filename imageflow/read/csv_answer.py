"""Answers in CSV: rows by the names of their columns. Pure.

A table is taken as a whole or refused: a line with too many cells, a quote that is never closed or a column without a name
means that something is not as the flow says, and no row is left out because of it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import NoReturn

from imageflow.errors import ReadError
from imageflow.model.answer_format import DELIMITERS, CsvFormat
from imageflow.model.page import ROWS_PER_PAGE_LIMIT
from imageflow.text.excerpt import quoted

MAX_COLUMNS = 1000
MAX_CELLS = 2_000_000
"""Each cell is a text of its own in memory."""

SHOWN_CHARS = 120
_LIMIT_HINT = "use pagination, or let the ERP leave out columns that the flow does not need"


def rows(text: str, form: CsvFormat) -> list[dict[str, str]]:
    """The rows of a table. Raises ReadError that says what is wrong, in which line, and what to do."""
    lines = _Lines(text, form)
    names = list(form.columns) or _header(lines, form)
    if not form.columns and len(names) > MAX_COLUMNS:
        raise ReadError(f"the header has {len(names):,} columns; there may be {MAX_COLUMNS:,}: {_LIMIT_HINT}")
    found = [dict(zip(names, cells, strict=True)) for cells in _checked(lines, names, form)]
    if not found and not form.columns and len(names) == 1:
        _refuse(
            f"the answer is a single line without a delimiter, {_shown(names[0])}: a header without rows, or a sentence. "
            "If it is a header: erp.format: {type: csv, skip_lines: 1, columns: [its name]}"
        )
    return found


def divider_of(line: str) -> str | None:
    """What seems to divide the cells of a line: the delimiter that is most often in it."""
    best = max(DELIMITERS, key=line.count)
    return best if best in line else None


class _Lines:
    """Lines of cells, and where each began."""

    def __init__(self, text: str, form: CsvFormat) -> None:
        source = io.StringIO(text, newline="")
        self.first = ""
        skipped = _skip(source, form)
        place = source.tell()
        self.first = source.readline().rstrip("\r\n")
        source.seek(place)
        self.number = skipped + 1
        self._skipped = skipped
        self._reader = csv.reader(
            source,
            delimiter=form.divider,
            quotechar=form.quote or None,
            quoting=csv.QUOTE_MINIMAL if form.quote else csv.QUOTE_NONE,
            strict=True,
        )

    def __iter__(self) -> Iterator[list[str]]:
        """Lines that have something in them. Raises ReadError."""
        while True:
            self.number = self._skipped + self._reader.line_num + 1
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                _refuse(f"line {self.number} of the answer {_explained(str(error))}")
            if cells and (len(cells) > 1 or cells[0].strip()):
                yield cells


def _skip(source: io.StringIO, form: CsvFormat) -> int:
    """Pass over the lines that the flow leaves out, and over Excel's line that names the delimiter."""
    skipped = 0
    for _ in range(form.skip_lines):
        skipped += bool(source.readline())
    place = source.tell()
    named = re.fullmatch(r"sep=(.)", source.readline().strip("\r\n"))
    if named is None:
        source.seek(place)
        return skipped
    if named[1] != form.divider:
        _refuse(
            f"the answer says that {named[1]!r} divides its cells: erp.format: {{type: csv, delimiter: {named[1]!r}}}"
        )
    return skipped + 1


def _header(lines: _Lines, form: CsvFormat) -> list[str]:
    for cells in lines:
        names = [name.strip() for name in cells]
        _check_header(names, lines.first, form)
        return names
    raise ReadError("the answer has no line with something in it where a header was expected")


def _check_header(names: Sequence[str], line: str, form: CsvFormat) -> None:
    if len(names) == 1 and (other := divider_of(line)) is not None and other != form.divider:
        _refuse_delimiter("the header is", line, other, form)
    for index, name in enumerate(names):
        if not name:
            _refuse(f"column {index + 1} of the header has no name: {_by_columns()}")
        if names.index(name) < index:
            _refuse(
                f"the header names {_short(name)} twice, as column {names.index(name) + 1} and as column {index + 1}: "
                f"{_by_columns()}"
            )


def _checked(lines: _Lines, names: Sequence[str], form: CsvFormat) -> Iterator[list[str]]:
    """Lines with as many cells as there are columns."""
    most = min(ROWS_PER_PAGE_LIMIT, MAX_CELLS // len(names))
    for count, cells in enumerate(lines, 1):
        if len(cells) != len(names):
            _refuse_ragged(cells, names, lines.number, form)
        if count > most:
            _refuse(f"the answer has more than {most:,} rows of {len(names):,} columns: {_LIMIT_HINT}")
        yield cells


def _refuse_ragged(cells: Sequence[str], names: Sequence[str], number: int, form: CsvFormat) -> NoReturn:
    other = divider_of(cells[0]) if len(cells) == 1 and form.columns else None
    if other is not None and other != form.divider:
        _refuse_delimiter(f"line {number} is", cells[0], other, form)
    what = "erp.format.columns has" if form.columns else "the header has"
    missing = len(cells) < len(names)
    why = (
        "the answer may be truncated"
        if missing
        else f"a cell that holds {form.divider!r} must be quoted. If every line is like that: {_by_columns()}"
    )
    _refuse(
        f"line {number} of the answer has {len(cells)} cells where {what} {len(names)}: {why}: {_shown_cells(cells)}"
    )


def _refuse_delimiter(what: str, line: str, other: str, form: CsvFormat) -> NoReturn:
    name = "tab" if other == "\t" else f'"{other}"'
    _refuse(
        f"{what} a single cell, {_shown(line)}: it seems that {other!r} divides the cells, not {form.divider!r}. "
        f"If so: erp.format: {{type: csv, delimiter: {name}}}"
    )


def _explained(error: str) -> str:
    """What Python's reader found, in other words."""
    if "unexpected end" in error:
        return (
            "opens a quote that is never closed: the answer may be truncated; or another character than erp.format.quote "
            "stands around cells"
        )
    if "field limit" in error:
        return f"has a cell of more than {csv.field_size_limit():,} characters: is there a quote that is not closed?"
    if "expected after" in error:
        return "has more text after the closing quote of a cell: a quote within a cell is written twice"
    return f"cannot be read: {error}"


def _by_columns() -> str:
    return "name all columns yourself: erp.format: {type: csv, skip_lines: 1, columns: [...]}"


def _shown(text: str) -> str:
    """An excerpt: what is no table may be anything."""
    return quoted(_short(text))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= SHOWN_CHARS else line[:SHOWN_CHARS] + "…")


def _shown_cells(cells: Sequence[str]) -> str:
    return _shown(" | ".join(cells[:10]))


def _refuse(text: str) -> NoReturn:
    raise ReadError(text)
