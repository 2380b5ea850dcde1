"""The embedded broker: durable queues in one SQLite file.

One thread owns the connection. It takes all jobs that wait for it, runs them in one transaction, and only then answers
the callers: many callers share one fsync (group commit), and what was published is on disk. A delivery and its end are not
waited for so long: they outlast the process, and where a loss of power undoes them, the message comes again.

The column `delivered` marks a message that is delivered and not acknowledged. That ends with the consuming process: the
next one requeues all of them on entering, and counts the delivery. One process at a time may consume; others may publish,
which the consuming process notices by SQLite's data_version.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import queue as threads
import sqlite3
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import quote

import msgspec

from imageflow.broker import PUBLISH_SECONDS, QUEUE_LIMIT, Depth, Outgoing, parked, retried
from imageflow.errors import BrokerError, QueueFullError
from imageflow.model import retry_ladder
from imageflow.model.messages import PARKED_QUEUE
from imageflow.private_files import private_file

SCHEMA_VERSION = 2
SCHEMA = """
CREATE TABLE message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    delivered INTEGER NOT NULL DEFAULT 0,
    due REAL,
    deliveries INTEGER NOT NULL DEFAULT 0,
    queue TEXT NOT NULL,
    headers TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX ready ON message (queue, id) WHERE delivered = 0 AND due IS NULL;
CREATE INDEX delayed ON message (due) WHERE due IS NOT NULL;
CREATE INDEX unacknowledged ON message (id) WHERE delivered = 1;
"""
FROM_1 = """
ALTER TABLE message RENAME COLUMN lent TO delivered;
DROP INDEX loan;
CREATE INDEX unacknowledged ON message (id) WHERE delivered = 1;
"""
"""What makes a file of layout 1 one of layout 2; SQLite renames the column in the other indexes too."""
CHANGES = {0: SCHEMA, 1: FROM_1}
"""By the layout that a file has, what makes it ours. A new file has layout 0."""
INSERT = "INSERT INTO message (queue, headers, body, due) VALUES (?, ?, ?, ?)"
BROWSE = """\
SELECT id, headers, body, deliveries FROM message
WHERE queue = ? AND delivered = 0 AND due IS NULL AND id > ? ORDER BY id LIMIT 1"""
READY = """\
SELECT id, headers, body, deliveries FROM message
WHERE queue = ? AND delivered = 0 AND due IS NULL ORDER BY id LIMIT ?"""
DUE = "SELECT DISTINCT queue FROM message WHERE due <= ? OR due > ?"
PROMOTE = "UPDATE message SET due = NULL WHERE due <= ? OR due > ?"
DELAYED = "SELECT count(*) FROM message WHERE due IS NOT NULL AND queue = ?"

POLL_SECONDS = 0.2
"""How soon the consuming process notices what another process published."""

FETCH_BYTES = 4 << 20
"""Bodies that one fetch brings into memory, about."""

BATCH = 1000
"""Operations in one transaction, at most: so that no caller waits long for the others'."""

RECOUNT_SECONDS = 1.0
LONGEST_DELAY = retry_ladder.LADDER[-1]

T = TypeVar("T")
_headers_from = msgspec.json.Decoder(dict[str, str]).decode


