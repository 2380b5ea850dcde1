"""The transformer between a real store and a real broker: pages go in, rows and logs come out, whatever breaks."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from imageflow.broker import Broker, Outgoing
from imageflow.broker.sqlite import SqliteBroker
from imageflow.clock import SystemClock
from imageflow.errors import NotFoundError, Postponed, QueueFullError, StoreError
from imageflow.model import messages
from imageflow.model.imageset import Image
from imageflow.model.messages import PageRead, RowsReady, RunRead, decode, transform_queue, write_queue
from imageflow.model.row import Row, RowLog, digest_of
from imageflow.model.run import Run, Trigger, new_run_id
from imageflow.runtime.outbox_publisher import OutboxPublisher
from imageflow.sandbox.supervisor import Sandbox
from imageflow.secret import Secret
from imageflow.store import LedgerEntry, Store, Wanted
from imageflow.store.connect import connect
from imageflow.transform import transformer as module
from imageflow.transform.transformer import Transformer
from tests import schemas
from tests.draining import drain

U = "https://c.example/"


class Line:
    """A transformer with all that it stands on, and a hand on both ends."""

    def __init__(self, store: Store, broker: SqliteBroker, sandbox: Sandbox) -> None:
        self.store = store
        self.broker = broker
        self.sandbox = sandbox
        self.publisher = OutboxPublisher(store, broker)
        self.transformer = self.another()

    def another(self) -> Transformer:
        """A transformer in another process: it remembers nothing."""
        return Transformer(self.store, self.broker, self.publisher, SystemClock(), self.sandbox)

    async def run(self, *pages: Any, asked: Any = None, **changes: Any) -> list[PageRead]:
        """A run of a new version of the flow that has read these pages; their messages. `asked`: for all of them."""
        document = {
            "name": "winter",
            "direction": "inbound",
            "omnitron": {"domain_url": "https://o.example", "username": "u", "password": {"env": "P"}},
            "erp": {"endpoint_url": "https://erp.example/images"},
            **changes,
        }
        flow = await self.store.save_flow(document)
        clock = SystemClock()
        run = Run(
            run_id=new_run_id(clock.now()),
            flow=flow.name,
            version=flow.version,
            trigger=Trigger("person"),
            status="queued",
            created_at=clock.now(),
        )
        await self.store.create_run(run)
        await self.store.release_runs()
        await self.store.start_reading(run.run_id, None, None)
        found: list[PageRead] = []
        for number, page in enumerate(pages, 1):
            body = page if isinstance(page, bytes) else msgspec.json.encode(page)
            saved = await self.store.save_page(
                run.run_id, number, body, cursor=None, last=number == len(pages), asked=asked
            )
            assert saved is not None
            found.append(
                PageRead(run.run_id, flow.name, flow.version, number, saved.seq, body.decode(errors="replace"))
            )
        return found

    async def rows(self, flow: str = "winter") -> list[Row]:
        """The rows that wait for a writer."""
        rows: list[Row] = []
        for message in await self.queued(write_queue(flow)):
            assert isinstance(message, RowsReady)
            rows += message.rows
        return rows

    async def queued(self, queue: str) -> list[messages.Message]:
        """Take all that is in a queue."""
        return [decode(body) for body in await drain(self.broker, queue)]

    async def logs(self, run_id: str) -> list[RowLog]:
        return await self.store.rows(run_id)

    async def write(self, run_id: str, rows: list[Row]) -> None:
        """Settle rows as a writer does: they are on Omnitron then."""
        domain = "https://o.example"
        entries = [LedgerEntry(domain, row.product, row.version, digest_of(row), run_id, row.row) for row in rows]
        logs = [
            RowLog(run_id=run_id, row=row.row, product=row.product, state="written", images=row.images) for row in rows
        ]
        await self.store.settle("writer", logs, written=entries)


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(connect(Secret(schemas.lay(tmp_path / "store.db")), SystemClock()))
        broker = await stack.enter_async_context(SqliteBroker(tmp_path / "broker.db"))
        sandbox = await stack.enter_async_context(Sandbox())
        yield Line(store, broker, sandbox)


def sets(*skus: str, page: int = 1) -> list[dict[str, Any]]:
    return [{"sku": sku, "images": [f"{U}{sku}/{page}.jpg"]} for sku in skus]


async def test_pages_become_rows(line: Line) -> None:
    """A page's good rows go to the writers with their numbers, the others are settled, and the run's counts balance."""
    (page,) = await line.run([*sets("A", "B"), {"sku": "C"}, *sets("A")])
    await line.transformer.handle(page)
    rows = await line.rows()
    logs = await line.logs(page.run_id)
    assert sorted(row.product for row in rows) == ["A", "B"]
    assert sorted((log.product, log.state) for log in logs) == [("A", "superseded"), ("C", "failed")]
    assert sorted([row.row for row in rows] + [log.row for log in logs]) == [1, 2, 3, 4]
    run = await line.store.run(page.run_id)
    assert (run.counts.total, run.counts.failed, run.counts.superseded, run.counts.in_flight) == (4, 1, 1, 2)
    await line.write(page.run_id, rows)
    assert (await line.store.run(page.run_id)).status == "partial"


async def test_rows_that_are_unchanged_go_no_further(line: Line) -> None:
    """What Omnitron has already is settled here; what is new, changed or claimed goes to the writers."""
    (page,) = await line.run(sets("A", "B", "C", "D"))
    await line.transformer.handle(page)
    await line.write(page.run_id, await line.rows())
    await line.store.claim("https://o.example", "writer", "writer/1", [Wanted("D", 10**15)])
    (page,) = await line.run([*sets("A", "B", "D"), *sets("C", page=2), *sets("E")])
    await line.transformer.handle(page)
    assert [row.product for row in await line.rows()] == ["D", "C", "E"]
    assert [(log.product, log.state) for log in await line.logs(page.run_id)] == [
        ("A", "unchanged"),
        ("B", "unchanged"),
    ]
    await line.another().handle(page)
    assert [row.product for row in await line.rows()] == ["D", "C", "E"]
    assert (await line.store.run(page.run_id)).counts.unchanged == 2


async def test_a_run_without_changes_ends_at_the_transformer(line: Line) -> None:
    """Its rows are never published; with skip_unchanged: false they are."""
    (page,) = await line.run(sets("A", "B"))
    await line.transformer.handle(page)
    await line.write(page.run_id, await line.rows())
    (page,) = await line.run(sets("A", "B"))
    await line.transformer.handle(page)
    assert await line.rows() == []
    run = await line.store.run(page.run_id)
    assert (run.status, run.counts.unchanged) == ("success", 2)
    (page,) = await line.run(sets("A", "B"), write={"skip_unchanged": False})
    await line.transformer.handle(page)
    assert len(await line.rows()) == 2


async def test_a_mapping_reads_what_was_asked(line: Line) -> None:
    """`^parameters` holds the parameters of the request that the page answers; a dot in a name is escaped."""
    mapping = [
        {
            "operation": "modify-overwrite",
            "spec": {"*": {"sku": "=concat(@(1,sku),^parameters.brand,^parameters.a\\.b)"}},
        }
    ]
    (message,) = await line.run([{"sku": "A-", "images": [U]}], asked={"brand": "x", "a.b": 7}, mapping=mapping)
    await line.transformer.handle(message)
    assert [row.product for row in await line.rows()] == ["A-x7"]


async def test_script_and_mapping(line: Line) -> None:
    """Script, then mapping; a row that fails in the script is a failed row with its line; prints go to the log."""
    script = "def process_row(row):\n    print('row', row['c'])\n    return {'code': row['c'], 'u': row['u']}"
    mapping = [{"operation": "shift", "spec": {"*": {"code": "[&1].sku", "u": "[&1].images[0].url"}}}]
    page, *_ = await line.run([{"c": "A", "u": U}, {"c": "B"}], script=script, mapping=mapping)
    with capture_logs() as logged:
        await line.transformer.handle(page)
    (row,) = await line.rows()
    assert (row.product, row.images) == ("A", (Image(U),))
    (log,) = await line.logs(page.run_id)
    assert (log.stage, log.payload) == ("script", {"c": "B"})
    assert log.reason is not None and log.reason.startswith("line 3: KeyError: 'u'")
    (printed,) = [entry for entry in logged if entry["event"] == "script printed"]
    assert (printed["run"], printed["flow"], printed["text"]) == (page.run_id, "winter", "row A\nrow B\n")


@pytest.mark.parametrize(
    ("changes", "stage", "words"),
    [
        ({"script": "def process(r):\n    raise ValueError('no')"}, "script", "line 2: ValueError: no"),
        ({"script": "def process(r):\n    while True: pass", "script_timeout": "300ms"}, "script", "longer than 0.3s"),
        (
            {"mapping": [{"operation": "shift", "spec": {"*": {"sku": "x[900000000]"}}}]},
            "mapping",
            "the index 900000000 is above",
        ),
        ({"script": "def process(r): return 7"}, "script", "neither a list nor an object"),
    ],
)
async def test_a_failed_page_counts_its_elements(line: Line, changes: dict[str, Any], stage: str, words: str) -> None:
    """A page whose script or mapping fails is one failed row per element; the run ends and says so."""
    (page,) = await line.run(sets("A", "B", "C"), **{"script_timeout": "3s", **changes})
    await line.transformer.handle(page)
    logs = await line.logs(page.run_id)
    assert [(log.state, log.stage, log.payload["sku"]) for log in logs] == [("failed", stage, sku) for sku in "ABC"]
    assert all(words in (log.reason or "") for log in logs)
    assert (await line.store.run(page.run_id)).status == "failed"
    assert await line.rows() == []


async def test_a_page_that_is_not_json(line: Line) -> None:
    """A body that nobody can read is one failed row, in a flow with a script and in one without."""
    for changes in ({}, {"script": "def process(r): return r"}):
        (page,) = await line.run(b"<html>", **changes)
        await line.transformer.handle(page)
        (log,) = await line.logs(page.run_id)
        assert log.state == "failed"
        assert log.payload == "<html>"


async def test_an_empty_page(line: Line) -> None:
    """No rows are no rows: the run ends empty."""
    (page,) = await line.run(
        [], script="def process(r): return r", mapping=[{"operation": "shift", "spec": {"*": {"a": "b"}}}]
    )
    await line.transformer.handle(page)
    assert (await line.store.run(page.run_id)).status == "empty"


async def test_large_pages_come_from_the_store(line: Line) -> None:
    """A page without its body in the message is fetched, and its rows travel in chunks below the limit."""
    (page,) = await line.run([{"sku": f"S{n}", "images": [f"{U}{n}/{'x' * 500}.jpg"]} for n in range(1000)])
    await line.transformer.handle(msgspec.structs.replace(page, body=None))
    found = await line.queued(write_queue("winter"))
    assert len(found) >= 10
    assert max(len(messages.encode(message)) for message in found) < messages.MAX_MESSAGE_BYTES
    assert sum(len(message.rows) for message in found if isinstance(message, RowsReady)) == 1000


async def test_redelivery_changes_nothing(line: Line) -> None:
    """A page that comes again, here or elsewhere, gives the same rows the same numbers and counts nothing twice."""
    (page,) = await line.run([*sets("A", "B"), {}])
    await line.transformer.handle(page)
    first, counts = await line.rows(), (await line.store.run(page.run_id)).counts
    for other in (line.transformer, line.another()):
        await other.handle(page)
        assert await line.rows() == first
    assert (await line.store.run(page.run_id)).counts == counts
    assert len(await line.logs(page.run_id)) == 1


async def test_scripts_that_are_not_deterministic(line: Line) -> None:
    """A script that gives another number of rows the second time raises nothing, and the ledger balances."""
    script = "import random\ndef process(r): return r[:random.randint(1, len(r))]"
    (page,) = await line.run(sets(*"ABCDEFGH"), script=script)
    seen: dict[int, Row] = {}
    for _ in range(6):
        await line.transformer.handle(page)
        for row in await line.rows():
            seen.setdefault(row.row, row)
    await line.write(page.run_id, list(seen.values()))
    run = await line.store.run(page.run_id)
    assert run.counts.in_flight == 0
    assert run.ended


class Refusing:
    """A broker whose write queues are full, or fail."""

    def __init__(self, broker: Broker, error: Exception) -> None:
        self._broker = broker
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def publish(self, *outgoing: Outgoing) -> None:
        raise self._error


async def test_full_queues_postpone(line: Line) -> None:
    """A full write queue postpones the page; when there is room again it goes through."""
    (page,) = await line.run(sets("A"))
    refusing: Any = Refusing(line.broker, QueueFullError())
    with pytest.raises(Postponed):
        await Transformer(line.store, refusing, line.publisher, SystemClock(), line.sandbox).handle(page)
    await line.transformer.handle(page)
    assert [row.product for row in await line.rows()] == ["A"]


async def test_writers_that_are_behind_postpone(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """With enough waiting for a flow's writers its pages wait, and other flows' do not."""
    monkeypatch.setattr(module, "ENOUGH_MESSAGES", 1)
    (page,) = await line.run(sets("A"))
    for _ in range(2):
        await line.transformer.handle(page)
    with pytest.raises(Postponed):
        await line.transformer.handle(page)
    (other,) = await line.run(sets("B"), name="summer")
    await line.transformer.handle(other)
    assert [row.product for row in await line.rows("summer")] == ["B"]


async def test_the_same_product_on_two_pages(line: Line) -> None:
    """With group: page the run gets one warning that names `group: run`."""
    pages = await line.run(sets("A", "B"), sets("C"), sets("B", page=2), sets("A", page=4))
    await line.transformer.handle(pages[0])
    await line.transformer.handle(pages[1])
    assert (await line.store.run(pages[0].run_id)).warnings == ()
    await line.transformer.handle(pages[2])
    await line.transformer.handle(pages[3])
    (warning,) = (await line.store.run(pages[0].run_id)).warnings
    assert "group: run" in warning


# group: run --------------------------------------------------------------------------------------------------------------


async def joined_run(line: Line, *pages: Any) -> tuple[list[PageRead], RunRead]:
    """A run with group: run whose pages are all transformed; its messages."""
    found = await line.run(*pages, group="run")
    for page in found:
        await line.transformer.handle(page)
    assert await line.rows() == []
    (message,) = [m for m in await line.queued(transform_queue("winter")) if isinstance(m, RunRead)]
    return found, message


async def test_group_run_joins_across_pages(line: Line) -> None:
    """Images of a product on several pages arrive in one row, in the order of the pages; the run ends."""
    flat = [{"sku": "B", "url": f"{U}b{n}", "order": 9 - n} for n in range(4)]
    pages, message = await joined_run(line, [*sets("A"), *flat[:2], {"sku": ""}], [*sets("A", page=2), *flat[2:]])
    await line.transformer.handle(message)
    rows = {row.product: row for row in await line.rows()}
    assert rows["A"].images == (Image(U + "A/1.jpg", 0), Image(U + "A/2.jpg", 1))
    assert [image.order for image in rows["B"].images] == [6, 7, 8, 9]
    run = await line.store.run(pages[0].run_id)
    assert (run.counts.total, run.counts.failed) == (3, 1)
    await line.write(run.run_id, list(rows.values()))
    assert (await line.store.run(run.run_id)).status == "partial"


async def test_pages_of_group_run_may_come_again(line: Line) -> None:
    """A page that is transformed twice is held once."""
    pages = await line.run(sets("A"), sets("A", page=2), group="run")
    for page in (pages[0], pages[0], pages[1], pages[1]):
        await line.another().handle(page)
    message = next(m for m in await line.queued(transform_queue("winter")) if isinstance(m, RunRead))
    await line.transformer.handle(message)
    (row,) = await line.rows()
    assert len(row.images) == 2


async def test_the_join_survives_crashes(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between any two steps and begun anew elsewhere, every product is sent and none is counted twice."""
    monkeypatch.setattr(module, "PRODUCTS_PER_PART", 2)
    skus = [f"S{n}" for n in range(7)]
    pages, message = await joined_run(line, sets(*skus), sets(*skus, page=2))
    for calls in itertools.count(1):
        line.publisher = OutboxPublisher(line.store, line.broker)
        failing: Any = Failing(line.store, calls)
        crashed = Transformer(failing, line.broker, line.publisher, SystemClock(), line.sandbox)
        try:
            await crashed.handle(message)
            break
        except StoreError:
            continue
    sent = {row.row: row for row in await line.rows()}
    assert sorted(row.product for row in sent.values()) == skus
    run = await line.store.run(pages[0].run_id)
    assert run.counts.total == 7
    await line.write(run.run_id, list(sent.values()))
    assert (await line.store.run(run.run_id)).status == "success"


