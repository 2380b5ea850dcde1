"""What only the embedded broker promises: a file shared with publishing processes, kill -9, flat memory."""

from __future__ import annotations

import asyncio
import contextlib
import re
import resource
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from imageflow.broker import Outgoing
from imageflow.broker.sqlite import SqliteBroker
from imageflow.errors import BrokerError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "broker.db"


def delivered(path: Path) -> int:
    """How many messages are delivered and not settled."""
    with contextlib.closing(sqlite3.connect(path)) as file:
        return int(file.execute("SELECT count(*) FROM message WHERE delivered").fetchone()[0])


@pytest.mark.slow
async def test_another_process_may_publish(path: Path) -> None:
    """What is published through another connection arrives soon, and requeues nothing."""
    async with SqliteBroker(path) as broker, broker.consume("q", prefetch=5) as deliveries:
        await broker.publish(Outgoing("q", b"1"))
        held = await anext(deliveries)
        async with SqliteBroker(path, consumer=False) as other:
            started = time.monotonic()
            await other.publish(Outgoing("q", b"2"), Outgoing("q", b"3", delay=1))
            async with asyncio.timeout(5):
                assert (await anext(deliveries)).body == b"2"
            assert time.monotonic() - started < 1
            assert delivered(path) == 2
            async with asyncio.timeout(5):
                assert (await anext(deliveries)).body == b"3"
        await held.ack()


async def test_a_publishing_process_does_not_consume(path: Path) -> None:
    """Opened for publishing only, consuming raises BrokerError."""
    async with SqliteBroker(path, consumer=False) as broker:
        with pytest.raises(BrokerError, match="publishing only"):
            async with broker.consume("q", prefetch=1):
                pass


STORM = """
import asyncio, sys
from pathlib import Path
from imageflow.broker import Outgoing
from imageflow.broker.sqlite import SqliteBroker

async def publish(broker, worker):
    for i in range(10**6):
        await broker.publish(Outgoing("q", f"{worker}-{i}".encode()))
        print(f"{worker}-{i}", flush=True)

async def main():
    async with SqliteBroker(Path(sys.argv[1])) as broker, asyncio.TaskGroup() as group:
        for worker in range(20):
            group.create_task(publish(broker, worker))

asyncio.run(main())
"""


