"""The gateway over real HTTP, with a real SQLite store and broker."""

import asyncio
import gzip
import io
import json
import sqlite3
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_network

import aiohttp
import pytest
from aiohttp import web

from imageflow.actions.credentials import hash_password
from imageflow.broker.sqlite import SqliteBroker
from imageflow.clock import SystemClock
from imageflow.errors import BrokerError, QueueFullError, SettingsError, StoreError
from imageflow.gateway.access import CACHE_SECONDS, add_token
from imageflow.gateway.app import Gateway, application, monitoring, serve
from imageflow.gateway.body_budget import BodyBudget
from imageflow.gateway.login_pace import PACES
from imageflow.gateway.request_body import BodyReader
from imageflow.model.messages import PageRead, decode, transform_queue
from imageflow.model.row import RowLog
from imageflow.runtime.outbox_publisher import OutboxPublisher
from imageflow.secret import Secret
from imageflow.store import User
from imageflow.store.connect import connect
from tests import schemas

MEGABYTE = 1024 * 1024
KEY = b"a secret key"
CLOCK = SystemClock()
ROW = {"sku": "A", "images": ["https://cdn.example.com/a.jpg"]}
OMNITRON = {"domain_url": "https://brand.example.com", "username": "u", "password": {"env": "P"}}
FLOWS = (
    {"name": "posts", "direction": "outbound", "omnitron": OMNITRON},
    {"name": "nested", "direction": "outbound", "omnitron": OMNITRON, "erp": {"rows_path": "data.items"}},
    {"name": "off", "direction": "outbound", "omnitron": OMNITRON, "enabled": False},
    {
        "name": "polled",
        "direction": "inbound",
        "omnitron": OMNITRON,
        "erp": {"endpoint_url": "https://erp.example.com/"},
        "schedule": {"cron": "*/5 * * * *"},
    },
)


class Door:
    """A running gateway, with what stands behind it."""

    def __init__(self, store, broker, session, url, tokens):
        self.store, self.broker, self.session, self.url, self.tokens = store, broker, session, url, tokens

    async def request(self, method, path, **options):
        async with self.session.request(method, self.url + path, **options) as answer:
            return answer.status, answer.headers, await answer.read()

    async def post(self, body, *, flow="posts", user="erp", headers=None, **options):
        """Post rows as a user; gives status and the answer's JSON."""
        data = body if isinstance(body, bytes) or not isinstance(body, list | dict | str) else json.dumps(body).encode()
        all_headers = {"Authorization": f"Bearer {self.tokens[user]}", "Content-Type": "application/json"} | (
            headers or {}
        )
        data = io.BytesIO(data) if isinstance(data, bytes) and len(data) > MEGABYTE else data
        status, _, answer = await self.request(
            "POST", f"/api/outbound/{flow}", data=data, headers=all_headers, **options
        )
        return status, json.loads(answer)

    async def published(self):
        """Wait until what was accepted is published, which is soon after the answer."""
        async with asyncio.timeout(20):
            while await self.store.unsent(0):
                await asyncio.sleep(0.01)

    async def ready_messages(self, flow="posts"):
        await self.published()
        return (await self.broker.depth(transform_queue(flow))).ready

    async def nothing_accepted(self):
        """Whether neither the store nor the queue holds anything."""
        waiting = [await self.ready_messages(flow["name"]) for flow in FLOWS]
        return not await self.store.runs() and not any(waiting)


async def no_problems():
    return []


@asynccontextmanager
async def opened(tmp_path, *, broker=None, store=None, ready=no_problems, **options):
    async with (
        connect(Secret(schemas.lay(tmp_path / "store.db")), CLOCK) as real_store,
        SqliteBroker(tmp_path / "broker.db") as real_broker,
    ):
        tokens = {}
        password_hash = hash_password("correct horse")
        for name, role in (("erp", "operator"), ("boss", "admin"), ("guest", "viewer")):
            await real_store.save_user(User(name=name, password_hash=password_hash, role=role))
            tokens[name] = await add_token(real_store, KEY, name, CLOCK, 60)
        tokens["late"] = await add_token(real_store, KEY, "erp", CLOCK, -1)
        tokens["forged"] = await add_token(real_store, b"another key", "erp", CLOCK, 60)
        for document in FLOWS:
            await real_store.save_flow(document)
        used = store(real_store) if store else real_store
        relayed = broker(real_broker) if broker else real_broker
        gateway = Gateway(used, relayed, CLOCK, KEY, ready=ready, **options)
        async with serve(gateway.app(), "127.0.0.1", 0, 2) as port, aiohttp.ClientSession() as session:
            yield Door(real_store, real_broker, session, f"http://127.0.0.1:{port}", tokens)


