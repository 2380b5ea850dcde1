"""What happened to one product, told from what is kept; and failed rows that are retried by cause."""

import asyncio
import json
import sqlite3

import pytest
from click.testing import CliRunner

from imageflow.actions import bench, run_log
from imageflow.cli import cli
from imageflow.errors import NotFoundError
from imageflow.sandbox.supervisor import Sandbox
from tests.integration.pipeline import pipeline

SHOWN = {"run_id", "row", "product", "state", "stage", "reason", "http_status", "attempts", "images"}
ALONE = """
def process_row(row):
    return {'sku': row['sku'], 'images': row['images'], 'n': 1 / (row['sku'] != 'SKU-000003')}
"""
WHOLE = """
def process(answer):
    return [{'sku': row['sku'], 'images': row['images'], 'n': 1 / (row['sku'] != 'SKU-000003')} for row in answer['results']]
"""


async def test_a_products_story(tmp_path):
    """From the ERP's element through script and mapping to each request and answer, over several runs; a retried row
    keeps its history; once the pages are gone, the rest is still told."""
    async with pipeline(tmp_path, rows=120) as here:
        here.omnitron.set_faults(["status=503,match=SKU-000007,first=1", "status=422,match=SKU-000007"])
        await here.save()
        run = await here.run()
        assert (run.status, run.counts.failed) == ("partial", 1)
        before = await here.trace("SKU-000007")
        here.omnitron.set_faults([])
        assert (await here.retry(run.run_id, row=before["rows"][0]["row"])).status == "success"
        await here.run(ids=["SKU-000007"])
        after = await here.trace("SKU-000007")
        with pytest.raises(NotFoundError, match="SKU-999999"):
            await here.trace("SKU-999999")
        newest_only = await here.trace("SKU-000007", limit=1)
        with sqlite3.connect(tmp_path / "store.db") as store:
            store.execute("DELETE FROM pages")
        store.close()
        bare = await here.trace("SKU-000007")

    (row,) = before["rows"]
    assert (row["run_id"], row["product"], row["state"]) == (run.run_id, "SKU-000007", "failed")
    assert set(row) > SHOWN
    assert (row["flow"], row["flow_version"], row["run"]["status"]) == ("main", 1, "partial")
    (source,) = row["sources"]
    assert (source["page"], source["certain"], source["note"]) == (1, True, None)
    (element,) = source["elements"]
    assert element["element"]["sku"] == "SKU-000007"
    assert [step["step"] for step in source["steps"]] == ["input", "script", "mapping", "rows"]
    assert [one["sku"] for one in source["steps"][1]["output"]] == ["SKU-000007"]
    assert [one["images"] for one in source["rows"]] == [row["images"]]
    assert [one["http_status"] for one in row["tries"]] == [503, 422]
    assert "Omnitron answered 422" in row["tries"][-1]["reason"]
    assert row["tries"] == sorted(row["tries"], key=lambda one: one["at"])
    assert row["request"]["body"] == {"product_sku": "SKU-000007", "images": row["images"]}
    assert row["request"]["url"].startswith(here.omnitron.url)
    assert before["ledger"][0]["run_id"] is None

    newest, retried = after["rows"]
    assert (newest["state"], newest["tries"], newest["request"]) == ("unchanged", [], None)
    assert (retried["state"], retried["attempts"]) == ("written", 1)
    assert [one["http_status"] for one in retried["tries"]] == [503, 422, 201]
    (entry,) = after["ledger"]
    assert (entry["domain"], entry["run_id"], entry["in_flight"]) == (here.omnitron.url, newest["run_id"], None)
    assert entry["images"] == newest["images"]
    assert (len(newest_only["rows"]), newest_only["more"], after["more"]) == (1, True, False)
    assert [one["sources"][0]["note"] for one in bare["rows"]] == ["the page is not kept any more"] * 2
    assert [one["tries"] for one in bare["rows"]] == [newest["tries"], retried["tries"]]
    assert bare["ledger"] == after["ledger"]


async def test_a_row_is_laid_on_the_bench_with_its_element(tmp_path):
    """Any row with a page, whatever came of it, also where its product is named by no element; the page it is of, and no other."""
    named = "def process_row(row):\n    return {'sku': 'X' + row['sku'], 'pictures': row['images']}\n"
    async with pipeline(tmp_path, rows=120) as here, Sandbox() as sandbox:
        here.omnitron.set_faults(["status=422,match=XSKU-000117"])
        await here.save(script=named)
        run = await here.run()
        flow = await here.store.flow("main")
        for sku, page in (("SKU-000067", 2), ("SKU-000117", 3)):
            (log,) = await here.store.product_rows(f"X{sku}")
            found = await bench.input_of(here.store, sandbox, flow, run.run_id, log.row)
            assert (found.run_id, found.page, found.row) == (run.run_id, page, log.row)
            assert [one["sku"] for one in json.loads(found.body)["results"]] == [sku]
        assert log.state == "failed"
        with pytest.raises(NotFoundError):
            await bench.input_of(here.store, sandbox, flow, run.run_id, 999)
        with sqlite3.connect(tmp_path / "store.db") as store:
            store.execute("DELETE FROM pages")
        store.close()
        assert await bench.input_of(here.store, sandbox, flow, run.run_id, log.row) == bench.Input("")


