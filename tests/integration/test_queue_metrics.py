"""What metrics show of a pipeline that stands still: a queue without consumers, a stage that hangs, a run that waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imageflow.broker import Outgoing
from imageflow.broker.sqlite import SqliteBroker
from imageflow.clock import SystemClock
from imageflow.model import messages
from imageflow.model.messages import ReadPage
from imageflow.model.run import Run, Trigger, new_run_id
from imageflow.runtime.service import Service, Stage, decoder
from imageflow.schedule.queue_metrics import QueueMetrics
from imageflow.secret import Secret
from imageflow.store import Store
from imageflow.store.connect import connect
from imageflow.telemetry import message_headers
from imageflow.telemetry.metrics import REGISTRY

MESSAGE = messages.encode(ReadPage("20261125-000000-aa", "winter", 1, 1))


class MovingClock(SystemClock):
    """The time, and what a test adds to it."""

    ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with connect(Secret(f"sqlite:///{tmp_path}/store.db"), SystemClock()) as store:
        await store.upgrade()
        await store.save_flow(
            {
                "name": "winter",
                "direction": "inbound",
                "omnitron": {"domain_url": "https://brand.example.com", "username": "d", "password": {"env": "P"}},
                "erp": {"endpoint_url": "https://erp.example.com/"},
            }
        )
        yield store


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[SqliteBroker]:
    async with SqliteBroker(tmp_path / "broker.db") as broker:
        yield broker


def sample(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"imageflow_{name}", labels)


def lag() -> float:
    return sample("oldest_message_seconds", stage="reader", flow="") or 0.0


@contextlib.asynccontextmanager
async def hanging(store: Store, broker: SqliteBroker, release: asyncio.Event) -> AsyncIterator[asyncio.Event]:
    """A reader that takes messages and does nothing until it is released; the event is set when it has one."""
    taken, stop = asyncio.Event(), asyncio.Event()

    async def handle(_message: ReadPage) -> None:
        taken.set()
        await release.wait()

    async def give_up(_message: ReadPage, _reason: str) -> None:
        raise AssertionError

    stage = Stage("reader", 4, lambda _: [messages.READ_QUEUE], decoder(ReadPage), handle, give_up)
    async with asyncio.TaskGroup() as group:
        group.create_task(Service(stage, store, broker).run(stop, 2.0))
        try:
            yield taken
        finally:
            release.set()
            stop.set()


async def test_a_queue_that_nobody_consumes(store: Store, broker: SqliteBroker) -> None:
    """Messages wait, consumers are none, and the lag grows until somebody comes: what the alert looks at."""
    clock = MovingClock()
    monitor = QueueMetrics(store, broker, clock)
    await broker.publish(Outgoing(messages.READ_QUEUE, MESSAGE), Outgoing(messages.READ_QUEUE, MESSAGE))
    await monitor.look()
    assert sample("queue_messages", stage="reader", flow="") == 2
    assert sample("queue_consumers", stage="reader", flow="") == 0
    assert sample("queue_messages", stage="writer", flow="winter") == 0
    begun = lag()
    await asyncio.sleep(0.3)
    await monitor.look()
    assert lag() >= begun + 0.2
    async with hanging(store, broker, asyncio.Event()) as taken:
        await asyncio.wait_for(taken.wait(), 20)
        await monitor.look()
        assert sample("queue_consumers", stage="reader", flow="") == 1
        assert sample("queue_messages", stage="reader", flow="") == 0


async def test_a_stage_that_hangs(store: Store, broker: SqliteBroker) -> None:
    """The message in its hands grows old though a consumer is there; when it is settled the lag is gone."""
    headers = {**message_headers.following(), "published": str(datetime.now(UTC).timestamp() - 1000)}
    await broker.publish(Outgoing(messages.READ_QUEUE, MESSAGE, headers=headers))
    release = asyncio.Event()
    async with hanging(store, broker, release) as taken:
        await asyncio.wait_for(taken.wait(), 20)
        assert 1000 <= lag() < 1060
        assert sample("in_hand", stage="reader", flow="") == 1
        done = sample("deliveries_total", stage="reader", flow="winter", outcome="done") or 0
        release.set()
        while sample("deliveries_total", stage="reader", flow="winter", outcome="done") != done + 1:
            await asyncio.sleep(0.01)
        assert lag() == 0
        assert sample("handling_seconds_count", stage="reader", flow="winter") is not None


async def test_runs_watermarks_and_alarms(store: Store, broker: SqliteBroker) -> None:
    """Runs that go on, since when; how far a flow has read; what is open; and that somebody looked."""
    clock = MovingClock()
    now = clock.now()
    old = Run(
        run_id=new_run_id(now),
        flow="winter",
        version=1,
        trigger=Trigger("person"),
        status="queued",
        created_at=now - timedelta(hours=5),
    )
    await store.create_run(old)
    await store.set_watermark("winter", now - timedelta(days=2))
    await store.sound("winter", {"silence": "nothing came"}, notify=False)
    await QueueMetrics(store, broker, clock).look()
    assert sample("runs_active", flow="winter", status="queued") == 1
    created = sample("oldest_active_run_timestamp_seconds", flow="winter")
    assert created == pytest.approx(old.created_at.timestamp())
    assert sample("watermark_timestamp_seconds", flow="winter") == pytest.approx((now - timedelta(days=2)).timestamp())
    assert sample("alarms_open", flow="winter", kind="silence") == 1
    assert sample("last_look_timestamp_seconds") == pytest.approx(now.timestamp(), abs=60)
    ended = sample("runs_ended_total", flow="winter", status="failed") or 0
    await store.start_reading(old.run_id, None, None)
    await store.end_read(old.run_id, error="the ERP is gone", stage="read")
    await store.end_read(old.run_id, error="the ERP is gone", stage="read")
    await store.sound("winter", {}, notify=False)
    await QueueMetrics(store, broker, clock).look()
    assert sample("runs_ended_total", flow="winter", status="failed") == ended + 1
    assert sample("runs_active", flow="winter", status="queued") is None
    assert sample("alarms_open", flow="winter", kind="silence") is None