@pytest.fixture
async def door(tmp_path):
    async with opened(tmp_path) as door:
        yield door


class Broken:
    """A store or broker of which some methods raise."""

    def __init__(self, real, error, *methods):
        self._real, self._error, self._methods = real, error, methods

    def __getattr__(self, name):
        if name not in self._methods:
            return getattr(self._real, name)

        async def fails(*_args, **_options):
            raise self._error

        return fails


async def test_a_post_is_a_run_with_one_page(door):
    """An accepted post is a draining run of its flow's version, a stored page, and one message with the rows inside."""
    status, answer = await door.post([ROW, ROW])
    assert (status, answer["rows"]) == (202, 2)
    run = await door.store.run(answer["run_id"])
    assert (run.status, run.flow, run.version, run.pages, run.read_complete) == ("draining", "posts", 1, 1, True)
    assert (run.trigger.kind, run.trigger.by) == ("outbound", "erp")
    assert json.loads((await door.store.page(run.run_id, 1)).body) == [ROW, ROW]
    await door.published()
    async with door.broker.consume(transform_queue("posts"), prefetch=1) as deliveries:
        delivery = await anext(deliveries)
        message = decode(delivery.body)
        await delivery.ack()
    assert isinstance(message, PageRead)
    assert (message.run_id, message.page) == (run.run_id, 1)
    assert json.loads(message.body) == [ROW, ROW]


async def test_a_large_post_stays_in_the_store(door):
    """A post that is too large for a message is accepted; its message leaves the rows in the store."""
    rows = [{"sku": str(number), "images": ["https://cdn.example.com/" + "x" * 900]} for number in range(2_000)]
    status, answer = await door.post(rows)
    assert (status, answer["rows"]) == (202, 2_000)
    async with door.broker.consume(transform_queue("posts"), prefetch=1) as deliveries:
        delivery = await anext(deliveries)
        assert decode(delivery.body).body is None
        await delivery.ack()
    assert json.loads((await door.store.page(answer["run_id"], 1)).body) == rows


NDJSON = b'{"sku": "A"}\n{"sku": "B"}\n\n{"sku": "C"}\n'


@pytest.mark.parametrize(
    ("body", "headers", "rows"),
    [
        (NDJSON, {"Content-Type": "application/x-ndjson"}, 3),
        (NDJSON, {"Content-Type": "application/x-ndjson; charset=utf-8"}, 3),
        (NDJSON, {"Content-Type": "application/json"}, 3),
        (NDJSON.replace(b"\n", b"\r\n"), {}, 3),
        (b'{"sku": "A"}', {"Content-Type": "application/x-ndjson"}, 1),
        (b'{"sku": "A"}', {"Content-Type": "text/plain"}, 1),
        (gzip.compress(NDJSON, mtime=0), {"Content-Encoding": "gzip"}, 3),
        (gzip.compress(b'[{"sku": "A"}]', mtime=0), {"Content-Encoding": "gzip"}, 1),
    ],
)
async def test_forms(door, body, headers, rows):
    """One object, a list and NDJSON are accepted, by content type or by look, plain or gzip."""
    status, answer = await door.post(body, headers=headers)
    assert (status, answer.get("rows")) == (202, rows)
    assert await door.ready_messages() == 1


async def test_rows_are_counted_at_rows_path(door):
    """Of an object the rows are where the flow's rows_path says."""
    status, answer = await door.post({"data": {"items": [ROW] * 3}}, flow="nested")
    assert (status, answer["rows"]) == (202, 3)


