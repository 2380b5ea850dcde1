"""Fetch missing: when Omnitron is asked, which products are taken, and what becomes of a look that fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from imageflow.errors import LoginError, SecretError, StoreError, TransportError
from imageflow.http.omnitron import OmnitronError
from imageflow.model.flow import Flow
from imageflow.model.run import Run
from imageflow.schedule import missing
from imageflow.schedule.fetch import MissingFetcher
from imageflow.secret import Secret
from imageflow.store import Store
from imageflow.store.connect import connect
from tests import schemas

ROUND = timedelta(hours=4)
NOBODY: list[Any] = []


class Clock:
    """It stands still until it is moved; it begins where a round is due."""

    def __init__(self) -> None:
        self.instant = datetime(2026, 6, 1, 8, tzinfo=UTC)

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return self.instant.timestamp()


class Omnitron:
    """Pages of products, as lists of objects; or what is raised instead. `images`: of which products there are some."""

    def __init__(self) -> None:
        self.pages: list[Any] = [NOBODY]
        self.images: set[str] = set()
        self.links: dict[int, str] = {}
        self.asked: list[str] = []

    async def get_json(self, _definition: object, path: str) -> Any:
        self.asked.append(path)
        assert len(self.asked) < 50, "it asks without end"
        query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        if "product" in query:
            return {"results": [{}] if query["product"] in self.images else [], "next": None}
        number = int(query["page"])
        page = self.pages[number - 1]
        if isinstance(page, Exception):
            raise page
        if not isinstance(page, list):
            return page
        following = path.replace(f"page={number}", f"page={number + 1}") if number < len(self.pages) else None
        return {"results": page, "next": self.links.get(number, following)}


class Publisher:
    """Takes messages, and sends none."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def send(self, unsent: Any) -> None:
        self.sent += unsent


