"""The data directory of the embedded default: whether there is data in it, and its lock: one process at a time runs services on it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from imageflow.errors import SettingsError
from imageflow.private_files import private_file
from imageflow.settings import PREFIX, Settings

WHOSE_CHARS = 200


class DataDirBusy(SettingsError):
    """Another process holds the data directory."""


def missing(settings: Settings) -> str | None:
    """Says that there is no store yet, and where it would be; None: it is there, or a server has it."""
    scheme, _, path = settings.store_url.reveal().partition(":///")
    if scheme != "sqlite" or Path(path).exists():
        return None
    folder = Path(path).absolute().parent
    return f"there is no data in {folder} yet; {PREFIX}DATA_DIR says which folder is meant"


@contextmanager
def data_dir_lock(settings: Settings) -> Iterator[Callable[[str], None]]:
    """Own the data directory: the embedded broker has one consuming process. Raises DataDirBusy, which says whose it is; the kernel
    lets go of the lock when the process ends, however it ends. Yields what takes a text about this process, for others to see.
    """
    if not settings.embedded:
        yield lambda _: None
        return
    with _lock_file(settings.data_dir) as file:
        _lock(file, settings.data_dir)

        def say(about: str) -> None:
            file.truncate(0)
            file.write(f"process {os.getpid()}{about and ', '}{about}")
            file.flush()

        say("")
        yield say


def _lock_file(data_dir: Path) -> IO[str]:
    try:
        private_file(data_dir / "lock")
        return (data_dir / "lock").open("a+")
    except OSError as error:
        raise SettingsError(f"IMAGEFLOW_DATA_DIR: {data_dir} cannot be written to: {error.strerror}") from error


def _lock(file: IO[str], data_dir: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        whose = file.read(WHOSE_CHARS) or "unknown"
        raise DataDirBusy(f"another ImageFlow process is running on {data_dir}: {whose}") from error
