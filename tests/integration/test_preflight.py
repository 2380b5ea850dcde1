"""Images are looked at before they are written, over real HTTP, on a server that shows every kind of answer."""

import asyncio
from urllib.parse import quote

import pytest

from imageflow.clock import SystemClock
from imageflow.http import guard
from imageflow.http.public_address import Allowed
from imageflow.write import image_probe as module
from imageflow.write.image_probe import ImageProbe
from tests.integration.image_server import ImageServer, jpeg, png
from tests.integration.pipeline import pipeline


@pytest.fixture
async def server():
    async with ImageServer().serve() as serving:
        yield serving


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(module, "REQUEST_SECONDS", 1.0)
    monkeypatch.setattr(module, "HEAD_SECONDS", 0.5)


@pytest.fixture
async def probe(monkeypatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)
    async with ImageProbe(SystemClock(), Allowed(["127.0.0.1"])) as ready:
        yield ready


CASES = [
    ("ok.png", None),
    ("ok.jpg", None),
    ("ok.png?ranges=no", None),
    ("to/?url=/ok.png", None),
    ("to/?url=../status/404", "image_not_found"),
    ("gzip/", None),
    ("status/404", "image_not_found"),
    ("status/410", "image_not_found"),
    ("status/403", "image_refused"),
    ("status/401", "image_refused"),
    ("status/503", "image_unreachable"),
    ("status/304", "image_bad_redirect"),
    ("login/", "image_login_page"),
    ("to/?url=/login/", "image_login_page"),
    ("to/?url=/login/401", "image_login_page"),
    ("loop/", "image_bad_redirect"),
    ("to/?url=ftp://a.example/x.png", "image_bad_redirect"),
    ("to/?url=http://[::1", "image_bad_redirect"),
    ("to/?url=http://10.1.2.3/x.png", "image_private_address"),
    ("to/?url=http://localhost:1/x.png", "image_private_address"),
    ("page.html", "image_wrong_type"),
    ("real.webp", "image_wrong_type"),
    ("real.gif", "image_wrong_type"),
    ("empty.png", "image_damaged"),
    ("short.png", "image_damaged"),
    ("wide.png", "image_too_large_dimensions"),
    ("high.jpg", "image_too_large_dimensions"),
    ("just.jpg", None),
    ("metadata.jpg", None),
    ("metadata-high.jpg", "image_too_large_dimensions"),
    ("metadata-high.jpg?ranges=no", "image_too_large_dimensions"),
    ("big/30000000", "image_too_big"),
    ("endless/1", None),
    ("drop/", "image_unreachable"),
    ("bomb/", "image_wrong_type"),
]


async def test_every_kind_of_image(server, probe):
    """Each gets its code, and none takes long, whatever the server does."""
    server.images |= {
        "page.html": b"<!-- x --><html><body>hello</body></html>",
        "real.webp": b"RIFF\0\0\0\0WEBPVP8 " + b"\0" * 100,
        "real.gif": b"GIF89a" + b"\0" * 100,
        "empty.png": b"",
        "short.png": png()[:20],
        "wide.png": png(2001, 3),
        "high.jpg": jpeg(20, 2001),
        "just.jpg": jpeg(2000, 2000, marker=0xC2),
        "metadata.jpg": jpeg(100, 100, metadata=300_000),
        "metadata-high.jpg": jpeg(100, 3000, metadata=300_000),
    }

    async def look(path: str):
        finding = await probe.look(f"{server.url}/{path}")
        return path, finding.code if finding is not None else None

    async with asyncio.timeout(30):
        assert await asyncio.gather(*(look(path) for path, _ in CASES)) == CASES


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/ok.png",
        "http://localhost:{port}/ok.png",
        "http://127.1:{port}/ok.png",
        "http://2130706433:{port}/ok.png",
        "http://0x7f000001:{port}/ok.png",
        "http://0177.0.0.1:{port}/ok.png",
        "http://[::ffff:127.0.0.1]:{port}/ok.png",
        "http://[::1]:{port}/ok.png",
        "http://0.0.0.0:{port}/ok.png",
        "http://169.254.169.254/latest/meta-data/",
        "http://192.168.0.1/",
        "http://[fd00::1]/",
    ],
)
async def test_private_networks_are_never_asked(server, url):
    """However the address is written, by name or by number."""
    async with ImageProbe(SystemClock(), Allowed()) as guarded:
        finding = await guarded.look(url.format(port=server.url.rpartition(":")[2]))
    assert finding is not None
    assert finding.code == "image_private_address"
    assert not server.asked


