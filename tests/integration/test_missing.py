"""Fetch missing against the fake Omnitron and a real store: rounds, what they ask for, what becomes of a failing one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from imageflow.actions.actor import Actor
from imageflow.actions.missing import fetch_missing
from imageflow.actions.runs import NotRunnable
from imageflow.broker.sqlite import SqliteBroker
from imageflow.emulator import FakeOmnitron
from imageflow.errors import SecretError
from imageflow.http.client import Transport
from imageflow.http.omnitron import OmnitronSessions
from imageflow.model.imageset import Image
from imageflow.model.row import RowLog
from imageflow.model.run import Run, Trigger, new_run_id
from imageflow.runtime.outbox_publisher import OutboxPublisher
from imageflow.schedule import missing
from imageflow.schedule.fetch import MissingFetcher
from imageflow.secret import Secret
from imageflow.store import LedgerEntry, Wanted
from imageflow.store.connect import connect
from tests import schemas

ROUND = timedelta(hours=4)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.instant = datetime.now(UTC).replace(microsecond=0)

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return self.instant.timestamp()


class World:
    """A fake Omnitron, a store, and any number of fetchers."""

    def __init__(self, omnitron: FakeOmnitron, store: Any, broker: SqliteBroker, transport: Transport) -> None:
        self.omnitron, self.store, self.broker, self.transport = omnitron, store, broker, transport
        self.clock: Clock = Clock()
        self.environ = {"OMNITRON_PASSWORD": "demo"}

    def fetcher(self) -> MissingFetcher:
        sessions = OmnitronSessions(self.transport, self.environ, self.clock)
        return MissingFetcher(self.store, OutboxPublisher(self.store, self.broker), self.clock, sessions)

    async def flow(self, **settings: Any) -> None:
        document = {
            "name": "winter",
            "direction": "inbound",
            "omnitron": {
                "domain_url": self.omnitron.url,
                "username": "demo",
                "password": {"env": "OMNITRON_PASSWORD"},
            },
            "erp": {"endpoint_url": "http://127.0.0.1:9/", "query_settings": {"sku": {"key": "sku"}}},
            "fetch_missing": {"enabled": True, "batch_size": 40, **settings},
        }
        await self.store.save_flow(document)

    def give(self, *skus: str) -> None:
        for sku in skus:
            self.omnitron.images[sku] = (Image("https://img.example.com/1.jpg"),)

    async def runs(self) -> list[Run]:
        return sorted(await self.store.runs("winter", limit=1000), key=lambda run: (run.created_at, run.run_id))

    async def asked(self) -> list[str]:
        return [identifier for run in await self.runs() for identifier in run.trigger.ids]

    async def end(self, run: Run, *logs: RowLog) -> None:
        """A run that was read and written, with these rows."""
        await self.store.start_reading(run.run_id, None, None)
        await self.store.save_page(run.run_id, 1, b"[]", cursor=None, last=True)
        await self.store.register_page(run.run_id, 1, len(logs), [])
        await self.store.settle("token", logs)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Any]:
    async with AsyncExitStack() as stack:

        async def make(**omnitron: Any) -> World:
            fake = FakeOmnitron(**{"products": 250, **omnitron})
            await stack.enter_async_context(fake.serve())
            clock = Clock()
            store = await stack.enter_async_context(connect(Secret(schemas.lay(tmp_path / "store.db")), clock))
            broker = await stack.enter_async_context(SqliteBroker(tmp_path / "broker.db"))
            made = World(fake, store, broker, await stack.enter_async_context(Transport()))
            made.clock = clock
            return made

        yield make


def within(days: int) -> list[str]:
    """The SKUs of generated products that were productized in the last days: one an hour."""
    start = datetime.now(UTC).date() - timedelta(days=days)
    found = [p for p in FakeOmnitron(products=250)._first_products if p["productization_date"] >= start.isoformat()]
    return [p["sku"] for p in found]


@pytest.mark.parametrize("inline", [True, False])
async def test_asks_for_exactly_what_is_missing(world: Any, inline: bool):
    """Of all pages of products, those of the window without images, in batches; whether or not the list shows images."""
    here = await world(inline_images=inline)
    await here.flow(productization_date_limit_days=6)
    expected = within(6)
    here.give(*expected[::3])
    begun = await here.fetcher().ask_now(await here.store.flow("winter"), "ayse")
    wanted = [sku for sku in expected if sku not in expected[::3]]
    assert await here.asked() == wanted
    assert [len(run.trigger.ids) for run in begun.runs] == [40] * (len(wanted) // 40) + [len(wanted) % 40]
    assert {(run.trigger.kind, run.trigger.by, run.status) for run in await here.runs()} == {
        ("fetch_missing", "ayse", "queued")
    }


async def test_does_not_ask_again_for_what_is_under_way(world: Any):
    """A second look before the runs have ended adds nothing, and says why."""
    here = await world(products=5)
    await here.flow(identifier_path="attributes__erp_code")
    flow = await here.store.flow("winter")
    await here.fetcher().ask_now(flow, "ayse")
    assert await here.asked() == [f"ERP-{n}" for n in range(1, 6)]
    again = await here.fetcher().ask_now(flow, "ayse")
    assert again.runs == []
    assert again.warnings == ("5 identifiers are asked for by runs that have not ended",)


async def test_a_round_is_once_for_all_schedulers(world: Any):
    """The first sight of a flow is its baseline; then each round adds its runs once, however many look, and missed ones are
    one.
    """
    here = await world(products=5)
    await here.flow()
    fetchers = [here.fetcher() for _ in range(3)]

    async def look() -> None:
        async with asyncio.TaskGroup() as group:
            for fetcher in fetchers:
                group.create_task(fetcher.tick())

    await look()
    assert await here.runs() == []
    here.clock.instant += 3 * ROUND
    await look()
    await look()
    assert len(await here.runs()) == 1


async def test_a_flow_that_does_not_enable_it_is_left_alone(world: Any):
    """Without `enabled` there are no rounds."""
    here = await world(products=5)
    await here.flow(enabled=False)
    for _ in range(2):
        await here.fetcher().tick()
        here.clock.instant += ROUND
    assert await here.store.last_fire(missing.key("winter")) is None


async def test_a_round_that_cannot_look_is_tried_again_and_then_a_failed_run(world: Any):
    """Omnitron away: tried once a minute, after five minutes a failed run that names the cause; the next round is fine."""
    here = await world(products=5, faults=["path=/api/v1/products/,status=503"])
    await here.flow()
    fetcher = here.fetcher()
    await fetcher.tick()
    here.clock.instant += ROUND
    for _ in range(6):
        await fetcher.tick()
        await fetcher.tick()
        here.clock.instant += timedelta(seconds=60)
    (run,) = await here.runs()
    assert (run.status, run.error_stage) == ("failed", "read")
    assert "503" in (run.error or "")
    assert await here.store.release_runs() == []
    here.omnitron.take_faults([])
    here.clock.instant += ROUND
    await fetcher.tick()
    assert len(await here.runs()) == 2


async def test_a_person_is_told_which_secret_is_missing(world: Any):
    """A secret that is not set is an error with its name, not a run."""
    here = await world(products=1)
    await here.flow()
    here.environ.clear()
    with pytest.raises(SecretError, match="OMNITRON_PASSWORD"):
        await here.fetcher().ask_now(await here.store.flow("winter"), "ayse")


async def test_a_flow_that_cannot_be_asked_for_identifiers(world: Any):
    """It is refused before Omnitron is asked, in the words of a run by identifiers, and no run begins."""
    here = await world(products=1)
    await here.flow()
    document = (await here.store.flow("winter")).document
    await here.store.save_flow(
        {**document, "erp": {"endpoint_url": "http://127.0.0.1:9/"}, "fetch_missing": {"enabled": False}}
    )
    with pytest.raises(NotRunnable, match=r"does not say which parameter carries them: add erp\.query_settings\.sku"):
        await fetch_missing(here.store, here.fetcher(), "winter", Actor("ada", "test"))
    assert await here.runs() == []


async def test_tells_what_the_erp_does_not_have_from_what_failed(world: Any):
    """The next look says of the runs before what became of what they asked for."""
    here = await world(products=3)
    await here.flow()
    flow = await here.store.flow("winter")
    (run,) = (await here.fetcher().ask_now(flow, "ayse")).runs
    first, second, third = run.trigger.ids
    here.give(first)
    failed = RowLog(run_id=run.run_id, row=1, product=second, state="failed", stage="rows", reason="no URL")
    await here.end(run, failed)
    await here.fetcher().ask_now(flow, "ayse")
    assert (await here.store.run(run.run_id)).warnings == (
        f"1 identifiers are not in the ERP: {third}",
        f"1 identifiers are in the ERP but failed: {second} (no URL)",
    )
    assert (await here.asked())[3:] == [second, third]


async def test_what_is_missing_is_not_unchanged(world: Any):
    """The ledger forgets what it believed to be there; rows that are older still stay superseded."""
    here = await world(products=1)
    await here.flow()
    (sku,) = within(1)[:1]
    await here.store.alive("w", 60)
    other = Run(
        run_id=new_run_id(here.clock.now()),
        flow="winter",
        version=1,
        trigger=Trigger("person"),
        status="queued",
        created_at=here.clock.now(),
    )
    await here.store.create_run(other)
    written = LedgerEntry(here.omnitron.url, sku, 7, "digest", other.run_id, 1)
    await here.store.settle("t", [], written=[written])
    await here.fetcher().ask_now(await here.store.flow("winter"), "ayse")
    (claim,) = await here.store.claim(here.omnitron.url, "w", "t2", [Wanted(sku, 8)])
    assert (claim.mine, claim.version, claim.digest) == (True, 7, None)