async def test_products_that_failed_before_they_had_a_name(tmp_path):
    """A row that the script failed for, alone and in a page that failed as a whole: then it says because of whom."""
    async with pipeline(tmp_path, rows=10) as here:
        for name, script in (("alone", ALONE), ("whole", WHOLE)):
            await here.save(name, script=script, mapping=None)
            await here.run(name)
        guilty = await here.trace("SKU-000003")
        innocent = await here.trace("SKU-000005")
    whole, single = guilty["rows"]
    for row in (whole, single):
        assert (row["state"], row["stage"], row["product"]) == ("failed", "script", None)
        assert row["payload"]["sku"] == "SKU-000003"
        assert [one["element"]["sku"] for one in row["sources"][0]["elements"]] == ["SKU-000003"]
        assert row["sources"][0]["certain"]
    assert "ZeroDivisionError" in single["sources"][0]["steps"][1]["row_errors"][0]["reason"]
    assert "ZeroDivisionError" in whole["sources"][0]["steps"][1]["error"]["reason"]
    failed, written = innocent["rows"]
    assert (failed["flow"], written["flow"], written["state"]) == ("whole", "alone", "written")
    assert [one["element"]["sku"] for one in failed["sources"][0]["elements"]] == ["SKU-000005"]
    assert "because of what is at 2" in failed["sources"][0]["note"]


async def test_base_codes_posts_and_products_made_up_by_the_script(tmp_path):
    """A base code's trace lists its SKUs, a SKU's the row of its base code; a name that only the script knows is found
    by running the page; elements that only together make the row are all shown."""
    url = "https://c.example/{}.jpg".format
    script = "def process_row(row):\n    return {'sku': 'TR' + str(row['no'] * 7), 'url': row['url']}\n"
    async with pipeline(tmp_path, rows=10) as here:
        here.omnitron.add_products([{"sku": "S1", "base_code": "B"}, {"sku": "S2", "base_code": "B"}])
        await here.save("codes", direction="outbound", filename_template="{base_code}")
        await here.save("made", direction="outbound", script=script)
        await here.post([{"base_code": "B", "images": [url(1)]}, {"base_code": "none", "images": [url(2)]}], "codes")
        await here.post([{"no": no, "url": url(f"{no}-{side}")} for side in "ab" for no in range(40)], "made")
        code, sku = await here.trace("B"), await here.trace("S2")
        made = await here.trace("TR91")
    assert [one["product"] for one in code["ledger"]] == ["S1", "S2"]
    for found in (code, sku):
        (row,) = found["rows"]
        assert (row["product"], row["key"], row["state"]) == ("B", "base_code", "written")
        assert [one["element"] for one in row["sources"][0]["elements"]] == [{"base_code": "B", "images": [url(1)]}]
    assert [one["product"] for one in sku["ledger"]] == ["S2"]
    (row,) = made["rows"]
    assert row["sources"][0]["certain"]
    assert [one["url"] for one in row["images"]] == [url("13-a"), url("13-b")]
    assert [one["index"] for one in row["sources"][0]["elements"]] == [13, 53]


async def test_rows_joined_across_pages(tmp_path):
    """Each page that has something of the product is shown with its part, and no other."""
    script = "def process_row(row):\n    return {'sku': row['base_code'], 'url': row['images'][0]['url']}\n"
    async with pipeline(tmp_path, rows=120) as here:
        await here.save(group="run", script=script, mapping=None)
        await here.run()
        found = await here.trace("BASE-00013")
    (row,) = found["rows"]
    assert (row["state"], len(row["images"])) == ("written", 4)
    parts = {source["page"]: [one["index"] for one in source["elements"]] for source in row["sources"]}
    assert parts == {1: [48, 49], 2: [0, 1]}
    assert all(source["certain"] for source in row["sources"])


