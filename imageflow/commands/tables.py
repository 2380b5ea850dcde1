"""Tables that people read: headings, columns that fit the width, long texts under their line. Pure.

Where a line is too narrow, some columns give way with an ellipsis; then others move under the line. Nothing is cut that is
copied into another command. Without a width (a pipe) each line is whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from imageflow.text.printable import one_line

GAP = 2
LEAST = 8
"""A column that gives way keeps so many letters."""
INDENT = 4
STYLES = {
    "failed": "red",
    "WRONG": "red",
    "wrong": "red",
    "error": "red",
    "partial": "yellow",
    "cancelled": "yellow",
    "warning": "yellow",
    "disabled": "yellow",
    "open": "yellow",
    "success": "green",
    "written": "green",
    "ok": "green",
    "reading": "cyan",
    "draining": "cyan",
    "queued": "cyan",
}
"""Words of a state that have a colour; the word says it all without."""


class Column(NamedTuple):
    """A column. `gives_way`: it may lose letters where the line is too narrow; `moves`: it may stand under the line then."""

    heading: str
    right: bool = False
    gives_way: bool = False
    moves: bool = False


class Line(NamedTuple):
    """A line: a cell for each column. `tail`: a long text, at the end of the line if it fits there, else under it. `notes`:
    texts that always stand under it.
    """

    cells: Sequence[str]
    tail: str = ""
    notes: Sequence[str] = ()


class Layout(NamedTuple):
    """Which columns stand on the line, and how wide each is; which stand under it."""

    shown: list[int]
    widths: list[int]
    under: list[int]


def layout(columns: Sequence[Column], widths: Sequence[int], width: int | None) -> Layout:
    """How columns of these widths fit into `width`: the last ones that may move go first, once those that give way have."""
    shown = [place for place in range(len(columns)) if widths[place]]
    under: list[int] = []
    while width is not None and _least(columns, widths, shown) > width:
        movable = [place for place in shown if columns[place].moves]
        if not movable:
            break
        shown.remove(movable[-1])
        under.insert(0, movable[-1])
    return Layout(shown, _narrowed(columns, widths, shown, width), under)


def _least(columns: Sequence[Column], widths: Sequence[int], shown: Sequence[int]) -> int:
    least = [min(widths[place], LEAST) if columns[place].gives_way else widths[place] for place in shown]
    return sum(least) + GAP * (len(least) - 1)


def _narrowed(columns: Sequence[Column], widths: Sequence[int], shown: Sequence[int], width: int | None) -> list[int]:
    found = [widths[place] for place in shown]
    if width is None:
        return found
    givers = [index for index, place in enumerate(shown) if columns[place].gives_way]
    while sum(found) + GAP * (len(found) - 1) > width:
        widest = max(givers, key=lambda index: found[index], default=None)
        if widest is None or found[widest] <= LEAST:
            break
        found[widest] -= 1
    return found


def table(columns: Sequence[Column], lines: Sequence[Line], *, width: int | None = None, color: bool = False) -> str:
    """The table as text; columns without any content are left out. `color`: with escapes for a terminal: ours, since those
    of others do not get through `one_line`.
    """
    from rich.cells import cell_len  # noqa: PLC0415 - only where a table is printed

    lines = [Line([one_line(cell) for cell in line.cells], one_line(line.tail), line.notes) for line in lines]
    widths = [max((cell_len(line.cells[place]) for line in lines), default=0) for place in range(len(columns))]
    widths = [max(size, len(column.heading)) if size else 0 for size, column in zip(widths, columns, strict=True)]
    found = layout(columns, widths, width)
    room = None if width is None else width - sum(found.widths) - GAP * len(found.widths)
    heading = _on_line(columns, [column.heading for column in columns], found)
    drawn = [_drawn([(heading.text, "bold")], color=color).rstrip()]
    for line in lines:
        beside = line.tail if room is None or cell_len(line.tail) <= room else ""
        parts = [*_on_line(columns, line.cells, found).parts, (" " * GAP + beside, "")]
        drawn.append(_drawn(parts, color=color).rstrip())
        for note in (_moved(columns, line.cells, found), "" if beside else line.tail, *line.notes):
            drawn += _wrapped(one_line(note), width)
    return "\n".join(drawn)


class _Parts(NamedTuple):
    """Texts of a line, each with its style."""

    parts: list[tuple[str, str]]

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.parts)


def _on_line(columns: Sequence[Column], cells: Sequence[str], found: Layout) -> _Parts:
    from rich.cells import cell_len, set_cell_size  # noqa: PLC0415 - only where a table is printed

    parts: list[tuple[str, str]] = []
    for place, size in zip(found.shown, found.widths, strict=True):
        cell = cells[place]
        text = cell if cell_len(cell) <= size else f"{set_cell_size(cell, size - 1)}…"
        blank = " " * (size - cell_len(text))
        cell_parts = [(text, STYLES.get(text, "")), (blank, "")]
        parts += [*(cell_parts[::-1] if columns[place].right else cell_parts), (" " * GAP, "")]
    return _Parts(parts[:-1])


def _moved(columns: Sequence[Column], cells: Sequence[str], found: Layout) -> str:
    return ", ".join(f"{columns[place].heading.lower()} {cells[place]}" for place in found.under if cells[place])


def _drawn(parts: Sequence[tuple[str, str]], *, color: bool) -> str:
    """The texts, in their styles where there is colour."""
    if not color:
        return "".join(text for text, _ in parts)
    from rich.style import Style  # noqa: PLC0415 - only where a table is printed

    return "".join(Style.parse(style).render(text) if style else text for text, style in parts)


def _wrapped(text: str, width: int | None) -> list[str]:
    """A text under its line, in as many lines as it needs."""
    return [" " * INDENT + line for line in _words(text.split(), None if width is None else width - INDENT)]


def _words(words: Sequence[str], width: int | None, *, hang: int = 0) -> list[str]:
    """Words in lines, which are so much shorter from the second on. A word is never cut: it may be an address; nor is a command, as
    far as a line holds it.
    """
    from rich.cells import cell_len  # noqa: PLC0415 - only where a table is printed

    found: list[str] = []
    for word in words if width is None else _with_commands(words, width - hang):
        longer = f"{found[-1]} {word}" if found else ""
        if longer and (width is None or cell_len(longer) <= width - (hang if found[1:] else 0)):
            found[-1] = longer
        else:
            found.append(word)
    return found


def _with_commands(words: Sequence[str], width: int) -> list[str]:
    """The words, with those of a command joined to one if they fit a line. A command begins with our name, and ends at
    a sign or with the text.
    """
    from rich.cells import cell_len  # noqa: PLC0415 - only where a table is printed

    found: list[str] = []
    place = 0
    while place < len(words):
        end = place + 1
        if words[place].lstrip("`(") == "imageflow":
            while end < len(words) and not words[end - 1].endswith(_SIGNS):
                end += 1
        command = " ".join(words[place:end])
        whole = cell_len(command) <= width
        found += [command] if whole else words[place:end]
        place = end
    return found


_SIGNS = ("`", ";", ",", ".", ":", ")")
_HEAD = re.compile(r"(?:\s*\S+(?: \S+)*?(?:\s{2,}|(?<=next:)\s)){1,4}")
MOST_INDENT = 36


def fitted(text: str, width: int | None) -> str:
    """A text whose lines are no longer than the width, as far as its words allow. What does not fit stands under the last column
    of its line; columns are parted by two blanks. Where they are too wide, it stands under the beginning of its line.
    """
    if width is None:
        return text
    from rich.cells import cell_len  # noqa: PLC0415 - only where a table is printed

    lines: list[str] = []
    for line in text.split("\n"):
        if cell_len(line) <= width:
            lines.append(line)
            continue
        head = found[0] if (found := _HEAD.match(line[:200])) is not None else ""
        if not head or cell_len(head) > MOST_INDENT:
            head = line[: len(line) - len(line.lstrip())]
        hang = 0 if head else INDENT
        first, *others = _words(line[len(head) :].split(" "), width - cell_len(head), hang=hang) or [""]
        lines += [head + first, *(" " * (cell_len(head) + hang) + other for other in others)]
    return "\n".join(lines)
