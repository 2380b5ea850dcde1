"""The emulators over real HTTP: what they promise to those who test against them."""

import asyncio
import json
import time
from contextlib import asynccontextmanager

import aiohttp
import orjson
import pytest

from imageflow.emulator import MODES, FakeErp, FakeOmnitron, Fault, parse_fault, serve_forever
from imageflow.emulator.catalog import base_code_of, index_of, indices_of, sku_of
from imageflow.emulator.faults import FaultScript

WRITE = "/api/v1/downloadable-image/"
LOGIN = "/api/v1/auth/login/"
DEMO = {"username": "demo", "password": "demo"}


class Client:
    """A plain client of one server, logged in to Omnitron on demand."""

    def __init__(self, session, url):
        self.session = session
        self.url = url
        self.headers = {}

    async def ask(self, method, path, *, timeout=5, **options):
        """Status, headers and body of an answer."""
        url = path if path.startswith("http") else self.url + path
        options.setdefault("headers", self.headers)
        options.setdefault("allow_redirects", False)
        async with (
            asyncio.timeout(timeout),
            self.session.request(method, url, **options) as answer,
        ):
            return answer.status, answer.headers, await answer.read()

    async def json(self, method, path, **options):
        """Status and JSON of an answer."""
        status, _, body = await self.ask(method, path, **options)
        return status, orjson.loads(body) if body else None

    async def login(self, path=LOGIN):
        status, answer = await self.json("POST", path, json=DEMO, headers={})
        assert status == 200
        self.headers = {"Authorization": f"Token {answer['key']}"}

    async def write(self, sku, *urls, path=WRITE, **options):
        images = [{"url": url, "order": order} for order, url in enumerate(urls)]
        return await self.json("POST", path, json={"product_sku": sku, "images": images}, **options)


@asynccontextmanager
async def client_of(emulator):
    async with emulator.serve() as url, aiohttp.ClientSession() as session:
        client = Client(session, url)
        if isinstance(emulator, FakeOmnitron):
            await client.login()
        yield client


async def read_all(client, kind, *, limit=7, method="GET", **params):
    """All rows that the ERP gives by one kind of pagination, and how many pages it took."""

    async def page(url, **given):
        options = {"params": given} if method == "GET" else {"json": given}
        status, headers, body = await client.ask(method, url, **options)
        assert status == 200, body
        return headers, orjson.loads(body)

    url, rows, pages, given = f"/images/{kind}/", [], 0, {**params, "limit": limit}
    while True:
        headers, answer = await page(url, **given)
        pages += 1
        rows += answer["results"]
        if kind in ("next", "link"):
            link = headers.get("Link", "").partition(";")[0].strip("<>") if kind == "link" else answer["next"]
            if not link:
                return rows, pages
            url, given = link, {}
        elif kind == "token":
            if not answer["next_token"]:
                return rows, pages
            given["token"] = answer["next_token"]
        elif kind == "none" or len(answer["results"]) < limit:
            return rows, pages
        else:
            given |= {
                "offset": {"offset": len(rows)},
                "page": {"page": pages + 1},
                "seek": {"after": rows[-1]["sku"]},
            }[kind]


# -- Omnitron --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/v1/auth/login/", "/api/i1/auth/login/"])
async def test_login_gives_a_key(path):
    """Both login paths answer good credentials with a key."""
    omnitron = FakeOmnitron()
    async with client_of(omnitron) as client:
        status, answer = await client.json("POST", path, json=DEMO, headers={})
        assert (status, list(answer), omnitron.logins) == (200, ["key"], 2)


async def test_login_refuses_as_django_does():
    """Wrong credentials and missing fields are a 400 with the fields; a stale token in the header is a 401."""
    async with client_of(FakeOmnitron()) as client:
        wrong = await client.json("POST", LOGIN, json={**DEMO, "password": "x"}, headers={})
        missing = await client.json("POST", LOGIN, json={"username": "demo"}, headers={})
        stale = await client.json("POST", LOGIN, json=DEMO, headers={"Authorization": "Token old"})
        assert wrong == (400, {"non_field_errors": ["Unable to log in with provided credentials."]})
        assert missing == (400, {"password": ["This field is required."]})
        assert stale == (401, {"detail": "Invalid token."})


async def test_a_write_replaces_what_the_product_had():
    """Images that a request lacks are deleted; the answer is an empty 201, then an empty 200."""
    omnitron = FakeOmnitron()
    async with client_of(omnitron) as client:
        assert await client.write("A", "https://x/1.jpg", "https://x/2.jpg") == (201, None)
        assert await client.write("A", "https://x/2.jpg", path="/api/i1/downloadable_image/") == (200, None)
        assert omnitron.images_of("A") == [{"url": "https://x/2.jpg", "order": 0, "image_type": "default"}]
        assert await client.write("A") == (200, None)
        assert omnitron.images_of("A") == []
        assert [len(written.images) for written in omnitron.history["A"]] == [2, 1, 0]


@pytest.mark.parametrize(
    ("images", "problem"),
    [
        ([{"url": "https://x/1"}, {"url": "nothing"}], [{}, {"url": ["Enter a valid URL."]}]),
        ([{"url": "https://"}], [{"url": ["Enter a valid URL."]}]),
        ([{"order": 1}], [{"url": ["This field is required."]}]),
        ([{"url": "https://x/1", "order": "one"}], [{"order": ["A valid integer is required."]}]),
        ([{"url": "https://x/1", "image_type": "big"}], [{"image_type": ['"big" is not a valid choice.']}]),
        ([{"url": "https://x/1"}, {"url": "https://x/1"}], ["The same url appears more than once."]),
        (["https://x/1"], [{"non_field_errors": ["Invalid data. Expected a dictionary."]}]),
        (None, ["This field is required."]),
        ("https://x/1", ["Expected a list of items."]),
    ],
)
async def test_one_wrong_image_and_none_is_saved(images, problem):
    """A write with a wrong image is a 400 that names field and place, and changes nothing."""
    omnitron = FakeOmnitron()
    async with client_of(omnitron) as client:
        await client.write("A", "https://x/old.jpg")
        answer = await client.json("POST", WRITE, json={"product_sku": "A", "images": images})
        assert answer == (400, {"images": problem})
        assert [image["url"] for image in omnitron.images_of("A")] == ["https://x/old.jpg"]
        assert (omnitron.refused, omnitron.written) == (1, 1)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b'{"images": []}', b'{"product_sku": null}'])