async def test_failed_rows_are_retried_by_cause(tmp_path):
    """`errors` lists a cause once with its count; a retry of one cause changes the logs of its rows in place, the
    other stays open, and the run's status follows; when the rows succeed, the cause is gone."""
    async with pipeline(tmp_path, rows=30) as here:
        here.omnitron.set_faults(["status=400,match=SKU-00000*", "status=413,match=SKU-00001*"])
        await here.save()
        run = await here.run()
        first = await here.store.errors(run.run_id)
        assert [(one.http_status, one.stage, one.rows, one.retryable) for one in first] == [
            (413, "write", 10, 10),
            (400, "write", 9, 9),
        ]
        groups = {one.http_status: one.group for one in first}
        here.omnitron.set_faults(["status=413,match=SKU-000015"])
        one = await here.retry(run.run_id, group=groups[400])
        assert (one.status, one.counts.written, one.counts.failed) == ("partial", 20, 10)
        assert [group.http_status for group in await here.store.errors(run.run_id)] == [413]
        with pytest.raises(NotFoundError, match=groups[400]):
            await here.retry(run.run_id, group=groups[400])
        two = await here.retry(run.run_id, group=groups[413])
        assert (two.status, two.counts.written, two.counts.failed) == ("partial", 29, 1)
        (left,) = await here.store.errors(run.run_id)
        assert (left.group, left.rows, left.example_product) == (groups[413], 1, "SKU-000015")
        rows = await here.store.rows(run.run_id)
        assert sorted(row.row for row in rows) == list(range(1, 31))
        assert [row.product for row in rows if row.state == "failed"] == ["SKU-000015"]
        here.omnitron.set_faults([])
        last = await here.retry(run.run_id)
        assert (last.status, last.counts.written) == ("success", 30)
        assert await here.store.errors(run.run_id) == []


def test_the_commands(tmp_path, monkeypatch):
    """`errors`, `retry --group` and `trace` print their objects; what is not there is exit status 2."""

    async def prepare():
        async with pipeline(tmp_path, rows=3) as here:
            here.omnitron.set_faults(["status=400,match=SKU-000002"])
            await here.save()
            return (await here.run()).run_id

    run_id = asyncio.run(prepare())
    monkeypatch.setenv("IMAGEFLOW_DATA_DIR", str(tmp_path))

    def call(*args: str):
        return CliRunner().invoke(cli, args)

    (group,) = json.loads(call("errors", run_id, "--json").stdout)
    assert (group["stage"], group["http_status"], group["rows"], group["retryable"]) == ("write", 400, 1, 1)
    assert group["group"] in call("errors", run_id).stdout
    (still_open,) = json.loads(call("errors", "--flow", "main", "--json").stdout)
    assert (still_open["group"], still_open["rows"], still_open["run_id"]) == (group["group"], 1, run_id)
    assert still_open["since"].endswith("Z")
    assert f"newest: run {run_id}, row" in call("errors", "--flow", "main").stdout
    assert call("errors", run_id, "--flow", "main").exit_code == 2
    found = json.loads(call("trace", "SKU-000002", "--json").stdout)
    assert found["rows"][0]["tries"][0]["http_status"] == 400
    text = call("trace", "SKU-000002").stdout
    assert "400  Omnitron answered 400" in text
    assert '"sku": "SKU-000002"' in text
    (row,) = json.loads(call("rows", run_id, "--state", "failed", "--json").stdout)
    assert set(row) == SHOWN
    assert isinstance(call("retry", run_id, "--group", "nope").exception, NotFoundError)
    assert isinstance(call("errors", "nope").exception, NotFoundError)
    unknown = call("trace", "no pe").exception
    assert isinstance(unknown, NotFoundError)
    assert str(unknown).endswith("a product 'no pe'; to ask the ERP of a flow for it: imageflow run FLOW --ids 'no pe'")
    again = json.loads(call("retry", run_id, "--group", group["group"], "--json").stdout.splitlines()[-1])
    assert (again["status"], again["rows"]["failed"]) == ("draining", 0)


async def test_a_row_that_a_newer_version_made(tmp_path):
    """After a retry, the trace has the steps of the version that made the row; rows of the first version keep theirs. The run's
    log tells the retry."""
    async with pipeline(tmp_path, rows=120) as here:
        await here.save(script=ALONE.replace("SKU-000003'", "SKU-000111'"), mapping=None)
        run = await here.run()
        failed = await here.trace("SKU-000111")
        await here.save(mapping=None, script=ALONE.replace("1 / (row['sku'] != 'SKU-000003')", "2"))
        assert (await here.retry(run.run_id)).status == "success"
        made, kept = await here.trace("SKU-000111"), await here.trace("SKU-000112")
        told = (await run_log.told(here.store, run.run_id)).entries
    assert [(one["state"], one["flow_version"]) for one in failed["rows"]] == [("failed", 1)]
    for found, version, place in ((made, 2, 10), (kept, 1, 11)):
        (row,) = found["rows"]
        (source,) = row["sources"]
        assert (row["state"], row["flow_version"], source["page"], source["certain"]) == ("written", version, 3, True)
        assert [one["index"] for one in source["elements"]] == [place]
        assert [step["step"] for step in source["steps"]] == ["input", "script", "rows"]
    (retried,) = [entry for entry in told if entry.what == "retried"]
    assert retried.at is not None
    assert retried.text == (
        "by ada: 1 row put through again; 1 row from the stored pages by version 2 in place of 1; before that, 1 failed in script"
    )
