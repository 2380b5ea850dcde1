"""Moves everything that a store holds to another one: from the embedded file to PostgreSQL, or back.

One transaction on either side: the source stays as it is (and, a file, is locked meanwhile), the target has everything
or nothing. Rows stream in batches that are bounded in number and bytes. What numbers rows goes on where the source
stopped, even where its highest rows are deleted: a page's number decides which of two image sets is the newer one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from sqlalchemy import Column, Table, and_, func, not_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from imageflow.clock import Clock
from imageflow.errors import SettingsError, StoreError
from imageflow.secret import Secret
from imageflow.store.checkup import checkup
from imageflow.store.connect import database
from imageflow.store.database import Database
from imageflow.store.driver_errors import translated
from imageflow.store.run_record import ACTIVE, WAITING
from imageflow.store.tables import metadata, outbox, owners, runs

BATCH_ROWS = 500
BATCH_BYTES = 8 << 20
NAMED = 5
"""So many of something are named in an error."""


class Moved(NamedTuple):
    """A table and how many of its rows are in the target now."""

    table: str
    rows: int


class NotReadyError(StoreError):
    """A store is not in the state to be moved; the text says what to do."""

    transient = False
    exit_status = 2


async def transfer(
    source: Secret, target: Secret, clock: Clock, *, moved: Callable[[Moved], None] = lambda _: None
) -> list[Moved]:
    """Copy all tables of the store at `source` to the store at `target`, whose schema is made where it has none.

    Raises NotReadyError where something is under way in the source or the target is not empty, StoreError where one of
    them is away: then the target is as empty as before.
    """
    if source == target:
        raise SettingsError("source and target are the same database")
    await _check_schema(source, clock)
    target_database = database(target, clock)
    await target_database.open()
    try:
        await target_database.upgrade()
    finally:
        await target_database.close()
    with translated():
        async with _frozen(database(source, clock)) as old, _transaction(target_database) as new:
            await _check_idle(old, clock)
            await _check_empty(new)
            result = []
            for table in metadata.sorted_tables:
                rows = await _copy(old, new, table)
                await _go_on_numbering(old, new, table)
                result.append(Moved(str(table.name), rows))
                moved(result[-1])
            return result


@asynccontextmanager
async def _transaction(looked_at: Database) -> AsyncIterator[AsyncConnection]:
    engine = looked_at.migrator()
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


@asynccontextmanager
async def _frozen(looked_at: Database) -> AsyncIterator[AsyncConnection]:
    """One unchanging view of a database."""
    async with _transaction(looked_at) as connection:
        if _is_postgresql(connection):
            await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        yield connection


def _is_postgresql(connection: AsyncConnection) -> bool:
    return connection.dialect.name == "postgresql"


# what must be before ------------------------------------------------------------------------------------------------------


async def _check_schema(source: Secret, clock: Clock) -> None:
    seen = await checkup(source, clock)
    if seen.revision != seen.newest:
        has = f"at revision {seen.revision}" if seen.revision is not None else "without a schema"
        raise NotReadyError(
            f"the source is {has}, this ImageFlow wants {seen.newest}: run `imageflow db upgrade` with it as STORE_URL first"
        )


async def _check_idle(old: AsyncConnection, clock: Clock) -> None:
    """Nothing may be under way: its messages are in the old queues, and the new ones know nothing of them."""
    going = and_(ACTIVE, not_(and_(*WAITING)))
    found = (await old.execute(select(runs.c.run_id).where(going).limit(NAMED + 1))).scalars().all()
    if found:
        raise NotReadyError(
            f"runs are in flight ({_some(found)}): disable the schedules, let them end (`imageflow runs`), stop all "
            f"services, then move"
        )
    if (await old.execute(select(func.count()).select_from(outbox))).scalar():
        raise NotReadyError(
            "messages wait to be published: let the services run until they are, then stop them and move"
        )
    alive = select(func.count()).select_from(owners).where(owners.c.alive_until > clock.now())
    if (await old.execute(alive)).scalar():
        raise NotReadyError("a writer is still running on the source: stop all services; 15 s later it counts as gone")


async def _check_empty(new: AsyncConnection) -> None:
    filled = [
        table.name
        for table in metadata.sorted_tables
        if (
            await new.execute(select(func.count()).select_from(select(*table.primary_key).limit(1).subquery()))
        ).scalar()
    ]
    if filled:
        raise NotReadyError(
            f"the target is not empty ({_some(filled)}): nothing is mixed; name an empty database as STORE_URL"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")


# the copy ----------------------------------------------------------------------------------------------------------------


async def _copy(old: AsyncConnection, new: AsyncConnection, table: Table) -> int:
    """Copy a table; how many rows. Raises StoreError where not all have arrived."""
    batch: list[Mapping[str, Any]] = []
    rows = weight = 0
    async with old.stream(select(table), execution_options={"yield_per": 100}) as stream:
        async for row in stream.mappings():
            batch.append(dict(row))
            weight += sum(len(value) for value in row.values() if isinstance(value, (str, bytes)))
            if len(batch) >= BATCH_ROWS or weight >= BATCH_BYTES:
                await new.execute(table.insert(), batch)
                rows += len(batch)
                batch, weight = [], 0
    if batch:
        await new.execute(table.insert(), batch)
    rows += len(batch)
    arrived = (await new.execute(select(func.count()).select_from(table))).scalar()
    if arrived != rows:
        raise StoreError(f"of {rows} rows of {table.name} {arrived} have arrived")
    return rows


async def _go_on_numbering(old: AsyncConnection, new: AsyncConnection, table: Table) -> None:
    """The next number that the target gives is above every one that the source ever gave."""
    column = next((column for column in table.columns if column.identity is not None), None)
    if column is not None and (last := await _last_number(old, table, column)):
        await _set_last_number(new, table, column, last)


async def _last_number(old: AsyncConnection, table: Table, column: Column[Any]) -> int:
    names = {"table": table.name, "column": column.name}
    if not _is_postgresql(old):
        statement = text("SELECT seq FROM sqlite_sequence WHERE name = :table")
        return int((await old.execute(statement, {"table": table.name})).scalar() or 0)
    sequence = (await old.execute(text("SELECT pg_get_serial_sequence(:table, :column)"), names)).scalar()
    value = text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}")  # noqa: S608 - a name of ours
    return int((await old.execute(value)).scalar() or 0)


async def _set_last_number(new: AsyncConnection, table: Table, column: Column[Any], last: int) -> None:
    if _is_postgresql(new):
        statement = text("SELECT setval(pg_get_serial_sequence(:table, :column), :last)")
        await new.execute(statement, {"table": table.name, "column": column.name, "last": last})
        return
    await new.execute(text("DELETE FROM sqlite_sequence WHERE name = :table"), {"table": table.name})
    await new.execute(
        text("INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :last)"), {"table": table.name, "last": last}
    )
