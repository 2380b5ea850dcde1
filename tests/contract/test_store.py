"""The store's contract, over SQLite and PostgreSQL: every method, repeated, concurrent, and across a restart."""

from __future__ import annotations

import asyncio
import itertools
import random
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from imageflow.errors import NotFoundError, SettingsError, StoreError
from imageflow.model import messages
from imageflow.model.imageset import Image
from imageflow.model.page import row_version
from imageflow.model.row import Row, RowLog, Try, fingerprint
from imageflow.model.run import Counts, Run, Trigger, new_run_id
from imageflow.secret import Secret
from imageflow.store import Claim, HeldRow, InRetry, LedgerEntry, NewPost, Store, User, Wanted
from imageflow.store.connect import connect
from imageflow.store.sqlite import SqliteDatabase
from imageflow.store.tables import metadata
from imageflow.text.printable import one_line
from tests import schemas
from tests.postgres_server import PrivatePostgres
from tests.posting import accept_post

NOW = datetime(2026, 3, 29, 0, 59, 59, 123457, tzinfo=UTC)
DOMAIN = "https://brand.omnitron.net"
IMAGES = (Image("https://cdn.example.com/1.png"), Image("https://cdn.example.com/2.png", 1, "swatch"))


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.instant = NOW

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return self.instant.timestamp()

    def move(self, seconds: float) -> None:
        self.instant += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    new: str = request.getfixturevalue("postgres").new_database()
    return new


@pytest.fixture
async def store(url: str, clock: FakeClock) -> AsyncIterator[Store]:
    embedded = url.startswith("sqlite")
    if embedded:
        schemas.lay(Path(url.removeprefix("sqlite:///")))
    async with connect(Secret(url), clock) as opened:
        if not embedded:
            await opened.upgrade()
        await opened.save_flow(flow_document())
        yield opened


@pytest.fixture
async def other(url: str, clock: FakeClock, store: Store) -> AsyncIterator[Store]:
    """Another process's store on the same database."""
    async with connect(Secret(url), clock) as opened:
        yield opened


def flow_document(name: str = "winter", **fields: Any) -> dict[str, Any]:
    omnitron = {"domain_url": DOMAIN, "username": "bot", "password": {"env": "OMNITRON_PASSWORD"}}
    erp = {"endpoint_url": "https://erp.example.com/images/"}
    return {"name": name, "direction": "inbound", "omnitron": omnitron, "erp": erp, **fields}


def new_run(clock: FakeClock, flow: str = "winter", **fields: Any) -> Run:
    clock.move(0.001)
    made = {"run_id": new_run_id(clock.now()), "version": 1, "trigger": Trigger("person", "ada", ("A", "B"))}
    return Run(**{**made, "flow": flow, "status": "queued", "created_at": clock.now(), **fields})


def post_run(clock: FakeClock, flow: str = "winter") -> Run:
    outbound = {"trigger": Trigger("outbound"), "status": "draining", "read_complete": True, "pages": 1}
    return new_run(clock, flow, started_at=clock.now(), **outbound)


def log(run_id: str, row: int, state: str = "written", **fields: Any) -> RowLog:
    made = {"product": f"sku-{row}", "images": IMAGES, "page": 1, "version": row}
    return RowLog(run_id=run_id, row=row, state=state, **{**made, **fields})  # type: ignore[arg-type]


def failure(run_id: str, row: int, **fields: Any) -> RowLog:
    return log(run_id, row, "failed", **{"reason": f"no such image {row}", "http_status": 400, **fields})


async def reading(store: Store, clock: FakeClock, flow: str = "winter", **fields: Any) -> Run:
    """A run that has begun to read, with a bound."""
    run = new_run(clock, flow, **fields)
    assert await store.create_run(run)
    return await store.start_reading(run.run_id, None, clock.now())


async def draining(store: Store, clock: FakeClock, total: int, flow: str = "winter") -> str:
    """A run of one page whose `total` rows are numbered, and in flight."""
    run = await reading(store, clock, flow)
    await store.save_page(run.run_id, 1, b"[]", cursor=None, last=True)
    await store.register_page(run.run_id, 1, total, [])
    return run.run_id


# connecting -----------------------------------------------------------------------------------------------------------


async def test_ping_answers(store: Store) -> None:
    """A database that is there answers."""
    await store.ping()


@pytest.mark.parametrize(
    "wrong", ["sqlite://", "sqlite:///", "mysql://a:topsecret@b/c", "postgresql://a:top/secret@b/c"]
)
def test_wrong_urls_are_refused(wrong: str, clock: FakeClock) -> None:
    """A URL of another kind, or one that cannot be read, is a wrong setting; it is not shown."""
    with pytest.raises(SettingsError) as caught:
        connect(Secret(wrong), clock)
    assert "secret" not in str(caught.value)


async def test_a_database_that_is_not_there(clock: FakeClock, tmp_path: Path) -> None:
    """Connecting to nothing is a StoreError that does not show the password."""
    (tmp_path / "folder").mkdir()
    for url in ("postgresql://me:topsecret@127.0.0.1:1/none", f"sqlite:///{tmp_path}/folder"):
        with pytest.raises(StoreError) as caught:
            async with connect(Secret(url), clock):
                pass
        assert caught.value.transient
        assert "topsecret" not in str(caught.value)