AUTHENTICATION = [
    ("no header", lambda _: {}, 401),
    ("empty", lambda _: {"Authorization": ""}, 401),
    ("token without a scheme", lambda t: {"Authorization": t["erp"]}, 401),
    ("basic", lambda t: {"Authorization": f"Basic {t['erp']}"}, 401),
    ("nobody's token", lambda _: {"Authorization": "Bearer abcdefgh"}, 401),
    ("cut short", lambda t: {"Authorization": f"Bearer {t['erp'][:-1]}"}, 401),
    ("expired", lambda t: {"Authorization": f"Bearer {t['late']}"}, 401),
    ("of another key", lambda t: {"Authorization": f"Bearer {t['forged']}"}, 401),
    ("SQL in the token", lambda _: {"Authorization": "Bearer ' OR 1=1 --"}, 401),
    ("two headers", lambda t: [("Authorization", f"Bearer {t['erp']}"), ("Authorization", "Bearer x")], 401),
    ("in the query only", lambda _: {}, 401),
    ("a viewer", lambda t: {"Authorization": f"Bearer {t['guest']}"}, 403),
    ("an operator", lambda t: {"Authorization": f"Bearer {t['erp']}"}, 202),
    ("an admin", lambda t: {"Authorization": f"Bearer {t['boss']}"}, 202),
    ("lower case", lambda t: {"Authorization": f"bearer {t['erp']}"}, 202),
    ("token scheme", lambda t: {"Authorization": f"Token {t['erp']}"}, 202),
]


@pytest.mark.parametrize(
    ("headers", "status"), [case[1:] for case in AUTHENTICATION], ids=[c[0] for c in AUTHENTICATION]
)
async def test_authentication(door, headers, status):
    """Each way to knock gets its status; who is not let in leaves nothing behind."""
    got, answer_headers, body = await door.request(
        "POST", f"/api/outbound/posts?access_token={door.tokens['erp']}", json=ROW, headers=headers(door.tokens)
    )
    assert got == status
    if status != 202:
        assert answer_headers["Content-Type"].startswith("application/problem+json")
        problem = json.loads(body)
        assert (problem["status"], problem["type"]) == (status, "about:blank")
        assert problem["title"]
        assert problem["detail"]
        assert await door.nothing_accepted()
    if status == 401:
        assert answer_headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("flow", "user", "status", "says"),
    [
        ("unknown", None, 401, "token"),
        ("unknown", "erp", 404, "no flow 'unknown'"),
        ("polled", "erp", 404, "inbound"),
        ("off", "erp", 404, "disabled"),
        ("..%2F..%2Fetc", "erp", 404, "no such flow"),
        ("POSTS", "erp", 404, "no such flow"),
        ("%00", "erp", 404, "no such flow"),
        ("polled", "guest", 403, "viewer"),
    ],
)
async def test_which_flows(door, flow, user, status, says):
    """Who has no token learns nothing about flows; with one, only outbound flows that are enabled take posts."""
    headers = {"Authorization": f"Bearer {door.tokens[user]}"} if user else {}
    got, _, body = await door.request("POST", f"/api/outbound/{flow}", json=ROW, headers=headers)
    assert got == status
    assert says in json.loads(body)["detail"]
    assert await door.nothing_accepted()


async def stream(size, chunk=b" " * 65_536):
    for _ in range(size // len(chunk)):
        yield chunk


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 400),
        (b"sku=A", {}, 400),
        (b'{"sku": "A"', {}, 400),
        (b'[{"sku": NaN}]', {}, 400),
        (b'{"sku": "\xff"}', {}, 400),
        (b"[" * 100_000, {}, 400),
        (b"[]", {}, 400),
        (b"null", {}, 400),
        (b"7", {}, 400),
        (b'[{"sku": "A"}, 7]', {}, 400),
        (b'{"sku": "A"}\n{"sku"', {}, 400),
        (b"not gzip", {"Content-Encoding": "gzip"}, 400),
        (gzip.compress(b'{"sku": "A"}' * 50, mtime=0)[:-12], {"Content-Encoding": "gzip"}, 400),
        (b'{"sku": "A"}', {"Content-Encoding": "br"}, 415),
        (b'{"sku": "A"}', {"Idempotency-Key": ""}, 400),
        (b'{"sku": "A"}', {"Idempotency-Key": "x" * 256}, 400),
        (b'{"sku": "A"}', {"Idempotency-Key": "a b"}, 400),
        (b"[" + b" " * (10 * MEGABYTE - 1) + b"]", {}, 413),
        (gzip.compress(bytes(200 * MEGABYTE), mtime=0), {"Content-Encoding": "gzip"}, 413),
    ],
)
async def test_bad_input(door, body, headers, status):
    """What is wrong is refused with its status, and leaves neither a run nor a message behind."""
    got, answer = await door.post(body, headers=headers)
    assert (got, answer["status"]) == (status, status)
    assert await door.nothing_accepted()


async def test_too_large_without_a_length(door):
    """A stream without Content-Length is cut off at ten megabytes."""
    got, answer = await door.post(stream(12 * MEGABYTE))
    assert (got, answer["status"]) == (413, 413)
    assert await door.nothing_accepted()