async def test_bodies_that_are_no_write(body):
    """Whatever is posted, a body that is no write is a 400 with a JSON object."""
    async with client_of(FakeOmnitron()) as client:
        status, answer = await client.json("POST", WRITE, data=body)
        assert status == 400
        assert isinstance(answer, dict)


async def test_numbers_as_text_are_taken():
    """The serializer is as forgiving as Django's: an order as text, a product as a number."""
    omnitron = FakeOmnitron()
    async with client_of(omnitron) as client:
        body = {"product_sku": 17, "images": [{"url": "https://x/1", "order": "3", "extra": 1}]}
        assert await client.json("POST", WRITE, json=body) == (201, None)
        assert omnitron.images_of("17") == [{"url": "https://x/1", "order": 3, "image_type": "default"}]


async def test_without_a_token_nothing_is_written():
    """A missing, wrong or expired token is a 401; a new login helps."""
    omnitron = FakeOmnitron(faults=["token_uses=2"])
    async with client_of(omnitron) as client:
        assert await client.write("A", headers={}) == (401, {"detail": "Invalid token."})
        assert [(await client.write("A"))[0] for _ in range(3)] == [201, 200, 401]
        await client.login()
        assert (await client.write("A"))[0] == 200
        await client.ask("POST", "/_emulator/expire")
        assert (await client.write("A"))[0] == 401
        assert omnitron.writes["A"] == 3


@pytest.mark.parametrize(
    ("status", "answer"),
    [(400, {"product_sku": ["Object with sku=B does not exist."]}), (404, {"detail": "Not found."})],
)
async def test_strict_takes_known_products_only(status, answer):
    """In strict mode a product that the catalogue lacks is refused."""
    async with client_of(FakeOmnitron(products=[{"sku": "A"}], strict=True, strict_status=status)) as client:
        assert (await client.write("A", "https://x/1"))[0] == 201
        assert await client.write("B", "https://x/1") == (status, answer)


async def test_products_are_filtered_and_paged():
    """Products come ten at a time by default, with absolute links to follow, and pass the documented filters."""
    async with client_of(FakeOmnitron(products=25)) as client:
        seen, url = [], "/api/v1/products/?is_active=true"
        while url:
            _, page = await client.json("GET", url)
            seen += [product["sku"] for product in page["results"]]
            assert page["count"] == 25
            url = page["next"]
        assert seen == [sku_of(index) for index in range(1, 26)]
        _, one = await client.json("GET", "/api/v1/products/?sku=SKU-000002")
        _, four = await client.json("GET", "/api/v1/channel/1/products/?base_code=BASE-00002&limit=2&page=2")
        _, none = await client.json("GET", "/api/v1/products/?productization_date__gte=2999-01-01")
        assert {"pk", "name", "base_code", "sku", "is_active", "attributes"} <= set(one["results"][0])
        assert (one["count"], four["count"], none["count"]) == (1, 4, 0)
        assert "page=1" in four["previous"]
        assert await client.json("GET", "/api/v1/products/?page=99") == (404, {"detail": "Invalid page."})
        assert (await client.json("GET", "/api/v1/products/", headers={}))[0] == 401


@pytest.mark.parametrize("inline", [True, False])
async def test_products_show_their_images(inline):
    """A product's images are found by its pk, and inside the product when that is switched on."""
    async with client_of(FakeOmnitron(products=2, inline_images=inline)) as client:
        await client.write("SKU-000001", "https://x/1", "https://x/2")
        _, listed = await client.json("GET", "/api/v1/products/")
        with_images, without = [product.get("productimage_set") for product in listed["results"]]
        _, rows = await client.json("GET", "/api/v1/product_image/?product=1")
        _, no_rows = await client.json("GET", "/api/v1/product_image/?product=2")
        assert (with_images is not None) == inline
        assert not without
        assert [row["order"] for row in rows["results"]] == [0, 1]
        assert no_rows["count"] == 0


async def test_products_change_over_http():
    """The catalogue is changed and replaced through the control door; what is no product is a 400."""
    omnitron = FakeOmnitron(products=3)
    async with client_of(omnitron) as client:
        await client.json("POST", "/_emulator/products", json={"products": [{"sku": "X", "base_code": "B"}]})
        assert [product.pk for product in omnitron.products.values()] == [1, 2, 3, 4]
        await client.json("POST", "/_emulator/products", json={"generate": 2, "replace": True})
        assert list(omnitron.products) == ["SKU-000001", "SKU-000002"]
        status, _ = await client.json("POST", "/_emulator/products", json=[{"name": "no sku"}])
        assert status == 400
        assert list(omnitron.products) == ["SKU-000001", "SKU-000002"]


async def test_overlapping_writes_of_one_product_are_noticed():
    """Two writes of one product in hand at once show; those of different products do not count as such."""
    omnitron = FakeOmnitron(faults=["latency=100ms"])
    async with client_of(omnitron) as client:
        await asyncio.gather(client.write("A"), client.write("B"), client.write("C"))
        assert (omnitron.max_in_flight, omnitron.max_in_flight_per_product) == (3, 1)
        await asyncio.gather(client.write("A"), client.write("A"))
        assert omnitron.max_in_flight_per_product == 2
        assert omnitron.overlapped == {"A": 1}