async def test_dns_rebinding(server, monkeypatch):
    """The address that a connection goes to is the one that is checked, however the name resolved before. A name with a
    private address among public ones is private."""
    answers = iter([["127.0.0.1"], ["203.0.114.7", "127.0.0.1"]])
    resolved = []

    async def resolve(self, host, port=0, family=0):
        resolved.append(host)
        hosts = next(answers)
        return [{"hostname": host, "host": one, "port": port, "family": 2, "proto": 0, "flags": 0} for one in hosts]

    monkeypatch.setattr(guard.ThreadedResolver, "resolve", resolve)
    port = server.url.rpartition(":")[2]
    async with ImageProbe(SystemClock(), Allowed()) as guarded:
        for name in ("rebind.example", "both.example"):
            finding = await guarded.look(f"http://{name}:{port}/ok.png")
            assert finding is not None
            assert finding.code == "image_private_address"
    assert resolved == ["rebind.example", "both.example"]
    assert not server.asked


async def test_allowed_hosts_are_asked_by_name(server):
    """A host that is allowed is asked; another name of the same address is not."""
    port = server.url.rpartition(":")[2]
    async with ImageProbe(SystemClock(), Allowed(["localhost"])) as guarded:
        assert await guarded.look(f"http://localhost:{port}/ok.png") is None
        finding = await guarded.look(f"http://127.0.0.1:{port}/ok.png")
        redirect = await guarded.look(f"http://localhost:{port}/to/?url={quote(server.url)}/ok.png")
    assert finding is not None
    assert redirect is not None
    assert {finding.code, redirect.code} == {"image_private_address"}


async def test_remembered_by_validators(server, probe, monkeypatch):
    """While the ETag stays the same, HEAD is enough; with another or none the image is looked at again. Calls at the same
    time share one look, and an image that was just looked at is not asked for."""
    monkeypatch.setattr(module, "FRESH_SECONDS", 0.0)
    server.etags["ok.png"] = '"1"'
    url = f"{server.url}/ok.png"
    assert await asyncio.gather(*(probe.look(url) for _ in range(20))) == [None] * 20
    assert server.asked == {"HEAD /ok.png": 1, "GET /ok.png": 1}
    assert await probe.look(url) is None
    assert server.asked == {"HEAD /ok.png": 2, "GET /ok.png": 1}
    server.etags["ok.png"] = '"2"'
    server.images["ok.png"] = png(3000, 1)
    for _ in range(2):
        assert (await probe.look(url)).code == "image_too_large_dimensions"
    assert server.asked == {"HEAD /ok.png": 4, "GET /ok.png": 2}
    for _ in range(2):
        assert await probe.look(f"{server.url}/ok.jpg") is None
    assert server.asked["GET /ok.jpg"] == 2
    monkeypatch.setattr(module, "FRESH_SECONDS", 60.0)
    assert await probe.look(f"{server.url}/ok.jpg") is None
    assert server.asked["GET /ok.jpg"] == 2


async def test_politeness(server, probe):
    """A few requests at once, and a pause where the server asks for one; a server without HEAD is asked by GET."""
    server.slow, server.refuse_head = 0.02, True
    server.images |= {f"{n}.png": png() for n in range(60)}
    assert await asyncio.gather(*(probe.look(f"{server.url}/{n}.png") for n in range(60))) == [None] * 60
    assert server.most == module.PER_HOST
    server.slow, server.refuse_head = 0.0, False
    started = asyncio.get_running_loop().time()
    assert await probe.look(f"{server.url}/flaky/") is None
    assert asyncio.get_running_loop().time() - started >= 0.9


async def test_servers_that_hang(server, impatient, probe):
    """Bytes that come one by one, and no answer to HEAD: neither takes longer than it may."""
    async with asyncio.timeout(20):
        assert (await probe.look(f"{server.url}/drip/")).code == "image_unreachable"
        assert await probe.look(f"{server.url}/headhang/") is None


