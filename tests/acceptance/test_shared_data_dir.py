"""Commands that share a data directory: each ends, whatever becomes of the other, and none fires a schedule."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.acceptance.harness import Site, kill, site, wait_for

pytestmark = pytest.mark.timeout(400)
ROWS = 40


@pytest.fixture
def here(tmp_path):
    with site(tmp_path / "site") as place:
        place.emulators(ROWS)
        yield place


def start(here: Site, name: str) -> subprocess.Popen:
    return here.spawn("run", name, "--wait", "--json", stdout=subprocess.PIPE)


def ended(process: subprocess.Popen) -> dict:
    out, _ = process.communicate(timeout=150)
    assert process.returncode == 0, out
    return json.loads(out.splitlines()[-1])


def flows(here: Site) -> None:
    """Two inbound flows of which one takes twice as long, and one with a schedule that is due all the time."""
    here.flow("quick", write={"rate_limit": "8/s"})
    here.flow("slow", write={"rate_limit": "4/s"})
    here.flow("ticks", schedule={"every": "1s"})
    here.call("flow", "apply", *(str(here.flows / f"{name}.yaml") for name in ("quick", "slow", "ticks")))


def begun(here: Site, name: str):
    return [run for run in here.json("runs", name) if run["started_at"] and not run["finished_at"]]


def test_two_runs_at_once(here):
    """The slower one second: both end well, and the flow with a schedule is left alone."""
    flows(here)
    first = start(here, "quick")
    wait_for(lambda: begun(here, "quick"), what="the first run")
    second = start(here, "slow")
    assert ended(first)["rows"]["total"] == ROWS
    assert ended(second)["rows"]["total"] == ROWS
    assert here.json("runs", "ticks") == []


def test_the_first_is_killed(here):
    """The second takes over and ends; the run of the killed one is there for the next command."""
    flows(here)
    first = start(here, "slow")
    wait_for(lambda: begun(here, "slow"), what="the first run")
    second = start(here, "quick")
    wait_for(lambda: here.json("runs", "quick"), what="the second run")
    kill(first)
    first.stdout.close()
    assert ended(second)["rows"]["total"] == ROWS
    assert begun(here, "slow"), "it waits for the next command"
    assert ended(start(here, "slow"))["status"] == "success"
    assert {run["status"] for run in here.json("runs", "slow")} == {"success"}


def test_an_up_that_ends(here):
    """A `run --wait` that handed over to an `up` takes over when that is killed."""
    flows(here)
    up = here.spawn("up", "--port", "0")
    second = start(here, "slow")
    wait_for(lambda: begun(here, "slow"), what="the run")
    kill(up)
    assert ended(second)["rows"]["total"] == ROWS