async def test_a_client_that_has_gone_does_not_overlap():
    """A write whose client gave up is still taken over, but is no longer in hand for its product."""
    omnitron = FakeOmnitron(faults=["latency=300ms,first=1"])
    async with client_of(omnitron) as client:
        with pytest.raises(TimeoutError):
            await client.write("A", "https://x/old", timeout=0.1)
        await client.write("A", "https://x/new")
        assert omnitron.max_in_flight_per_product == 1
        async with asyncio.timeout(5):
            while omnitron.in_flight:
                await asyncio.sleep(0.01)
        assert [image["url"] for image in omnitron.images_of("A")] == ["https://x/old"]


async def test_unchanged_writes_are_counted():
    """A write of the images that the product has already, in whatever order they are listed, counts as unchanged."""
    omnitron = FakeOmnitron()
    async with client_of(omnitron) as client:
        images = [{"url": "https://x/1", "order": 0}, {"url": "https://x/2", "order": 1}]
        for listed in (images, images[::-1], images[:1]):
            await client.json("POST", WRITE, json={"product_sku": "A", "images": listed})
        assert (omnitron.written, omnitron.unchanged) == (3, 1)


async def test_state_and_reset_over_http():
    """The state shows products, writes, history and counters; reset forgets them and the tokens."""
    async with client_of(FakeOmnitron()) as client:
        await client.write("A", "https://x/1")
        await client.write("B", "https://x/1")
        _, state = await client.json("GET", "/_emulator/state?sku=A")
        assert list(state["products"]) == ["A"]
        assert state["writes"] == {"A": 1}
        assert state["history"]["A"][0]["seq"] == 1
        assert state["counters"]["written"] == 2
        await client.ask("POST", "/_emulator/reset")
        _, state = await client.json("GET", "/_emulator/state")
        assert (state["products"], state["counters"]["requests"]) == ({}, 0)
        assert (await client.write("A"))[0] == 401


async def test_without_history_the_state_is_the_same():
    """keep_history=False keeps images, writes and counters."""
    omnitron = FakeOmnitron(keep_history=False)
    async with client_of(omnitron) as client:
        assert await client.write("A", "https://x/1") == (201, None)
        assert await client.write("A", "nothing") == (400, {"images": [{"url": ["Enter a valid URL."]}]})
        assert (await client.write("A", headers={}))[0] == 401
        assert (omnitron.written, omnitron.writes["A"], omnitron.history) == (1, 1, {})


def plain(token, body, *, path=WRITE, extra=""):
    """A POST as bytes."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def answers_to(url, *segments, count=1):
    """The statuses of what a connection is told that sends these bytes, each on its own."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for segment in segments:
        writer.write(segment)
        await writer.drain()
        await asyncio.sleep(0.02)
    found = []
    async with asyncio.timeout(5):
        for _ in range(count):
            head = await reader.readuntil(b"\r\n\r\n")
            found.append(int(head.split()[1]))
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line.lower()[:15] == b"content-length:"), 0
            )
            await reader.readexactly(length)
    writer.close()
    return found


async def test_the_quick_way_is_no_other_way():
    """Writes that are answered without aiohttp get the same answers, however their bytes come, and whatever comes after."""
    body = orjson.dumps({"product_sku": "A", "images": [{"url": "https://h/a.jpg"}]})
    emulator = FakeOmnitron(keep_history=False)
    async with client_of(emulator) as client:
        token, url = client.headers["Authorization"], emulator.url
        good = plain(token, body)
        assert await answers_to(url, good) == [201]
        assert await answers_to(url, good[:9], good[9:60], good[60:-5], good[-5:], good, count=2) == [200, 200]
        assert await answers_to(url, good + good, count=2) == [200, 200]
        assert await answers_to(url, plain("Token no", body), good, count=2) == [401, 200]
        assert await answers_to(url, plain(token, b"{"), good, count=2) == [400, 200]
        assert await answers_to(url, plain(token, body, path="/nowhere/")) == [405]
        assert await answers_to(url, good.replace(b"POST", b"GET")) == [405]
        assert await answers_to(url, plain(token, body, extra="Expect: 100-continue\r\n")) == [200]
        chunked = good.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")[: -len(body)]
        assert await answers_to(url, chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)) == [200]
        assert emulator.writes["A"] == 9
        emulator.set_faults(["status=503"])
        assert await answers_to(url, good) == [503]
        emulator.set_faults([])
        emulator.expire_tokens()
        assert await answers_to(url, good) == [401]


async def test_connections_are_kept_and_closed_as_asked():
    """A connection serves many writes; `Connection: close` is honoured."""
    omnitron = FakeOmnitron()
    async with client_of(omnitron) as client:
        reader, writer = await asyncio.open_connection(*client.url.removeprefix("http://").split(":"))
        body = b'{"product_sku":"A","images":[]}'
        head = (
            f"POST {WRITE} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: {client.headers['Authorization']}\r\nContent-Length: {len(body)}\r\n"
        )
        writer.write((head + "\r\n").encode() + body)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 201")
        writer.write((head + "Connection: close\r\n\r\n").encode() + body)
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()


# -- faults ----------------------------------------------------------------------------------------------------------