@pytest.mark.parametrize(
    "answer", [b"", b"N", b"S", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"R\x00\x00\x00\x08\x00\x00\x00\x63"]
)
async def test_a_server_that_is_not_postgresql(answer: bytes, clock: FakeClock) -> None:
    """Whatever answers at the address, a load balancer without a server too, the error is transient."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for ssl in ("prefer", "disable"):
            with pytest.raises(StoreError) as caught:
                async with connect(Secret(f"postgresql://me:topsecret@127.0.0.1:{port}/none?sslmode={ssl}"), clock):
                    pass
            assert caught.value.transient
            assert "topsecret" not in str(caught.value)


async def test_a_url_that_the_driver_cannot_read(clock: FakeClock) -> None:
    """It is a setting, and the error shows nothing of it."""
    with pytest.raises(SettingsError) as caught:
        async with connect(Secret("postgresql://me:topsecret@127.0.0.1:1/none?sslmode=topsecret"), clock):
            pass
    assert "topsecret" not in str(caught.value)


async def test_a_database_without_schema(url: str, clock: FakeClock) -> None:
    """Before `upgrade`, the error says what is to be done."""
    async with connect(Secret(url), clock) as store:
        with pytest.raises(StoreError, match="imageflow db upgrade"):
            await store.runs()
        with pytest.raises(StoreError, match="imageflow db upgrade"):
            await store.alive("a", 1)


async def test_upgrade_builds_the_tables_as_declared(store: Store) -> None:
    """The migrations and `tables.py` agree, and upgrading again changes nothing."""
    await store.upgrade()

    def differences(connection: Any) -> Any:
        return compare_metadata(MigrationContext.configure(connection, opts={"compare_type": False}), metadata)

    assert await store._database.transact(lambda tx: tx.run_sync(differences), writing=True) == []


async def test_many_upgrade_at_once(url: str, clock: FakeClock) -> None:
    """Connections and processes that upgrade at the same time all succeed."""
    script = (
        "import asyncio, sys\n"
        "from imageflow.clock import SystemClock\n"
        "from imageflow.secret import Secret\n"
        "from imageflow.store.connect import connect\n"
        "async def main():\n"
        "    async with connect(Secret(sys.argv[1]), SystemClock()) as store:\n"
        "        await store.upgrade()\n"
        "        await store.flows()\n"
        "asyncio.run(main())\n"
    )

    async def process() -> int:
        started = await asyncio.create_subprocess_exec(sys.executable, "-c", script, url)
        return await started.wait()

    async def connection() -> int:
        async with connect(Secret(url), clock) as store:
            await store.upgrade()
            return len(await store.flows())

    assert list(await asyncio.gather(process(), process(), connection(), connection())) == [0, 0, 0, 0]


async def test_a_failed_transaction_leaves_nothing(store: Store, clock: FakeClock) -> None:
    """What happens before an error within a method is not stored."""
    run = new_run(clock, "unknown")
    with pytest.raises(NotFoundError, match="winter"):
        await store.create_run(run, fire_time=NOW)
    assert await store.last_fire("unknown") is None
    assert await store.runs() == []


async def test_a_cancelled_call_blocks_nobody(store: Store, other: Store, clock: FakeClock) -> None:
    """Calls that are cancelled at any moment leave no lock behind."""
    run_id = await draining(store, clock, 50)
    await store.alive("a", 60)
    for attempt in range(10):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001 * attempt):
                for _ in range(1000):
                    await store.claim(DOMAIN, "a", "t", [Wanted("A", 1)])
        async with asyncio.timeout(20):
            await other.settle("t", [log(run_id, attempt + 1)], release=[(DOMAIN, "A")])
    assert (await store.run(run_id)).counts.written == 10


# flows ----------------------------------------------------------------------------------------------------------------


async def test_flow_versions(store: Store) -> None:
    """Each different document is a version; an equal one is not; old versions stay as they are."""
    changed = flow_document(script="def process(r):\n    return r\n", timezone="Europe/Istanbul")
    assert (await store.save_flow(flow_document())).version == 1
    assert (await store.save_flow(changed, "ada")).version == 2
    assert (await store.save_flow(dict(reversed(changed.items())))).version == 2
    newest = await store.flow("winter")
    assert (newest.version, newest.document, newest.definition.timezone) == (2, changed, "Europe/Istanbul")
    assert (await store.flow("winter", 1)).document == flow_document()
    assert (await store.save_flow(flow_document())).version == 3


async def test_flows_by_name(store: Store) -> None:
    """The newest version of every flow, by name."""
    await store.save_flow(flow_document("autumn"))
    await store.save_flow(flow_document(enabled=False))
    assert [(flow.name, flow.version) for flow in await store.flows()] == [("autumn", 1), ("winter", 2)]


async def test_unknown_flows(store: Store) -> None:
    """Asking for a flow or version that is not there says which flows there are."""
    with pytest.raises(NotFoundError, match="'summer'; there are: winter"):
        await store.flow("summer")
    with pytest.raises(NotFoundError, match="no version 7"):
        await store.flow("winter", 7)


async def test_flows_saved_at_once(store: Store, other: Store) -> None:
    """Two that save different documents get different versions."""
    saves = [(store, other)[i % 2].save_flow(flow_document(script_timeout=i + 1)) for i in range(8)]
    assert sorted(flow.version for flow in await asyncio.gather(*saves)) == list(range(2, 10))


# runs -----------------------------------------------------------------------------------------------------------------


async def test_a_run_comes_back_as_it_was_made(store: Store, clock: FakeClock) -> None:
    """All fields of a run survive, instants to the microsecond and in UTC."""
    run = new_run(clock, warnings=("careful",), error=None, counts=Counts())
    assert await store.create_run(run)
    assert await store.create_run(run)
    loaded = await store.run(run.run_id)
    assert loaded == run
    assert loaded.created_at.tzinfo is UTC
    assert await store.runs() == [run]


async def test_unknown_runs_and_pages(store: Store, clock: FakeClock) -> None:
    """Runs and pages that are not there are NotFoundError, with odd names too."""
    run = await reading(store, clock)
    for missing in ("nope", "nu\0l", "\ud800"):
        with pytest.raises(NotFoundError):
            await store.run(missing)
    with pytest.raises(NotFoundError):
        await store.page(run.run_id, 1)
    with pytest.raises(NotFoundError):
        await store.register_page("nope", 1, 1, [])


async def test_runs_newest_first(store: Store, clock: FakeClock) -> None:
    """Runs are listed newest first, of one flow, only active ones, or so many."""
    await store.save_flow(flow_document("other"))
    first, second, third = new_run(clock), new_run(clock, "other"), new_run(clock)
    for run in (first, second, third):
        await store.create_run(run)
    await store.end_read(first.run_id, error=None)
    assert [run.run_id for run in await store.runs()] == [third.run_id, second.run_id, first.run_id]
    assert [run.run_id for run in await store.runs("winter")] == [third.run_id, first.run_id]
    assert [run.run_id for run in await store.runs("winter", active=True)] == [third.run_id]
    assert [run.run_id for run in await store.runs(limit=1)] == [third.run_id]


async def test_one_run_per_tick(store: Store, other: Store, clock: FakeClock) -> None:
    """However many schedulers see a tick, it makes one run; repeating that very run is harmless."""
    made = [new_run(clock) for _ in range(6)]
    results = await asyncio.gather(
        *((store, other)[i % 2].create_run(run, fire_time=NOW) for i, run in enumerate(made))
    )
    assert sorted(results) == [False] * 5 + [True]
    winner = made[results.index(True)]
    assert await store.runs() == [winner]
    assert await store.create_run(winner, fire_time=NOW)
    assert not await store.note_fire("winter", NOW)
    assert len(await store.runs()) == 1


async def test_ticks_are_remembered(store: Store, other: Store, clock: FakeClock) -> None:
    """A tick that made no run is seen once, and makes none later; the newest one is known."""
    assert await store.last_fire("winter") is None
    assert sorted(await asyncio.gather(*(s.note_fire("winter", NOW) for s in (store, other)))) == [False, True]
    assert not await store.create_run(new_run(clock), fire_time=NOW)
    assert await store.note_fire("winter", NOW - timedelta(hours=1))
    assert await store.last_fire("winter") == NOW
    assert await store.last_fire("other") is None


async def test_runs_begin_one_after_the_other(store: Store, clock: FakeClock) -> None:
    """Of each flow the oldest run is let go, the next one when it has ended; its message is stored with it."""
    await store.save_flow(flow_document("other"))
    first, second, third = new_run(clock), new_run(clock), new_run(clock, "other")
    for run in (first, second, third):
        await store.create_run(run)
    released = await store.release_runs()
    assert [messages.decode(message.body) for message in released] == [
        messages.ReadPage(third.run_id, "other", 1, 1),
        messages.ReadPage(first.run_id, "winter", 1, 1),
    ]
    assert {message.queue for message in released} == {messages.READ_QUEUE}
    assert await store.unsent(0) == sorted(released)
    assert await store.release_runs() == []
    await store.end_read(first.run_id, error=None)
    assert [messages.decode(message.body).run_id for message in await store.release_runs()] == [second.run_id]


async def test_two_schedulers_release_one_run(store: Store, other: Store, clock: FakeClock) -> None:
    """Schedulers that release at the same time let one run of a flow begin, not two."""
    for _ in range(5):
        await store.create_run(new_run(clock))
    for _ in range(3):
        released = await asyncio.gather(*((store, other)[i % 2].release_runs() for i in range(6)))
        assert sum(map(len, released)) == 1
        [message] = [message for some in released for message in some]
        await store.end_read(messages.decode(message.body).run_id, error=None)


async def test_posts_wait_for_nobody(store: Store, clock: FakeClock) -> None:
    """An outbound run is under way at once, beside others of its flow."""
    for _ in range(2):
        await accept_post(store, post_run(clock), b"[]", rows=0, key=None)
    assert await store.release_runs() == []
    assert len(await store.runs(active=True)) == 2


async def test_start_reading_keeps_the_first_bounds(store: Store, other: Store, clock: FakeClock) -> None:
    """The bounds are fixed once; who asks again, at the same time too, gets those."""
    run = new_run(clock)
    await store.create_run(run)
    bounds = [(NOW - timedelta(days=i), NOW + timedelta(days=i)) for i in range(1, 5)]
    started = await asyncio.gather(
        *((store, other)[i % 2].start_reading(run.run_id, *pair) for i, pair in enumerate(bounds))
    )
    assert len({(got.since, got.until) for got in started}) == 1
    assert started[0].status == "reading"
    assert started[0].started_at == clock.now()


async def test_a_page_keeps_what_was_asked(store: Store, clock: FakeClock) -> None:
    """The parameters of its request come back with it, by whatever it is looked up; a page without any has none."""
    run = await reading(store, clock)
    asked = {"since": "2025", "ids": ["A"] * 5000, "odd\0": "\ud800"}
    first = await store.save_page(run.run_id, 1, b"[]", cursor=None, last=False, asked=asked)
    assert first is not None
    await store.save_page(run.run_id, 2, b"[]", cursor=None, last=True, asked={})
    kept = (await store.page(run.run_id, 1)).asked
    assert (kept["since"], kept["ids"]) == ("2025", asked["ids"])
    assert (await store.page_of(first.seq)).asked == kept
    assert await store.kept_pages(run.run_id, 5) == [2, 1]
    assert (await store.page(run.run_id, 2)).asked == {}


async def test_pages_are_stored_once_and_in_order(store: Store, clock: FakeClock) -> None:
    """A page is stored with its messages and the next cursor; the same page again is None."""
    run = await reading(store, clock)
    body = b'[{"sku": "A"}]' * 50_000
    saved = await store.save_page(run.run_id, 1, body, cursor="next\0page", last=False)
    assert saved is not None
    assert [messages.decode(message.body) for message in saved.outbox] == [
        messages.PageRead(run.run_id, "winter", 1, 1, saved.seq),
        messages.ReadPage(run.run_id, "winter", 1, 2),
    ]
    assert [message.queue for message in saved.outbox] == ["imageflow.transform.winter", "imageflow.read"]
    assert (saved.run.pages, saved.run.cursor, saved.run.status) == (1, "next\ufffdpage", "reading")
    assert saved.run == await store.run(run.run_id)
    assert await store.save_page(run.run_id, 1, b"other", cursor="x", last=True) is None
    page = await store.page(run.run_id, 1)
    assert (page.body, page.seq, page.page) == (body, saved.seq, 1)
    with pytest.raises(ValueError, match="cannot follow"):
        await store.save_page(run.run_id, 5, b"", cursor=None, last=False)


async def test_two_readers_store_a_page_once(store: Store, other: Store, clock: FakeClock) -> None:
    """Of readers that store the same page at the same time one is the faster one."""
    run = await reading(store, clock)
    for page in range(1, 4):
        saved = await asyncio.gather(
            *((store, other)[i % 2].save_page(run.run_id, page, b"[]", cursor=str(i), last=False) for i in range(4))
        )
        assert sum(one is not None for one in saved) == 1
    assert (await store.run(run.run_id)).pages == 3
    assert len(await store.unsent(0)) == 6


async def test_page_numbers_grow_over_all_runs(store: Store, other: Store, clock: FakeClock) -> None:
    """`seq` orders pages by the time they were stored, over runs and processes."""
    first, second = await reading(store, clock), await reading(store, clock)
    seqs = []
    for page in range(1, 5):
        for run, at in ((first, store), (second, other)):
            saved = await at.save_page(run.run_id, page, b"[]", cursor=None, last=False)
            assert saved is not None
            seqs.append(saved.seq)
    assert seqs == sorted(set(seqs))


async def test_the_last_page_moves_the_watermark(store: Store, clock: FakeClock) -> None:
    """The watermark moves once the last page is read and every page is registered, forward only; by hand it goes anywhere."""
    run = await reading(store, clock)
    await store.save_page(run.run_id, 1, b"[]", cursor=None, last=False)
    assert await store.watermark("winter") is None
    saved = await store.save_page(run.run_id, 2, b"[]", cursor=None, last=True)
    assert saved is not None
    assert (saved.run.status, saved.run.read_complete) == ("draining", True)
    await store.register_page(run.run_id, 1, 0, [])
    assert await store.watermark("winter") is None
    await store.register_page(run.run_id, 2, 1, [])
    assert await store.watermark("winter") == run.until

    await store.set_watermark("winter", NOW + timedelta(days=9))
    later = await reading(store, clock)
    await store.save_page(later.run_id, 1, b"[]", cursor=None, last=True)
    await store.register_page(later.run_id, 1, 0, [])
    assert await store.watermark("winter") == NOW + timedelta(days=9)
    await store.set_watermark("winter", NOW - timedelta(days=9))
    assert await store.watermark("winter") == NOW - timedelta(days=9)
    await store.set_watermark("winter", None)
    await store.set_watermark("winter", None)
    assert await store.watermark("winter") is None


@pytest.mark.parametrize("since", [None, NOW - timedelta(days=9)])
async def test_a_watermark_set_by_hand_stays(store: Store, clock: FakeClock, since: datetime | None) -> None:
    """A run that began to be read before does not undo it; the next run moves it again."""
    await store.set_watermark("winter", NOW - timedelta(days=1))
    run = await reading(store, clock)
    await store.set_watermark("winter", since)
    await store.save_page(run.run_id, 1, b"[]", cursor=None, last=True)
    await store.register_page(run.run_id, 1, 0, [])
    assert await store.watermark("winter") == since
    later = await reading(store, clock)
    await store.save_page(later.run_id, 1, b"[]", cursor=None, last=True)
    await store.register_page(later.run_id, 1, 0, [])
    assert await store.watermark("winter") == later.until


async def test_a_run_that_was_read_keeps_its_bound(store: Store, clock: FakeClock) -> None:
    """Setting the watermark by hand takes the upper bound from a run that is being read, not from one that was read."""
    read = await reading(store, clock)
    await store.save_page(read.run_id, 1, b"[]", cursor=None, last=True)
    going = await reading(store, clock)
    await store.set_watermark("winter", NOW - timedelta(days=9))
    assert (await store.run(read.run_id)).until == read.until is not None
    assert (await store.run(going.run_id)).until is None
    await store.register_page(read.run_id, 1, 0, [])
    assert await store.watermark("winter") == NOW - timedelta(days=9)


async def test_when_the_watermark_stays(store: Store, clock: FakeClock) -> None:
    """A run that may not move it, and a read that failed, leave the watermark alone; a read without pages may move it."""
    run = await reading(store, clock)
    await store.save_page(run.run_id, 1, b"[]", cursor=None, last=True, moves_watermark=False)
    await store.register_page(run.run_id, 1, 0, [])
    failed = await reading(store, clock)
    await store.end_read(failed.run_id, error="the ERP is away", stage="read", moves_watermark=True)
    assert await store.watermark("winter") is None
    empty = await reading(store, clock)
    await store.end_read(empty.run_id, error=None, moves_watermark=True)
    assert await store.watermark("winter") == empty.until


async def test_a_page_that_is_skipped(store: Store, clock: FakeClock) -> None:
    """The read goes on with another cursor for the same page, once; not where it went on or ended meanwhile."""
    run = await reading(store, clock)
    (message,) = await store.skip_page(run.run_id, None, "batch 1")
    assert messages.decode(message.body) == messages.ReadPage(run.run_id, run.flow, run.version, 1)
    assert await store.skip_page(run.run_id, None, "batch 1") == ()
    assert ((await store.run(run.run_id)).cursor, (await store.run(run.run_id)).pages) == ("batch 1", 0)
    await store.end_read(run.run_id, error=None)
    assert await store.skip_page(run.run_id, "batch 1", "batch 2") == ()


@pytest.mark.parametrize("count", [0, 2])
async def test_an_incomplete_read(store: Store, clock: FakeClock, count: int) -> None:
    """Rows that came are written; the run ends `partial`, and the watermark stays."""
    run = await reading(store, clock)
    await store.save_page(run.run_id, 1, b"[]", cursor=None, last=True, incomplete=True)
    await store.register_page(run.run_id, 1, count, [])
    await store.settle("t", [log(run.run_id, number) for number in range(1, count + 1)])
    assert ((await store.run(run.run_id)).status, await store.watermark("winter")) == ("partial", None)
    ended = await store.end_read(
        (await reading(store, clock)).run_id, error=None, moves_watermark=True, incomplete=True
    )
    assert (ended.status, await store.watermark("winter")) == ("partial", None)


@pytest.mark.parametrize("broken", [1, 2])
async def test_a_page_that_failed_as_a_whole(store: Store, clock: FakeClock, broken: int) -> None:
    """It counts as not read, whether it is registered before the read ends or after: the watermark stays."""
    run = await reading(store, clock)
    await store.save_page(run.run_id, 1, b"[]", cursor=None, last=False)
    await store.register_page(run.run_id, 1, 1, [], broken=broken == 1)
    await store.save_page(run.run_id, 2, b"[]", cursor=None, last=True)
    await store.register_page(run.run_id, 2, 1, [], broken=broken == 2)
    await store.settle("t", [log(run.run_id, 1), log(run.run_id, 2)])
    assert ((await store.run(run.run_id)).status, await store.watermark("winter")) == ("success", None)


async def test_a_page_that_is_registered_again(store: Store, clock: FakeClock) -> None:
    """After the run has ended, it does not move a watermark that a person has set."""
    run = await reading(store, clock)
    await store.save_page(run.run_id, 1, b"[]", cursor=None, last=True)
    await store.register_page(run.run_id, 1, 0, [])
    assert (await store.run(run.run_id)).status == "empty"
    await store.set_watermark("winter", NOW - timedelta(days=9))
    await store.register_page(run.run_id, 1, 0, [])
    assert await store.watermark("winter") == NOW - timedelta(days=9)


async def test_a_failed_read(store: Store, clock: FakeClock) -> None:
    """A read that fails takes no more pages; what was read is still written, then the run is failed, with its error."""
    run = await reading(store, clock)
    await store.save_page(run.run_id, 1, b"[]", cursor=None, last=False)
    ended = await store.end_read(run.run_id, error="bad \0 answer", stage="read")
    assert (ended.status, ended.error, ended.error_stage) == ("draining", "bad \ufffd answer", "read")
    assert await store.end_read(run.run_id, error="another", stage="login") == ended
    assert await store.save_page(run.run_id, 2, b"[]", cursor=None, last=True) is None
    await store.register_page(run.run_id, 1, 1, [])
    [done] = await store.settle("t", [log(run.run_id, 1)])
    assert (done.status, done.counts.written) == ("failed", 1)


async def test_a_login_that_failed_before_reading(store: Store, clock: FakeClock) -> None:
    """A run that never came to read ends at once, and the next one begins."""
    run, following = new_run(clock), new_run(clock)
    await store.create_run(run)
    await store.create_run(following)
    await store.release_runs()
    ended = await store.end_read(run.run_id, error="wrong password", stage="login")
    assert (ended.status, ended.finished_at) == ("failed", clock.now())
    assert len(await store.release_runs()) == 1


async def test_warnings(store: Store, other: Store, clock: FakeClock) -> None:
    """A text is added once, however many processes warn, and at most 20 are kept."""
    run = await reading(store, clock)
    texts = [f"warning {i % 15}\0" for i in range(30)]
    await asyncio.gather(*((store, other)[i % 2].warn(run.run_id, text) for i, text in enumerate(texts)))
    assert len((await store.run(run.run_id)).warnings) == 15
    for i in range(20):
        await store.warn(run.run_id, f"more {i}")
    warnings = (await store.run(run.run_id)).warnings
    assert len(warnings) == 20
    assert "warning 3\ufffd" in warnings


async def test_warnings_of_a_page(store: Store, clock: FakeClock) -> None:
    """What a page warns of is on the run before its last row can end it; the page again adds nothing."""
    run = await reading(store, clock)
    await store.save_page(run.run_id, 1, b"[]", cursor=None, last=True)
    for _ in range(2):
        await store.register_page(run.run_id, 1, 1, [log(run.run_id, 0, "superseded")], warnings=["one", "two", "one"])
        ended = await store.run(run.run_id)
        assert (ended.ended, ended.warnings) == (True, ("one", "two"))


async def test_what_a_read_waits_for(store: Store, clock: FakeClock) -> None:
    """The last failure and the next try are noted while the run is reading; the page that comes, and the end, forget them."""
    run = await reading(store, clock)
    soon = clock.now() + timedelta(seconds=5)
    await store.note_wait(run.run_id, "no\nanswer", soon)
    noted = await store.run(run.run_id)
    assert (noted.waits_for, noted.again_at) == ("no answer", soon)
    await store.save_page(run.run_id, 1, b"[]", cursor="c", last=False)
    assert (await store.run(run.run_id)).waits_for is None
    await store.note_wait(run.run_id, "no answer", soon)
    await store.end_read(run.run_id, error="no answer")
    await store.note_wait(run.run_id, "too late", soon)
    ended = await store.run(run.run_id)
    assert (ended.waits_for, ended.again_at) == (None, None)


# outbound -------------------------------------------------------------------------------------------------------------


async def test_a_post(store: Store, clock: FakeClock) -> None:
    """A post is a run with one page and its message."""
    run = post_run(clock)
    post = await accept_post(store, run, b'{"sku": "A"}', rows=1, key=None)
    assert (post.run_id, post.rows, post.repeated, post.conflict) == (run.run_id, 1, False, False)
    assert [messages.decode(message.body) for message in post.outbox] == [
        messages.PageRead(run.run_id, "winter", 1, 1, post.seq)
    ]
    assert (await store.page(run.run_id, 1)).body == b'{"sku": "A"}'
    assert await store.run(run.run_id) == run
    again = await accept_post(store, run, b'{"sku": "A"}', rows=1, key=None)
    assert (again.run_id, again.seq, again.outbox, again.repeated) == (run.run_id, post.seq, post.outbox, True)


async def test_posts_together(store: Store, clock: FakeClock) -> None:
    """Posts that are stored together are numbered in their order; each has what became of it."""
    await store.save_flow(flow_document("other"))
    before = await accept_post(store, post_run(clock), b"[0]", rows=1, key="known")
    runs = [post_run(clock) for _ in range(4)] + [post_run(clock, "other")]
    old = msgspec.structs.replace(post_run(clock), version=7)
    gone = post_run(clock, "nobodys")
    bodies = [b"[1]", b"[2]", b"[0]", b"[3]", b"[4]", b"[5]", b"[6]"]
    keys = ["new", None, "known", "known-too", "known", None, None]
    await accept_post(store, post_run(clock), b"[9]", rows=9, key="known-too")
    posts = [NewPost(run, body, 1, key) for run, body, key in zip([*runs, old, gone], bodies, keys, strict=True)]
    first, second, again, conflict, elsewhere, outdated, deleted = await store.accept_posts(posts)
    assert before.seq < first.seq < second.seq < elsewhere.seq
    for accepted, run, body in ((first, runs[0], b"[1]"), (second, runs[1], b"[2]"), (elsewhere, runs[4], b"[4]")):
        assert (accepted.run_id, accepted.repeated, accepted.conflict, accepted.outdated) == (run.run_id, *[False] * 3)
        assert (await store.page(run.run_id, 1)).body == body
        assert [messages.decode(message.body).run_id for message in accepted.outbox] == [run.run_id]
    assert again == before._replace(repeated=True, page=None)
    assert (conflict.rows, conflict.repeated, conflict.conflict) == (9, True, True)
    assert (outdated.outdated, deleted.outdated) == (True, True)
    assert len(await store.runs()) == 5


async def test_posts_that_share_a_run(store: Store, clock: FakeClock) -> None:
    """Posts of one run are one page, a list of their image sets in their order; each keeps its rows and its key. What was
    posted before is not in it.
    """
    before = await accept_post(store, post_run(clock), b'{"n":0}', rows=1, key="known")
    run, alone = post_run(clock), post_run(clock)
    bodies, keys = (b'{"n":1}', b'{"n":0}', b'[{"n":2},{"n":3}]'), ("new", "known", None)
    posts = [
        NewPost(run, body, body.count(b"n"), key, body.strip(b"[]")) for body, key in zip(bodies, keys, strict=True)
    ]
    posts.append(NewPost(alone, b'{"n":4}', 1, None, b'{"n":4}'))
    first, again, last, other = await store.accept_posts(posts)
    assert ([first.run_id, last.run_id], [first.rows, last.rows]) == ([run.run_id] * 2, [1, 2])
    assert (again.run_id, again.repeated, again.page) == (before.run_id, True, None)
    assert (await store.page(run.run_id, 1)).body == first.page == b'[{"n":1},{"n":2},{"n":3}]'
    assert (await store.page(alone.run_id, 1)).body == other.page == b'{"n":4}'
    assert [messages.decode(message.body) for message in first.outbox] == [
        messages.PageRead(run.run_id, "winter", 1, 1, first.seq)
    ]
    assert (last.outbox, last.seq) == ((), first.seq)
    assert first.seq < other.seq
    repeat = await accept_post(store, post_run(clock), b'{"n":1}', rows=1, key="new")
    assert (repeat.run_id, repeat.rows, repeat.outbox, repeat.page) == (run.run_id, 1, first.outbox, None)
    assert len(await store.runs()) == 3


async def test_runs_of_posts_that_differ(store: Store, clock: FakeClock) -> None:
    """Runs are stored as they are, also where they differ in more than posts' runs do."""
    runs = [post_run(clock), msgspec.structs.replace(post_run(clock), window=True, warnings=("w",), started_at=None)]
    accepted = await store.accept_posts([NewPost(run, b"[1]", 1) for run in runs])
    assert [await store.run(one.run_id) for one in accepted] == runs
    assert accepted[0].seq < accepted[1].seq
    assert [messages.decode(one.outbox[0].body).seq for one in accepted] == [one.seq for one in accepted]
    assert sorted(left.body for left in await store.unsent(0)) == sorted(one.outbox[0].body for one in accepted)


