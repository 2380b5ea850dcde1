"""Standard output: written whole to whatever reads it, and without what would steer a terminal; and what is said beside it."""

from __future__ import annotations

import io
import os
import select
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from imageflow.commands.tables import Column, Line, fitted, table
from imageflow.text import color
from imageflow.text.printable import lines

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Whole(io.RawIOBase):
    """A file descriptor that takes all bytes. It waits for a slow reader of a pipe, also if the pipe is non-blocking."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: ReadableBuffer, /) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [])
        return size


class Printed(io.TextIOWrapper):
    """Text on its way to people."""

    def write(self, text: str, /) -> int:
        return super().write(lines(text))

    def write_styled(self, text: str) -> None:
        """Write text that holds escapes of ours, and of nobody else."""
        super().write(text)


def width() -> int | None:
    """How wide lines may be: what COLUMNS says, or as wide as the terminal; None: this is no terminal, so whole lines."""
    if os.environ.get("COLUMNS", "").isdecimal() or sys.stdout.isatty():
        return max(shutil.get_terminal_size().columns, 20)
    return None


def say(text: str) -> None:
    """Print a text, as wide as the terminal is."""
    sys.stdout.write(fitted(text, width()) + "\n")


def beside(text: str) -> None:
    """Print a text to stderr: where that is a terminal, as wide as it is."""
    room = max(shutil.get_terminal_size().columns, 20) if sys.stderr.isatty() else None
    sys.stdout.flush()  # where both go to one place, it stands after the result
    sys.stderr.write(lines(fitted(text, room)) + "\n")  # not click's way, which would write into a progress line
    sys.stderr.flush()


def show(columns: Sequence[Column], found: Sequence[Line]) -> None:
    """Print a table, as wide as the terminal is."""
    colored = isinstance(sys.stdout, Printed) and color.wanted(os.environ, terminal=sys.stdout.isatty())
    text = table(columns, found, width=width(), color=colored) + "\n"
    if colored and isinstance(sys.stdout, Printed):
        sys.stdout.write_styled(text)
    else:
        sys.stdout.write(text)


def install() -> None:
    """Make this process's standard output a `Printed`, unless it is a stand-in without a file descriptor."""
    known = sys.stdout
    known.flush()
    try:
        raw = Whole(known.fileno())
    except io.UnsupportedOperation:
        return
    sys.stdout = Printed(
        io.BufferedWriter(raw), encoding=known.encoding, errors=known.errors, line_buffering=raw.isatty()
    )
