"""What the store and the broker are told of a chunk."""

import asyncio

import pytest

from imageflow.broker import Outgoing
from imageflow.clock import SystemClock
from imageflow.errors import StoreError
from imageflow.model import messages
from imageflow.write import lease, row_work, settler
from imageflow.write.outcome import Unavailable, Written
from imageflow.write.settler import Settler

from .fakes import RecordingStore, chunk


class RecordingBroker:
    def __init__(self):
        self.published = []

    async def publish(self, *outgoing: Outgoing):
        self.published += outgoing


def answered(rows, place, outcome):
    work = row_work.begun(rows.works[place], 2.0, 3.0)
    rows.works[place] = row_work.answered(work, work.skus[0], outcome)


@pytest.fixture
def store():
    return RecordingStore()


@pytest.fixture
def broker():
    return RecordingBroker()


@pytest.fixture
def settling(store, broker, monkeypatch):
    monkeypatch.setattr(settler, "SETTLE_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.01)
    return Settler(store, broker, SystemClock())


async def test_settle(settling, store):
    """One transaction logs the settled rows, enters what is known of Omnitron, and releases all claims."""
    rows = chunk("abcd")
    answered(rows, 0, Written(200))
    answered(rows, 1, Unavailable("lost"))
    await settling.settle(rows)
    assert store.calls == [("settle", "t", 1, ["a", "b"], ["a", "b", "c", "d"])]


async def test_nothing_to_settle(settling, store):
    """A chunk whose rows were all unchanged needs no transaction."""
    await settling.settle(chunk(""))
    assert store.calls == []


async def test_settling_waits_for_the_database(settling, store):
    """What Omnitron took must be in the ledger: the chunk waits."""
    rows, store.away = chunk("a"), True
    answered(rows, 0, Written(200))
    waiting = asyncio.create_task(settling.settle(rows))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    store.away = False
    await asyncio.wait_for(waiting, 5)
    assert len(set(map(str, store.calls))) == 1


async def test_rows_that_come_again_are_published_by_their_delay(settling, broker):
    """Rows of one delay go together, and settled rows are not published."""
    rows = chunk("abcd")
    answered(rows, 0, Written(200))
    answered(rows, 1, Unavailable("slower", 429))
    answered(rows, 2, Unavailable("slower", 429, retry_after=20.0))
    await settling.publish_again(rows)
    found = {
        outgoing.delay: [(row.product, row.attempts) for row in messages.decode(outgoing.body).rows]
        for outgoing in broker.published
    }
    assert found == {1: [("b", 1)], 60: [("c", 1)], 5: [("d", 0)]}
    assert {outgoing.queue for outgoing in broker.published} == {messages.write_queue("f")}


async def test_nothing_to_publish(settling, broker):
    """Where all rows are settled, nothing is published."""
    rows = chunk("a")
    answered(rows, 0, Written(200))
    await settling.publish_again(rows)
    assert broker.published == []


async def test_a_chunk_that_breaks_off(settling, store):
    """Nothing is logged; what was answered is entered, and the claim of the request in flight is kept."""
    rows = chunk("abc")
    answered(rows, 0, Written(200))
    rows.works[1] = row_work.begun(rows.works[1], 2.0, 3.0)
    await settling.break_off(rows)
    assert store.calls == [("settle", "t", 0, ["a"], ["a", "c"])]


@pytest.mark.parametrize("error", [StoreError("away"), ValueError("unexpected")])
async def test_orphaned_claims(settling, store, error):
    """Claims of a chunk that broke off while the database was away are settled when it is back. An unexpected error is not
    repeated, and does not end the task."""
    store.away = True
    await settling.break_off(chunk("a"))
    running = asyncio.create_task(settling.run())
    await asyncio.sleep(0.05)
    assert not running.done()
    store.away = False
    settled = asyncio.Event()

    async def settle(*args, **options):
        if not settled.is_set():
            settled.set()
            raise error
        store.calls.append("settled")

    store.settle = settle
    await asyncio.wait_for(settled.wait(), 5)
    await asyncio.sleep(0.05)
    assert not running.done()
    assert store.calls.count("settled") == (1 if isinstance(error, StoreError) else 0)
    running.cancel()
