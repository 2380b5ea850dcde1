"""Requests in hand: one that takes too long is answered all the same, and the connection goes on."""

import asyncio
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from imageflow.gateway import events
from imageflow.gateway.app import IN_HAND, application, serve
from imageflow.gateway.in_hand import InHand


def late(_request):
    return web.Response(status=503, text="too late")


async def quick(_request):
    return web.Response(text="quick")


async def endless(_request):
    await asyncio.sleep(60)


async def stubborn(_request):
    """Does not let itself be ended."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(0)
    return web.Response(text="done all the same")


@asynccontextmanager
async def server():
    in_hand = InHand(late, seconds=5.0)
    app = web.Application(middlewares=[in_hand.middleware])
    app[events.STOPPING] = asyncio.Event()
    app.add_routes([web.get("/quick", quick), web.get("/endless", endless), web.get("/stubborn", stubborn)])
    app.add_routes([web.get(events.PATH, endless)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
            yield in_hand, url, session
    finally:
        await runner.cleanup()


async def asked(session, url):
    async with session.get(url) as answer:
        return answer.status, await answer.text()


async def after(in_hand, seconds, waiting):
    """Look `seconds` from now, once the request has come."""
    await asyncio.sleep(0.2)
    assert not waiting.done()
    in_hand.look(asyncio.get_running_loop().time() + seconds)


@pytest.mark.parametrize(
    ("path", "answer"), [("/endless", (503, "too late")), ("/stubborn", (200, "done all the same"))]
)
async def test_a_request_that_takes_too_long(path, answer):
    """It is ended and answered; one whose handler is done all the same has that answer. The next request of its connection
    is a request like any other.
    """
    async with server() as (in_hand, url, session), asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(asked(session, url + path))
        await after(in_hand, 4.0, waiting)
        await after(in_hand, 6.0, waiting)
        assert await waiting == answer
        assert await asked(session, f"{url}/quick") == (200, "quick")


async def test_a_request_that_waits_behind_a_late_one():
    """Only those that began too long ago are ended, the oldest first."""
    async with server() as (in_hand, url, session), asyncio.TaskGroup() as tasks:
        first = tasks.create_task(asked(session, f"{url}/endless"))
        await asyncio.sleep(0.3)
        async with aiohttp.ClientSession() as other:
            second = tasks.create_task(asked(other, f"{url}/endless"))
            await asyncio.sleep(0.2)
            in_hand.look(asyncio.get_running_loop().time() + 4.65)
            assert await first == (503, "too late")
            assert not second.done()
            in_hand.look(asyncio.get_running_loop().time() + 6.0)
            assert await second == (503, "too late")


async def test_an_event_stream_lasts():
    """A stream is not in hand."""
    async with server() as (in_hand, url, session), asyncio.TaskGroup() as tasks:
        stream = tasks.create_task(asked(session, url + events.PATH))
        await after(in_hand, 3600.0, stream)
        await asyncio.sleep(0.1)
        assert not stream.done()
        await in_hand.finish(0.1)
        stream.cancel()


async def test_the_gateway_looks_by_itself(monkeypatch):
    """`serve` runs the look: nothing but time ends a request."""
    monkeypatch.setattr("imageflow.gateway.in_hand.LOOK_SECONDS", 0.05)
    app = application([web.get("/endless", endless)])
    monkeypatch.setattr(app[IN_HAND], "_seconds", 0.2)
    async with serve(app, "127.0.0.1", 0, 1) as port, aiohttp.ClientSession() as session:
        status, text = await asked(session, f"http://127.0.0.1:{port}/endless")
    assert status == 503
    assert "it took too long; try again later" in text