async def test_no_posts(store: Store) -> None:
    """Nothing to store is stored."""
    assert await store.accept_posts([]) == []


async def test_idempotency_keys(store: Store, clock: FakeClock) -> None:
    """The same key again adds nothing and gives the first run, with its message until that is sent."""
    first = await accept_post(store, post_run(clock), b"[1]", rows=1, key="k\0ey" * 1000)
    again = await accept_post(store, post_run(clock), b"[1]", rows=1, key="k\0ey" * 1000)
    assert again == first._replace(repeated=True, page=None)
    await store.sent([message.id for message in first.outbox])
    again = await accept_post(store, post_run(clock), b"[1]", rows=1, key="k\0ey" * 1000)
    assert (again.repeated, again.conflict, again.outbox) == (True, False, ())
    other = await accept_post(store, post_run(clock), b"[2]", rows=1, key="k\0ey" * 1000)
    assert (other.run_id, other.conflict) == (first.run_id, True)
    await store.save_flow(flow_document("other"))
    elsewhere = await accept_post(store, post_run(clock, "other"), b"[2]", rows=1, key="k\0ey" * 1000)
    assert not elsewhere.repeated
    assert len(await store.runs()) == 2


async def test_idempotency_keys_expire(store: Store, clock: FakeClock) -> None:
    """After 24 hours a key is new again."""
    first = await accept_post(store, post_run(clock), b"[1]", rows=1, key="key")
    clock.move(23 * 3600)
    assert (await accept_post(store, post_run(clock), b"[1]", rows=1, key="key")).run_id == first.run_id
    clock.move(3700)
    fresh = await accept_post(store, post_run(clock), b"[2]", rows=1, key="key")
    assert (fresh.repeated, fresh.run_id != first.run_id) == (False, True)


