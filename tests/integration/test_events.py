"""The stream of events over real HTTP: what is told, to whom, and how it ends."""

import asyncio
from contextlib import asynccontextmanager

import aiohttp
import pytest

from imageflow.gateway import events
from imageflow.gateway.access import add_token
from tests.console_site import CLOCK, KEY, POLLED, furnish, opened


@pytest.fixture(scope="module")
def furnished(tmp_path_factory):
    file = tmp_path_factory.mktemp("furniture") / "store.db"
    asyncio.run(furnish(file))
    return file


@pytest.fixture
async def site(tmp_path, furnished, monkeypatch):
    monkeypatch.setattr(events.Events.__init__, "__kwdefaults__", {"look_seconds": 0.05})
    async with opened(furnished, tmp_path) as site:
        yield site


@asynccontextmanager
async def stream(site, query="", role="viewer"):
    """The lines of a stream, as they come."""
    token = await add_token(site.store, KEY, role, CLOCK, 3600)
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{site.url}/api/events{query}", headers=headers) as answer,
    ):
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        yield answer.content


async def told(content, topic):
    """Read until a topic is told; all topics until then."""
    seen = []
    async with asyncio.timeout(20):
        async for line in content:
            if line.startswith(b"data: "):
                seen.append(line.removeprefix(b"data: ").decode().strip())
                if seen[-1] == topic:
                    return seen
    raise AssertionError(f"the stream ended after {seen}")


async def test_what_changes_is_told(site):
    """A flow that is saved, a hold: topics with ids, and how soon to come again."""
    async with stream(site) as content:
        assert await content.readline() == b"retry: 2000\n"
        await content.readline()
        await told(content, "system")  # the first look is behind us
        await site.store.save_flow({**POLLED, "schedule": {"every": "30m"}}, "ada")
        await told(content, "flows")
        await site.store.hold("w2", {"https://other.example": "503"}, 3600)
        assert "flows" not in await told(content, "holds")


async def test_only_topics_that_are_asked_for(site):
    """The others are not sent; an unknown one is refused."""
    async with stream(site, "?topics=holds,system") as content:
        await told(content, "system")
        await site.store.save_flow({**POLLED, "schedule": {"every": "40m"}}, "ada")
        await site.store.hold("w3", {"https://third.example": "503"}, 3600)
        assert set(await told(content, "holds")) <= {"system", "holds"}
    visitor = await site.visitor("viewer")
    assert (await visitor.get("/api/events?topics=everything")).status == 400


async def test_streams_are_bounded(site, monkeypatch):
    """One user's do not take all of them."""
    monkeypatch.setattr(events, "STREAMS_OF_ONE", 1)
    visitor = await site.visitor("viewer")
    async with stream(site):
        answer = await visitor.get("/api/events")
        assert answer.status == 429
        assert answer.headers["Retry-After"]


async def test_a_stream_that_was_left_takes_no_place(site, monkeypatch):
    """Who goes from page to page opens a stream on each, and the server learns late that the one before is gone."""
    monkeypatch.setattr(events, "STREAMS_OF_ONE", 1)
    token = await add_token(site.store, KEY, "viewer", CLOCK, 3600)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        for _ in range(3):
            async with asyncio.timeout(events.HEARTBEAT_SECONDS / 3):
                while (answer := await session.get(f"{site.url}/api/events?topics=holds")).status == 429:
                    await asyncio.sleep(0.02)
            assert answer.status == 200
            answer.close()


async def test_a_stream_ends_with_its_session(site, monkeypatch):
    """At the next beat after the user is gone."""
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.05)
    async with stream(site, "?topics=holds") as content:
        await content.readline()
        await site.store.remove_user("viewer")
        site.gateway._access.forget()
        async with asyncio.timeout(20):
            await content.read()


async def test_stopping_says_goodbye(tmp_path, furnished):
    """Streams do not hold the shutdown up: they are told, and end."""
    async with opened(furnished, tmp_path) as site:
        token = await add_token(site.store, KEY, "viewer", CLOCK, 3600)
        session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"})
        answer = await session.get(f"{site.url}/api/events")
        await answer.content.readline()
    async with asyncio.timeout(5):
        assert (await answer.content.read()).endswith(b"event: bye\ndata: bye\n\n")
    await session.close()
