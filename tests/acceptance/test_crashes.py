"""Things die in the middle of a run; the run ends all the same, balanced, and Omnitron is complete."""

import json
import time

import pytest

from tests.acceptance.harness import balanced, get, kill, site, wait_for
from tests.acceptance.test_same_everywhere import expected

ROWS = 400


def slowly(here):
    """A run that takes some seconds."""
    here.emulators(ROWS, omnitron=("latency=0.05",))
    here.flow(write={"concurrency": 4})


def under_way(here, at_least=40):
    """Wait until the run is in the middle."""
    return wait_for(lambda: at_least <= len(here.state()["products"]) < ROWS, what="the run to be under way")


def ended_well(here, result):
    assert result["status"] == "success", result
    assert balanced(result)
    assert result["rows"]["total"] == ROWS
    assert here.images() == expected(here)


def test_kill_embedded_and_run_again(tmp_path):
    """kill -9 of `run --wait`; the next one first finishes what was interrupted, then does its own."""
    with site(tmp_path) as here:
        slowly(here)
        first = here.spawn("run", "main", "--flows", str(here.flows), "--wait", "--json")
        under_way(here)
        kill(first)
        second = here.json("run", "main", "--wait")
        runs = here.json("runs", "main")
        assert [run["status"] for run in runs] == ["empty", "success"]
        assert all(balanced(run) for run in runs)
        assert second["run_id"] == runs[0]["run_id"]
        ended_well(here, runs[1])


def test_kill_up_and_start_again(tmp_path):
    """kill -9 of `up`; the next `up` ends the run that was under way."""
    with site(tmp_path) as here:
        slowly(here)
        first = here.spawn("up", "--flows", str(here.flows), "--port", "0")
        wait_for(lambda: here.json("flow", "list"), what="up to apply the flow")
        here.call("run", "main")
        under_way(here)
        kill(first)
        here.spawn("up", "--port", "0")
        ended_well(here, wait_for(lambda: ended(here), what="the run to end"))


def ended(here):
    run = here.json("runs", "main")[-1]
    return run if run["status"] not in ("queued", "reading", "draining") else None


@pytest.fixture
def fleet(tmp_path, rabbitmq_vhost, postgres):
    """All services as processes of their own over RabbitMQ and PostgreSQL, with a slow run begun."""
    with site(tmp_path, IMAGEFLOW_BROKER_URL=rabbitmq_vhost, IMAGEFLOW_STORE_URL=postgres.new_database()) as here:
        slowly(here)
        here.call("flow", "apply", str(here.flows / "main.yaml"))
        here.processes = {name: here.spawn(name) for name in ("scheduler", "reader", "transformer", "writer")}
        here.call("run", "main")
        yield here


@pytest.mark.parametrize("name", ["scheduler", "reader", "transformer", "writer"])
def test_kill_a_service(fleet, name):
    """kill -9 of any single service and a new one in its place."""
    if name in ("reader", "transformer"):
        wait_for(lambda: fleet.json("runs", "main")[0]["pages"] >= 1, what="a page")
    else:
        under_way(fleet)
    kill(fleet.processes[name])
    time.sleep(0.5)
    fleet.spawn(name)
    ended_well(fleet, wait_for(lambda: ended(fleet), what="the run to end"))


def test_restart_of_rabbitmq(fleet, rabbitmq):
    """RabbitMQ restarts in the middle."""
    under_way(fleet)
    rabbitmq.restart()
    ended_well(fleet, wait_for(lambda: ended(fleet), what="the run to end"))


def test_restart_of_postgresql(fleet, postgres):
    """PostgreSQL restarts in the middle."""
    under_way(fleet)
    postgres.restart()
    ended_well(fleet, wait_for(lambda: ended(fleet), what="the run to end"))


def test_stop_in_order(fleet):
    """SIGTERM lets a writer finish what is in hand: another one goes on, and nothing is sent twice."""
    under_way(fleet)
    fleet.processes["writer"].terminate()
    assert fleet.processes["writer"].wait(30) == 0
    fleet.spawn("writer")
    ended_well(fleet, wait_for(lambda: ended(fleet), what="the run to end"))
    assert fleet.state()["counters"]["written"] == ROWS


def test_stop_beside_a_slow_omnitron(tmp_path):
    """What a stop leaves no time for is not sent, what is sent is settled: nothing is sent twice, no attempt is lost."""
    with site(tmp_path, IMAGEFLOW_STOP_SECONDS="6") as here:
        here.emulators(30, omnitron=("latency=400ms",))
        here.flow(write={"concurrency": 2})
        here.call("flow", "apply", str(here.flows / "main.yaml"))
        process = here.spawn("up", "--port", "0")
        here.call("run", "main")
        wait_for(lambda: here.state()["counters"]["written"] >= 2, what="the first rows")
        process.terminate()
        assert process.wait(30) == 0
        before = here.state()["counters"]["written"]
        assert 2 <= before < 30
        get(f"{here.omnitron}/_emulator/faults", data=b"[]")
        here.spawn("up", "--port", "0")
        result = wait_for(lambda: ended(here), what="the run to end")
        assert (result["status"], result["rows"]["written"]) == ("success", 30)
        assert here.state()["counters"]["written"] == 30
        assert {row["attempts"] for row in json.loads(here.call("rows", result["run_id"], "--json").stdout)} == {1}
