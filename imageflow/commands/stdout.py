"""Standard output: written whole to whatever reads it, and without what would steer a terminal."""

from __future__ import annotations

import io
import os
import select
import sys

from imageflow.text.printable import lines


class Whole(io.RawIOBase):
    """A file descriptor that takes all bytes: a slow reader of a pipe is waited for, also of one that does not block."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: object, /) -> int:
        left = memoryview(data).cast("B")  # type: ignore[arg-type]
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


def install() -> None:
    """Let this process's standard output be such a one, unless it is a stand-in that leads to no file."""
    known = sys.stdout
    known.flush()
    try:
        raw = Whole(known.fileno())
    except io.UnsupportedOperation:
        return
    sys.stdout = Printed(
        io.BufferedWriter(raw), encoding=known.encoding, errors=known.errors, line_buffering=raw.isatty()
    )
