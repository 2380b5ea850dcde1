"""Files that nobody but their owner may read: the data directory and what is in it. One rule for all who make them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600


def private_directory(path: Path) -> None:
    """Make a directory, with its parents, for its owner alone. One that exists stays as it is: it may be anybody's."""
    if not path.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)


def private_file(path: Path) -> None:
    """Make a file for its owner alone, with its directory; take from one that exists what others may do with it.

    SQLite gives the files that it makes beside a database the database's mode. Raises OSError where it cannot be made; a
    file that belongs to somebody else keeps its mode. A file that exists is not opened: to close it again would drop all
    locks that SQLite has on it in this process, and a database without its locks gets malformed.
    """
    private_directory(path.parent)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE))
    except FileExistsError:
        with contextlib.suppress(PermissionError):
            path.chmod(FILE_MODE)
