"""The watcher over a real store and a real webhook: alarms open, are posted, and close by themselves."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from imageflow.clock import SystemClock
from imageflow.http.client import Transport
from imageflow.model.run import Run, Trigger, new_run_id
from imageflow.schedule import alarm
from imageflow.schedule.alarm_watcher import AlarmWatcher
from imageflow.secret import Secret
from imageflow.store.connect import connect

START = datetime(2026, 11, 24, 9, 0, 30, tzinfo=UTC)
KEY = b"a secret key"
DOMAIN = "https://brand.example.com"


class Clock(SystemClock):
    """The wall's time stands still until it is moved."""

    def __init__(self):
        self.instant = START

    def now(self):
        return self.instant

    def move(self, seconds):
        self.instant += timedelta(seconds=seconds)


class Hook:
    """A webhook that keeps what it gets, and answers as it is told."""

    def __init__(self):
        self.posts, self.status, self.headers = [], 200, {}

    async def answer(self, request):
        body = await request.read()
        self.posts.append((request.headers, body))
        return web.Response(status=self.status, headers=self.headers, text="x" * 100)

    @property
    def events(self):
        return [(json.loads(body)["event"], json.loads(body)["alarm"]["kind"]) for _, body in self.posts]


class Place:
    def __init__(self, stores, clock, hook, url, watchers):
        self.stores, self.clock, self.hook, self.url, self.watchers = stores, clock, hook, url, watchers
        self.store = stores[0]

    async def round(self):
        """All watchers look and post, at once."""
        for what in ("look", "post"):
            await asyncio.gather(*(getattr(watcher, what)() for watcher in self.watchers))

    async def flow(self, name="winter", *, enabled=True, **alarms):
        await self.store.save_flow(
            {
                "name": name,
                "direction": "inbound",
                "enabled": enabled,
                "omnitron": {"domain_url": DOMAIN, "username": "u", "password": {"env": "P"}},
                "erp": {"endpoint_url": "https://erp.example.com/"},
                "alarms": {"webhook_url": {"env": "HOOK"}, **alarms},
            }
        )

    async def run(self, error=None):
        self.clock.move(1)
        run = Run(
            run_id=new_run_id(self.clock.now()),
            flow="winter",
            version=1,
            trigger=Trigger("schedule"),
            status="queued",
            created_at=self.clock.now(),
        )
        await self.store.create_run(run)
        await self.store.start_reading(run.run_id, None, None)
        await self.store.end_read(run.run_id, error=error, stage="read" if error else None)


@asynccontextmanager
async def opened(tmp_path, *, watchers=1, path="/hook?token=topsecret"):
    clock, hook = Clock(), Hook()
    app = web.Application()
    app.router.add_post("/hook", hook.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}{path}"
    try:
        async with (
            connect(Secret(f"sqlite:///{tmp_path}/store.db"), clock) as store,
            connect(Secret(f"sqlite:///{tmp_path}/store.db"), clock) as other,
            Transport() as transport,
        ):
            await store.upgrade()
            stores = [store, other][:watchers]
            made = [AlarmWatcher(one, clock, {"HOOK": url}, transport, KEY) for one in stores]
            yield Place(stores, clock, hook, url, made)
    finally:
        await runner.cleanup()


@pytest.fixture
async def place(tmp_path):
    async with opened(tmp_path) as place:
        yield place