async def test_exactly_ten_megabytes(door):
    """Ten megabytes are not too large."""
    assert (await door.post(b'{"sku": "A"}' + b" " * (10 * MEGABYTE - 12)))[0] == 202


async def raw(door, data, *, close=False):
    """The head of what the gateway answers to bytes on a connection; `close` sends the end of the stream after them."""
    host, _, port = door.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        if close:
            writer.write_eof()
        return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    except asyncio.IncompleteReadError as error:
        return error.partial
    finally:
        writer.close()


def head(door, *more):
    lines = ["POST /api/outbound/posts HTTP/1.1", "Host: x", f"Authorization: Bearer {door.tokens['erp']}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def test_too_large_by_its_length(door):
    """A Content-Length over the limit is refused before any of the body is there."""
    answer = await raw(door, head(door, f"Content-Length: {11 * MEGABYTE}"))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert await door.nothing_accepted()


async def test_a_body_that_does_not_come(tmp_path):
    """A body that stops arriving is answered 408, and the connection closed."""
    async with opened(tmp_path, reader=BodyReader(seconds=0.2)) as door:
        answer = await raw(door, head(door, "Content-Length: 100") + b'{"sku"')
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert await door.nothing_accepted()


async def test_a_body_that_breaks_off(door):
    """A connection that is lost in the middle of a body leaves nothing behind, and the gateway goes on."""
    body = json.dumps([ROW]).encode()
    await raw(door, head(door, f"Content-Length: {len(body) + 1}") + body, close=True)
    assert await door.nothing_accepted()
    assert (await door.post(ROW))[0] == 202


@pytest.mark.parametrize(
    "data",
    [b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET /health HTTP/1.1\r\nA: " + b"x" * 10_000 + b"\r\n\r\n"],
)
async def test_what_is_not_http(door, data):
    """What is not HTTP, or has headers that are too long, gets 400 without versions or tracebacks."""
    answer = await raw(door, data)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"Python" not in answer
    assert b"Traceback" not in answer


async def test_repeats_are_harmless(door):
    """A repeat with the same key gets the same run and adds nothing; without a key, or with another, it is a new run."""
    first = await door.post([ROW], headers={"Idempotency-Key": "k1"})
    assert first[0] == 202
    assert await door.post([ROW], headers={"Idempotency-Key": "k1"}) == first
    assert await door.post(NDJSON[:13], headers={"Idempotency-Key": "k1"}) == (422, await problem_of(door, "k1"))
    assert len(await door.store.runs()) == 1
    assert await door.ready_messages() == 1
    assert (await door.post([ROW], headers={"Idempotency-Key": "k2"}))[1]["run_id"] != first[1]["run_id"]
    assert (await door.post([ROW], flow="nested", headers={"Idempotency-Key": "k1"}))[1]["run_id"] != first[1]["run_id"]
    assert len(await door.store.runs()) == 3


async def problem_of(door, key):
    status, problem = await door.post([ROW, ROW], headers={"Idempotency-Key": key})
    assert status == 422
    assert "another body" in problem["detail"]
    return problem


async def test_parallel_repeats(door):
    """Twenty repeats at the same time are one run."""
    answers = await asyncio.gather(*(door.post([ROW], headers={"Idempotency-Key": "k"}) for _ in range(20)))
    assert {status for status, _ in answers} == {202}
    assert len({answer["run_id"] for _, answer in answers}) == 1
    assert len(await door.store.runs()) == 1
    assert len((await door.store.runs())[0].trigger.by) > 0


async def test_parallel_posts(door):
    """Fifty posts at once are fifty runs with a message each."""
    answers = await asyncio.gather(*(door.post([{"sku": str(n)}] * (n + 1)) for n in range(50)))
    assert [(status, answer["rows"]) for status, answer in answers] == [(202, n + 1) for n in range(50)]
    assert len({answer["run_id"] for _, answer in answers}) == 50
    assert len(await door.store.runs()) == 50
    assert await door.ready_messages() == 50


async def test_full_queue(tmp_path):
    """While too much of a flow waits, its posts get 429 with Retry-After; other flows go on."""
    async with opened(tmp_path, queue_limit=2) as door:
        statuses = []
        for _ in range(4):
            statuses.append((await door.post(ROW))[0])
            await asyncio.sleep(0.55)  # the depth is asked for every half second
        assert statuses == [202, 202, 429, 429]
        headers = {"Authorization": f"Bearer {door.tokens['erp']}"}
        status, answer_headers, _ = await door.request("POST", "/api/outbound/posts", json=ROW, headers=headers)
        assert status == 429
        assert int(answer_headers["Retry-After"]) >= 1
        assert len(await door.store.runs()) == 2
        assert (await door.post({"data": {"items": [ROW]}}, flow="nested"))[0] == 202


@pytest.mark.parametrize("error", [BrokerError("away"), QueueFullError("full"), RuntimeError("a bug")])
async def test_broker_away(tmp_path, error):
    """A broker that is away after the rows are durable does not refuse the post: the outbox holds the message."""
    async with opened(tmp_path, broker=lambda real: Broken(real, error, "publish")) as door:
        status, answer = await door.post([ROW])
        assert (status, answer["rows"]) == (202, 1)
        assert [item.queue for item in await door.store.unsent(0)] == [transform_queue("posts")]
        assert (await door.broker.depth(transform_queue("posts"))).ready == 0
        assert await OutboxPublisher(door.store, door.broker).sweep(0) == 1
        assert await door.ready_messages() == 1


async def test_broker_without_depth(tmp_path):
    """That the broker cannot say how full it is, is no reason to refuse."""
    async with opened(tmp_path, broker=lambda real: Broken(real, BrokerError("away"), "depth")) as door:
        assert (await door.post(ROW))[0] == 202


@pytest.mark.parametrize(
    ("error", "method", "status"),
    [
        (StoreError("db.internal:5432 is away"), "token_user", 503),
        (StoreError("db.internal:5432 is away"), "flow", 503),
        (StoreError("db.internal:5432 is away"), "accept_posts", 503),
        (KeyError("a bug at db.internal"), "accept_posts", 500),
    ],
)
async def test_store_away(tmp_path, error, method, status):
    """Without the database there is no 202 but 503 with Retry-After; a bug is 500; neither tells of our inside."""
    async with opened(tmp_path, store=lambda real: Broken(real, error, method)) as door:
        headers = {"Authorization": f"Bearer {door.tokens['erp']}"}
        got, answer_headers, body = await door.request("POST", "/api/outbound/posts", json=ROW, headers=headers)
        assert got == status
        assert ("Retry-After" in answer_headers) == (status == 503)
        assert b"db.internal" not in body
        assert await door.nothing_accepted()


async def test_nothing_half_accepted_when_the_database_is_locked(tmp_path):
    """A post that the database refuses for now is refused whole, and its repeat with the same key is taken."""
    async with opened(tmp_path) as door:
        other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
        async with asyncio.TaskGroup() as tasks:
            other.execute("BEGIN EXCLUSIVE")
            waiting = tasks.create_task(door.post([ROW], headers={"Idempotency-Key": "k"}))
            await asyncio.sleep(0.3)
            assert not waiting.done() or waiting.result()[0] == 503
            other.execute("ROLLBACK")
        other.close()
        assert waiting.result()[0] in (202, 503)
        assert (await door.post([ROW], headers={"Idempotency-Key": "k"}))[0] == 202
        assert len(await door.store.runs()) == 1


LOGINS = [
    ({"username": "erp", "password": "correct horse"}, 200, ""),
    ({"username": "erp", "password": "correct horse "}, 400, "unable"),
    ({"username": "ERP", "password": "correct horse"}, 400, "unable"),
    ({"username": "nobody", "password": "correct horse"}, 400, "unable"),
    ({"username": "erp"}, 400, "required"),
    ({"password": "correct horse"}, 400, "required"),
    ({"username": "erp", "password": ""}, 400, "required"),
    ({"username": "", "password": "correct horse"}, 400, "required"),
    ({}, 400, "required"),
    ({"username": "x\x00y", "password": "correct horse"}, 400, "unable"),
    ({"username": "erp", "password": "x" * 20_000}, 413, "larger"),
]


@pytest.mark.parametrize(("form", "status", "says"), LOGINS)
async def test_integrator_login(door, form, status, says):
    """The Integrator's login takes a form and answers in plain text: the bare token, or which of two things is wrong."""
    got, headers, body = await door.request("POST", "/api/nifi/login", data=form)
    assert got == status
    assert headers["Content-Type"].startswith("text/plain")
    text = body.decode()
    assert says in text
    if status == 200:
        door.tokens["new"] = text
        assert (await door.post(ROW, user="new"))[0] == 202


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"username": "erp", "password": "correct horse"}', 200),
        (b'{"username": "erp", "password": "wrong horse"}', 401),
        (b'{"username": "nobody", "password": "correct horse"}', 401),
        (b'{"username": "erp"}', 400),
        (b'{"username": "erp", "password": 5}', 400),
        (b'{"username": "erp", "password": "\\ud800"}', 400),
        (b"username=erp&password=correct+horse", 400),
        (b"[" * 15_000, 400),
        (b"\xff", 400),
        (b"", 400),
    ],
)
async def test_json_login(door, body, status):
    """The JSON login gives a token and when it expires; wrong is 401, malformed is 400."""
    got, headers, answer = await door.request("POST", "/api/login", data=body)
    assert got == status
    if status == 200:
        token = json.loads(answer)
        assert datetime.fromisoformat(token["expires_at"]) > datetime.now(UTC)
        assert headers["Cache-Control"] == "no-store"
        door.tokens["new"] = token["token"]
        assert (await door.post(ROW, user="new"))[0] == 202
    else:
        assert json.loads(answer)["status"] == status