class SqliteBroker:
    """A broker in the file `path`, which is made when it is not there.

    With `consumer=False` it must not consume, and leaves alone what the consuming process was delivered. `queue_limit` is
    kept approximately when several processes publish.
    """

    def __init__(self, path: Path, *, consumer: bool = True, queue_limit: int = QUEUE_LIMIT) -> None:
        self._path = path
        self._consumer = consumer
        self._queue_limit = queue_limit
        self._file: _File | None = None
        self._consumers: dict[str, set[_Consumer]] = {}

    async def __aenter__(self) -> Self:
        file = _File(self._path, self._wake, self._queue_limit)
        await file.open()
        self._file = file
        if self._consumer:
            await file.run(_File.requeue_all)
        return self

    async def __aexit__(self, *exc: object) -> None:
        file, self._file = self._file, None
        if file is not None:
            await file.close()
        self._wake(None)

    async def publish(self, *messages: Outgoing) -> None:
        if messages:
            await self._opened().run(lambda file: file.publish(messages), durable=True)

    @asynccontextmanager
    async def consume(self, queue: str, *, prefetch: int) -> AsyncIterator[AsyncIterator[_Delivery]]:
        if not self._consumer:
            raise BrokerError(f"{self._path} was opened for publishing only")
        consumer = _Consumer(self._opened(), queue, prefetch)
        self._consumers.setdefault(queue, set()).add(consumer)
        try:
            yield consumer
        finally:
            self._consumers[queue].discard(consumer)
            consumer.stop()

    @asynccontextmanager
    async def browse(self, queue: str) -> AsyncIterator[AsyncIterator[_Browsed]]:
        async with contextlib.aclosing(self._look_through(queue)) as found:
            yield found

    async def _look_through(self, queue: str) -> AsyncGenerator[_Browsed, None]:
        last = 0
        file = self._opened()
        while True:
            found = await file.run(functools.partial(_File.next_after, queue=queue, last=last))
            if found is None:
                return
            last = found.id
            yield _Browsed(file, queue, found)

    async def depth(self, queue: str) -> Depth:
        ready, delayed = await self._opened().run(lambda file: file.depth(queue))
        return Depth(ready, len(self._consumers.get(queue, ())), delayed)

    def consuming(self, queue: str) -> bool:
        return bool(self._consumers.get(queue))

    @property
    def healthy(self) -> str | None:
        return "the queue's file is closed" if self._file is None else self._file.problem

    def _opened(self) -> _File:
        if self._file is None:
            raise BrokerError("the queue's file is closed")
        return self._file

    def _wake(self, queues: Iterable[str] | None) -> None:
        """There may be something new in these queues (None: in any)."""
        for queue in list(self._consumers) if queues is None else queues:
            for consumer in self._consumers.get(queue, ()):
                consumer.hear()


class _Message(NamedTuple):
    """A message as it is in the file."""

    id: int
    headers: str
    body: bytes
    deliveries: int


class _Fetched(NamedTuple):
    """What a fetch delivers, and whether nothing was left."""

    messages: list[_Message]
    all_of_them: bool


class _Delivery:
    """A delivery from the file."""

    def __init__(self, consumer: _Consumer, message: _Message) -> None:
        self._consumer = consumer
        self._settled = False
        self.id = message.id
        self.queue = consumer.queue
        self.body = message.body
        self.headers: Mapping[str, str] = _headers_from(message.headers)
        self.deliveries = message.deliveries

    async def ack(self) -> None:
        await self._settle(lambda file: file.replace(self.id))

    async def retry(self, delay: float, *, failed: bool = True) -> None:
        again = Outgoing(
            self.queue, self.body, max(delay, retry_ladder.LADDER[0]), retried(self.headers, failed=failed)
        )
        await self._settle(lambda file: file.replace(self.id, again))

    async def park(self, reason: str) -> None:
        aside = Outgoing(PARKED_QUEUE, self.body, headers=parked(self.headers, self.queue, reason, time.time()))
        await self._settle(lambda file: file.replace(self.id, aside))

    async def requeue(self) -> None:
        await self._settle(lambda file: file.requeue(self.queue, [self.id]))

    async def _settle(self, work: Callable[[_File], None]) -> None:
        # A cancelled caller leaves the work with the thread, which does it: the delivery counts as settled. After an error
        # the transaction was rolled back: the delivery is still unacknowledged.
        if self._settled:
            return
        self._settled = True
        try:
            await self._consumer.file.run(work)
        except BrokerError:
            self._settled = False
            raise
        finally:
            if self._settled:
                self._consumer.settled()


class _Browsed:
    """A message that was looked at and is not delivered: the first who settles it has it."""

    def __init__(self, file: _File, queue: str, found: _Message) -> None:
        self._file = file
        self._id = found.id
        self.queue = queue
        self.body = found.body
        self.headers: Mapping[str, str] = _headers_from(found.headers)
        self.deliveries = found.deliveries

    async def ack(self) -> None:
        await self._replace()

    async def retry(self, delay: float, *, failed: bool = True) -> None:
        await self._replace(
            Outgoing(self.queue, self.body, max(delay, retry_ladder.LADDER[0]), retried(self.headers, failed=failed))
        )

    async def park(self, reason: str) -> None:
        headers = parked(self.headers, self.queue, reason, time.time())
        await self._replace(Outgoing(PARKED_QUEUE, self.body, headers=headers))

    async def requeue(self) -> None:
        """It never left."""

    async def _replace(self, new: Outgoing | None = None) -> None:
        await self._file.run(lambda file: file.replace(self._id, new, delivered=False))


