"""The move of a store: everything arrives, numbering goes on, and nothing is moved that is under way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from imageflow import settings as settings_
from imageflow.actions import migrate_data
from imageflow.broker import Outgoing
from imageflow.broker.sqlite import SqliteBroker
from imageflow.clock import SystemClock
from imageflow.errors import ImageFlowError
from imageflow.model.imageset import Image
from imageflow.model.page import row_version
from imageflow.model.row import RowLog
from imageflow.model.run import Run, Trigger, new_run_id
from imageflow.secret import Secret
from imageflow.store import AuditEntry, LedgerEntry, Store, User, Wanted
from imageflow.store.connect import connect, database
from imageflow.store.data_dir import DataDirBusy, data_dir_lock
from imageflow.store.tables import metadata
from imageflow.store.transfer import NotReadyError, transfer
from tests.postgres_server import Postgres
from tests.posting import accept_post

NOW = datetime(2026, 3, 29, 0, 59, 59, 123457, tzinfo=UTC)
DOMAIN = "https://brand.omnitron.net"
ROWS = 600
FLOW = {
    "name": "winter",
    "direction": "outbound",
    "omnitron": {"domain_url": DOMAIN, "username": "d", "password": {"env": "P"}},
}


def sqlite_url(folder: Path) -> Secret:
    return Secret(f"sqlite:///{folder}/store.db")


async def posted(store: Store, rows: int) -> tuple[Run, int]:
    """A post of so many rows, that was sent on; the run and the number of its page."""
    run = Run(
        run_id=new_run_id(NOW),
        flow="winter",
        version=1,
        trigger=Trigger("outbound", by="ünït"),
        status="draining",
        created_at=NOW,
        started_at=NOW,
        pages=1,
        read_complete=True,
    )
    accepted = await accept_post(store, run, b'[{"sku": "\xc3\xa7"}]', rows=rows, key=f"key-{run.run_id}")
    await store.sent([item.id for item in accepted.outbox])
    return run, accepted.seq


async def fill(store: Store) -> Run:
    """A store with a past: a run that ended, users, an audit log, an alarm, a watermark."""
    await store.save_flow(FLOW, "anna", audit=AuditEntry("anna", "flow.save", "winter", "here", {"a": [1, None]}))
    run, seq = await posted(store, ROWS)
    registered = await store.register_page(run.run_id, 1, ROWS, [])
    logs = [
        RowLog(
            run_id=run.run_id,
            row=number,
            product=f"SKU-{number}-ş",
            state="written" if number % 10 else "failed",
            stage="write",
            reason=None if number % 10 else "Ömnitron answered 400: \u20ac",
            images=(Image("https://cdn.example.com/1.png"),),
            version=row_version(seq, number),
        )
        for number in registered.numbers
    ]
    await store.alive("writer", 0.0)
    await store.claim(DOMAIN, "writer", "t", [Wanted(log.product or "", log.version) for log in logs[:50]])
    entries = [LedgerEntry(DOMAIN, log.product or "", log.version, "d" * 64, run.run_id, log.row) for log in logs]
    (ended,) = await store.settle("t", logs, written=entries)
    await store.save_user(User("anna", "hash", "admin"))
    await store.save_token("digest", "anna", NOW + timedelta(days=900))
    await store.set_watermark("winter", NOW)
    await store.sound("winter", {"silence": "nothing came"}, notify=True)
    return ended


async def contents(url: Secret) -> dict[str, list[Any]]:
    looked_at = database(url, SystemClock())
    engine = looked_at.migrator()
    async with engine.begin() as connection:
        found = {
            table.name: [tuple(row) for row in await connection.execute(select(table).order_by(*table.primary_key))]
            for table in metadata.sorted_tables
        }
    await engine.dispose()
    await looked_at.close()
    return found


async def execute(url: Secret, statement: str) -> None:
    looked_at = database(url, SystemClock())
    engine = looked_at.migrator()
    async with engine.begin() as connection:
        await connection.execute(text(statement))
    await engine.dispose()
    await looked_at.close()


async def test_there_and_back(postgres: Postgres, tmp_path: Path) -> None:
    """SQLite to PostgreSQL to another SQLite: all three hold the same, and none is touched by being read."""
    first, second, third = sqlite_url(tmp_path), Secret(postgres.new_database()), sqlite_url(tmp_path / "again")
    async with connect(first, SystemClock()) as store:
        await store.upgrade()
        run = await fill(store)
        # the page with the highest number is gone, as after retention: its number must not be given again
        other, seq = await posted(store, 1)
        await store.register_page(other.run_id, 1, 1, [])
        log = RowLog(run_id=other.run_id, row=1, product="x", state="failed", stage="write", reason="no", page=1)
        await store.settle("t", [log])
    await execute(first, f"DELETE FROM pages WHERE seq = {seq}")
    before = await contents(first)
    assert len(before["rows"]) == ROWS + 1
    assert len(before["ledger"]) == ROWS
    (tmp_path / "again").mkdir()
    moved = {item.table: item.rows for item in await transfer(first, second, SystemClock())}
    assert moved["rows"] == ROWS + 1
    await transfer(second, third, SystemClock())
    assert await contents(second) == before
    assert await contents(third) == before
    assert await contents(first) == before
    for url in (second, third):
        async with connect(url, SystemClock()) as store:
            assert (await store.run(run.run_id)).counts == run.counts
            assert (await store.page(run.run_id, 1)).body == b'[{"sku": "\xc3\xa7"}]'
            _, next_seq = await posted(store, 1)
            assert next_seq == seq + 1
            assert [entry.entry.what for entry in await store.audit()] == ["flow.save"]
            await store.record(AuditEntry("anna", "more", "winter", "here"))
            assert len({entry.id for entry in await store.audit()}) == 2


async def test_what_is_under_way_is_not_moved(postgres: Postgres, tmp_path: Path) -> None:
    """Runs in flight, unpublished messages and living writers stop the move, with what to do; nothing has moved then."""
    first, second = sqlite_url(tmp_path), Secret(postgres.new_database())
    async with connect(first, SystemClock()) as store:
        with pytest.raises(NotReadyError, match="without a schema"):
            await transfer(first, second, SystemClock())
        await store.upgrade()
        await fill(store)
        await store.alive("w", 0.0)
        run, _ = await posted(store, 5)
        with pytest.raises(NotReadyError, match=f"in flight .{run.run_id}"):
            await transfer(first, second, SystemClock())
        await store.register_page(run.run_id, 1, 0, [])
        await store.reopen((await store.runs("winter", status="partial"))[0].run_id, row=10)
        with pytest.raises(NotReadyError, match="in flight"):
            await transfer(first, second, SystemClock())
        await execute(first, "UPDATE runs SET finished_at = 1, status = 'partial' WHERE finished_at IS NULL")
        with pytest.raises(NotReadyError, match="wait to be published"):
            await transfer(first, second, SystemClock())
        await store.sent([item.id for item in await store.unsent(0.0)])
        await store.alive("living", 60.0)
        with pytest.raises(NotReadyError, match="a writer is still running"):
            await transfer(first, second, SystemClock())
        await store.gone("living")
    assert not any((await contents(second)).values())
    await transfer(first, second, SystemClock())
    with pytest.raises(NotReadyError, match="the target is not empty"):
        await transfer(first, second, SystemClock())


async def test_a_folder_that_is_in_use_or_has_messages(tmp_path: Path) -> None:
    """The embedded default is moved at rest: nobody holds the folder, and its queues are empty but for parked ones."""
    folder = tmp_path / "old"
    folder.mkdir()
    new = settings_.load({"IMAGEFLOW_DATA_DIR": str(tmp_path / "new")})
    with pytest.raises(ImageFlowError, match=r"no store\.db"):
        migrate_data.origin(str(folder))
    async with connect(sqlite_url(folder), SystemClock()) as store:
        await store.upgrade()
        await fill(store)
    async with SqliteBroker(folder / "broker.db") as broker:
        await broker.publish(Outgoing("imageflow.parked", b"x"), Outgoing("imageflow.read", b"{}", delay=60))
    source = migrate_data.origin(str(folder))
    with pytest.raises(NotReadyError, match=r"imageflow\.read: 1"):
        await migrate_data.migrate(source, new)
    with (
        data_dir_lock(settings_.load({"IMAGEFLOW_DATA_DIR": str(folder)})),
        pytest.raises(DataDirBusy),
    ):
        await migrate_data.migrate(source, new)


async def test_the_command(postgres: Postgres, tmp_path: Path) -> None:
    """`imageflow migrate-data --from DIR --json` prints what it moved; a second time it refuses, with status 2."""
    async with connect(sqlite_url(tmp_path), SystemClock()) as store:
        await store.upgrade()
        await fill(store)
    environ = {**os.environ, "IMAGEFLOW_STORE_URL": postgres.new_database(), "IMAGEFLOW_DATA_DIR": str(tmp_path / "n")}
    command = [sys.executable, "-m", "imageflow", "migrate-data", "--from", str(tmp_path), "--json"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == ROWS
    again = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 2
    assert "not empty" in again.stderr
