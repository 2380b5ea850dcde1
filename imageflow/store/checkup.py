"""How a store's database is: its version, its schema, its clock, and whether it keeps what it has confirmed."""

from __future__ import annotations

import time
from typing import NamedTuple

from sqlalchemy import text

from imageflow.clock import Clock
from imageflow.secret import Secret
from imageflow.store.connect import database
from imageflow.store.database import Tx
from imageflow.store.schema import current_revision, newest_revision

_CLOCK = text("SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)")
UNSAFE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
"""Settings of PostgreSQL with which a committed transaction may be lost."""


class Checkup(NamedTuple):
    """`revision` is None where there is no schema; `skew` are the seconds that the server's clock is ahead of ours, give
    or take `skew_error`. `unsafe` are settings that lose what was committed.
    """

    product: str
    version: tuple[int, ...]
    revision: str | None
    newest: str
    skew: float = 0.0
    skew_error: float = 0.0
    unsafe: tuple[str, ...] = ()


async def checkup(url: Secret, clock: Clock) -> Checkup:
    """Look at the database of a store; changes nothing. Raises StoreError when it is away, SettingsError."""
    looked_at = database(url, clock)
    await looked_at.open()
    try:
        return await looked_at.transact(_checkup, writing=False)
    finally:
        await looked_at.close()


async def _checkup(tx: Tx) -> Checkup:
    revision, newest = await tx.run_sync(current_revision), newest_revision()
    if not tx.postgresql:
        version = await tx.value(text("SELECT sqlite_version()"))
        return Checkup("SQLite", tuple(map(int, version.split("."))), revision, newest)
    number = int(await tx.value(text("SHOW server_version_num")))
    asked = time.time()
    theirs = await tx.value(_CLOCK)
    answered = time.time()
    unsafe = [name for name, bad in UNSAFE.items() if await tx.value(text(f"SHOW {name}")) == bad]
    return Checkup(
        "PostgreSQL",
        (number // 10_000, number % 10_000),
        revision,
        newest,
        theirs - (asked + answered) / 2,
        (answered - asked) / 2,
        tuple(unsafe),
    )