async def test_the_same_post_at_once(store: Store, other: Store, clock: FakeClock) -> None:
    """Of posts with the same key that arrive at the same moment one is stored."""
    runs = [post_run(clock) for _ in range(6)]
    posts = await asyncio.gather(
        *(accept_post((store, other)[i % 2], run, b"[1]", rows=1, key="key") for i, run in enumerate(runs))
    )
    assert sum(not post.repeated for post in posts) == 1
    assert len({post.run_id for post in posts}) == 1
    assert len(await store.runs()) == 1


# pages and rows -------------------------------------------------------------------------------------------------------


async def test_registering_numbers_rows(store: Store, clock: FakeClock) -> None:
    """Rows are numbered from 1 through the run; invalid ones are logged at once; the same again changes nothing."""
    run = await reading(store, clock)
    for page in (1, 2):
        await store.save_page(run.run_id, page, b"[]", cursor=None, last=page == 2)
    bad = failure("", 1, stage="rows", product=None, images=(), payload={"url": "x"}, page=None)
    first = await store.register_page(run.run_id, 1, 3, [bad])
    second = await store.register_page(run.run_id, 2, 2, [])
    assert (first.numbers, second.numbers, first.first_time) == ((1, 2, 3), (4, 5), True)
    again = await store.register_page(run.run_id, 1, 3, [bad])
    assert (again.numbers, again.first_time) == ((1, 0, 3), False)  # 0: it is logged already
    loaded = await store.run(run.run_id)
    assert (loaded.counts, loaded.pages_done) == (Counts(total=5, failed=1), 2)
    [logged] = await store.rows(run.run_id)
    assert logged == msgspec.structs.replace(bad, run_id=run.run_id, row=2, page=1, settled_at=clock.now())


async def test_a_page_registered_at_once(store: Store, other: Store, clock: FakeClock) -> None:
    """Transformers that register the same page at the same time give its rows the same numbers."""
    run = await reading(store, clock)
    await store.save_page(run.run_id, 1, b"[]", cursor=None, last=True)
    got = await asyncio.gather(*((store, other)[i % 2].register_page(run.run_id, 1, 7, []) for i in range(6)))
    assert {one.numbers for one in got} == {tuple(range(1, 8))}
    assert sum(one.first_time for one in got) == 1
    assert (await store.run(run.run_id)).counts.total == 7


async def test_a_page_that_has_more_rows_the_second_time(store: Store, clock: FakeClock) -> None:
    """Additional rows get additional numbers, and settled ones among them are logged."""
    run = await reading(store, clock)
    for page in (1, 2):
        await store.save_page(run.run_id, page, b"[]", cursor=None, last=page == 2)
    await store.register_page(run.run_id, 1, 2, [])
    await store.register_page(run.run_id, 2, 2, [])
    grown = await store.register_page(run.run_id, 1, 4, [failure("", 3)])
    assert grown.numbers == (1, 2, 5, 6)
    assert (await store.register_page(run.run_id, 1, 4, [failure("", 3)])).numbers == (
        1,
        2,
        5,
        0,
    )  # 0: it is logged already
    loaded = await store.run(run.run_id)
    assert (loaded.counts, loaded.pages_done) == (Counts(total=6, failed=1), 2)
    assert [row.row for row in await store.rows(run.run_id)] == [6]


async def test_a_page_that_has_fewer_rows_the_second_time(store: Store, clock: FakeClock) -> None:
    """Rows that are missing fail and say why, so that the run ends and balances."""
    run_id = await draining(store, clock, 3)
    fewer = await store.register_page(run_id, 1, 1, [])
    assert fewer.numbers == (1,)
    assert {(row.row, row.state) for row in await store.rows(run_id)} == {(2, "failed"), (3, "failed")}
    [ended] = await store.settle("t", [log(run_id, 1)])
    assert (ended.status, ended.counts) == ("partial", Counts(total=3, written=1, failed=2))


async def test_no_more_rows_after_the_end(store: Store, clock: FakeClock) -> None:
    """A page that comes again after the run has ended gives it no more rows, and a page that was never stored none at all."""
    run_id = await draining(store, clock, 1)
    with pytest.raises(NotFoundError, match="has no page 2"):
        await store.register_page(run_id, 2, 1, [])
    await store.settle("t", [log(run_id, 1)])
    assert (await store.register_page(run_id, 1, 1, [])).numbers == (0,)  # it is logged already
    with pytest.raises(NotFoundError, match="has ended"):
        await store.register_page(run_id, 1, 2, [])
    ended = await store.run(run_id)
    assert (ended.status, ended.counts.total) == ("success", 1)


async def test_which_rows_are_in_flight(store: Store, clock: FakeClock) -> None:
    """Those that are registered and have no log, or are being retried; none of a run that has ended or does not exist."""
    run_id = await draining(store, clock, 3)
    await store.settle("t", [log(run_id, 2, "failed")])
    assert await store.in_flight(run_id, [0, 1, 2, 3, 4, 2**40]) == ({1, 3}, False)
    assert await store.in_flight(run_id, []) == (set(), False)
    await store.settle("t", [log(run_id, 1), log(run_id, 3)])
    assert await store.in_flight(run_id, [1, 2, 3]) == (set(), False)
    with pytest.raises(NotFoundError, match="there is no run"):
        await store.in_flight("20261128-000000-none", [1])


@pytest.mark.parametrize(
    ("settled", "status"),
    [([], "empty"), (["written", "failed"], "partial"), (["failed"], "failed"), (["superseded"], "success")],
)
async def test_how_a_run_ends(store: Store, clock: FakeClock, settled: list[str], status: str) -> None:
    """A run whose rows are all settled when they are registered ends there; its status follows from them."""
    run = await reading(store, clock)
    await store.save_page(run.run_id, 1, b"[]", cursor=None, last=True)
    await store.register_page(run.run_id, 1, len(settled), [log("", i, state) for i, state in enumerate(settled)])
    ended = await store.run(run.run_id)
    assert (ended.status, ended.finished_at) == (status, clock.now())


async def test_a_run_ends_when_its_read_ends_last(store: Store, clock: FakeClock) -> None:
    """A run whose rows were settled before the read was complete ends with the read."""
    run = await reading(store, clock)
    await store.save_page(run.run_id, 1, b"[]", cursor=None, last=False)
    await store.register_page(run.run_id, 1, 1, [])
    assert await store.settle("t", [log(run.run_id, 1)]) == []
    assert (await store.end_read(run.run_id, error=None)).status == "success"


# group: run -----------------------------------------------------------------------------------------------------------


def held(product: str, version: int) -> HeldRow:
    return HeldRow(product, "sku", version, (Image(f"https://cdn.example.com/{version}.png"),))


async def test_held_rows_are_joined_once(store: Store, other: Store, clock: FakeClock) -> None:
    """With `group: run`, the join is asked for once, after the last page; the run ends after it."""
    await store.save_flow(flow_document("grouped", group="run"))
    run = await reading(store, clock, "grouped")
    assert not run.joining
    for page in (1, 2):
        await store.save_page(run.run_id, page, b"[]", cursor=None, last=page == 2)
    await store.register_page(run.run_id, 1, 1, [failure("", 0)], held=[held("B", 3), held("A\0", 1)])
    assert (await store.run(run.run_id)).joining
    pages = [(store, other)[i % 2].register_page(run.run_id, 2, 0, [], held=[held("B", 2)]) for i in range(4)]
    outboxes = [message for got in await asyncio.gather(*pages) for message in got.outbox]
    assert [messages.decode(message.body) for message in outboxes] == [messages.RunRead(run.run_id, "grouped", 1)]
    assert outboxes[0] in await store.unsent(0)
    assert (await store.run(run.run_id)).status == "draining"

    first = await store.held_rows(run.run_id, None, 1)
    second = await store.held_rows(run.run_id, first[-1].product, 10)
    assert [(row.product, row.version) for row in (*first, *second)] == [("A\0", 1), ("B", 2), ("B", 3)]
    assert second[0] == held("B", 2)
    assert await store.held_rows(run.run_id, "B", 10) == []

    joined = await store.register_page(run.run_id, -1, 2, [])
    assert (joined.numbers, joined.outbox) == ((2, 3), ())
    assert (await store.register_page(run.run_id, -1, 2, [])).numbers == (2, 3)
    assert await store.settle("t", [log(run.run_id, 2), log(run.run_id, 3)]) == []
    await store.end_join(run.run_id)
    await store.end_join(run.run_id)
    ended = await store.run(run.run_id)
    assert (ended.status, ended.pages_done, ended.joining) == ("partial", 2, False)
    assert await store.held_rows(run.run_id, None, 10) == []


async def test_the_join_goes_on_after_a_failed_read(store: Store, clock: FakeClock) -> None:
    """Rows held back before the read failed are joined and written as well."""
    await store.save_flow(flow_document("grouped", group="run"))
    run = await reading(store, clock, "grouped")
    await store.save_page(run.run_id, 1, b"[]", cursor=None, last=False)
    await store.register_page(run.run_id, 1, 0, [], held=[held("A", 1)])
    await store.sent([message.id for message in await store.unsent(0)])
    await store.end_read(run.run_id, error="away", stage="read")
    assert [messages.decode(m.body) for m in await store.unsent(0)] == [messages.RunRead(run.run_id, "grouped", 1)]
    await store.register_page(run.run_id, -1, 1, [])
    await store.end_join(run.run_id)
    [ended] = await store.settle("t", [log(run.run_id, 1)])
    assert ended.status == "failed"


async def test_nothing_held_needs_no_join(store: Store, clock: FakeClock) -> None:
    """A run with `group: run` that kept no rows ends without a join; a post joins too."""
    await store.save_flow(flow_document("grouped", group="run"))
    run = await reading(store, clock, "grouped")
    await store.save_page(run.run_id, 1, b"[]", cursor=None, last=True)
    assert (await store.register_page(run.run_id, 1, 0, [])).outbox == ()
    assert (await store.run(run.run_id)).status == "empty"
    post = await accept_post(store, post_run(clock, "grouped"), b"[]", rows=0, key=None)
    registered = await store.register_page(post.run_id, 1, 0, [], held=[held("x" * 5000, 1)])
    assert len(registered.outbox) == 1
    [row] = await store.held_rows(post.run_id, None, 5)
    assert row.product == "x" * 5000
    assert await store.held_rows(post.run_id, row.product, 5) == []