class Failing:
    """A store that goes away after a number of calls."""

    def __init__(self, store: Store, calls: int) -> None:
        self._store = store
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        self._calls -= 1
        if self._calls < 0:
            raise StoreError
        return getattr(self._store, name)


async def test_the_join_waits_for_writers(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """A join that has to come back later goes on where it was, and sends nothing twice."""
    monkeypatch.setattr(module, "PRODUCTS_PER_PART", 1)
    monkeypatch.setattr(module, "ENOUGH_MESSAGES", 1)
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(module, "JOIN_ROOM_SECONDS", 0.1)
    skus = [f"S{n}" for n in range(5)]
    _, message = await joined_run(line, sets(*skus))
    sent: list[str] = []
    for _ in range(10):
        try:
            await line.transformer.handle(message)
            break
        except Postponed:
            sent += [row.product for row in await line.rows()]
    sent += [row.product for row in await line.rows()]
    assert sent == skus


# giving up ---------------------------------------------------------------------------------------------------------------


async def test_giving_up_on_a_page(line: Line) -> None:
    """The page's elements are failed rows with the reason, and the run ends."""
    (page,) = await line.run(
        {"results": sets("A", "B")}, erp={"endpoint_url": "https://e.example/x", "rows_path": "results"}
    )
    await line.transformer.give_up(page, "it takes workers down")
    assert [(log.state, log.stage, log.reason) for log in await line.logs(page.run_id)] == [
        ("failed", "rows", "it takes workers down")
    ] * 2
    assert (await line.store.run(page.run_id)).status == "failed"


async def test_giving_up_on_a_page_that_was_registered(line: Line) -> None:
    """Rows that were registered and perhaps never sent fail, those already written stay written: the run ends."""
    (page,) = await line.run(sets("A", "B", "C"))
    await line.transformer.handle(page)
    rows = await line.rows()
    await line.write(page.run_id, rows[:1])
    await line.transformer.give_up(page, "no more")
    run = await line.store.run(page.run_id)
    assert (run.counts.written, run.counts.failed, run.status) == (1, 2, "partial")


async def test_giving_up_on_a_page_that_is_gone(line: Line) -> None:
    """Even a page of which nothing is left is one failed row."""
    (page,) = await line.run(sets("A"))
    lost = msgspec.structs.replace(page, version=99, body=None)
    with pytest.raises(NotFoundError):
        await line.transformer.handle(lost)
    await line.transformer.give_up(lost, "no such version")
    assert (await line.store.run(page.run_id)).status == "failed"


async def test_giving_up_on_a_join(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was held back fails with the reason; what a part had sent before may still be written; the run ends."""
    monkeypatch.setattr(module, "PRODUCTS_PER_PART", 2)
    pages, message = await joined_run(line, sets("A", "B", "C"))
    await line.transformer.give_up(message, "no more")
    run = await line.store.run(pages[0].run_id)
    assert (run.counts.failed, run.status) == (3, "failed")
    assert [log.images[0].url for log in await line.logs(run.run_id)] == [f"{U}{sku}/1.jpg" for sku in "ABC"]


async def test_giving_up_on_a_join_that_had_begun(line: Line) -> None:
    """A part that was registered before it failed balances after giving up."""
    pages, message = await joined_run(line, sets("A", "B"))
    refusing: Any = Refusing(line.broker, QueueFullError())
    with pytest.raises(Postponed):
        await Transformer(line.store, refusing, line.publisher, SystemClock(), line.sandbox).handle(message)
    await line.transformer.give_up(message, "no more")
    await line.write(pages[0].run_id, await line.rows())
    run = await line.store.run(pages[0].run_id)
    assert run.counts.in_flight == 0
    assert run.ended


async def test_pages_of_many_flows_at_once(line: Line) -> None:
    """Pages of several flows are transformed at the same time, each by its own flow's script."""
    found: list[PageRead] = []
    for name in ("a", "b", "c"):
        script = f"def process(r): return [dict(x, sku={name!r} + x['sku']) for x in r]"
        found += await line.run(sets("1"), sets("2"), name=name, script=script)
    await asyncio.gather(*(line.transformer.handle(page) for page in found))
    for name in ("a", "b", "c"):
        assert sorted(row.product for row in await line.rows(name)) == [f"{name}1", f"{name}2"]