async def statuses(client, count, sku="A"):
    return [(await client.write(sku))[0] for _ in range(count)]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("status=503,every=3", [201, 200, 503, 200, 200, 503]),
        ("status=503,first=2", [503, 503, 201, 200, 200, 200]),
        ("status=500,after=2,first=1", [201, 200, 500, 200, 200, 200]),
        ("status=429,match=B*", [201, 200, 200, 200, 200, 200]),
        ("status=429,match=B*|A", [429] * 6),
        ("status=429,path=/api/i1/*", [201, 200, 200, 200, 200, 200]),
        ("html,first=1", [502, 201, 200, 200, 200, 200]),
        ("down", [503] * 6),
        ("capacity=0", [429] * 6),
        ("status=503,from=1000", [201, 200, 200, 200, 200, 200]),
        ("status=503,rate=0", [201, 200, 200, 200, 200, 200]),
    ],
)
async def test_faults_strike_when_they_say(fault, expected):
    """Each condition of a fault picks the requests that it names; the login is spared."""
    omnitron = FakeOmnitron()
    async with client_of(omnitron) as client:
        omnitron.set_faults([fault])
        assert [
            (await client.ask("POST", WRITE, json={"product_sku": "A", "images": []}))[0] for _ in expected
        ] == expected
        assert omnitron.refused == sum(status > 299 for status in expected)


async def test_each_counts_per_product():
    """With `each` the first attempt of every product fails."""
    omnitron = FakeOmnitron(faults=["status=503,first=1,each"])
    async with client_of(omnitron) as client:
        assert await statuses(client, 2, "A") == [503, 201]
        assert await statuses(client, 2, "B") == [503, 201]


async def test_rate_is_deterministic():
    """The same seed strikes the same requests; another one others."""

    def pattern(spec):
        script = FaultScript([spec])
        return [script.judge("/x").fault is not None for _ in range(200)]

    assert pattern("drop,rate=0.5") == pattern("drop,rate=0.5")
    assert pattern("drop,rate=0.5") != pattern("drop,rate=0.5,seed=1")
    assert 60 < sum(pattern("drop,rate=0.5")) < 140


async def test_windows_follow_the_clock():
    """`from` and `until` are seconds since the script was set."""
    times = iter((100.0, 100.0, 102.0, 105.9, 106.0))
    script = FaultScript(["down,from=2,until=6"], clock=lambda: next(times))
    struck = [script.judge("/x", login=True).fault is not None for _ in range(4)]
    assert struck == [False, True, True, False]


async def test_retry_after_and_bodies_of_faults():
    """A fault's answer carries Retry-After and a body in Django's style, or an HTML page."""
    omnitron = FakeOmnitron(faults=["status=429,retry_after=1,first=1", "html,status=503,retry_after=soon,first=1"])
    async with client_of(omnitron) as client:
        status, headers, body = await client.ask("POST", WRITE, json={})
        assert (status, headers["Retry-After"], orjson.loads(body)) == (429, "1", {"detail": "Too Many Requests"})
        status, headers, body = await client.ask("POST", WRITE, json={})
        assert (status, headers["Retry-After"], headers["Content-Type"].split(";")[0]) == (503, "soon", "text/html")
        assert body.startswith(b"<!DOCTYPE html>")


async def test_drop_does_nothing_and_lost_does_it():
    """`drop` closes the connection with nothing done, `lost` after it was done."""
    omnitron = FakeOmnitron(faults=["drop,first=1", "lost,first=1"])
    async with client_of(omnitron) as client:
        with pytest.raises(aiohttp.ClientError):
            await client.write("A", "https://x/1")
        assert omnitron.images_of("A") == []
        with pytest.raises(aiohttp.ClientError):
            await client.write("A", "https://x/1")
        assert len(omnitron.images_of("A")) == 1
        assert (await client.write("A"))[0] == 200


async def test_lost_and_hang_does_it_and_never_answers():
    """`lost,hang` takes the write, and the client waits in vain."""
    omnitron = FakeOmnitron(faults=["lost,hang,match=A"])
    async with client_of(omnitron) as client:
        with pytest.raises(TimeoutError):
            await client.write("A", "https://x/1", timeout=0.2)
        assert len(omnitron.images_of("A")) == 1
        assert (await client.write("B"))[0] == 201


async def test_hang_never_answers_and_does_not_hold_the_server():
    """A hung request gets no answer, is not in hand, and does not keep the server from stopping."""
    omnitron = FakeOmnitron(faults=["hang,match=A"])
    async with client_of(omnitron) as client:
        with pytest.raises(TimeoutError):
            await client.write("A", timeout=0.1)
        assert omnitron.in_flight == 0
        assert (await client.write("B"))[0] == 201
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 3


async def test_capacity_refuses_beyond_so_many():
    """Beyond the capacity a request is a 429; within it all is well."""
    omnitron = FakeOmnitron(faults=["latency=100ms", "capacity=2,retry_after=1"])
    async with client_of(omnitron) as client:
        answers = await asyncio.gather(*(client.write(f"P{n}") for n in range(5)))
        assert sorted(status for status, _ in answers) == [201, 201, 429, 429, 429]


async def test_latency_and_jitter_add_up():
    """Waiting of several faults adds up, deterministically, and never falls below the latency."""
    script = FaultScript(["latency=50ms", "latency=0.1,jitter=20ms"])
    delays = [script.judge("/x").delay for _ in range(50)]
    assert min(delays) >= 0.15
    assert max(delays) <= 0.17
    assert len(set(delays)) > 40


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("staus=503", "there is no 'staus'"),
        ("status=soon", "status must be a whole number"),
        ("status=99", "between 200 and 599"),
        ("first=3", "says when but not what"),
        ("", "says when but not what"),
        ("drop=yes", "drop takes no value"),
        ("status", "status needs a value"),
        ("latency=fast", "a duration like"),
        ("drop,rate=2", "rate must be between 0 and 1"),
        ("drop,every=0", "every must be at least 1"),
        ("drop,from=5,until=2", "until must be later than from"),
    ],
)
async def test_wrong_faults_are_refused_in_words(spec, words):
    """A text that is no fault is a ValueError that says what is wrong."""
    with pytest.raises(ValueError, match=words):
        parse_fault(spec)