async def test_an_alarm_opens_and_closes_by_itself(place):
    """A failed poll opens an alarm that is posted, signed; the next good run closes it, which is posted, too."""
    await place.flow()
    await place.run(error="HTTP 500")
    await place.round()
    await place.round()
    await place.run()
    await place.round()
    await place.round()
    assert place.hook.events == [("opened", "failed_poll"), ("closed", "failed_poll")]
    headers, body = place.hook.posts[0]
    at, signature = (part.partition("=")[2] for part in headers["X-ImageFlow-Signature"].split(","))
    key = alarm.webhook_key(KEY, "winter").encode()
    assert signature == hmac.new(key, at.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["Content-Type"] == "application/json"
    (found,) = await place.store.alarms()
    assert found.closed_at is not None
    assert found.notice == "posted that it closed"


async def test_a_webhook_that_fails(place):
    """A failed post comes again with growing delays until it is taken; what went wrong is shown, without the URL."""
    await place.flow()
    await place.run(error="HTTP 500")
    place.hook.status = 503
    await place.round()
    await place.round()
    assert len(place.hook.posts) == 1
    (found,) = await place.store.alarms()
    assert found.notice == "not posted: the webhook answered 503; again in 1 s"
    for seconds, posts in ((1, 2), (1, 2), (1, 3), (5, 4)):
        place.clock.move(seconds)
        await place.round()
        assert len(place.hook.posts) == posts
    place.hook.status = 204
    place.clock.move(15)
    await place.round()
    place.clock.move(9999)
    await place.round()
    assert len(place.hook.posts) == 5
    ids = {json.loads(body)["id"] for _, body in place.hook.posts}
    assert len(ids) == 1
    assert "topsecret" not in repr(await place.store.alarms())


async def test_a_webhook_that_never_answers_well(place):
    """After enough posts in vain a notice is given up, and says so."""
    await place.flow()
    await place.run(error="HTTP 500")
    place.hook.status = 500
    for _ in range(alarm.ATTEMPTS + 3):
        await place.round()
        place.clock.move(1000)
    assert len(place.hook.posts) == alarm.ATTEMPTS
    assert (await place.store.alarms())[0].notice == "not posted: the webhook answered 500; given up"


async def test_no_redirects(place):
    """A redirect is not followed: it is a failure like another."""
    await place.flow()
    await place.run(error="HTTP 500")
    place.hook.status, place.hook.headers = 307, {"Location": place.url}
    await place.round()
    assert len(place.hook.posts) == 1
    assert "answered 307" in (await place.store.alarms())[0].notice


async def test_closed_before_it_could_be_posted(place):
    """While the webhook is away an alarm opens and closes: only its end is posted."""
    await place.flow()
    await place.run(error="HTTP 500")
    place.hook.status = 503
    await place.round()
    await place.run()
    place.hook.status = 200
    place.hook.posts.clear()
    place.clock.move(5)
    await place.round()
    assert place.hook.events == [("closed", "failed_poll")]
    place.clock.move(9999)
    await place.round()
    assert len(place.hook.posts) == 1


@pytest.mark.parametrize("url", [None, "ftp://example.com/", "http://user:topsecret@127.0.0.1/", "http://127.0.0.1:1/"])
async def test_webhooks_that_cannot_be_reached(tmp_path, url):
    """A secret that is not set, a URL of another kind, nobody there: the alarm is shown all the same, with the cause."""
    async with opened(tmp_path) as place:
        place.watchers[0]._environ = {} if url is None else {"HOOK": url}
        await place.flow()
        await place.run(error="HTTP 500")
        await place.round()
        (found,) = await place.store.alarms(is_open=True)
        assert found.notice.startswith("not posted: ")
        assert "topsecret" not in found.notice


async def test_a_flow_without_webhook(place):
    """Alarms of a flow without webhook are shown and posted to nobody; taking the webhook away ends what waits."""
    await place.flow(webhook_url=None)
    await place.run(error="HTTP 500")
    await place.round()
    assert [found.kind for found in await place.store.alarms(is_open=True)] == ["failed_poll"]
    await place.flow()
    await place.run()
    await place.watchers[0].look()
    await place.flow(webhook_url=None)
    await place.round()
    assert await place.store.due_notices() == []
    assert place.hook.posts == []


async def test_silence_of_a_flow_that_was_disabled(place):
    """Silence counts from when the flow was enabled last; disabling closes the alarm."""
    await place.flow(silence="1h")
    place.clock.move(3590)
    await place.round()
    assert place.hook.posts == []
    place.clock.move(20)
    await place.round()
    await place.flow(silence="1h", enabled=False)
    await place.round()
    place.clock.move(86_400)
    await place.flow(silence="1h")
    await place.flow(silence="61m")
    await place.round()
    assert place.hook.events == [("opened", "silence"), ("closed", "silence")]
    place.clock.move(3700)
    await place.round()
    assert place.hook.events[2:] == [("opened", "silence")]


async def test_a_held_domain_of_another_process(place):
    """What a writer process says it holds opens an alarm of the flows that write there, and its end closes it."""
    await place.flow()
    await place.store.hold("writer-1", {DOMAIN: "HTTP 503"}, 15)
    await place.round()
    place.clock.move(16)
    await place.round()
    assert place.hook.events == [("opened", "hold"), ("closed", "hold")]


async def test_one_of_two_watchers(tmp_path):
    """Two schedulers with their duties: everything is posted once, and the other takes over."""
    async with opened(tmp_path, watchers=2) as place:
        await place.flow()
        await place.run(error="HTTP 500")
        stops = [asyncio.Event(), asyncio.Event()]
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            for watcher, stop in zip(place.watchers, stops, strict=True):
                group.create_task(watcher.run(stop))
            while not place.hook.posts:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            for stop in stops:
                stop.set()
        assert place.hook.events == [("opened", "failed_poll")]
