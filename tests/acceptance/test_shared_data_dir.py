"""Commands that share a data directory: each ends, whatever becomes of the other, and none fires a schedule."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing

import pytest

from tests.acceptance.harness import Site, get, kill, site, wait_for

pytestmark = pytest.mark.timeout(400)
ROWS = 40


@pytest.fixture
def here(tmp_path):
    """Two inbound flows whose runs cannot end before Omnitron is there, and one whose schedule is due all the time."""
    with site(tmp_path / "site") as place:
        place.emulators(ROWS, omnitron=("down",))
        for name in ("quick", "slow"):
            place.flow(name)
        place.flow("ticks", schedule={"every": "1s"})
        place.call("flow", "apply", *(str(place.flows / f"{name}.yaml") for name in ("quick", "slow", "ticks")))
        yield place


def omnitron_comes(here: Site) -> None:
    headers = {"Content-Type": "application/json"}
    assert get(f"{here.omnitron}/_emulator/faults", data=b"[]", headers=headers)[0] == 200


def start(here: Site, name: str) -> subprocess.Popen:
    """`run --wait`, once its run is there."""
    process = here.spawn("run", name, "--wait", "--json", stdout=subprocess.PIPE)
    wait_for(lambda: runs(here, name), what=f"the run of {name}")
    return process


def runs(here: Site, name: str) -> list[tuple]:
    """Status, begin and end of a flow's runs. Read from the file: a command takes seconds on a machine that is busy."""
    with closing(sqlite3.connect(f"file:{here.folder}/data/store.db?mode=ro", uri=True)) as connection:
        found = connection.execute("SELECT status, started_at, finished_at FROM runs WHERE flow = ?", (name,))
        return found.fetchall()


def begun(here: Site, name: str) -> bool:
    [(_, started, finished)] = runs(here, name)
    return started is not None and finished is None


def ended(process: subprocess.Popen, rows: int = ROWS) -> dict:
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 0, out
    result = json.loads(out.splitlines()[-1])
    assert result["rows"]["total"] == rows
    return result


def test_two_runs_at_once(here):
    """Each ends, one after the other, and the flow with a schedule is left alone."""
    first = start(here, "quick")
    wait_for(lambda: begun(here, "quick"), what="the first run's begin")
    second = start(here, "slow")
    assert not begun(here, "slow"), "the first one handles its own flow alone"
    omnitron_comes(here)
    ended(first)
    ended(second)
    assert runs(here, "ticks") == []


def test_the_first_is_killed(here):
    """The second takes over and ends; the run of the killed one is finished by the next command, before its own, which finds
    nothing new."""
    first = start(here, "slow")
    wait_for(lambda: begun(here, "slow"), what="the first run's begin")
    second = start(here, "quick")
    kill(first)
    first.stdout.close()
    omnitron_comes(here)
    ended(second)
    assert begun(here, "slow"), "it waits for the next command"
    third = here.spawn("run", "slow", "--wait", "--json", stdout=subprocess.PIPE)
    assert ended(third, rows=0)["status"] == "empty"
    assert [status for status, _, _ in runs(here, "slow")] == ["success", "empty"]


def test_an_up_that_ends(here):
    """A `run --wait` that handed over to an `up` takes over when that is killed."""
    up = here.spawn("up", "--port", "0")
    run = start(here, "slow")
    wait_for(lambda: begun(here, "slow"), what="the run's begin")
    kill(up)
    omnitron_comes(here)
    ended(run)