async def test_a_fault_is_parsed():
    """Every kind of value is understood."""
    parsed = parse_fault("status=503, retry_after=2,match=SKU-1*,rate=.5,each,from=500ms,until=1m,seed=7")
    assert parsed == Fault(
        status=503, retry_after=2.0, match="SKU-1*", rate=0.5, each=True, from_=0.5, until=60.0, seed=7
    )


@pytest.mark.parametrize(
    "body",
    [
        {"faults": ["status=503"]},
        {"faults": "status=503"},
        {"faults": [{"status": 503}]},
        ["status=503"],
        {"status": 503},
        "status=503",
    ],
)
async def test_faults_are_replaced_over_http(body):
    """The script is replaced by texts or objects; an empty one is the end of faults."""
    async with client_of(FakeOmnitron(faults=["status=500"])) as client:
        assert (await client.json("POST", "/_emulator/faults", json=body))[0] == 200
        assert (await client.write("A"))[0] == 503
        await client.json("POST", "/_emulator/faults", json=[])
        assert (await client.write("A"))[0] == 201


@pytest.mark.parametrize("body", ["{", "7", '{"faults": 7}', '{"faults": [7]}', '{"mode": "nice"}', '"nonsense"'])
async def test_wrong_faults_over_http_are_a_400(body):
    """What is no fault script is a 400 in words, and the old one stays."""
    async with client_of(FakeOmnitron(faults=["status=500"])) as client:
        status, answer = await client.json("POST", "/_emulator/faults", data=body)
        assert (status, bool(answer["detail"])) == (400, True)
        assert (await client.write("A"))[0] == 500


# -- ERP -------------------------------------------------------------------------------------------------------------


async def test_the_catalogue_is_consistent():
    """Names follow from numbers and back; a base code has four products."""
    for index in (1, 4, 5, 999_999, 1_000_000):
        assert index_of(sku_of(index)) == index
        assert index in indices_of(base_code_of(index))
    assert [index_of(sku) for sku in ("SKU-1", "SKU-0000001", "sku-000001", "SKU-000001 ", "")] == [None] * 5


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("kind", ["none", "next", "token", "link", "offset", "page", "seek"])
async def test_every_pagination_gives_every_row_once(kind, method):
    """However it is asked, the ERP gives all rows in their order, and with a filter those that pass."""
    erp = FakeErp(rows=30)
    async with client_of(erp) as client:
        rows, pages = await read_all(client, kind, method=method)
        assert [row["sku"] for row in rows] == [sku_of(index) for index in range(1, 31)]
        assert pages == (1 if kind == "none" else 5)
        rows, _ = await read_all(client, kind, method=method, modified_date__gt="2025-01-01T00:00:21.000000")
        assert [row["sku"] for row in rows] == [sku_of(index) for index in range(21, 31)]


async def test_filters():
    """Rows are selected by date (inclusive unless told otherwise), sku list, base code and status, and combinations."""
    erp = FakeErp(rows=100)

    async def skus(client, query):
        _, answer = await client.json("GET", f"/images/none/?{query}")
        return [index_of(row["sku"]) for row in answer["results"]]

    async with client_of(erp) as client:
        assert await skus(client, "modified_date__gt=2025-01-01T00:01:39") == [99, 100]
        assert await skus(client, "sku=SKU-000007,SKU-000003,SKU-999999") == [3, 7]
        assert await skus(client, "base_code=BASE-00002") == [5, 6, 7, 8]
        assert await skus(client, "base_code=BASE-00002&sku=SKU-000007,SKU-000001") == [7]
        assert await skus(client, "status=passive") == []
        assert len(await skus(client, "status=active")) == 100
        assert (await client.json("GET", "/images/none/?modified_date=yesterday"))[0] == 400
        _, answer = await client.json("GET", "/images/none/sku/SKU-000005/")
        assert answer["count"] == 1
    async with client_of(FakeErp(rows=100, exclusive=True)) as client:
        assert await skus(client, "modified_date__gt=2025-01-01T00:01:39") == [100]


async def test_touched_rows_come_again_with_other_images():
    """Touching a row gives it a new date and other images; deleted rows are gone until they are restored."""
    erp = FakeErp(rows=50)
    async with client_of(erp) as client:
        before = erp.expected_images("SKU-000002")
        _, changed = await client.json(
            "POST", "/_emulator/rows", json={"touch": ["SKU-000002", "SKU-000009"], "at": "2030-01-01T00:00:00"}
        )
        rows, _ = await read_all(client, "next", modified_date__gt="2029-01-01T00:00:00")
        assert changed == {"rows": 50}
        assert [row["sku"] for row in rows] == ["SKU-000002", "SKU-000009"]
        assert rows[0]["modified_date"] == "2030-01-01T00:00:00.000000"
        after = erp.expected_images("SKU-000002")
        assert {image["url"] for image in before}.isdisjoint(image["url"] for image in after)
        erp.delete(["SKU-000002"])
        rows, _ = await read_all(client, "offset")
        assert len(rows) == 49
        with pytest.raises(KeyError):
            erp.expected_images("SKU-000002")
        erp.restore(["SKU-000002"])
        assert erp.expected_images("SKU-000002") == after
        await client.ask("POST", "/_emulator/reset")
        assert erp.expected_images("SKU-000002") == before
        assert (await client.json("POST", "/_emulator/rows", json={"touch": ["nobody"]}))[0] == 400


async def test_rows_of_ones_own():
    """Rows may be given, of any shape, at the start or later; those with a known SKU replace it."""
    erp = FakeErp(rows=[{"sku": "X-1", "images": ["https://x/1.jpg"]}, {"odd": True}])
    async with client_of(erp) as client:
        await client.json("POST", "/_emulator/rows", json={"put": [{"sku": "X-1", "images": []}, {"sku": "X-2"}]})
        rows, _ = await read_all(client, "seek")
        assert [row.get("sku") for row in rows] == ["X-1", None, "X-2"]
        assert erp.expected_images("X-1") == []
        assert list(erp.skus()) == ["X-1", "X-2"]
        _, answer = await client.json("GET", "/images/none/?sku=X-2")
        assert answer["count"] == 1