async def test_guessing_at_the_door(door):
    """After ten wrong passwords a login gets 429 with Retry-After, at both logins."""
    for _ in range(10):
        await door.request("POST", "/api/login", json={"username": "erp", "password": "wrong horse"})
    good = {"username": "erp", "password": "correct horse"}
    for path, options in (("/api/login", {"json": good}), ("/api/nifi/login", {"data": good})):
        status, headers, _ = await door.request("POST", path, **options)
        assert status == 429
        assert 0 < int(headers["Retry-After"]) <= 300


async def test_flow_list(door):
    """The Integrator's flow list needs a token and shows every flow."""
    assert (await door.request("GET", "/api/nifi/flow/list?projectId=7"))[0] == 401
    headers = {"Authorization": f"Bearer {door.tokens['guest']}"}
    status, _, body = await door.request("GET", "/api/nifi/flow/list?projectId=7", headers=headers)
    assert status == 200
    flows = {flow["id"]: flow for flow in json.loads(body)}
    assert set(flows) == {"posts", "nested", "off", "polled"}
    assert flows["polled"]["component"]["variables"]["!schedulingPeriod"] == "0 */5 * * * ? *"
    assert flows["off"]["state"] == "STOPPED"


async def logs_of(door, query, token="guest"):
    headers = {"Authorization": f"Bearer {door.tokens[token]}"}
    status, headers, body = await door.request("GET", f"/logs?{query}", headers=headers)
    return status, json.loads(body) if headers["Content-Type"].startswith("application/json") else body.decode()


