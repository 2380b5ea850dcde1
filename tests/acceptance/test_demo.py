"""The first two commands of the README."""

import json

from tests.acceptance.harness import balanced, site


def test_demo_balances(tmp_path):
    """The demo moves every row, ends 0 and says so in JSON as its last line."""
    with site(tmp_path) as here:
        done = here.call("demo", "--rows", "500", "--json")
        result = json.loads(done.stdout.splitlines()[-1])
    assert result["ok"]
    assert [run["status"] for run in result["runs"]] == ["success", "success"]
    assert all(balanced(run) for run in result["runs"])
    assert result["runs"][0]["rows"]["written"] == 500
    assert result["products"] == {"expected": 700, "missing": 0, "unexpected": 0, "different": 0}


def test_demo_speaks_to_people(tmp_path):
    """Without --json the summary is text."""
    with site(tmp_path) as here:
        done = here.call("demo", "--rows", "20")
    assert "demo-inbound: success; 20 rows = 20 written" in done.stdout
    assert "balanced and complete" in done.stdout