async def test_what_stands_beside_held_rows(store: Store, clock: FakeClock) -> None:
    """Logs of products that have held rows, too, are found in steps; more may be held; a reason travels with a row."""
    run = await reading(store, clock)
    await store.save_page(run.run_id, 1, b"[]", cursor=None, last=True)
    logs = [msgspec.structs.replace(failure("", i), product=product) for i, product in enumerate(["A", "B", None, "A"])]
    await store.register_page(run.run_id, 1, 4, logs, held=[held("A", 1), held("C", 2)])
    assert [log.row for log in await store.rows_beside(run.run_id, 0)] == [1, 4]
    assert [log.row for log in await store.rows_beside(run.run_id, 1, limit=1)] == [4]
    more = HeldRow("A", "sku", 9, (), "spoiled")
    await store.hold_more(run.run_id, [more])
    assert await store.held_rows(run.run_id, None, 1) == [held("A", 1), more]
    assert not await store.join_begun(run.run_id)
    await store.register_page(run.run_id, -1, 1, [])
    assert await store.join_begun(run.run_id)


async def test_parts_of_a_product_on_two_pages(store: Store, other: Store, clock: FakeClock) -> None:
    """Of two pages with a part of one product the first to come has it, however often they come again."""
    run = await reading(store, clock)
    for page in (1, 2):
        await store.save_page(run.run_id, page, b"[]", cursor=None, last=page == 2)
    parts = [msgspec.structs.replace(failure("", i), product=product) for i, product in enumerate(["A", "x" * 5000])]
    for _ in range(2):
        second = await store.register_page(run.run_id, 2, 2, [], parts=parts)
        assert (second.refused, second.numbers) == ((), (1, 2))
        # the index of its log is that of its row
        first = await other.register_page(run.run_id, 1, 2, [], parts=[parts[1]])
        assert ([log.row for log in first.refused], first.numbers) == ([1], (3, 0))
    assert [(log.row, log.state) for log in await store.rows(run.run_id)] == [(4, "failed")]


# claims and the ledger ------------------------------------------------------------------------------------------------


async def test_claiming_and_settling(store: Store, clock: FakeClock) -> None:
    """A product is one token's until it is settled; then the ledger says what was written."""
    run_id = await draining(store, clock, 2)
    await store.alive("a", 60)
    [claim] = await store.claim(DOMAIN, "a", "t1", [Wanted("A", 5)])
    assert (claim.product, claim.mine, claim.busy, claim.version, claim.digest) == ("A", True, False, -1, None)
    assert (await store.claim(DOMAIN, "a", "t1", [Wanted("A", 5)]))[0].mine
    [busy] = await store.claim(DOMAIN, "a", "t2", [Wanted("A", 6)])
    assert (busy.mine, busy.busy) == (False, True)
    assert (await store.claim("https://other", "a", "t2", [Wanted("A", 6)]))[0].mine
    await store.settle("t1", [log(run_id, 1)], written=[LedgerEntry(DOMAIN, "A", 5, "digest", run_id, 1)])
    [known] = await store.claim(DOMAIN, "a", "t2", [Wanted("A", 6)])
    assert known == ("A", True, False, 5, "digest")
    [older] = await store.claim(DOMAIN, "a", "t3", [Wanted("A", 4)])
    assert (older.mine, older.busy, older.version) == (False, False, 5)


async def test_claims_are_answered_in_the_order_asked(store: Store) -> None:
    """Answers come in the order of the question, whatever a product's name looks like."""
    await store.alive("a", 60)
    names = ["b", "a", "ü" * 4000, "nul\0", "\ud800", "", "Z", "c" * 4000, "'; DROP TABLE rows; --"]
    claims = await store.claim(DOMAIN, "a", "t", [Wanted(name, 1) for name in names])
    assert [claim.product for claim in claims] == names
    assert all(claim.mine for claim in claims)
    others = await store.claim(DOMAIN, "a", "t2", [Wanted(name, 1) for name in reversed(names)])
    assert [claim.product for claim in others] == names[::-1]
    assert all(claim.busy and not claim.mine for claim in others)
    await store.settle("t", [], release=[(DOMAIN, name) for name in names])
    assert all(claim.mine for claim in await store.claim(DOMAIN, "a", "t2", [Wanted(name, 1) for name in names]))


async def test_products_that_are_one_key(store: Store) -> None:
    """Two products that the database cannot tell apart are not claimed at once."""
    await store.alive("a", 60)
    claims = await store.claim(DOMAIN, "a", "t", [Wanted("A\0", 1), Wanted("A\ufffd", 2)])
    assert [(claim.mine, claim.busy) for claim in claims] == [(True, False), (False, True)]


async def test_nothing_to_claim_or_settle(store: Store) -> None:
    """Empty calls are allowed."""
    assert await store.claim(DOMAIN, "a", "t", []) == []
    assert await store.settle("t", []) == []
    await store.sent([])


async def test_claims_of_the_dead(store: Store, clock: FakeClock) -> None:
    """A claim holds as long as its owner lives; who renews in time keeps it, a shorter renewal shortens nothing."""
    await store.alive("a", 30)
    await store.alive("b", 1000)
    await store.claim(DOMAIN, "a", "t1", [Wanted("A", 1)])
    clock.move(20)
    await store.alive("a", 30)
    await store.alive("a", 1)
    clock.move(20)
    assert (await store.claim(DOMAIN, "b", "t2", [Wanted("A", 1)]))[0].busy
    clock.move(20)
    assert (await store.claim(DOMAIN, "b", "t2", [Wanted("A", 1)]))[0].mine
    assert (await store.claim(DOMAIN, "a", "t1", [Wanted("A", 1)]))[0].busy


async def test_claims_of_those_who_are_gone(store: Store) -> None:
    """Claims end when their owner says so, and do not come back when the name does."""
    await store.alive("a", 1000)
    await store.alive("b", 1000)
    await store.claim(DOMAIN, "a", "t1", [Wanted("A", 1)])
    await store.claim(DOMAIN, "b", "t2", [Wanted("B", 1)])
    await store.gone("a")
    await store.alive("a", 1000)
    claims = await store.claim(DOMAIN, "b", "t3", [Wanted("A", 1), Wanted("B", 1)])
    assert [(claim.mine, claim.busy) for claim in claims] == [(True, False), (False, True)]
    await store.gone("*")
    await store.gone("*")
    assert all(claim.mine for claim in await store.claim(DOMAIN, "c", "t4", [Wanted("A", 1), Wanted("B", 1)]))


async def test_a_claim_is_never_two_writers(store: Store, other: Store, clock: FakeClock) -> None:
    """Writers that claim overlapping products over and over never hold one at the same time, and never deadlock."""
    await store.alive("a", 1000)
    await store.alive("b", 1000)
    holder: dict[str, str] = {}

    async def writer(at: Store, owner: str, name: str) -> int:
        chance = random.Random(name)
        won = 0
        for turn in range(12):
            token = f"{name}-{turn}"
            wanted = [Wanted(f"p{number}", turn) for number in chance.sample(range(30), 12)]
            mine = [claim.product for claim in await at.claim(DOMAIN, owner, token, wanted) if claim.mine]
            for product in mine:
                assert holder.setdefault(product, token) == token
            await asyncio.sleep(0.002)
            for product in mine:
                del holder[product]
            chance.shuffle(mine)
            await at.settle(token, [], release=[(DOMAIN, product) for product in mine])
            won += len(mine)
        return won

    writers = [writer((store, other)[i % 2], "ab"[i % 2], f"w{i}") for i in range(6)]
    assert all(await asyncio.gather(*writers))
    assert holder == {}


async def test_the_ledger_never_goes_back(store: Store, clock: FakeClock) -> None:
    """An older version never replaces a newer one, even where it is settled later; an equal one may."""
    run_id = await draining(store, clock, 9)
    await store.alive("a", 60)
    entries = [LedgerEntry(DOMAIN, "A", version, f"d{version}", run_id, version) for version in (3, 1, 5, 4)]
    for entry in [*entries, LedgerEntry(DOMAIN, "A", 5, "again", run_id, 6)]:
        await store.claim(DOMAIN, "a", "t", [Wanted("A", 9)])
        await store.settle("t", [], written=[entry])
    [claim] = await store.claim(DOMAIN, "a", "t", [Wanted("A", 9)])
    assert (claim.version, claim.digest) == (5, "again")
    await store.settle("t", [], written=entries)
    [claim] = await store.claim(DOMAIN, "a", "t", [Wanted("A", 9)])
    assert (claim.version, claim.digest) == (5, "d5")


async def known(store: Store, run_id: str, *products: str, version: int = 0, digest: str = "same") -> None:
    """The ledger has an image set for each product."""
    await store.claim(DOMAIN, "a", "known", [Wanted(name, version) for name in products])
    entries = [LedgerEntry(DOMAIN, name, version, digest, run_id, 0) for name in products]
    await store.settle("known", [], written=entries)


def coming(row: int, **fields: Any) -> Row:
    """A row on its way, with the set that `known` knows."""
    return Row(row=row, **{"version": row, "product": f"sku-{row}", "images": IMAGES, "digest": "same", **fields})


async def test_skipping(store: Store, clock: FakeClock) -> None:
    """Settled as unchanged is what the ledger has with the same set of an older row, unless it is claimed; the rest stays."""
    run_id = await draining(store, clock, 6)
    await store.alive("a", 60)
    await known(store, run_id, "sku-1", "sku-2", "sku-4", "other")
    await known(store, run_id, "sku-3", version=4)
    await store.claim(DOMAIN, "a", "t2", [Wanted("sku-4", 1)])
    offered = [coming(row, digest="another" if row == 2 else "same") for row in (6, 5, 4, 3, 2, 1)]
    assert await store.skip("https://other", run_id, offered) == (frozenset(), [])
    assert await store.skip(DOMAIN, run_id, offered) == (frozenset({1}), [])
    assert (await store.run(run_id)).counts == Counts(total=6, unchanged=1)
    [logged] = await store.rows(run_id)
    assert logged == log(run_id, 1, "unchanged", page=None, settled_at=clock.now())
    [state] = await store.ledger("sku-1", [DOMAIN])
    assert (state.version, state.digest, state.run_id, state.row) == (1, "same", run_id, 1)
    [older] = await store.claim(DOMAIN, "a", "t3", [Wanted("sku-1", 0)])
    assert (older.mine, older.version) == (False, 1)
    await store.settle("t2", [log(run_id, row) for row in (2, 3, 5, 6)], release=[(DOMAIN, "sku-4")])
    skipped = await store.skip(DOMAIN, run_id, offered)
    assert skipped.rows == {4}
    assert [run.counts for run in skipped.ended] == [Counts(total=6, written=4, unchanged=2)]


async def test_digests_of_what_was_written(store: Store, clock: FakeClock) -> None:
    """Of those products that were written to a domain; a claim alone is no write, and another domain is another shop."""
    run_id = await draining(store, clock, 2)
    await known(store, run_id, "A", "B", version=1)
    await store.claim(DOMAIN, "a", "t9", [Wanted("C", 1)])
    asked = ["A", "B", "C", "D"]
    found = await store.written_digests(DOMAIN, asked)
    assert set(found) == {"A", "B"}
    assert found["A"] == (await store.ledger("A", [DOMAIN]))[0].digest
    assert await store.written_digests("https://other", asked) == {}
    assert await store.written_digests(DOMAIN, []) == {}