class _Consumer:
    """The deliveries of one `consume`, as an iterator; `prefetch` of them may be unacknowledged."""

    def __init__(self, file: _File, queue: str, prefetch: int) -> None:
        self.file = file
        self.queue = queue
        self._prefetch = prefetch
        self._unacknowledged = 0
        self._fetching = False
        self._fetched: deque[_Delivery] = deque()
        self._news = asyncio.Event()
        self._heard = 0
        self._empty = False
        self._stopped = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _Delivery:
        while not self._fetched:
            if self._stopped:
                raise StopAsyncIteration
            self._news.clear()
            self._fetch()
            await self._news.wait()
        return self._fetched.popleft()

    def _fetch(self) -> None:
        """Ask for as much as there is room for. The caller does not wait for that: one that is cancelled while it waits
        must not lose messages.
        """
        room = self._prefetch - self._unacknowledged
        if room <= 0 or self._fetching or self._empty:
            return
        if self.file.closed:
            raise BrokerError("the queue's file is closed")
        self._fetching = True
        fetching = self.file.submit(lambda file: file.deliver(self.queue, room))
        fetching.add_done_callback(functools.partial(self._arrived, self._heard))

    def _arrived(self, heard: int, fetching: asyncio.Future[_Fetched]) -> None:
        self._fetching = False
        if fetching.exception() is not None:  # `healthy` says what is wrong; the iterator waits for better times
            fetching.get_loop().call_later(POLL_SECONDS, self.wake)
            return
        messages, all_of_them = fetching.result()
        self._empty = all_of_them and heard == self._heard
        self._unacknowledged += len(messages)
        self._fetched.extend(_Delivery(self, message) for message in messages)
        if self._stopped:
            self._requeue_fetched()
        elif messages:
            self.wake()

    def settled(self) -> None:
        self._unacknowledged -= 1
        self.wake()

    def hear(self) -> None:
        """There may be something new in the queue."""
        self._heard += 1
        self._empty = False
        self.wake()

    def wake(self) -> None:
        self._news.set()

    def stop(self) -> None:
        self._stopped = True
        self.wake()
        self._requeue_fetched()

    def _requeue_fetched(self) -> None:
        ids = [delivery.id for delivery in self._fetched]
        self._fetched.clear()
        if ids:
            self.file.post(lambda file: file.requeue(self.queue, ids))


class _Job(NamedTuple):
    """Work for the thread, and the future of its caller, if there is one. `durable`: it is answered once it outlasts a loss of
    power.
    """

    work: Callable[[_File], Any]
    done: asyncio.Future[Any] | None
    durable: bool = False


