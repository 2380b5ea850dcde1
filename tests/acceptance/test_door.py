"""The outbound door, through the command line's gateway."""

import json
import re

import pytest

from tests.acceptance.harness import balanced, free_port, get, site, wait_for

ROWS = [
    {"sku": f"P-{n}", "images": [f"https://img.example.com/{n}/1.jpg", f"https://img.example.com/{n}/2.jpg"]}
    for n in range(30)
]


@pytest.fixture
def door(tmp_path):
    """`up` with an outbound flow, a user, and a token from the Integrator's login."""
    with site(tmp_path) as here:
        here.omnitron = here.emulate("omnitron", "--rows", "0")
        here.erp = "http://127.0.0.1:9"
        here.flow("posts", direction="outbound", erp={"rows_path": ""}, script=None, mapping=None)
        here.flow("polls")
        here.call("user", "add", "erp", stdin="correct horse\n")
        port = free_port()
        here.spawn("up", "--flows", str(here.flows), "--port", str(port))
        here.url = f"http://127.0.0.1:{port}"
        wait_for(lambda: get(f"{here.url}/ready")[0] == 200, what="the gateway")
        status, token = get(f"{here.url}/api/nifi/login", data=b"username=erp&password=correct+horse")
        assert status == 200
        here.bearer = {"Authorization": f"Bearer {token.decode()}", "Content-Type": "application/json"}
        yield here


def test_posted_rows_reach_omnitron(door):
    """202 with a run; the rows are on Omnitron as posted; a repeat with the same key adds nothing."""
    headers = {**door.bearer, "Idempotency-Key": "first"}
    status, body = get(f"{door.url}/api/outbound/posts", data=json.dumps(ROWS).encode(), headers=headers)
    assert status == 202
    accepted = json.loads(body)
    assert accepted["rows"] == 30
    assert (
        json.loads(get(f"{door.url}/api/outbound/posts", data=json.dumps(ROWS).encode(), headers=headers)[1])
        == accepted
    )
    run = wait_for(
        lambda: next((r for r in door.json("runs", "posts") if r["status"] == "success"), None), what="the run"
    )
    assert run["run_id"] == accepted["run_id"]
    assert run["rows"]["written"] == 30
    assert balanced(run)
    assert len(door.json("runs", "posts")) == 1
    assert door.images() == {row["sku"]: [(n, url, "default") for n, url in enumerate(row["images"])] for row in ROWS}


def test_bad_input_is_refused_whole(door):
    """Each mistake has its status, and nothing of it is accepted."""
    url = f"{door.url}/api/outbound/posts"
    cases = [
        (url, b"{not json", door.bearer, 400),
        (url, b'"text"', door.bearer, 400),
        (url, b"[1, 2]", door.bearer, 400),
        (url, b"[]", door.bearer, 400),
        (url, b"[{}]", {}, 401),
        (url, b"[{}]", {"Authorization": "Bearer wrong"}, 401),
        (f"{door.url}/api/outbound/nowhere", b"[{}]", door.bearer, 404),
        (f"{door.url}/api/outbound/polls", b"[{}]", door.bearer, 404),
        (url, b'["' + b"x" * 11_000_000 + b'"]', door.bearer, 413),
    ]
    assert [get(target, data=body, headers=headers)[0] for target, body, headers, _ in cases] == [
        case[3] for case in cases
    ]
    assert door.json("runs") == []


def test_a_bad_row_fails_alone(door):
    """One bad row among good ones: it fails with its reason, the run is partial, `rows` shows it, exit status as told."""
    rows = [*ROWS[:3], {"sku": "BAD", "images": ["ftp://img.example.com/x.jpg"]}]
    status, body = get(f"{door.url}/api/outbound/posts", data=json.dumps(rows).encode(), headers=door.bearer)
    assert status == 202
    run_id = json.loads(body)["run_id"]
    wait_for(lambda: door.json("runs", "posts")[0]["status"] == "partial", what="the run")
    failed = json.loads(door.call("rows", run_id, "--state", "failed", "--json").stdout)
    assert [(row["product"], row["state"], row["stage"]) for row in failed] == [("BAD", "failed", "rows")]
    assert re.search("http", failed[0]["reason"])
    assert len(json.loads(door.call("rows", run_id, "--json").stdout)) == 4


def test_monitoring(door):
    """/health, /ready and /metrics answer on the gateway's port."""
    assert get(f"{door.url}/health")[0] == 200
    assert json.loads(get(f"{door.url}/ready")[1])["ready"] is True
    assert b"imageflow_" in get(f"{door.url}/metrics")[1]