async def test_an_unreachable_host_is_not_asked_for_every_image(server, impatient, probe):
    """If a host refuses connections or does not answer, its many images do not each wait for it."""
    async with asyncio.timeout(20):
        looks = [probe.look(f"http://127.0.0.1:1/{n}.png") for n in range(200)]
        assert {finding.code for finding in await asyncio.gather(*looks)} == {"image_unreachable"}
        looks = [probe.look(f"{server.url}/hang/{n}") for n in range(200)]
        assert {finding.code for finding in await asyncio.gather(*looks)} == {"image_unreachable"}
    assert server.asked.total() < 60


async def test_block_and_warn(tmp_path, server):
    """`block` fails the row alone, with the reason, and sends nothing; `warn` writes it and says so on row and run; a
    mended image passes when the row is retried. What is unchanged is not looked at."""
    server.images["wide.png"] = png(2500, 10)
    good = {"sku": "GOOD", "images": [f"{server.url}/ok.png", f"{server.url}/ok.jpg"]}
    bad = {
        "sku": "BAD",
        "images": [f"{server.url}/ok.png", f"{server.url}/status/404", f"{server.url}/wide.png?key=SECRET"],
    }
    async with pipeline(tmp_path, IMAGEFLOW_PREFLIGHT_ALLOW_PRIVATE="127.0.0.1") as here:
        await here.save("block", direction="outbound", write={"preflight": "block"})
        await here.save("warn", direction="outbound", write={"preflight": "warn"})
        await here.save("off", direction="outbound")
        blocked = await here.post([good, bad], "block")
        [good_row, bad_row] = await here.store.rows(blocked.run_id)
        assert set(here.omnitron.images) == {"GOOD"}
        warned = await here.post([bad, {"sku": "BAD-2", "images": bad["images"]}], "warn")
        rows = await here.store.rows(warned.run_id)
        asked = server.asked.total()
        unchanged = await here.post([good, bad], "block")
        assert server.asked.total() == asked
        off = await here.post([{"sku": "OFF", "images": bad["images"][1:]}], "off")
        assert server.asked.total() == asked
        mended = {"sku": "MENDED", "images": [f"{server.url}/later.png"]}
        server.images["later.png"] = b"GIF89a"
        first = await here.post([mended], "block")
        server.images["later.png"] = png()
        second = await here.retry(first.run_id)
        found = await here.trace("BAD")
    assert (blocked.status, blocked.counts.written, blocked.counts.failed) == ("partial", 1, 1)
    assert (good_row.state, good_row.reason) == ("written", None)
    assert (bad_row.state, bad_row.stage, bad_row.http_status, bad_row.attempts) == ("failed", "write", None, 0)
    assert bad_row.reason == (
        f"image_not_found: images[1] {server.url}/status/404 answers 404; image_too_large_dimensions: images[2] "
        f"{server.url}/wide.png is 2500x10 pixels, at most 2000x2000 are taken"
    )
    assert (warned.status, [row.state for row in rows]) == ("success", ["written", "written"])
    assert [row.reason for row in rows] == [bad_row.reason] * 2
    assert sorted(text.split(" with ")[1].split(";")[0] for text in warned.warnings) == [
        "image_not_found",
        "image_too_large_dimensions",
    ]
    assert (unchanged.counts.unchanged, off.counts.written, off.warnings) == (2, 1, ())
    assert (first.status, second.status) == ("failed", "success")
    assert [row["tries"] for row in found["rows"] if row["state"] == "failed"] == [[]]


async def test_rows_without_time_for_preflight(tmp_path, server, monkeypatch):
    """They come again without losing an attempt, and the run ends as if there had been time at once."""
    monkeypatch.setattr(module, "START_SECONDS", 0.0)
    rows = [{"sku": f"SKU-{n}", "images": [f"{server.url}/ok.png?{n}"]} for n in range(5)]
    async with pipeline(tmp_path, IMAGEFLOW_PREFLIGHT_ALLOW_PRIVATE="true") as here, asyncio.TaskGroup() as group:
        await here.save(direction="outbound", write={"preflight": "block"})
        posted = group.create_task(here.post(rows))
        await asyncio.sleep(0.5)
        assert not here.omnitron.images
        monkeypatch.setattr(module, "START_SECONDS", 60.0)
        run = await posted
        logs = await here.store.rows(run.run_id)
    assert (run.status, run.counts.written) == ("success", 5)
    assert {(row.attempts, row.reason, row.tries) for row in logs} == {(1, None, ())}