async def test_logs(door):
    """The Integrator's logs show runs, their steps and their rows, in pages, newest run first."""
    assert (await logs_of(door, "log_type=1"))[0] == 404
    runs = [(await door.post([{"sku": str(n)}]))[1]["run_id"] for n in range(3)]
    settled = RowLog(run_id=runs[0], row=0, product="0", state="failed", stage="rows", reason="no image", page=1)
    await door.store.register_page(runs[0], 1, 1, [settled])

    status, page = await logs_of(door, "projectId=1&flowId=posts&log_type=1&limit=2&page=2")
    assert status == 200
    assert (page["count"], page["limit"], page["page"], page["previous"], page["next"]) == (3, 2, 2, 1, None)
    assert len(page["results"]) == 1
    _, page = await logs_of(door, f"log_type=1&filename_uuid={runs[0]}")
    log = page["results"][0]
    assert (log["state"], log["status"], log["triggered_by"], log["is_triggered"]) == (3, 3, "erp", False)
    assert int(log["finished"]) >= int(log["created"]) > 1_700_000_000_000

    _, page = await logs_of(door, f"log_type=2&original_filename_uuid={runs[1]}")
    assert [(log["name"], log["state"], log["status"]) for log in page["results"]] == [("login", 3, 2), ("write", 2, 1)]
    _, page = await logs_of(door, f"log_type=3&original_filename_uuid={runs[0]}")
    assert [(log["identifier"], log["status"], log["message"]) for log in page["results"]] == [("0", 3, "no image")]