class World:
    """A store with one flow that enables rounds, and a fetcher."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store, self.clock = store, clock
        self.omnitron, self.publisher = Omnitron(), Publisher()
        self.fetcher = MissingFetcher(store, self.publisher, clock, self.omnitron)  # type: ignore[arg-type]

    async def flow(self) -> Flow:
        return await self.store.flow("winter")

    async def tick(self, **later: float) -> None:
        self.clock.instant += timedelta(**later)
        await self.fetcher.tick()

    async def runs(self) -> list[Run]:
        return sorted(await self.store.runs("winter"), key=lambda run: run.created_at)

    async def fates(self) -> list[tuple[str, str | None]]:
        return [(run.status, run.error_stage) for run in await self.runs()]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = Clock()
    async with connect(Secret(schemas.lay(tmp_path / "store.db")), clock) as store:
        await store.save_flow(
            {
                "name": "winter",
                "direction": "inbound",
                "omnitron": {"domain_url": "https://brand.example.com", "username": "u", "password": {"env": "PW"}},
                "erp": {"endpoint_url": "https://erp.example.com/", "query_settings": {"sku": {"key": "sku"}}},
                "fetch_missing": {"enabled": True, "every": "4h", "batch_size": 2},
            }
        )
        yield World(store, clock)


def product(sku: str, **fields: Any) -> dict[str, Any]:
    """A product that says that it has no images."""
    return {"pk": int(sku[1:]), "sku": sku, "base_code": f"B{sku[1:]}", "productimage_set": [], **fields}


def ids(runs: list[Run]) -> list[tuple[str, ...]]:
    return [run.trigger.ids for run in runs]


# when -----------------------------------------------------------------------------------------------------------------


async def test_the_rounds_of_a_new_flow_count_from_now(world: World) -> None:
    """The first look only notes the flow; the next round asks, once, and its runs begin."""
    world.omnitron.pages = [[product("S1"), product("S2"), product("S3")]]
    await world.tick()
    await world.tick(minutes=239)
    assert (world.omnitron.asked, await world.runs()) == ([], [])
    await world.tick(minutes=1)
    await world.tick(minutes=1)
    assert ids(await world.runs()) == [("S1", "S2"), ("S3",)]
    assert {run.trigger.by for run in await world.runs()} == {"2026-06-01T12:00:00.000000Z"}
    assert (len(world.omnitron.asked), len(world.publisher.sent)) == (1, 1)


async def test_a_failing_look_is_repeated_once_a_minute(world: World) -> None:
    """By one scheduler of all, until five minutes are over; then the round is a run that has failed, and is not repeated."""
    world.omnitron.pages = [OmnitronError("HTTP 503", transient=True)]
    await world.tick()
    await world.tick(hours=4)
    await world.tick(seconds=59)
    assert len(world.omnitron.asked) == 1
    await world.tick(seconds=1)
    other = MissingFetcher(world.store, world.publisher, world.clock, world.omnitron)  # type: ignore[arg-type]
    await other.tick()
    assert len(world.omnitron.asked) == 2
    for _ in range(3):
        await world.tick(minutes=1)
    assert await world.runs() == []
    await world.tick(minutes=1)
    await world.tick(minutes=1)
    assert (await world.fates(), len(world.omnitron.asked)) == ([("failed", "read")], 6)


async def test_a_look_that_succeeds_ends_the_count(world: World) -> None:
    """A later round that fails has five minutes of its own."""
    await world.tick()
    for hours in (4, 4):
        world.omnitron.pages = [TransportError("reset")]
        await world.tick(hours=hours)
        world.omnitron.pages = [NOBODY]
        await world.tick(minutes=1)
    assert await world.runs() == []


# what becomes of a look that fails ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "stage", "said"),
    [
        (OmnitronError("HTTP 403"), "read", "looking for products without images: HTTP 403"),
        (LoginError("refused"), "login", "looking for products without images: refused"),
        (SecretError("PW is not set"), "login", "looking for products without images: PW is not set"),
    ],
)
async def test_a_round_that_will_not_succeed(world: World, error: Exception, stage: str, said: str) -> None:
    """What waiting does not mend is a failed run at once, with where it failed and why."""
    world.omnitron.pages = [error]
    await world.tick()
    await world.tick(hours=4)
    (run,) = await world.runs()
    assert (run.status, run.error_stage, run.error) == ("failed", stage, said)


@pytest.mark.parametrize(
    ("error", "stage", "said"),
    [
        (OmnitronError("HTTP 503", transient=True), "read", "images: HTTP 503"),
        (TransportError("reset"), "read", "images: reset"),
        (LoginError("refused"), "login", "images: refused"),
        (TimeoutError(), "read", "took longer than 1800 s"),
        (SecretError("PW is not set"), None, "PW is not set"),
    ],
)
async def test_a_person_is_told_at_once(world: World, error: Exception, stage: str | None, said: str) -> None:
    """Who asks gets the failed run and need not wait; a secret that cannot be read is an error of theirs, and no run."""
    world.omnitron.pages = [error]
    if stage is None:
        with pytest.raises(SecretError, match=said):
            await world.fetcher.ask_now(await world.flow(), "ada")
        assert await world.runs() == []
        return
    begun = await world.fetcher.ask_now(await world.flow(), "ada")
    (run,) = await world.runs()
    assert [one.run_id for one in begun.runs] == [run.run_id]
    assert (run.status, run.error_stage, run.trigger.by) == ("failed", stage, "ada")
    assert run.error is not None
    assert run.error.endswith(said)


async def test_a_store_that_is_away_is_no_failed_round(world: World) -> None:
    """Nothing is known then; the round stays due."""
    world.omnitron.pages = [StoreError("away")]
    await world.tick()
    with pytest.raises(ExceptionGroup):
        await world.tick(hours=4)
    assert await world.runs() == []
    world.omnitron.pages = [[product("S1")]]
    await world.tick(minutes=1)
    assert ids(await world.runs()) == [("S1",)]


# which products -------------------------------------------------------------------------------------------------------


async def test_which_products_are_asked_for(world: World) -> None:
    """Those without images on all pages, each once; one that does not say is looked up, but for one without a number."""
    unsaid = {"productimage_set": None}
    world.omnitron.pages = [
        [product("S1"), product("S2", productimage_set=[{}]), product("S3", **unsaid)],
        [product("S1"), product("S4", **unsaid), product("S5", pk=None, **unsaid)],
    ]
    world.omnitron.images = {"3"}
    begun = await world.fetcher.ask_now(await world.flow(), "ada")
    assert ids(begun.runs) == [("S1", "S4"), ("S5",)]
    assert len(world.omnitron.asked) == 4


@pytest.mark.parametrize("link", [1, 2])
async def test_a_list_that_goes_in_circles(world: World, link: int) -> None:
    """A page that leads to itself or back ends the look; nothing that was seen so far is asked for."""
    world.omnitron.pages = [[product("S1")], [product("S2")]]
    flow = await world.flow()
    first = missing.list_path(flow.definition, world.clock.now())
    world.omnitron.links = {2: first.replace("page=1", f"page={link}")}
    begun = await world.fetcher.ask_now(flow, "ada")
    assert begun.runs[0].error == "looking for products without images: Omnitron's list of products goes in circles"
    assert len(world.omnitron.asked) == 2


@pytest.mark.parametrize("answer", [{}, {"results": None}, {"results": {}}, "maintenance"])
async def test_what_is_no_list_of_products(world: World, answer: Any) -> None:
    """It is an error, and never taken for a list without products."""
    world.omnitron.pages = [answer]
    (run,) = (await world.fetcher.ask_now(await world.flow(), "ada")).runs
    assert (run.status, run.error_stage) == ("failed", "read")


# a person asks --------------------------------------------------------------------------------------------------------


async def test_what_is_under_way_is_not_asked_for_again(world: World) -> None:
    """A person is told how many identifiers wait for other runs; two who ask at once get what is left, each once."""
    world.omnitron.pages = [[product("S1")]]
    first = await world.fetcher.ask_now(await world.flow(), "ada")
    assert (ids(first.runs), first.warnings) == ([("S1",)], ())
    world.omnitron.pages = [[product("S1"), product("S2")]]
    second = await world.fetcher.ask_now(await world.flow(), "bob")
    assert ids(second.runs) == [("S2",)]
    assert second.warnings == ("1 identifiers are asked for by runs that have not ended",)
    third = await world.fetcher.ask_now(await world.flow(), "cem")
    assert (third.runs, third.warnings) == ([], ("2 identifiers are asked for by runs that have not ended",))


async def test_a_flow_that_can_have_no_such_run(world: World) -> None:
    """It is checked only where a run would begin, and before one does."""

    def refuse(_flow: Flow) -> None:
        raise ValueError("no parameter for identifiers")

    begun = await world.fetcher.ask_now(await world.flow(), "ada", refuse)
    assert begun == ([], ())
    world.omnitron.pages = [[product("S1")]]
    with pytest.raises(ValueError, match="no parameter"):
        await world.fetcher.ask_now(await world.flow(), "ada", refuse)
    assert await world.runs() == []