async def test_expected_images_are_what_omnitron_takes():
    """Rows written to Omnitron as the ERP gives them end as `expected_images` says, by Python and by HTTP."""
    erp, omnitron = FakeErp(rows=12), FakeOmnitron()
    async with client_of(erp) as reader, client_of(omnitron) as writer:
        for row in (await read_all(reader, "link"))[0]:
            body = {"product_sku": row["sku"], "images": row["images"]}
            assert (await writer.json("POST", WRITE, json=body))[0] == 201
        _, expected = await reader.json("GET", "/_emulator/expected")
        assert {sku: omnitron.images_of(sku) for sku in omnitron.images} == expected
        assert expected == {sku: erp.expected_images(sku) for sku in erp.skus()}
        assert {len(images) for images in expected.values()} == {1, 2, 3, 4}


async def test_a_million_rows_take_no_memory():
    """Any page of a million rows is there at once."""
    erp = FakeErp(rows=1_000_000)
    async with client_of(erp) as client:
        _, answer = await client.json("GET", "/images/offset/?offset=999998&limit=100")
        assert (answer["count"], [row["sku"] for row in answer["results"]]) == (
            1_000_000,
            ["SKU-999999", "SKU-1000000"],
        )
        _, answer = await client.json("GET", "/images/seek/?after=SKU-500000&limit=1")
        assert answer["results"][0]["sku"] == "SKU-500001"
        erp.touch(["SKU-000001"])
        _, answer = await client.json("GET", "/images/none/?modified_date__gt=2026-01-01T00:00:00")
        assert answer["count"] == 1


@pytest.mark.parametrize("path", ["", "data.items"])
async def test_the_list_stands_where_it_is_told(path):
    """rows_path moves the list, or makes it the whole answer."""
    async with client_of(FakeErp(rows=3, rows_path=path)) as client:
        _, answer = await client.json("GET", "/images/page/")
        assert len(answer if path == "" else answer["data"]["items"]) == 3


async def test_token_login_and_expiry():
    """A token opens the ERP for so many requests, with or without a word before it."""
    erp = FakeErp(rows=1, auth="token", token_uses=2)
    async with client_of(erp) as client:
        assert (await client.json("GET", "/images/none/"))[0] == 401
        assert (await client.json("POST", "/login", json={"username": "demo", "password": "no"}))[0] == 400
        _, answer = await client.json("POST", "/login", json=DEMO)
        token = answer["data"]["token"]
        got = [
            (await client.json("GET", "/images/none/", headers={"Authorization": value}))[0]
            for value in (token, f"Bearer {token}", token)
        ]
        assert got == [200, 200, 401]


async def test_basic_and_header_logins():
    """Basic authentication and an API key open the ERP; without them it is a 401."""
    async with client_of(FakeErp(rows=1, auth="basic")) as client:
        assert (await client.ask("GET", "/images/none/"))[1]["WWW-Authenticate"].startswith("Basic")
        auth = {"Authorization": "Basic ZGVtbzpkZW1v"}
        assert (await client.json("GET", "/images/none/", headers=auth))[0] == 200
    async with client_of(FakeErp(rows=1, auth="header", password="key")) as client:
        assert (await client.json("GET", "/images/none/"))[0] == 401
        assert (await client.json("GET", "/images/none/", headers={"X-Api-Key": "key"}))[0] == 200


async def test_requests_are_remembered():
    """Tests can look at the parameters and headers that reached the ERP."""
    erp = FakeErp(rows=1)
    async with client_of(erp) as client:
        await client.json("POST", "/images/none/?a=1", json={"b": [2]}, headers={"X-Company": "12"})
        _, state = await client.json("GET", "/_emulator/state")
        assert erp.seen[-1].params == {"a": "1", "b": [2]}
        assert state["seen"][-1]["headers"]["X-Company"] == "12"
        assert state["counters"]["pages"] == 1


async def test_images_are_there_to_fetch():
    """With images_here the URLs of a row lead to a picture of the emulator itself."""
    erp = FakeErp(rows=1, images_here=True)
    async with client_of(erp) as client:
        url = erp.expected_images(1)[0]["url"]
        status, headers, body = await client.ask("GET", url)
        assert (status, headers["Content-Type"], body[:2]) == (200, "image/png", b"\x89P")


@pytest.mark.parametrize("query", ["limit=x", "offset=-1", "limit=1.5"])
async def test_wrong_parameters_are_a_400(query):
    """A parameter that is no number is a 400 that names it."""
    async with client_of(FakeErp(rows=1)) as client:
        status, answer = await client.json("GET", f"/images/offset/?{query}")
        assert (status, query.partition("=")[0] in answer["detail"]) == (400, True)


# -- hostile modes ---------------------------------------------------------------------------------------------------


async def outcome(client, path, **options):
    """What one request meets: status and JSON, status and bytes, or the name of the failure."""
    try:
        status, headers, body = await client.ask("GET", path, timeout=options.get("timeout", 1))
    except (aiohttp.ClientError, TimeoutError) as error:
        return type(error).__name__, None, None
    try:
        return status, headers, json.loads(body)
    except ValueError:
        return status, headers, body


async def test_there_are_enough_modes_and_each_is_described():
    """At least forty ways to be hostile, listed over HTTP with what they do."""
    async with client_of(FakeErp(rows=1)) as client:
        _, listed = await client.json("GET", "/_emulator/modes")
        assert len(listed) == len(MODES) > 40
        assert all(len(about) > 5 for about in listed.values())