@pytest.mark.parametrize(
    ("query", "token", "status"),
    [
        ("log_type=1", "forged", 401),
        ("log_type=4", "guest", 400),
        ("log_type=x", "guest", 400),
        ("limit=0", "guest", 400),
        ("limit=101", "guest", 400),
        ("page=-1", "guest", 400),
        ("page=99999999999999999999", "guest", 400),
        ("log_type=3", "guest", 400),
        ("log_type=3&original_filename_uuid=none", "guest", 404),
        ("flowId=unknown", "guest", 404),
    ],
)
async def test_logs_refused(door, query, token, status):
    """Logs need a token and sensible numbers; where there are none it is 404, all in plain text."""
    got, body = await logs_of(door, query, token)
    assert got == status
    assert isinstance(body, str)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/api/outbound/posts", 405),
        ("DELETE", "/health", 405),
        ("GET", "/api/../../etc", 404),
    ],
)
async def test_unknown_addresses(door, method, path, status):
    """What is not there is a problem body with 404 or 405, without versions, not to be sniffed."""
    got, headers, body = await door.request(method, path)
    assert (got, json.loads(body)["status"]) == (status, status)
    assert headers["Server"] == "ImageFlow"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert ("Allow" in headers) == (status == 405)


async def test_monitoring(tmp_path):
    """/health is for a living process, /ready tells what is wrong, /metrics counts posts by flow and status."""
    problems = []

    async def ready():
        return list(problems)

    async with opened(tmp_path, ready=ready) as door:
        assert await door.request("GET", "/health") == (200, *(await door.request("GET", "/health"))[1:])
        assert json.loads((await door.request("GET", "/ready"))[2]) == {"ready": True, "problems": []}
        problems.append("the consumer of imageflow.read is gone")
        status, _, body = await door.request("GET", "/ready")
        assert status == 503
        assert json.loads(body) == {"ready": False, "problems": problems}
        assert (await door.request("GET", "/health"))[0] == 200
        await door.post(ROW)
        await door.post(ROW, flow="no-such-flow")
        status, headers, body = await door.request("GET", "/metrics")
        assert headers["Content-Type"].startswith("text/plain; version=")
        assert b'imageflow_posts_total{flow="posts",status="202"}' in body
        assert b"no-such-flow" not in body


async def test_nothing_of_the_inside_on_the_public_port():
    """Where metrics have a port of their own, the public one says whether the gateway is ready, and no more."""

    async def ready():
        return ["brand.omnitron.net is held: 401"]

    gateway = Gateway(None, None, CLOCK, KEY, ready=ready)
    async with (
        serve(gateway.app(watched_elsewhere=True), "127.0.0.1", 0, 1) as port,
        aiohttp.ClientSession() as session,
    ):
        async with session.get(f"http://127.0.0.1:{port}/ready") as answer:
            assert (answer.status, await answer.json()) == (503, {"ready": False})
        async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            assert answer.status == 404
        async with session.get(f"http://127.0.0.1:{port}/health") as answer:
            assert answer.status == 200


async def test_readiness_that_fails():
    """A readiness check that raises or finds the database away is not ready, and says so."""

    async def away():
        raise StoreError("the database is away")

    async def bug():
        raise KeyError("x")

    for ready, says in ((away, "the database is away"), (bug, "itself failed")):
        async with (
            serve(monitoring(ready), "127.0.0.1", 0, 1) as port,
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/ready") as answer,
        ):
            assert answer.status == 503
            assert says in (await answer.json())["problems"][0]


async def test_stopping_finishes_what_is_in_hand():
    """Leaving `serve` answers the request in hand, also one whose body is still arriving, and takes no new connection."""
    begun = asyncio.Event()

    async def slow(request):
        begun.set()
        return web.Response(body=await request.read())

    async def body():
        yield b"first "
        await asyncio.sleep(0.3)
        yield b"second"

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        async with serve(application([web.post("/slow", slow)]), "127.0.0.1", 0, 4) as port:
            url = f"http://127.0.0.1:{port}/slow"
            posting = tasks.create_task(posted(session, url, body()))
            await begun.wait()
        assert posting.done()
        assert posting.result() == (200, b"first second", "close")
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.post(url)


async def posted(session, url, data):
    async with session.post(url, data=data) as answer:
        return answer.status, await answer.read(), answer.headers.get("Connection")


async def test_stopping_does_not_wait_for_ever():
    """A request that does not end is broken off within the time that stopping may take."""

    async def endless(request):
        await asyncio.sleep(60)

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        async with serve(application([web.get("/", endless)]), "127.0.0.1", 0, 0.5) as port:
            waiting = tasks.create_task(broken_off(session, f"http://127.0.0.1:{port}/"))
            await asyncio.sleep(0.1)
            begun = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - begun < 2
        assert await waiting


async def broken_off(session, url):
    with pytest.raises(aiohttp.ClientError):
        await session.get(url)
    return True


