"""The lock on the data directory of the embedded default: one process at a time runs services on it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from imageflow.errors import SettingsError
from imageflow.private_files import private_file
from imageflow.settings import Settings


class DataDirBusy(SettingsError):
    """Another process holds the data directory."""


@contextmanager
def data_dir_lock(settings: Settings) -> Iterator[None]:
    """Own the data directory: the embedded broker has one consuming process. Raises DataDirBusy; the kernel lets go of
    the lock when the process ends, however it ends."""
    if not settings.embedded:
        yield
        return
    with _lock_file(settings.data_dir) as file:
        _lock(file, settings.data_dir)
        yield


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
        raise DataDirBusy(f"another ImageFlow process is running on {data_dir}") from error