async def test_what_other_runs_wrote_since(store):
    """Of the products of a run that are asked for, those whose entry names another run."""
    entries = [("A", "r1"), ("Ä b", "r2"), ("C", "r2"), ("D", None)]
    await store.settle("", [], written=[LedgerEntry(DOMAIN, product, 5, "d", run, 1) for product, run in entries])
    assert await store.written_since(DOMAIN, "r1", ["A", "Ä b", "D", "E"]) == {"Ä b"}
    assert await store.written_since("https://other", "r1", ["C"]) == set()
    assert await store.written_since(DOMAIN, "r1", []) == set()
    assert await store.overtaken(DOMAIN, {"A": 4, "Ä b": 5, "E": 1}) == {"A"}
    assert await store.overtaken("https://other", {"A": 0}) == set()


async def test_skipping_counts_once(store: Store, clock: FakeClock) -> None:
    """A row that is settled already is not counted again, nor its log changed; one that is retried changes in place."""
    run_id = await draining(store, clock, 3)
    await known(store, run_id, "sku-1", "sku-2", "sku-3")
    await store.settle("t", [log(run_id, 1), failure(run_id, 2)])
    offered = [coming(row, attempts=row) for row in (1, 2, 3)]
    await store.skip(DOMAIN, run_id, offered)
    await store.skip(DOMAIN, run_id, offered)
    assert [row.state for row in await store.rows(run_id)] == ["written", "failed", "unchanged"]
    assert (await store.run(run_id)).counts == Counts(total=3, written=1, unchanged=1, failed=1)
    await store.reopen(run_id, row=2)
    await known(store, run_id, "sku-2", version=5, digest="same")
    assert (await store.skip(DOMAIN, run_id, [coming(2, version=9)])).rows == {2}
    assert (await store.run(run_id)).counts == Counts(total=3, written=1, unchanged=2)


async def test_products_that_are_no_key_are_not_skipped(store: Store, clock: FakeClock) -> None:
    """What the ledger keeps under another name than the row's is left to be claimed."""
    run_id = await draining(store, clock, 2)
    names = ["ü" * 4000, "nul\0"]
    await known(store, run_id, *names)
    offered = [coming(row, product=name) for row, name in enumerate(names, 1)]
    assert await store.skip(DOMAIN, run_id, offered) == (frozenset(), [])


async def contended(store: Store, clock: FakeClock, products: int) -> tuple[str, list[str]]:
    """A run, and products that the ledger has, for rows that come all at once."""
    run_id = await draining(store, clock, 100_000)
    names = [f"p{n:02}" for n in range(products)]
    await known(store, run_id, *names)
    await store.alive("a", 1000)
    return run_id, names


async def skip_again(at: Store, run_id: str, numbers: Iterator[int], names: list[str]) -> frozenset[int]:
    """Offer the newest rows of these products, with the set that is there; the numbers of those that were skipped."""
    chosen = [(next(numbers), name) for name in names]
    return (await at.skip(DOMAIN, run_id, [coming(number, product=name) for number, name in chosen])).rows


async def test_skipping_beside_claims(store: Store, clock: FakeClock, other: Store) -> None:
    """The holder of a claim sees no other version come under it, however many skip the same products meanwhile."""
    run_id, names = await contended(store, clock, 12)
    numbers = itertools.count(1)
    skipped: list[int] = []

    async def skip(at: Store, chance: random.Random) -> None:
        for _ in range(40):
            skipped.extend(await skip_again(at, run_id, numbers, chance.sample(names, 8)))

    async def write(at: Store, token: str, chance: random.Random) -> None:
        for _ in range(40):
            wanted = [Wanted(name, next(numbers)) for name in chance.sample(names, 4)]
            mine = {claim.product: claim for claim in await at.claim(DOMAIN, "a", token, wanted) if claim.mine}
            await asyncio.sleep(0.002)
            for name, claim in mine.items():
                [state] = await store.ledger(name, [DOMAIN])
                assert state.version == claim.version
            await at.settle(token, [], release=[(DOMAIN, name) for name in mine])

    async with asyncio.TaskGroup() as group:
        for seed in range(3):
            group.create_task(skip((store, other)[seed % 2], random.Random(seed)))
            group.create_task(write((store, other)[seed % 2], f"w{seed}", random.Random(seed)))
    assert len(skipped) == len(set(skipped)) == (await store.run(run_id)).counts.unchanged > 0


async def test_skipping_beside_settling(store: Store, clock: FakeClock, other: Store) -> None:
    """Rows of one run that are skipped and settled at once, for the same products, do not lock each other out."""
    run_id, names = await contended(store, clock, 60)
    numbers = itertools.count(1)

    async def skip(at: Store, chance: random.Random) -> None:
        for _ in range(15):
            await skip_again(at, run_id, numbers, chance.sample(names, 30))

    async def write(at: Store, token: str, chance: random.Random) -> None:
        for _ in range(15):
            wanted = [Wanted(name, next(numbers)) for name in chance.sample(names, 30)]
            claims = await at.claim(DOMAIN, "a", token, wanted)
            mine = [item for item, claim in zip(wanted, claims, strict=True) if claim.mine]
            logs = [log(run_id, item.version, product=item.product, version=item.version) for item in mine]
            entries = [LedgerEntry(DOMAIN, item.product, item.version, "same", run_id, item.version) for item in mine]
            await at.settle(token, logs, written=entries)

    async with asyncio.TaskGroup() as group:
        for seed in range(2):
            group.create_task(skip((store, other)[seed], random.Random(seed)))
            group.create_task(write((store, other)[seed], f"w{seed}", random.Random(seed)))
    if not isinstance(store._database, SqliteDatabase):
        await asyncio.sleep(1.2)  # the server's statistics come late
        asked = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        assert await store._database.transact(lambda tx: tx.value(asked), writing=False) == 0
    counts = (await store.run(run_id)).counts
    assert counts.written + counts.unchanged == len(await store.rows(run_id, limit=10_000))


async def test_what_nobody_knows_is_forgotten(store: Store, clock: FakeClock) -> None:
    """After a write that may have been taken no row counts as unchanged; so it is with the claims of the dead, and when they turn out to live."""
    run_id = await draining(store, clock, 9)
    await known(store, run_id, "A", "B", "C", "new", version=2)
    await store.alive("a", 10)
    await store.claim(DOMAIN, "a", "t1", [Wanted(name, 3) for name in "ABC"])
    await store.settle("t1", [], written=[LedgerEntry(DOMAIN, "A", 2, None, None, None)])
    [state] = await store.ledger("A", [DOMAIN])
    assert (state.version, state.digest, state.run_id, state.row, state.in_flight) == (2, None, run_id, 0, None)
    assert (await store.skip(DOMAIN, run_id, [coming(5, product="A")])).rows == frozenset()
    clock.move(20)
    await store.alive("b", 1000)
    [taken] = await store.claim(DOMAIN, "b", "t2", [Wanted("B", 4)])
    assert (taken.mine, taken.version, taken.digest) == (True, 2, None)
    await store.gone("a")
    assert [one.digest for name in "BC" for one in await store.ledger(name, [DOMAIN])] == [None, None]
    await store.settle("t2", [], written=[LedgerEntry(DOMAIN, "B", 4, "next", run_id, 4)])
    await store.settle("t1", [], written=[LedgerEntry(DOMAIN, "B", 2, None, None, None)])
    [state] = await store.ledger("B", [DOMAIN])
    assert (state.version, state.digest, state.row) == (4, None, 4)


async def taken_over(store: Store, clock: FakeClock, *products: str) -> str:
    """A run, and products that token "late" claimed for version 1 and "other" took over for version 2."""
    run_id = await draining(store, clock, 9)
    await store.alive("slow", 1)
    await store.alive("fast", 1000)
    await store.claim(DOMAIN, "slow", "late", [Wanted(name, 1) for name in products])
    clock.move(2)
    claims = await store.claim(DOMAIN, "fast", "other", [Wanted(name, 2) for name in products])
    assert all(claim.mine for claim in claims)
    return run_id


async def test_a_late_writer_is_fenced(store: Store, clock: FakeClock) -> None:
    """Who lost its claim still enters what it wrote, and ends nobody else's claim."""
    run_id = await taken_over(store, clock, "A")
    written = LedgerEntry(DOMAIN, "A", 1, "slow", run_id, 1)
    await store.settle("late", [log(run_id, 1)], written=[written], release=[(DOMAIN, "A")])
    assert await store.claim(DOMAIN, "fast", "t3", [Wanted("A", 3)]) == [Claim("A", False, True, 1, None)]
    [state] = await store.ledger("A", [DOMAIN])
    assert (state.run_id, state.row) == (run_id, 1)


@pytest.mark.parametrize("late_first", [True, False])
@pytest.mark.parametrize(
    ("late", "other"),
    [
        ((1, "old"), (2, "new")),
        ((1, "same"), (2, "same")),
        ((1, None), (2, "new")),
        ((1, "old"), (2, None)),
        ((-1, None), (2, "new")),
        ((1, "old"), (-1, None)),
    ],
    ids=["written", "same set", "late in doubt", "other in doubt", "late wrote nothing", "other wrote nothing"],
)
async def test_two_who_wrote_at_once(
    store: Store, clock: FakeClock, late_first: bool, late: tuple[int, str | None], other: tuple[int, str | None]
) -> None:
    """In either order: which of two sets came last is unknown, and no row passes for unchanged until one is written."""
    run_id = await taken_over(store, clock, "A")
    for token in ("late", "other") if late_first else ("other", "late"):
        version, digest = late if token == "late" else other
        entry = LedgerEntry(DOMAIN, "A", version, digest, run_id, 1)
        entered = {"written": [entry]} if version >= 0 else {"release": [(DOMAIN, "A")]}
        await store.settle(token, [], **entered)  # type: ignore[arg-type]
    [claim] = await store.claim(DOMAIN, "fast", "t3", [Wanted("A", 3)])
    assert (claim.mine, claim.digest) == (True, None)
    await store.settle("t3", [], written=[LedgerEntry(DOMAIN, "A", 3, "newest", run_id, 3)])
    [state] = await store.ledger("A", [DOMAIN])
    assert (state.version, state.digest) == (3, "newest")


async def test_entering_twice(store: Store, clock: FakeClock) -> None:
    """Who settles again, because no answer came, does not forget what the ledger knows; nor if the set came again since."""
    run_id = await draining(store, clock, 9)
    await store.alive("a", 60)
    await store.claim(DOMAIN, "a", "t1", [Wanted("A", 1)])
    entry = LedgerEntry(DOMAIN, "A", 1, "same", run_id, 1)
    for _ in range(2):
        await store.settle("t1", [log(run_id, 1)], written=[entry])
    assert await store.claim(DOMAIN, "a", "t2", [Wanted("A", 2)]) == [Claim("A", True, False, 1, "same")]
    await store.settle("t2", [], release=[(DOMAIN, "A")])
    assert (await store.skip(DOMAIN, run_id, [coming(5, product="A")])).rows == {5}
    await store.settle("t1", [], written=[entry])
    [state] = await store.ledger("A", [DOMAIN])
    assert (state.version, state.digest) == (5, "same")