async def test_a_port_that_is_taken():
    """A port that somebody else has is a wrong setting, named."""
    async with serve(monitoring(no_problems), "127.0.0.1", 0, 1) as port:
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port}"):
            async with serve(monitoring(no_problems), "127.0.0.1", port, 1):
                pass


async def test_a_sender_that_holds_back_leaves_room(tmp_path):
    """A sender that never ends its bodies gets 429 for its next; another sender, a login and the API have room."""
    arrived, held = asyncio.Event(), asyncio.Event()

    class Budget(BodyBudget):
        def take(self, sender, size):
            super().take(sender, size)
            self.arrived = getattr(self, "arrived", 0) + size
            if self.arrived > 190_000:
                arrived.set()

    async with opened(tmp_path, reader=BodyReader(posts=Budget(1_000_000, 200_000))) as door:

        async def endless():
            yield b"[" + b" " * 190_000
            await held.wait()
            yield b"1]"

        headers = {"Authorization": f"Bearer {door.tokens['erp']}"}
        async with asyncio.TaskGroup() as tasks:
            slow = tasks.create_task(door.request("POST", "/api/outbound/posts", data=endless(), headers=headers))
            await arrived.wait()
            assert (await door.post([ROW] * 300))[0] == 429
            assert (await door.post([ROW] * 300, user="boss"))[0] == 202
            held.set()
        assert slow.result()[0] == 400
        assert (await door.post([ROW] * 300))[0] == 202


@pytest.mark.parametrize("trusted", [(), (ip_network("127.0.0.0/8"),)])
async def test_guesses_behind_a_proxy(tmp_path, trusted):
    """Behind a trusted proxy, guesses count for the address that it names; else they count for the connection's."""
    async with opened(tmp_path, trusted=trusted) as door:

        async def login(password, address):
            return (
                await door.request(
                    "POST",
                    "/api/login",
                    json={"username": "boss", "password": password},
                    headers={"X-Forwarded-For": f"10.9.9.9, {address}"},
                )
            )[0]

        for _ in range(PACES["pair"].free):
            assert await login("guess-guess", "1.2.3.4") == 401
        assert await login("correct horse", "1.2.3.4") == 429
        assert await login("correct horse", "5.6.7.8") == (200 if trusted else 429)


async def test_too_much_in_hand(tmp_path):
    """Bodies beyond what may be in memory at once are asked to come again; the room is free again afterwards."""
    async with opened(tmp_path, reader=BodyReader(posts=BodyBudget(50_000, 500_000))) as door:
        assert (await door.post([ROW] * 2_000))[0] == 503
        for _ in range(5):
            assert (await door.post([ROW] * 300))[0] == 202
        assert (await door.post(b"[" * 30_000))[0] == 400
        assert (await door.post([ROW] * 300))[0] == 202


async def test_a_revoked_key_or_user_is_refused(tmp_path):
    """At once by the gateway that revoked it, within a second by another one on the same database; a post whose body was still
    on its way is refused too."""
    async with opened(tmp_path) as door:
        other = Gateway(door.store, door.broker, SystemClock(), KEY, ready=no_problems)
        async with serve(other.app(), "127.0.0.1", 0, 2) as port:
            elsewhere = Door(door.store, door.broker, door.session, f"http://127.0.0.1:{port}", door.tokens)
            for each in (door, elsewhere):
                assert (await each.post(ROW))[0] == 202
            arriving = asyncio.Event()

            async def slow():
                yield b'{"sku": "A", '
                arriving.set()
                await asyncio.sleep(CACHE_SECONDS + 0.3)
                yield b'"images": ["https://c.example.com/a.jpg"]}'

            late = asyncio.create_task(elsewhere.post(slow(), headers={"Content-Type": "application/json"}))
            await arriving.wait()
            await door.store.remove_user("erp")
            removed = asked = time.monotonic()
            while (await elsewhere.post(ROW))[0] == 202:
                accepted = asked
                await asyncio.sleep(0.02)
                asked = time.monotonic()
            assert accepted - removed < CACHE_SECONDS + 0.5
            assert (await late)[0] == 401


async def test_idempotency_keys_are_each_senders_own(door):
    """Another user with the same key and another body takes nothing away, and learns nothing of the first one's run."""
    headers = {"Idempotency-Key": "k1"}
    first = await door.post(ROW, headers=headers)
    other = await door.post({**ROW, "sku": "B"}, headers=headers, user="boss")
    assert (first[0], other[0]) == (202, 202)
    assert other[1]["run_id"] != first[1]["run_id"]
