"""Databases with the newest schema for tests: upgraded once, copied from then on."""

from __future__ import annotations

import functools
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvloop

from imageflow.clock import SystemClock
from imageflow.secret import Secret
from imageflow.store.connect import connect


def lay(file: Path) -> str:
    """Puts an embedded store's file with the newest schema there; gives its URL."""
    file.write_bytes(_newest())
    return f"sqlite:///{file}"


@functools.cache
def _newest() -> bytes:
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as thread:
        file = Path(folder) / "store.db"
        thread.submit(uvloop.run, _upgraded(f"sqlite:///{file}")).result()
        return file.read_bytes()


async def _upgraded(url: str) -> None:
    async with connect(Secret(url), SystemClock()) as store:
        await store.upgrade()
