"""The test bench over the API: a draft against what really came, what would be sent, an ERP as it answers now."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from imageflow.actions import bench, comparison
from imageflow.emulator.erp import FakeErp
from imageflow.model.imageset import Image, digest
from imageflow.model.row import RowLog
from imageflow.model.run import Run, Trigger
from imageflow.sandbox.supervisor import Sandbox
from imageflow.store import LedgerEntry
from tests.integration.test_api import CLOCK, ERP_SECRET, OMNITRON, POLLED, furnished, opened
from tests.posting import accept_post

PICTURE = "https://cdn.example.com/{}.jpg"
NO_PICTURES = "def process_row(row):\n    return {'sku': row['sku'], 'images': row['images']}\n"
BARCODES = "def process_row(row):\n    return {'sku': row.get('barcode'), 'images': row['images']}\n"
MENDED = "def process_row(row):\n    return {'sku': row['sku'], 'images': row.get('images', ['https://cdn.example.com/0.jpg'])}\n"


@pytest.fixture(scope="module")
def furniture(tmp_path_factory):
    file = tmp_path_factory.mktemp("furniture") / "store.db"
    return file, asyncio.run(furnished(file))


@pytest.fixture
async def api(tmp_path, furniture):
    async with opened(tmp_path, furniture) as found:
        yield found


async def came(store, number, elements, **row):
    """A post that came to the flow `posts`, all of its rows failed; `row`: how."""
    now = CLOCK.now()
    run = Run(
        run_id=f"20260101-00000{number}-posts",
        flow="posts",
        version=(await store.flow("posts")).version,
        trigger=Trigger("outbound", by="erp"),
        status="draining",
        created_at=now,
        started_at=now,
        pages=1,
        read_complete=True,
    )
    await accept_post(store, run, json.dumps(elements).encode(), rows=len(elements))
    await store.register_page(run.run_id, 1, len(elements), [])
    how = {"product": None, "state": "failed", **row}
    logs = [RowLog(run_id=run.run_id, row=n, **how) for n in range(1, len(elements) + 1)]
    await store.settle("t", logs)
    return run.run_id


async def written(store, *skus):
    """Omnitron has taken them."""
    domain = (await store.flow("posts")).definition.omnitron.domain
    await store.settle("t", [], written=[LedgerEntry(domain, sku, 1, digest(()), "r", 1) for sku in skus])


def row(sku, *pictures):
    return {"sku": sku, **({"images": [PICTURE.format(one) for one in pictures]} if pictures else {})}


# against what really came ---------------------------------------------------------------------------------------------


async def test_a_draft_against_what_really_came(api):
    """Row by row over the kept pages, beside the version in force: what is mended, what breaks, what is another set."""
    await api.store.save_flow({"name": "posts", "direction": "outbound", "omnitron": OMNITRON, "script": NO_PICTURES})
    first = await came(api.store, 1, [row("A", 1), row("B"), row("C", 1, 2)])
    second = await came(api.store, 2, [row("D", 1)])
    script = (
        MENDED
        + "\nold = process_row\ndef process_row(row):\n    made = old(row)\n"
        + (
            "    if row['sku'] == 'C': made['images'] = made['images'][:1]\n    if row['sku'] == 'D': raise ValueError('no D')\n"
            "    return made\n"
        )
    )
    path = "/api/flows/posts/compare"
    found = await api.ok("POST", path, {"draft": {"script": script}, "pages": 5}, token="operator")
    assert [found[name] for name in ("rows", "same", "fixed", "different", "broken", "late")] == [4, 1, 1, 1, 1, False]
    assert [page["run_id"] for page in found["pages"]] == [second, first]
    told = {one["product"]: (one["kind"], one["run_id"]) for one in found["examples"]}
    assert told == {"B": ("fixed", first), "C": ("different", first), "D": ("broken", second)}
    one = await api.ok("POST", path, {"draft": {"script": script}, "pages": 1}, token="operator")
    assert (one["rows"], one["broken"]) == (1, 1)
    unchanged = await api.ok("POST", path, {}, token="operator")
    assert (unchanged["rows"], unchanged["same"], unchanged["examples"]) == (4, 4, [])
    assert (await api.store.flow("posts")).version == 2


async def test_a_product_is_compared_once(api):
    """By the newest page that has it; and what Omnitron refused under another name was no good row: it is mended where Omnitron has
    taken the new name before, else that is not known.
    """
    await api.store.save_flow({"name": "posts", "direction": "outbound", "omnitron": OMNITRON, "script": BARCODES})
    for number in (1, 2):
        await came(api.store, number, [row("B")])
        element = {**row("A", number), "barcode": "869"}
        await came(
            api.store, number + 2, [element], product="869", http_status=400, reason="no such SKU", version=number
        )
    mended = {"draft": {"script": MENDED}, "pages": 5}
    names = ("rows", "same", "fixed", "different", "broken", "renamed", "untried")
    found = await api.ok("POST", "/api/flows/posts/compare", mended, token="operator")
    assert [found[name] for name in names] == [2, 0, 1, 0, 0, 0, 1]
    await written(api.store, "A")
    found = await api.ok("POST", "/api/flows/posts/compare", mended, token="operator")
    assert [found[name] for name in names] == [2, 0, 2, 0, 0, 0, 0]
    assert {(one["was"]["product"], one["now"]["product"]) for one in found["examples"]} == {("869", "A"), (None, "B")}
    tried = await api.ok(
        "POST", "/api/flows/posts/try", {"input": [{**row("A", 1), "barcode": "869"}]}, token="operator"
    )
    assert tried["rows"][0]["refused"] == "no such SKU"


async def test_good_products_under_another_sku(api):
    """They are told apart from another set, where Omnitron has never had the new SKU from us; a doubtful write is none."""
    await api.store.save_flow({"name": "posts", "direction": "outbound", "omnitron": OMNITRON, "script": NO_PICTURES})
    await came(api.store, 1, [row("A", 1), row("B", 2), row("C", 3), row("D", 4)])
    await written(api.store, "A", "X-A")
    domain = (await api.store.flow("posts")).definition.omnitron.domain
    await api.store.settle("t", [], written=[LedgerEntry(domain, "X-B", 1, None, None, None)])
    script = (
        "def process_row(row):\n    return {'sku': 'X-' * (row['sku'] != 'D') + row['sku'], 'images': row['images']}\n"
    )
    found = await api.ok("POST", "/api/flows/posts/compare", {"draft": {"script": script}}, token="operator")
    assert [found[name] for name in ("rows", "same", "different", "renamed", "untried")] == [4, 1, 1, 2, 0]
    told = {one["product"]: one["kind"] for one in found["examples"]}
    assert told == {"X-A": "different", "X-B": "renamed", "X-C": "renamed"}


async def test_a_comparison_is_bounded(api):
    """What was compared when the time is over is given, and that it was over; a draft that is no flow is refused."""
    await came(api.store, 1, [row("A", 1)])
    flow = await api.store.flow("posts")
    slow = bench.draft(flow, "import time\ndef process(r):\n    while True: pass\n", None)
    async with Sandbox() as sandbox:
        found = await comparison.compared(api.store, sandbox, flow, slow, seconds=0.5)
    assert (found.late, found.kinds) == (True, [])
    wrong = await api.refused(422, "POST", "/api/flows/posts/compare", {"draft": {"script": "def ("}}, token="operator")
    assert "script" in wrong
    await api.refused(400, "POST", "/api/flows/posts/compare", {"pages": 1000}, token="operator")
    await api.refused(403, "POST", "/api/flows/posts/compare", {}, token="viewer")


async def test_a_flow_without_pages(api):
    """There is nothing to compare with."""
    found = await api.ok("POST", "/api/flows/posts/compare", {}, token="operator")
    assert (found["rows"], found["pages"]) == (0, [])


# what would be sent ---------------------------------------------------------------------------------------------------


async def test_what_would_be_sent(api):
    """Each row with what it changes by the ledger, and the request as it would be sent: none for what is there already."""
    images = (Image(PICTURE.format(1)),)
    domain = (await api.store.flow("posts")).definition.omnitron.domain
    run_id = await came(api.store, 1, [row("A", 1)])
    entries = [LedgerEntry(domain, sku, 1, digest(of), run_id, 1) for sku, of in (("A", images), ("B", ()))]
    await api.store.settle("t", [], written=entries)
    body = {"flow": "posts", "input": [row("A", 1), row("B", 1), row("C", 1), {"sku": "D"}]}
    found = await api.ok("POST", "/api/try/write", body, token="operator")
    assert [one["change"] for one in found["rows"]] == ["same", "changes", "new", "unknown"]
    assert [one["request"] is None for one in found["rows"]] == [True, False, False, True]
    assert found["rows"][2]["request"] == {
        "method": "POST",
        "url": f"{domain}/api/v1/downloadable-image/",
        "body": {"product_sku": "C", "images": [{"url": PICTURE.format(1), "order": 0, "image_type": "default"}]},
    }
    assert not found["ok"]
    await api.refused(404, "POST", "/api/try/write", {**body, "flow": "none"}, token="operator")


# the ERP now ----------------------------------------------------------------------------------------------------------


async def test_the_erp_is_asked_now(api):
    """A page with the flow's own login, its first elements; that it was asked, and by whom, is in the audit log."""
    erp = FakeErp(rows=120)
    async with erp.serve():
        read = {"endpoint_url": f"{erp.url}/images/next/", "rows_path": "results", "extra_params": {"limit": 50}}
        await api.store.save_flow({**POLLED, "erp": {**read, "pagination": {"type": "next"}}})
        first = await api.ok("POST", "/api/flows/polled/ask", token="operator")
        assert (first["rows"], len(first["input"]["results"]), first["run_id"]) == (50, bench.ELEMENTS, None)
        third = await api.ok("POST", "/api/flows/polled/ask", {"page": 3, "elements": 100}, token="operator")
        assert [len(third["input"]["results"]), third["input"]["results"][0]["sku"]] == [20, "SKU-000101"]
        assert "pages" in await api.refused(409, "POST", "/api/flows/polled/ask", {"page": 9}, token="operator")
        assert (first["warnings"], third["warnings"]) == ([], [])
        await api.store.save_flow({**POLLED, "erp": read})
        (warning,) = (await api.ok("POST", "/api/flows/polled/ask", token="operator"))["warnings"]
        assert warning.startswith("the read ended after 50 rows, though")
    said = await api.refused(409, "POST", "/api/flows/polled/ask", token="operator")
    assert "127.0.0.1" in said
    await api.refused(409, "POST", "/api/flows/posts/ask", token="operator")
    await api.refused(403, "POST", "/api/flows/polled/ask", token="viewer")
    changes = (await api.ok("GET", "/api/audit?what=erp.ask"))["items"]
    assert [(one["who"], one["object"], one["detail"]) for one in changes][-1:] == [
        ("operator", "flow polled", {"page": 1})
    ]
    assert len(changes) == 5


async def test_an_answer_is_shown_without_secrets(api):
    """An ERP that repeats what it was sent shows no secret."""

    async def echo(request):
        told = request.headers["X-Key"]
        return web.json_response([{"sku": "A", "you": f"sent {told}", told: [1, True, None, {"again": told}]}])

    app = web.Application()
    app.router.add_get("/", echo)
    async with TestServer(app) as server:
        login = {"type": "header", "name": "X-Key", "value": {"env": "P"}}
        await api.store.save_flow({**POLLED, "erp": {"endpoint_url": str(server.make_url("/")), "login": login}})
        found = await api.ok("POST", "/api/flows/polled/ask", token="operator")
    assert found["input"] == [{"sku": "A", "you": "sent ***", "***": [1, True, None, {"again": "***"}]}]
    assert ERP_SECRET not in json.dumps(found)


async def test_a_host_of_the_network_within_is_not_asked(api):
    """The reader's own guard: a flow that came over the API asks no private host that is not allowed."""
    document = {**POLLED, "erp": {"endpoint_url": "http://10.0.0.1/"}}
    await api.store.save_flow(document, bounded=True)
    assert "private network" in await api.refused(409, "POST", "/api/flows/polled/ask", token="operator")