@pytest.mark.parametrize("mode", sorted(MODES))
async def test_every_mode_leaves_the_emulator_alive(mode):
    """Two requests in each kind of pagination meet the mode; afterwards the emulator answers as if nothing had been."""
    erp = FakeErp(rows=30, mode=mode, drip=0.01, bomb_bytes=2 << 20)
    async with client_of(erp) as client:
        for path in (
            "/images/next/?limit=10",
            "/images/token/?limit=10&token=p10",
            "/images/offset/?limit=10&offset=10",
        ):
            await outcome(client, path, timeout=0.15)
        assert erp.state({})["counters"]["faults_fired"][0] >= 1
        status, _ = await client.json("POST", "/_emulator/faults", json={"mode": None})
        assert status == 200
        _, answer = await client.json("GET", "/images/none/")
        assert [row["sku"] for row in answer["results"]] == [sku_of(index) for index in range(1, 31)]


async def pages_of(mode, *paths, **options):
    """The outcomes of requests, one after the other, under a mode."""
    async with client_of(FakeErp(**{"rows": 30, "mode": mode, **options})) as client:
        return [await outcome(client, path) for path in paths]


FIRST, SECOND, LAST = "/images/next/?limit=10", "/images/next/?limit=10&cursor=p10", "/images/next/?limit=10&cursor=p20"


async def test_hostile_paging():
    """The modes of paging do what their names say."""

    async def nexts(mode, *paths):
        return [answer["next"] for _, _, answer in await pages_of(mode, *paths, foreign="http://other.example")]

    assert [a["results"][0]["sku"] for _, _, a in await pages_of("repeated_page", FIRST, SECOND)] == ["SKU-000001"] * 2
    first, second = await nexts("repeated_token", FIRST, SECOND)
    assert first == second
    assert "cursor=p30" in (await nexts("endless_token", LAST))[0]
    assert "cursor=p30" in (await nexts("endless_empty", LAST))[0]
    assert (await nexts("foreign_next", FIRST))[0].startswith("http://other.example/images/next/?")
    assert (await nexts("relative_next", FIRST))[0].startswith("/images/next/?")
    assert (await nexts("query_next", FIRST))[0].startswith("?")
    assert (await nexts("schemeless_next", FIRST))[0].startswith("//other.example/")
    assert "://user:secret@127.0.0.1" in (await nexts("userinfo_next", FIRST))[0]
    assert "@other.example/" in (await nexts("userinfo_trick_next", FIRST))[0]
    assert (await nexts("self_next", SECOND))[0].endswith(SECOND)
    assert await nexts("next_false", LAST) == [False]
    assert await nexts("next_empty", LAST) == [""]
    assert await nexts("next_zero", LAST) == [0]
    assert [a["count"] for _, _, a in await pages_of("shrinking_total", FIRST, SECOND)] == [20, 10]
    assert [a["count"] for _, _, a in await pages_of("growing_total", FIRST, SECOND)] == [40, 50]


async def test_endless_tokens_never_repeat_and_never_end():
    """The token that never ends is new each time, and rows keep coming."""
    seen = set()
    async with client_of(FakeErp(rows=25, mode="endless_token")) as client:
        token = "p0"
        for _ in range(20):
            _, answer = await client.json("GET", f"/images/token/?limit=10&token={token}")
            assert answer["results"]
            token = answer["next_token"]
            assert token not in seen
            seen.add(token)


async def test_hostile_offsets():
    """Offsets shift, end at a ceiling, or are ignored."""

    def indices(answer):
        return [index_of(row["sku"]) for row in answer["results"]]

    paths = [f"/images/offset/?limit=10&offset={offset}" for offset in (0, 10, 20)]
    shifted = [indices(a) for _, _, a in await pages_of("shifting_offsets", *paths)]
    assert [page[0] for page in shifted] == [1, 10, 19]
    vanished = [indices(a) for _, _, a in await pages_of("vanishing_rows", *paths)]
    assert [page[0] for page in vanished] == [1, 12, 23]
    capped = [indices(a) for _, _, a in await pages_of("offset_ceiling", *paths, ceiling=15)]
    assert [len(page) for page in capped] == [10, 5, 0]
    assert [len(indices(a)) for _, _, a in await pages_of("ignored_limit", paths[0])] == [30]
    assert [indices(a)[0] for _, _, a in await pages_of("ignored_offset", *paths)] == [1, 1, 1]
    filtered = await pages_of("ignored_filter", "/images/none/?sku=SKU-000001", "/images/next/?sku=SKU-000001&limit=10")
    assert [len(a["results"]) for _, _, a in filtered] == [30, 10]


@pytest.mark.parametrize(
    ("mode", "check"),
    [
        ("missing_list", lambda body: "results" not in body),
        ("null_list", lambda body: body["results"] is None),
        ("object_list", lambda body: isinstance(body["results"], dict)),
        ("null_rows", lambda body: body["results"] == [None] * 10),
        ("scalar_rows", lambda body: body["results"] == list(range(10))),
        ("half_page", lambda body: len(body["results"]) == 5 and body["count"] == 30),
        ("error_200", lambda body: "error" in body),
        ("html_200", lambda body: body.startswith(b"<!DOCTYPE")),
        ("truncated_json", lambda body: isinstance(body, bytes) and body.startswith(b"{")),
        ("bom", lambda body: body["count"] == 30 if isinstance(body, dict) else body.startswith(b"\xef\xbb\xbf")),
        ("wrong_charset", lambda body: b"\xfc" in body),
        ("nan", lambda body: body["results"][0]["images"][0]["order"] != body["results"][0]["images"][0]["order"]),
        ("infinity", lambda body: body["results"][0]["images"][0]["order"] == float("-inf")),
        ("huge_ints", lambda body: body["results"][0]["images"][0]["order"] == 10**40 - 1),
        ("null_byte", lambda body: body["results"][0]["base_code"].startswith("\0")),
        ("lone_surrogate", lambda body: body["results"][0]["base_code"].startswith("\ud800")),
        ("empty_body", lambda body: body == b""),
        ("literal_null", lambda body: body is None),
        ("double_encoded", lambda body: json.loads(body)["count"] == 30),
        ("wrong_content_type", lambda body: body["count"] == 30),
        ("gzip", lambda body: body["count"] == 30),
        ("cookies", lambda body: body["count"] == 30),
        # a client that does not look for the end of the gzip gets the beginning of the JSON, and no error
        ("truncated_gzip", lambda body: isinstance(body, bytes) and body.startswith(b"{")),
        ("early_hints", lambda body: body["count"] == 30),
        ("duplicate_keys", lambda body: body["results"][0]["sku"] == "SKU-000001"),
    ],
)
async def test_hostile_answers(mode, check):
    """The modes of answers give a 200 whose body is wrong (or odd) in the way they say."""
    ((status, _, body),) = await pages_of(mode, FIRST)
    assert status == 200
    assert check(body)