class _File:
    """The SQLite file and the thread that owns it.

    `open`, `close`, `run`, `submit` and `post` are for the loop; everything else runs on the thread.
    """

    def __init__(self, path: Path, wake: Callable[[Iterable[str] | None], None], queue_limit: int) -> None:
        self.path = path
        self.problem: str | None = None
        self._loop = asyncio.get_running_loop()
        self._wake = wake
        self._queue_limit = queue_limit
        self._jobs: threads.SimpleQueue[_Job | None] = threads.SimpleQueue()
        self._ended = False
        self._room: dict[str, tuple[int, float]] = {}
        self._next_due: float | None = None
        self._news: set[str] = set()
        self._durable: bool | None = None
        self._sql: sqlite3.Connection

    # --- on the loop

    async def open(self) -> None:
        """Start the thread and open the file, or raise BrokerError."""
        opened: asyncio.Future[None] = self._loop.create_future()
        self._over: asyncio.Future[None] = self._loop.create_future()
        threading.Thread(target=self._main, args=(opened,), name=f"queue {self.path.name}", daemon=True).start()
        await opened

    @property
    def closed(self) -> bool:
        return self._ended

    async def close(self) -> None:
        """Do what waits, close the file, end the thread."""
        self._ended = True
        self._jobs.put(None)
        await asyncio.shield(self._over)

    async def run(self, work: Callable[[_File], T], *, durable: bool = False) -> T:
        """Run `work` on the thread; returns when it is committed. Raises BrokerError."""
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                return await self.submit(work, durable=durable)
        except TimeoutError as error:
            raise BrokerError(f"the queue's file {self.path} did not answer in {PUBLISH_SECONDS:g} s") from error

    def submit(self, work: Callable[[_File], T], *, durable: bool = False) -> asyncio.Future[T]:
        done: asyncio.Future[T] = self._loop.create_future()
        if self._ended:
            done.set_exception(BrokerError("the queue's file is closed"))
        else:
            self._jobs.put(_Job(work, done, durable))
        return done

    def post(self, work: Callable[[_File], Any]) -> None:
        """Like submit, without an answer."""
        if not self._ended:
            self._jobs.put(_Job(work, None))

    # --- the thread

    def _main(self, opened: asyncio.Future[None]) -> None:
        try:
            self._open()
        except (sqlite3.Error, OSError) as error:
            self._on_loop(_fail, opened, BrokerError(f"the queue's file {self.path} cannot be opened: {error}"))
            return
        except BrokerError as error:
            self._on_loop(_fail, opened, error)
            return
        self._on_loop(_resolve, opened, None)
        try:
            self._serve()
        finally:
            with contextlib.suppress(sqlite3.Error):
                self._sql.close()
            self._on_loop(_resolve, self._over, None)

    def _open(self) -> None:
        private_file(self.path)
        self._sql = sqlite3.connect(self.path, timeout=PUBLISH_SECONDS / 2, isolation_level=None)
        self._sql.execute("PRAGMA journal_mode = WAL")
        self._sync(durable=True)
        self._sql.execute("BEGIN IMMEDIATE")
        (version,) = self._sql.execute("PRAGMA user_version").fetchone()
        if version in CHANGES:
            for statement in CHANGES[version].split(";"):
                self._sql.execute(statement)
            self._sql.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._sql.execute("COMMIT")
        if version not in (*CHANGES, SCHEMA_VERSION):
            raise BrokerError(f"{self.path} was written by another version of ImageFlow (its layout is {version})")
        self._seen = self._data_version()
        self._look_for_due()

    def _serve(self) -> None:
        while True:
            jobs = self._take()
            if jobs is None:
                return
            if jobs:
                self._commit(jobs)
            self._look_around()

    def _take(self) -> list[_Job] | None:
        """All jobs that wait, after at most POLL_SECONDS; None: the last ones are done."""
        try:
            job = self._jobs.get(timeout=self._pause())
        except threads.Empty:
            return []
        jobs: list[_Job] = []
        while job is not None:
            jobs.append(job)
            if len(jobs) >= BATCH or self._jobs.empty():
                return jobs
            job = self._jobs.get()
        if jobs:
            self._jobs.put(None)
            return jobs
        return None

    def _pause(self) -> float:
        if self._next_due is None:
            return POLL_SECONDS
        return min(max(self._next_due - time.time(), 0.0), POLL_SECONDS)

    def _commit(self, jobs: Sequence[_Job]) -> None:
        """Run the jobs in one transaction, then answer the callers."""
        self._news = set()
        try:
            self._sync(durable=any(job.durable for job in jobs))
            self._sql.execute("BEGIN IMMEDIATE")
            outcomes = [self._outcome(job) for job in jobs]
            self._sql.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - the transaction is undone whatever a job raises, and its callers learn why
            self._roll_back(jobs, error)
            return
        self.problem = None
        self._on_loop(self._committed, outcomes, self._news)

    def _sync(self, *, durable: bool) -> None:
        """Whether the next commit waits for the disk. In WAL mode the file is sound either way."""
        if durable != self._durable:
            self._sql.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._durable = durable

    def _outcome(self, job: _Job) -> tuple[_Job, Any, QueueFullError | None]:
        try:
            return job, job.work(self), None
        except QueueFullError as full:  # raised before anything was written: the others go on
            return job, None, full

    def _roll_back(self, jobs: Sequence[_Job], error: Exception) -> None:
        if self._sql.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._sql.execute("ROLLBACK")
        self._room.clear()
        self.problem = f"the queue's file {self.path} cannot be written: {error}"
        for job in jobs:
            if job.done is not None:
                self._on_loop(_fail, job.done, BrokerError(self.problem))
            elif job.work is not _File.promote:  # that one comes again by itself
                self._jobs.put(job)
        time.sleep(0.05)

    def _committed(self, outcomes: Sequence[tuple[_Job, Any, QueueFullError | None]], news: set[str]) -> None:
        """On the loop: after a commit."""
        for job, result, full in outcomes:
            if job.done is not None and full is not None:
                _fail(job.done, full)
            elif job.done is not None:
                _resolve(job.done, result)
        self._wake(news)

    def _on_loop(self, callback: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: no caller is left
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _look_around(self) -> None:
        """Make ready what became due, and notice what other processes published."""
        try:
            version = self._data_version()
            if version != self._seen:
                self._seen = version
                self._look_for_due()
                self._on_loop(self._wake, None)
            if self._next_due is not None and self._next_due <= time.time():
                self._commit([_Job(_File.promote, None)])
        except sqlite3.Error as error:
            self.problem = f"the queue's file {self.path} cannot be read: {error}"

    def _data_version(self) -> int:
        (version,) = self._sql.execute("PRAGMA data_version").fetchone()
        return int(version)

    def _look_for_due(self) -> None:
        (self._next_due,) = self._sql.execute("SELECT min(due) FROM message WHERE due IS NOT NULL").fetchone()

    # --- what the thread does inside a transaction

    def requeue_all(self) -> None:
        """Requeue all deliveries: the process that had them is dead."""
        self._sql.execute("UPDATE message SET delivered = 0, deliveries = deliveries + 1 WHERE delivered = 1")

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Insert all or, where a queue is full, nothing. Raises QueueFullError."""
        self._make_room(messages)
        for message in messages:
            self._insert(message)

    def _make_room(self, messages: Sequence[Outgoing]) -> None:
        wanted: dict[str, int] = {}
        for message in messages:
            if not message.delay:
                wanted[message.queue] = wanted.get(message.queue, 0) + 1
        rooms = {queue: self._room_in(queue, count) for queue, count in wanted.items()}
        for queue, (room, _) in rooms.items():
            if room <= 0:
                raise QueueFullError(
                    f"the queue {queue} holds {self._queue_limit:,} messages and takes no more for now"
                )
        for queue, (room, counted) in rooms.items():
            self._room[queue] = (room - wanted[queue], counted)

    def _room_in(self, queue: str, wanted: int) -> tuple[int, float]:
        """How much the queue still takes, and when it was counted: counting is expensive, so it is done when it matters."""
        room, counted = self._room.get(queue, (0, 0.0))
        now = time.monotonic()
        if room <= wanted or now - counted > RECOUNT_SECONDS:
            room, counted = self._queue_limit - self._count(queue), now
        return room, counted

    def _count(self, queue: str) -> int:
        sql = "SELECT count(*) FROM message WHERE queue = ? AND delivered = 0 AND due IS NULL"
        (count,) = self._sql.execute(sql, (queue,)).fetchone()
        return int(count)

    def _insert(self, message: Outgoing) -> None:
        due = time.time() + retry_ladder.step(message.delay) if message.delay > 0 else None
        headers = msgspec.json.encode(dict(message.headers)).decode()
        self._sql.execute(INSERT, (message.queue, headers, message.body, due))
        if due is None:
            self._news.add(message.queue)
        elif self._next_due is None or due < self._next_due:
            self._next_due = due

    def deliver(self, queue: str, room: int) -> _Fetched:
        """Deliver up to `room` messages, in order, and not much more than FETCH_BYTES."""
        messages: list[_Message] = []
        weight = 0
        with contextlib.closing(self._sql.execute(READY, (queue, room))) as rows:
            for row in rows:
                messages.append(_Message(*row))
                weight += len(messages[-1].body)
                if weight >= FETCH_BYTES:
                    break
        self._sql.executemany("UPDATE message SET delivered = 1 WHERE id = ?", [(message.id,) for message in messages])
        return _Fetched(messages, len(messages) < room and weight < FETCH_BYTES)

    def next_after(self, queue: str, last: int) -> _Message | None:
        """The first ready message with an id above `last`."""
        row = self._sql.execute(BROWSE, (queue, last)).fetchone()
        return None if row is None else _Message(*row)

    def replace(self, old: int, new: Outgoing | None = None, *, delivered: bool = True) -> None:
        """Delete a message, if it is still delivered (or still is not); `new` takes its place."""
        ended = self._sql.execute("DELETE FROM message WHERE id = ? AND delivered = ?", (old, delivered)).rowcount
        if new is not None and ended:
            self._insert(new)

    def requeue(self, queue: str, ids: Sequence[int]) -> None:
        self._sql.executemany("UPDATE message SET delivered = 0 WHERE id = ?", [(one,) for one in ids])
        self._news.add(queue)

    def promote(self) -> None:
        """Make ready what is due; also what lies further ahead than any delay: the clock was put back."""
        now = time.time()
        times = (now, now + LONGEST_DELAY + 1)
        self._news.update(queue for (queue,) in self._sql.execute(DUE, times))
        self._sql.execute(PROMOTE, times)
        self._look_for_due()

    def depth(self, queue: str) -> tuple[int, int]:
        """Ready and delayed."""
        (delayed,) = self._sql.execute(DELAYED, (queue,)).fetchone()
        return self._count(queue), int(delayed)


def messages_in(path: Path) -> dict[str, int]:
    """How many messages each queue of a broker's file holds, delivered and delayed ones included. Raises sqlite3.Error."""
    with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)) as file:
        return dict(file.execute("SELECT queue, count(*) FROM message GROUP BY queue"))


def _resolve(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
