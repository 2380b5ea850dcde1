"""Data migration: check that the source is at rest, then copy what its store holds."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from imageflow import settings as settings_
from imageflow.broker.sqlite import messages_in
from imageflow.clock import SystemClock
from imageflow.errors import SettingsError
from imageflow.model import messages
from imageflow.secret import Secret
from imageflow.settings import Settings
from imageflow.store.data_dir import data_dir_lock
from imageflow.store.transfer import Moved, NotReadyError, transfer


class Origin(NamedTuple):
    """Where to move from: a store, and the folder of the embedded default if it is one."""

    store: Secret
    folder: Path | None = None


def origin(text: str) -> Origin:
    """From a folder (the DATA_DIR of the embedded default) or a store's URL. Raises SettingsError."""
    if "://" in text:
        return Origin(Secret(text))
    folder = Path(text)
    if not (folder / "store.db").exists():
        raise SettingsError(f"{folder}: there is no store.db in this folder; is it a DATA_DIR?")
    return Origin(Secret(f"sqlite:///{folder / 'store.db'}"), folder)


async def migrate(source: Origin, settings: Settings) -> list[Moved]:
    """Copy everything to the store of `settings`; how many rows of each table.

    Raises NotReadyError, which says what to do, and StoreError.
    """
    with _at_rest(source.folder):
        return await transfer(source.store, settings.store_url, SystemClock())


@contextlib.contextmanager
def _at_rest(folder: Path | None) -> Iterator[None]:
    """No process runs on the folder as long as the body lasts, and its queues are drained."""
    if folder is None:
        yield
        return
    with data_dir_lock(settings_.load({f"{settings_.PREFIX}DATA_DIR": str(folder)})):
        waiting = _waiting(folder / "broker.db")
        if waiting:
            queues = ", ".join(f"{queue}: {count}" for queue, count in sorted(waiting.items()))
            raise NotReadyError(f"messages wait in the embedded queues ({queues}): `imageflow up` until they are empty")
        yield


def _waiting(path: Path) -> Mapping[str, int]:
    """How many messages each queue of an embedded broker holds. Leaves out parked ones: they belong to no run any more."""
    if not path.exists():
        return {}
    try:
        found = messages_in(path)
    except sqlite3.Error as error:
        raise NotReadyError(f"{path} cannot be read: {error}") from error
    return {queue: count for queue, count in found.items() if queue != messages.PARKED_QUEUE}