@pytest.mark.parametrize(
    ("mode", "failure"),
    [
        ("no_answer", "ServerDisconnectedError"),
        ("hang", "TimeoutError"),
        ("reset_mid_body", "ClientPayloadError|ClientOSError|ClientConnectionResetError"),
        ("wrong_content_length", "ClientPayloadError"),
        ("endless_body", "TimeoutError"),
        ("unfinished_chunks", "TimeoutError"),
        ("broken_chunk", "ClientPayloadError|TransferEncodingError|ClientResponseError"),
        ("slow_loris", "TimeoutError"),
        ("bad_gzip", "ClientPayloadError|ContentEncodingError|ClientResponseError"),
        ("huge_header", "ClientResponseError"),
        ("not_http", "ClientResponseError"),
    ],
)
async def test_hostile_wires(mode, failure):
    """The modes of the wire make a client fail in the way they say."""
    ((met, _, body),) = await pages_of(mode, FIRST)
    assert met in failure.split("|"), body


async def test_a_gzip_bomb_is_small_on_the_wire():
    """The bomb unpacks to what it is told, and travels as about a thousandth."""
    erp = FakeErp(rows=1, mode="gzip_bomb", bomb_bytes=8 << 20)
    async with (
        erp.serve() as url,
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(f"{url}/images/none/") as answer,
    ):
        assert len(await answer.read()) < 20_000
    async with client_of(erp) as client:
        _, _, body = await client.ask("GET", "/images/none/")
        assert len(body) > 8 << 20
        assert json.loads(body) == {"results": []}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("storm_429", [429, 429, 429, 200, 429]),
        ("retry_after_zero", [429, 429, 429, 200, 200]),
        ("retry_after_date", [503, 200, 200, 200, 200]),
        ("server_errors_then_ok", [500, 500, 500, 200, 200]),
        ("bad_gateway_html", [502, 502, 502, 200, 200]),
        ("unauthorized_mid_read", [200, 401, 200, 200, 200]),
        ("expired_token", [200, 200, 401, 200, 200]),
        ("accepted", [202, 202, 200, 200, 200]),
        ("no_content", [204] * 5),
        ("always_500", [500] * 5),
        ("redirect_nowhere", [302] * 5),
    ],
)
async def test_hostile_refusals(mode, expected):
    """The modes of refusal answer with their status as often as they say."""
    assert [status for status, _, _ in await pages_of(mode, *[FIRST] * 5)] == expected


async def test_redirects():
    """Redirects lead where they say: back here once, away, or round and round."""
    ((status, headers, _),) = await pages_of("redirect_foreign", FIRST, foreign="http://other.example/")
    assert (status, headers["Location"]) == (302, f"http://other.example{FIRST}")
    async with client_of(FakeErp(rows=30, mode="redirect")) as client:
        status, headers, _ = await outcome(client, FIRST)
        assert (status, headers["Location"]) == (302, f"{client.url}{FIRST}&redirected=1")
        assert (await outcome(client, headers["Location"]))[0] == 200
    ((_, headers, _),) = await pages_of("redirect_loop", FIRST)
    assert headers["Location"].endswith(FIRST)


async def test_an_expired_token_wants_a_new_login():
    """When tokens expire in the middle of a read, the old one stays a 401 and a new one goes on."""
    erp = FakeErp(rows=30, auth="token", mode="expired_token")
    async with client_of(erp) as client:

        async def login():
            _, answer = await client.json("POST", "/login", json=DEMO)
            client.headers = {"Authorization": answer["data"]["token"]}

        await login()
        assert [(await outcome(client, FIRST))[0] for _ in range(4)] == [200, 200, 401, 401]
        await login()
        assert (await outcome(client, FIRST))[0] == 200


async def test_modes_are_faults():
    """A mode can be given as a fault with conditions, and set over HTTP; a name that is none is refused."""
    async with client_of(FakeErp(rows=30, faults=["mode=null_list,after=1,first=1"])) as client:
        shapes = [(await outcome(client, FIRST))[2]["results"] is None for _ in range(3)]
        assert shapes == [False, True, False]
        await client.json("POST", "/_emulator/faults", json={"mode": "offset_ceiling", "ceiling": 4})
        assert len((await outcome(client, FIRST))[2]["results"]) == 4
        assert (await client.json("POST", "/_emulator/faults", json={"mode": "friendly"}))[0] == 400
    with pytest.raises(ValueError, match="there is no mode 'friendly'; there are: "):
        FakeErp(mode="friendly")


async def test_serve_forever_announces_and_stops():
    """serve_forever tells its URL once it listens, and ends when it is asked to."""
    stop = asyncio.Event()
    urls = []

    def announce(url):
        urls.append(url)
        stop.set()

    async with asyncio.timeout(5):
        await serve_forever(FakeErp(rows=1), announce=announce, stop=stop)
    assert urls[0].startswith("http://127.0.0.1:")