async def test_settling_counts_a_row_once(store: Store, clock: FakeClock) -> None:
    """A row is logged and counted once, whatever is said of it later; the run ends once."""
    run_id = await draining(store, clock, 2)
    assert await store.settle("t", [log(run_id, 1), failure(run_id, 1)]) == []
    assert await store.settle("t", [failure(run_id, 1)]) == []
    [ended] = await store.settle("t", [log(run_id, 2, "unchanged"), log(run_id, 1)])
    assert ended == await store.run(run_id)
    assert (ended.status, ended.counts) == ("success", Counts(total=2, written=1, unchanged=1))
    assert (ended.finished_at, ended.trigger.ids) == (clock.now(), ("A", "B"))
    assert await store.settle("t", [log(run_id, 2)]) == []
    assert [row.state for row in await store.rows(run_id)] == ["written", "unchanged"]


async def test_settling_several_runs(store: Store, clock: FakeClock) -> None:
    """Rows of several runs are settled in one call, each counted on its own run."""
    first, second = await draining(store, clock, 1), await draining(store, clock, 2)
    ended = await store.settle("t", [log(second, 1), log(first, 1), failure(second, 2)])
    assert {(run.run_id, run.status) for run in ended} == {(first, "success"), (second, "partial")}


@pytest.mark.parametrize("seed", range(3))
async def test_counters_balance(store: Store, other: Store, clock: FakeClock, seed: int) -> None:
    """However settles repeat, overlap and interleave, the counters are those of the rows, and a run ends once."""
    chance = random.Random(seed)
    totals = {await draining(store, clock, total): total for total in (40, 25, 60)}
    everything = [(run_id, row) for run_id, total in totals.items() for row in range(1, total + 1)]
    ended: list[str] = []

    async def writer(at: Store, number: int) -> None:
        todo = everything * 2
        chance.shuffle(todo)
        while todo:
            batch, todo = todo[: (size := chance.randint(1, 40))], todo[size:]
            states = [chance.choice(("written", "unchanged", "superseded", "failed")) for _ in batch]
            logs = [log(*key, state) for key, state in zip(batch, states, strict=True)]
            entries = [LedgerEntry(DOMAIN, f"p{row % 7}", row, "d", run_id, row) for run_id, row in batch]
            ended.extend(run.run_id for run in await at.settle(f"t{number}", logs, written=entries))

    await asyncio.gather(*(writer((store, other)[i % 2], i) for i in range(4)))
    assert sorted(ended) == sorted(totals)
    for run_id, total in totals.items():
        run = await store.run(run_id)
        logs = await store.rows(run_id)
        shown = {
            state: sum(row.state == state for row in logs) for state in ("written", "unchanged", "superseded", "failed")
        }
        assert run.counts == Counts(total=total, **shown)
        assert run.counts.in_flight == 0


async def test_odd_texts_in_a_batch(store: Store, clock: FakeClock) -> None:
    """Whatever a text holds, a batch hands it on as it is, also beside texts that are not there; a reason in one line."""
    odd = ["", " ", "NULL", "null", "{a,b}", '"', "\\", "'", "\x1e", "\x1f", "a\x1fb\x1e", ":a", "[2:]", "ä\r\n\x1f"]
    for texts in (odd, odd[:1], odd[8:9], odd[9:10], ["a", "b"]):
        run_id = await draining(store, clock, len(texts))
        run_token = f"t-{run_id}"
        await store.alive("a", 10)
        domain = f"https://{run_id}"
        claims = await store.claim(domain, "a", run_token, [Wanted(text, n) for n, text in enumerate(texts)])
        assert [(claim.product, claim.mine) for claim in claims] == [(text, True) for text in texts]
        logs = [
            failure(run_id, n, product=text or None, reason=text if n % 2 else None, http_status=400 if n % 3 else None)
            for n, text in enumerate(texts, 1)
        ]
        written = [LedgerEntry(domain, text, n, f"d{text}", run_id, n + 1) for n, text in enumerate(texts)]
        assert [run.counts.failed for run in await store.settle(run_token, logs, written=written)] == [len(texts)]
        logged = [msgspec.structs.replace(log, reason=log.reason and one_line(log.reason)) for log in logs]
        assert [msgspec.structs.replace(row, settled_at=None) for row in await store.rows(run_id)] == logged
        states = [state for text in texts for state in await store.ledger(text, [domain])]
        assert [(state.product, state.digest, state.row) for state in states] == [
            (text, f"d{text}", n) for n, text in enumerate(texts, 1)
        ]


async def test_hostile_texts_in_rows(store: Store, clock: FakeClock) -> None:
    """NUL, lone surrogates, huge products and odd payloads are stored as far as they can be; no row breaks a batch."""
    run_id = await draining(store, clock, 6)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    logs = [
        failure(run_id, 1, product="a\0b", reason="why\0", payload={"k\0": ["\ud800", "x\0"]}),
        failure(run_id, 2, product="\udfff", reason="\ud800", images=(Image("https://a/\0\ud800"),)),
        failure(run_id, 3, product="p" * 100_000, payload=2**90),
        failure(run_id, 4, product=None, payload=deep),
        failure(run_id, 5, payload=object()),
        log(run_id, 6),
    ]
    [ended] = await store.settle("t", logs)
    assert ended.counts == Counts(total=6, written=1, failed=5)
    rows = await store.rows(run_id)
    assert (rows[0].product, rows[0].reason) == ("a\ufffdb", "why\ufffd")
    assert rows[1].product == "\ufffd"
    assert rows[2].product == "p" * 100_000
    assert [row.row for row in await store.product_rows("p" * 100_000)] == [3]
    assert [row.row for row in await store.product_rows("a\0b")] == [1]


async def test_listing_rows(store: Store, clock: FakeClock) -> None:
    """Row logs come back as they were settled: by number, by state, page by page."""
    run_id = await draining(store, clock, 5)
    payload = {"images": [1, 2.5, None, "ü"]}
    full = failure(
        run_id,
        3,
        attempts=8,
        retryable=True,
        payload=payload,
        version=row_version(2**31, 5),
        key="base_code",
        tries=(Try(1.5, 503, "away", "SKU-1"), Try(3.25)),
    )
    await store.settle("t", [log(run_id, 5), full, log(run_id, 1), log(run_id, 4, "superseded"), failure(run_id, 2)])
    rows = await store.rows(run_id)
    assert [row.row for row in rows] == [1, 2, 3, 4, 5]
    assert rows[2] == msgspec.structs.replace(full, settled_at=clock.now())
    assert [row.row for row in await store.rows(run_id, state="failed")] == [2, 3]
    assert [row.row for row in await store.rows(run_id, state="superseded")] == [4]
    assert [row.row for row in await store.rows(run_id, after=2, limit=2)] == [3, 4]
    assert await store.rows("nope") == []
    assert await store.rows(run_id, state="nope") == []


async def test_rows_of_a_product(store: Store, clock: FakeClock) -> None:
    """Everything that happened to a product, over runs, newest first."""
    first, second = await draining(store, clock, 2), await draining(store, clock, 1)
    await store.settle("t", [log(second, 1, product="A", version=30), log(first, 1, product="A", version=10)])
    await store.settle("t", [log(first, 2, product="A", version=20)])
    assert [(row.run_id, row.row) for row in await store.product_rows("A")] == [(second, 1), (first, 2), (first, 1)]
    assert len(await store.product_rows("A", limit=1)) == 1
    assert await store.product_rows("a") == []


async def test_rows_that_failed_without_a_name(store: Store, clock: FakeClock) -> None:
    """Failed rows of no product are found by what is in their payloads, newest first; wildcards are letters."""
    run_id = await draining(store, clock, 5)
    payloads = [{"sku": "A%1"}, {"sku": "A_1"}, {"sku": 'ü"1'}, {"code": 1001}]
    nameless = {"product": None, "images": (), "stage": "script"}
    logs = [failure(run_id, row, payload=payload, **nameless) for row, payload in enumerate(payloads, 1)]
    await store.settle("", [*logs, failure(run_id, 5, payload={"sku": "A%1"})])

    async def found(text: str, **options: Any) -> list[int]:
        return [row.row for row in await store.nameless_rows(text, **options)]

    assert [await found(text) for text in ("A%1", "A_1", 'ü"1', "1001", "nope")] == [[1], [2], [3], [4], []]
    assert await found("1") == [4, 3, 2, 1]
    assert await found("1", limit=2) == [4, 3]


async def test_what_the_ledger_knows(store: Store, clock: FakeClock) -> None:
    """A product on several domains, what is in flight as long as its writer lives, and who has a row's image set."""
    run_id = await draining(store, clock, 2)
    entries = [LedgerEntry(DOMAIN, product, 7, "d", run_id, 1) for product in ("A", "B")]
    await store.settle("", [log(run_id, 1)], written=[*entries, LedgerEntry("https://other", "A", 8, "e", run_id, 2)])
    await store.alive("w", 10)
    await store.claim(DOMAIN, "w", "t", [Wanted("A", 9), Wanted("C", 5)])
    ours, other = await store.ledger("A", [DOMAIN, "https://other", "https://none"])
    assert ours == (DOMAIN, "A", 7, "d", run_id, 1, 9, None, 0)
    assert other == ("https://other", "A", 8, "e", run_id, 2, None, None, 0)
    assert await store.ledger("C", [DOMAIN]) == [(DOMAIN, "C", -1, None, None, None, 5, None, 0)]
    assert await store.ledger("D", [DOMAIN]) == []
    assert await store.ledger("A", []) == []
    assert [state.product for state in await store.targets(DOMAIN, run_id, 1)] == ["A", "B"]
    assert await store.targets(DOMAIN, run_id, 2) == []
    clock.move(11)
    [gone] = await store.ledger("A", [DOMAIN])
    assert gone.in_flight is None


async def test_one_open_error_per_cause(store: Store, clock: FakeClock) -> None:
    """Over all runs of a flow, a cause is open once, with counts; products that came through close it by themselves. A
    failure without a product stays open."""
    await store.save_flow(flow_document("other"))
    runs = [await draining(store, clock, 3) for _ in range(3)]
    for version, run_id in enumerate(runs, 10):
        named = [failure(run_id, row, product=product, version=version) for row, product in ((1, "A"), (2, "B"))]
        script = failure(run_id, 3, product=None, images=(), stage="script", reason="line 1", version=version)
        await store.settle("", [*named, script])
    [unnamed, first] = await store.causes("winter")
    assert (first.stage, first.rows, first.runs, first.run_id, first.product) == ("write", 2, 1, runs[2], "B")
    assert (unnamed.stage, unnamed.rows, unnamed.runs, unnamed.run_id, unnamed.row) == ("script", 3, 3, runs[2], 3)
    assert first.since == (await store.run(runs[2])).created_at
    assert unnamed.since == (await store.run(runs[0])).created_at
    assert await store.causes("other") == []

    elsewhere = await draining(store, clock, 1, "other")
    await store.settle("", [log(elsewhere, 1, product="A", version=20)])
    assert [error.rows for error in await store.causes("winter")] == [3, 2]
    later = await draining(store, clock, 2)
    await store.settle(
        "", [log(later, 1, "unchanged", product="A", version=30), log(later, 2, product="C", version=31)]
    )
    [_, left] = await store.causes("winter")
    assert (left.rows, left.product) == (1, "B")
    outbox = (await store.reopen(runs[2], row=2)).outbox
    assert outbox
    assert [error.stage for error in await store.causes("winter")] == ["script"]
    await store.settle("", [failure(runs[2], 2, product="B", version=12)])
    [most] = await store.causes("winter", limit=1)
    [_, back] = await store.causes("winter")
    assert (most.stage, back.group, back.rows) == ("script", left.group, 1)


