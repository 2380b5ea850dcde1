"""What becomes of rows when Omnitron or the ERP says no."""

import json

from tests.acceptance.harness import balanced, get, site, wait_for


def test_wrong_password_fails_the_run_before_reading(tmp_path):
    """A refused login is a failed run with its reason, exit 1, and the watermark stays."""
    with site(tmp_path) as here:
        here.emulators(20)
        here.flow()
        here.environ["OMNITRON_PASSWORD"] = "not-the-password"
        done = here.call("run", "main", "--flows", str(here.flows), "--wait", "--json", check=False)
        result = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 1
    assert result["status"] == "failed"
    assert "login" in result["error"]
    assert result["rows"]["total"] == 0
    assert result["watermark"] is None
    assert "not-the-password" not in done.stdout + done.stderr


def test_refused_row_fails_alone_and_can_be_retried(tmp_path):
    """400 for one product: that row fails with Omnitron's status, others are written; retry mends it and the run."""
    with site(tmp_path) as here:
        here.emulators(20, omnitron=("status=400,match=SKU-000007",))
        here.flow()
        done = here.call("run", "main", "--flows", str(here.flows), "--wait", "--json", check=False)
        result = json.loads(done.stdout.splitlines()[-1])
        assert done.returncode == 1
        assert result["status"] == "partial"
        assert balanced(result)
        assert (result["rows"]["written"], result["rows"]["failed"]) == (19, 1)
        failed = json.loads(here.call("rows", result["run_id"], "--state", "failed", "--json").stdout)
        assert [(row["product"], row["http_status"], row["stage"]) for row in failed] == [("SKU-000007", 400, "write")]
        get(f"{here.omnitron}/_emulator/faults", data=b"[]", headers={"Content-Type": "application/json"})
        mended = here.json("retry", result["run_id"], "--wait")
        assert mended["status"] == "success"
        assert mended["rows"] == {
            "total": 20,
            "written": 20,
            "unchanged": 0,
            "superseded": 0,
            "failed": 0,
            "cancelled": 0,
        }


def test_transient_errors_are_retried(tmp_path):
    """A tenth of the answers are 503: every row is written in the end."""
    with site(tmp_path) as here:
        here.emulators(200, omnitron=("status=503,every=10",))
        here.flow()
        result = here.json("run", "main", "--flows", str(here.flows), "--wait")
    assert result["rows"]["written"] == 200


def test_an_outage_fails_no_row(tmp_path):
    """Omnitron goes away in the middle and comes back: no row fails, the run ends by itself."""
    with site(tmp_path) as here:
        here.emulators(300, omnitron=("latency=0.02", "down,from=1,until=12"))
        here.flow(write={"concurrency": 4, "max_attempts": 3})
        result = here.json("run", "main", "--flows", str(here.flows), "--wait")
    assert result["status"] == "success"
    assert result["rows"]["written"] == 300


def test_html_answer_of_the_erp_fails_the_run(tmp_path):
    """A page of HTML with status 200 is a failed run that says so, and the watermark stays."""
    with site(tmp_path) as here:
        here.emulators(20, erp=("mode=html_200",))
        here.flow()
        done = here.call("run", "main", "--flows", str(here.flows), "--wait", "--json", check=False)
        result = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 1
    assert result["status"] == "failed"
    assert "HTML" in result["error"]


def test_schedule_fires_by_itself(tmp_path):
    """A flow with `every` runs without anybody asking, and a handed-over run is followed while `up` holds the folder."""
    with site(tmp_path) as here:
        here.emulators(10)
        here.flow("ticks", schedule={"every": "1s"})
        here.flow("main")
        here.spawn("up", "--flows", str(here.flows), "--port", "0")
        wait_for(lambda: len(here.json("flow", "list")) == 2, what="up to apply the flows")
        wait_for(
            lambda: len([r for r in here.json("runs", "ticks") if r["status"] in ("success", "empty")]) >= 2,
            what="two fires",
        )
        assert here.json("run", "main", "--wait")["status"] == "success"


def test_ids_neither_use_nor_move_the_watermark(tmp_path):
    """A run by identifiers asks for exactly those."""
    with site(tmp_path) as here:
        here.emulators(50)
        document = here.flow()
        here.flow(erp={**document["erp"], "query_settings": {"sku": {"key": "sku", "type": "string"}}})
        result = here.json("run", "main", "--flows", str(here.flows), "--ids", "SKU-000003,SKU-000005", "--wait")
        assert sorted(here.images()) == ["SKU-000003", "SKU-000005"]
    assert result["rows"]["written"] == 2
    assert result["watermark"] is None


def test_a_token_that_expires_all_the_time(tmp_path):
    """A token is good for 50 requests: every row is written, and logins are as few as they can be."""
    with site(tmp_path) as here:
        here.emulators(1000, omnitron=("token_uses=50", "latency=0.005"))
        here.flow()
        result = here.json("run", "main", "--flows", str(here.flows), "--wait")
        counters = here.state()["counters"]
    assert result["rows"]["written"] == 1000
    # each 50 written rows use up a token; those that were under way with the old one share the next login
    assert 20 <= counters["logins"] <= 1000 / 50 + 3, counters
