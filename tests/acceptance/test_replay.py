"""A mistake in a script, mended: the rows that failed are written, and the ERP is not asked again."""

from __future__ import annotations

import json

import pytest

from tests.acceptance import harness
from tests.acceptance.harness import get, site, wait_for

pytestmark = pytest.mark.timeout(500)
ROWS = 1200
BROKEN = """
def process_row(row):
    if row['sku'].endswith('7'):
        raise ValueError('oops')
    return {'sku': row['sku'], 'images': row['images']}
"""
MENDED = "def process_row(row):\n    return {'sku': row['sku'], 'images': row['images']}\n"


def posts(count: int) -> list[dict]:
    return [{"sku": f"P{n:04}", "images": [{"url": f"https://i.example.com/{n}.jpg"}]} for n in range(count)]


@pytest.fixture(params=["embedded", "distributed"])
def place(request, tmp_path):
    environ = {}
    if request.param == "distributed":
        environ["IMAGEFLOW_BROKER_URL"] = request.getfixturevalue("rabbitmq_vhost")
        environ["IMAGEFLOW_STORE_URL"] = request.getfixturevalue("postgres").new_database()
    with site(tmp_path / "site", **environ) as here:
        here.distributed = request.param == "distributed"
        yield here


def test_120_rows_that_failed_by_a_mistake(place):
    """Inbound with a watermark, by HTTP and by the queue: `retry --wait` writes all of them; the ERP is not asked."""
    here = place
    here.emulators(ROWS)
    outbound = {"direction": "outbound", "erp": {}, "mapping": []}
    here.flow("main", script=BROKEN, mapping=[])
    here.flow("posts", script=BROKEN, **outbound)
    here.call("db", "upgrade")
    here.call("flow", "apply", str(here.flows / "main.yaml"), str(here.flows / "posts.yaml"))
    port = harness.free_port()
    services(here, port)
    run = here.json("run", "main", "--wait", check=False)
    assert (run["status"], run["rows"]["written"], run["rows"]["failed"]) == ("partial", 1080, 120)
    assert run["watermark"] is not None
    assert here.json("run", "main", "--wait")["rows"]["total"] == 0, "the watermark has passed them"
    by_http = post(here, port, posts(ROWS))
    (here.folder / "rows.json").write_text(
        json.dumps([{**row, "sku": row["sku"].replace("P", "Q")} for row in posts(ROWS)])
    )
    here.call("publish", "posts", "rows.json")
    wait_for(lambda: len(here.json("runs", "posts")) == 2, what="the run of the queue")
    [by_queue] = [one["run_id"] for one in here.json("runs", "posts") if one["run_id"] != by_http]
    for run_id in (by_http, by_queue):
        ended = wait_for(lambda run_id=run_id: ended_run(here, "posts", run_id), what="the post's run")
        assert (ended["status"], ended["rows"]["failed"]) == ("partial", 120)
    asked = requests_of_erp(here)

    here.flow("main", script=MENDED, mapping=[])
    here.flow("posts", script=MENDED, **outbound)
    here.call("flow", "apply", str(here.flows / "main.yaml"), str(here.flows / "posts.yaml"))
    for run_id in (run["run_id"], by_http, by_queue):
        mended = here.json("retry", run_id, "--wait")
        assert (mended["status"], mended["rows"]["written"], mended["rows"]["total"]) == ("success", ROWS, ROWS)
        assert (mended["retry"]["rows"], mended["retry"]["version"], mended["retry"]["left"]) == (120, 2, [])
        assert harness.balanced(mended)
        assert here.call("errors", run_id).stdout == ""
    again = here.call("retry", run["run_id"], "--wait").stdout
    assert again.startswith(f"0 of 0 rows of run {run['run_id']} are put through again")
    assert requests_of_erp(here) == asked
    assert len(here.images()) == 3 * ROWS


def services(here, port: int) -> None:
    if here.distributed:
        for name in ("scheduler", "reader", "transformer", "writer"):
            here.spawn(name)
        here.spawn("gateway", "--port", str(port))
    else:
        here.spawn("up", "--port", str(port))
    wait_for(lambda: get(f"http://127.0.0.1:{port}/ready")[0] == 200, what="the services")


def post(here, port: int, rows: list[dict]) -> str:
    here.call("user", "add", "erp", "--role", "operator", stdin="open sesame 123\n")
    url = f"http://127.0.0.1:{port}"
    _, token = get(f"{url}/api/nifi/login", data=b"username=erp&password=open+sesame+123")
    headers = {"Authorization": f"Bearer {token.decode()}", "Content-Type": "application/json"}
    status, body = get(f"{url}/api/outbound/posts", data=json.dumps(rows).encode(), headers=headers)
    assert status == 202, body
    return json.loads(body)["run_id"]


def ended_run(here, flow: str, run_id: str):
    [run] = [one for one in here.json("runs", flow) if one["run_id"] == run_id]
    return run if run["finished_at"] else None


def requests_of_erp(here) -> int:
    return json.loads(get(f"{here.erp}/_emulator/state")[1])["counters"]["requests"]