async def test_pages_by_their_number(store: Store, clock: FakeClock) -> None:
    """The number in a row's version leads to its page."""
    run = await reading(store, clock)
    saved = await store.save_page(run.run_id, 1, b"[1]", cursor=None, last=True)
    assert saved is not None
    assert await store.page_of(saved.seq) == await store.page(run.run_id, 1)
    with pytest.raises(NotFoundError):
        await store.page_of(saved.seq + 1)


# retrying -------------------------------------------------------------------------------------------------------------


async def test_failed_rows_are_retried(store: Store, clock: FakeClock) -> None:
    """Failed rows go back in flight with their versions and histories, and their logs change in place."""
    run_id = await draining(store, clock, 3)
    tries = (Try(1.5, 503, "away"), Try(9.0, 400, "no such image 2"))
    second = failure(run_id, 2, attempts=2, key="base_code", tries=tries)
    await store.settle("t", [log(run_id, 1), second, failure(run_id, 3, attempts=1)])
    count, outbox = (await store.reopen(run_id))[:2]
    assert count == 2
    [message] = outbox
    assert message.queue == "imageflow.write.winter"
    again = (
        Row(2, 2, "sku-2", IMAGES, "base_code", tries=tries),
        Row(3, 3, "sku-3", IMAGES, tries=(Try(clock.now().timestamp(), 400, "no such image 3"),)),
    )
    assert messages.decode(message.body) == messages.RowsReady(run_id, "winter", 1, again)
    assert await store.unsent(0) == [*(await store.unsent(0))[:-1], message]
    run = await store.run(run_id)
    assert (run.status, run.finished_at) == ("draining", None)
    assert (run.counts, run.counts.in_flight) == (Counts(total=3, written=1), 2)
    assert [row.state for row in await store.rows(run_id)] == ["written", "failed", "failed"]
    assert [row.row for row in await store.rows(run_id, state="failed")] == [2, 3]
    assert (await store.reopen(run_id))[:2] == (0, [])

    assert await store.settle("t", [log(run_id, 2), log(run_id, 1, "unchanged")]) == []
    [ended] = await store.settle("t", [log(run_id, 3, "unchanged")])
    assert (ended.status, ended.counts) == ("success", Counts(total=3, written=2, unchanged=1))
    assert await store.settle("t", [failure(run_id, 2)]) == []
    assert (await store.reopen(run_id))[:2] == (0, [])


async def test_what_can_be_retried(store: Store, clock: FakeClock) -> None:
    """One row, one error group, so many: rows with an image set as they are, the others by their page."""
    run_id = await draining(store, clock, 6)
    logs = [
        failure(run_id, 1, stage="login", http_status=None, reason="refused"),
        failure(run_id, 2),
        failure(run_id, 3),
        failure(run_id, 4, stage="rows"),
        failure(run_id, 5, images=()),
        failure(run_id, 6, product=None),
    ]
    await store.settle("t", logs)

    async def taken(**asked: Any) -> list[tuple[str, list[int]]]:
        done = await store.reopen(run_id, **asked)
        found = [messages.decode(message.body) for message in done.outbox]
        return [
            (type(one).__name__, [row.row for row in one.rows] if isinstance(one, messages.RowsReady) else [])
            for one in found
        ]

    assert await taken(row=3) == [("RowsReady", [3])]
    assert await taken(group="nope") == []
    assert await taken(row=4) == [("ReplayPage", [])]
    assert await taken(group=fingerprint(logs[1])) == [("RowsReady", [2]), ("ReplayPage", [])]
    await store.settle("t", [failure(run_id, 2), failure(run_id, 3)])
    assert (await store.run(run_id)).counts == Counts(total=6, failed=3)
    assert await taken(limit=2) == [("RowsReady", [1, 2])]
    assert await taken(limit=2) == [("RowsReady", [3])]
    assert (await store.run(run_id)).counts == Counts(total=6)


async def test_retrying_after_a_failed_read(store: Store, clock: FakeClock) -> None:
    """A run whose read failed stays failed, however its rows end."""
    run = await reading(store, clock)
    await store.save_page(run.run_id, 1, b"[]", cursor=None, last=False)
    await store.register_page(run.run_id, 1, 1, [])
    await store.settle("t", [failure(run.run_id, 1)])
    assert (await store.reopen(run.run_id))[0] == 1
    assert (await store.run(run.run_id)).status == "reading"
    await store.end_read(run.run_id, error="away", stage="read")
    [ended] = await store.settle("t", [log(run.run_id, 1)])
    assert (ended.status, ended.counts) == ("failed", Counts(total=1, written=1))


async def test_runs_with_rows_that_are_being_retried(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many of each run, until they are settled again; of many, what is in flight. Their logs say that they are retried."""
    await store.save_flow(flow_document("other"))
    first, second = await draining(store, clock, 3), await draining(store, clock, 3, "other")
    for run_id in (first, second):
        await store.settle("t", [failure(run_id, 1), log(run_id, 2), failure(run_id, 3)])
    assert await store.in_retry() == []
    await store.reopen(first)
    await store.reopen(second, row=3)
    assert await store.in_retry() == [InRetry(first, "winter", 2), InRetry(second, "other", 1)]
    assert await store.in_retry("other") == [InRetry(second, "other", 1)]
    assert [row.in_retry for row in await store.rows(second)] == [False, False, True]
    monkeypatch.setattr("imageflow.store.replays.MOST_IN_RETRY", 2)
    assert await store.in_retry("winter") == [InRetry(first, "winter", 2)]
    await store.settle("t", [failure(second, 3), log(first, 1)])
    assert await store.in_retry() == [InRetry(first, "winter", 1)]
    assert [row.in_retry for row in await store.rows(second)] == [False, False, False]


async def test_reopened_at_once(store: Store, other: Store, clock: FakeClock) -> None:
    """Two people who retry the same run at the same time retry each row once."""
    run_id = await draining(store, clock, 250)
    await store.settle("t", [failure(run_id, row) for row in range(1, 251)])
    taken = await asyncio.gather(*((store, other)[i % 2].reopen(run_id) for i in range(4)))
    assert sum(one[0] for one in taken) == 250
    rows = [row.row for one in taken for m in one.outbox for row in messages.decode(m.body).rows]  # type: ignore[union-attr]
    assert rows == list(range(1, 251))
    assert (await store.run(run_id)).counts.failed == 0


# outbox ---------------------------------------------------------------------------------------------------------------


async def test_the_outbox(store: Store, other: Store, clock: FakeClock) -> None:
    """Messages are found once they are old enough, until they are marked as sent, by anybody, any number of times."""
    for _ in range(3):
        await accept_post(store, post_run(clock), b"[]", rows=0, key=None)
    assert await store.unsent(10) == []
    clock.move(10)
    unsent = await other.unsent(9)
    assert len(unsent) == 3
    assert await store.unsent(9, limit=2) == unsent[:2]
    ids = [message.id for message in unsent]
    await asyncio.gather(store.sent(ids[:2]), other.sent(ids[1::-1]))
    assert await store.unsent(0) == unsent[2:]


# users ----------------------------------------------------------------------------------------------------------------


async def test_users_and_tokens(store: Store, clock: FakeClock) -> None:
    """Users are saved and changed; a token is its user's until it expires."""
    ada = User("ada", "hash", "viewer")
    await store.save_user(ada)
    assert await store.user("ada") == ada
    assert await store.user("nobody\0") is None
    await store.save_token("digest", "ada", clock.now() + timedelta(hours=1))
    await store.save_token("digest", "ada", clock.now() + timedelta(hours=2))
    await store.save_user(User("ada", "hash", "admin"))
    assert await store.token_user("digest", clock.now() + timedelta(minutes=119)) == User("ada", "hash", "admin")
    assert await store.token_user("digest", clock.now() + timedelta(hours=2)) is None
    assert await store.token_user("nope", clock.now()) is None


# outages --------------------------------------------------------------------------------------------------------------


async def test_a_restart_of_postgresql(postgres: PrivatePostgres, clock: FakeClock) -> None:
    """While PostgreSQL is away calls fail as transient; after it is back the next ones work, on the same store."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(connect(Secret(postgres.new_database()), clock))
        await store.upgrade()
        await store.save_flow(flow_document())
        run_id = await draining(store, clock, 30)
        await asyncio.gather(*(store.run(run_id) for _ in range(10)))
        postgres.restart()
        await asyncio.gather(*(store.settle("t", [log(run_id, row)]) for row in range(1, 11)))
        postgres.stop()
        try:
            with pytest.raises(StoreError) as caught:
                await store.settle("t", [log(run_id, 11)])
            assert caught.value.transient
            with pytest.raises(StoreError):
                await store.ping()
        finally:
            postgres.start()
        await asyncio.gather(*(store.settle("t", [log(run_id, row)]) for row in range(1, 21)))
        assert (await store.run(run_id)).counts.written == 20


async def test_a_restart_while_writers_work(postgres: PrivatePostgres, clock: FakeClock) -> None:
    """Writers that repeat what failed lose and double nothing over a restart under load."""
    async with connect(Secret(postgres.new_database()), clock) as store:
        await store.upgrade()
        await store.save_flow(flow_document())
        run_id = await draining(store, clock, 400)
        ended: list[Run] = []

        async def writer(number: int) -> None:
            for start in range(number * 100, (number + 1) * 100, 10):
                while True:
                    try:
                        ended.extend(
                            await store.settle("t", [log(run_id, row + 1) for row in range(start, start + 10)])
                        )
                        break
                    except StoreError:
                        await asyncio.sleep(0.05)
                await asyncio.sleep(0.02)

        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(writer(number))
            await asyncio.sleep(0.1)
            await asyncio.to_thread(postgres.restart)
        run = await store.run(run_id)
        assert (run.status, run.counts) == ("success", Counts(total=400, written=400))
        assert len(ended) <= 1


async def test_a_locked_file(tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another program keeps locked is a transient error, and works again afterwards."""
    monkeypatch.setattr("imageflow.store.sqlite.BUSY_SECONDS", 0.05)
    url = Secret(f"sqlite:///{tmp_path / 'store.db'}")
    async with connect(url, clock) as second:
        await second.upgrade()
        other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked") as caught:
            await second.alive("a", 1)
        assert caught.value.transient
        assert await second.runs() == []
        other.close()
        await second.alive("a", 1)


async def test_an_older_version_starts_on_a_newer_schema(store: Store, url: str, clock: FakeClock) -> None:
    """In a rolling upgrade an older service may start again after the schema has moved on: it leaves it alone."""
    newer = text("UPDATE alembic_version SET version_num = '9999'")
    await store._database.transact(lambda tx: tx.execute(newer), writing=True)
    async with connect(Secret(url), clock) as older:
        await older.upgrade()
        assert [flow.name for flow in await older.flows()] == ["winter"]
    asked = text("SELECT version_num FROM alembic_version")
    assert await store._database.transact(lambda tx: tx.value(asked), writing=False) == "9999"