@pytest.mark.slow
async def test_kill_9_loses_nothing_that_was_accepted(path: Path) -> None:
    """In the middle of concurrent publishing: what publish returned for is in the file."""
    process = subprocess.Popen([sys.executable, "-c", STORM, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    told = [await asyncio.to_thread(process.stdout.readline) for _ in range(2000)]
    process.kill()
    told += process.communicate()[0].splitlines(keepends=True)
    accepted = {line.strip() for line in told if line.endswith(b"\n")}
    found = set()
    async with SqliteBroker(path) as broker, broker.consume("q", prefetch=500) as deliveries:
        ready = (await broker.depth("q")).ready
        for _ in range(ready):
            delivery = await anext(deliveries)
            found.add(delivery.body)
            await delivery.ack()
    assert len(accepted) >= 2000
    assert accepted <= found


@pytest.mark.slow
async def test_memory_stays_flat(path: Path) -> None:
    """A hundred thousand waiting messages do not enter memory."""
    async with SqliteBroker(path, queue_limit=200_000) as broker:
        await broker.publish(Outgoing("warm", b"x" * 500))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(100):
            await broker.publish(*(Outgoing("q", b"x" * 500) for _ in range(1000)))
        async with broker.consume("q", prefetch=100) as deliveries:
            for _ in range(1000):
                await (await anext(deliveries)).ack()
        assert (await broker.depth("q")).ready >= 98_900
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB; the bodies are 50 MB


async def test_large_messages_are_delivered_a_few_at_a_time(path: Path) -> None:
    """Prefetch counts messages; a fetch is bounded in bytes too."""
    async with SqliteBroker(path) as broker:
        await broker.publish(*(Outgoing("q", b"x" * (1 << 20)) for _ in range(20)))
        async with broker.consume("q", prefetch=20) as deliveries:
            await anext(deliveries)
            assert delivered(path) == 4


@pytest.mark.slow
async def test_a_clock_that_was_put_back_strands_nothing(path: Path) -> None:
    """A message that lies further ahead than the longest delay is due."""
    async with SqliteBroker(path) as broker:
        await broker.publish(Outgoing("q", b"x", delay=900))
        with sqlite3.connect(path) as other:
            other.execute("UPDATE message SET due = due + 3600")
        other.close()
    async with SqliteBroker(path) as broker, broker.consume("q", prefetch=1) as deliveries:
        await broker.publish(Outgoing("q", b"y", delay=1))
        async with asyncio.timeout(5):
            assert {(await anext(deliveries)).body, (await _acked(broker))} == {b"x", b"y"}


async def _acked(broker: SqliteBroker) -> bytes:
    async with broker.consume("q", prefetch=1) as deliveries:
        return (await anext(deliveries)).body


async def test_a_failed_transaction_is_told_and_survived(path: Path) -> None:
    """An error of the file reaches those who wait as BrokerError, shows in health, and passes."""

    def fail(_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async with SqliteBroker(path) as broker, broker.consume("q", prefetch=1) as deliveries:
        with pytest.raises(BrokerError, match="disk I/O error"):
            await broker._file.run(fail)
        assert broker.healthy is not None
        await broker.publish(Outgoing("q", b"x"))
        assert broker.healthy is None
        await (await anext(deliveries)).ack()


LAYOUT_1 = """
CREATE TABLE message (id INTEGER PRIMARY KEY AUTOINCREMENT, lent INTEGER NOT NULL DEFAULT 0, due REAL,
deliveries INTEGER NOT NULL DEFAULT 0, queue TEXT NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX ready ON message (queue, id) WHERE lent = 0 AND due IS NULL;
CREATE INDEX delayed ON message (due) WHERE due IS NOT NULL;
CREATE INDEX loan ON message (id) WHERE lent = 1;
INSERT INTO message (lent, due, deliveries, queue, headers, body) VALUES
(0, NULL, 0, 'q', '{}', x'00'), (1, NULL, 2, 'q', '{}', x'01'), (0, 1.0, 0, 'q', '{}', x'02');
PRAGMA user_version = 1;
"""


async def test_a_file_of_the_first_layout(path: Path) -> None:
    """Its messages come: those that were ready, delivered once more, and due since; and it is ours from then on."""
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as older:
        older.executescript(LAYOUT_1)
    for _ in range(2):
        async with SqliteBroker(path) as broker, broker.consume("q", prefetch=5) as deliveries:
            found = [await anext(deliveries) for _ in range(3)]
            assert {one.body for one in found} == {b"\0", b"\1", b"\2"}
            assert delivered(path) == 3
    async with SqliteBroker(path) as broker, broker.consume("q", prefetch=5) as deliveries:
        for _ in range(3):
            await (await anext(deliveries)).ack()
    new = path.with_name("new.db")
    async with SqliteBroker(new):
        pass
    assert schema(path) == schema(new)


def schema(path: Path) -> tuple[int, set[str]]:
    with contextlib.closing(sqlite3.connect(path)) as file:
        (version,) = file.execute("PRAGMA user_version").fetchone()
        found = file.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")
        return int(version), {re.sub(r"\s+", "", sql) for (sql,) in found}


@pytest.mark.parametrize("content", ["not a database, but long enough to be read as one" * 50, None])
async def test_a_file_that_is_not_ours(path: Path, content: str | None) -> None:
    """A file that is no database, or of another layout, is refused with its name."""
    path.parent.mkdir()
    if content is not None:
        path.write_text(content)
    else:
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA user_version = 99")
        other.close()
    with pytest.raises(BrokerError, match=r"broker\.db"):
        async with SqliteBroker(path):
            pass
