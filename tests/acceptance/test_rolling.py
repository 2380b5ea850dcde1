"""An upgrade as operators do it: every service is replaced, one after the other, while pages are read and rows posted."""

import json
import threading
import time
import urllib.error
import uuid

import pytest
import yaml

from tests.acceptance.harness import balanced, free_port, get, site, wait_for
from tests.acceptance.test_same_everywhere import expected

ROWS = 600
IN_FLIGHT = 8
"""Both flows write with at most 4 requests at once: so many may be repeated if a writer is stopped before they are answered."""
IN_ORDER = ("gateway", "scheduler", "reader", "transformer", "writer")


class Replica:
    """A service as a process of its own, which is ready."""

    def __init__(self, here, name: str) -> None:
        self.port = free_port()
        here.environ["IMAGEFLOW_METRICS_PORT"] = str(free_port())
        ready = f"http://127.0.0.1:{here.environ['IMAGEFLOW_METRICS_PORT']}/ready"
        self.process = here.spawn(name, *(["--port", str(self.port)] if name == "gateway" else []))
        self._ready = lambda: get(ready)[0] == 200

    def wait(self) -> None:
        wait_for(self._ready, what="a service to be ready")

    def retire(self) -> None:
        """SIGTERM: it finishes what is in hand, and says so by its exit status."""
        self.process.terminate()
        assert self.process.wait(40) == 0


class Poster(threading.Thread):
    """An ERP that posts all the time. Where a gateway is gone it repeats the post, with the same key, at the current one."""

    def __init__(self, gateway: Replica, token: str) -> None:
        super().__init__(daemon=True)
        self.gateway = gateway
        self.accepted: dict[str, int] = {}
        self.refused: list[tuple[int, bytes]] = []
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._done = threading.Event()

    def run(self) -> None:
        number = 0
        while not self._done.wait(0.2):
            number += 1
            rows = [
                {"sku": f"POST-{number}-{n}", "images": [f"https://img.example.com/{number}/{n}.jpg"]} for n in range(3)
            ]
            self._post(json.dumps(rows).encode(), str(uuid.uuid4()))

    def _post(self, body: bytes, key: str) -> None:
        for _ in range(200):
            try:
                url = f"http://127.0.0.1:{self.gateway.port}/api/outbound/posts"
                status, answer = get(url, data=body, headers={**self._headers, "Idempotency-Key": key})
            except (OSError, urllib.error.URLError):  # between two gateways
                time.sleep(0.05)
                continue
            if status == 202:
                found = json.loads(answer)
                self.accepted[found["run_id"]] = found["rows"]
            else:
                self.refused.append((status, answer))
            return
        self.refused.append((0, b"no gateway took it"))

    def stop(self) -> None:
        self._done.set()
        self.join(60)


def flows(here) -> None:
    """One flow that reads slowly, so that it lasts; one that is posted to."""
    here.emulators(ROWS, erp=("latency=0.4",), omnitron=("latency=0.03",))
    document = here.flow(write={"concurrency": 4})
    document["erp"]["extra_params"]["limit"] = 20
    (here.flows / "main.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    outbound = {"direction": "outbound", "erp": {"rows_path": ""}, "script": None, "mapping": None}
    here.flow("posts", **outbound, write={"concurrency": 4})


@pytest.mark.timeout(600)
def test_every_service_is_replaced_under_load(tmp_path, rabbitmq_vhost, postgres):
    """No row fails, every post that was answered 202 is on Omnitron, every run balances; repeated is at most what a writer
    had in flight when its time was up.
    """
    with site(
        tmp_path,
        IMAGEFLOW_BROKER_URL=rabbitmq_vhost,
        IMAGEFLOW_STORE_URL=postgres.new_database(),
        IMAGEFLOW_SECRET_KEY="the same for every gateway",
    ) as here:
        flows(here)
        here.call("flow", "apply", *(str(path) for path in here.flows.glob("*.yaml")))
        here.call("user", "add", "erp", stdin="correct horse\n")
        replicas = {name: Replica(here, name) for name in IN_ORDER}
        for replica in replicas.values():
            replica.wait()
        login = f"http://127.0.0.1:{replicas['gateway'].port}/api/nifi/login"
        poster = Poster(replicas["gateway"], get(login, data=b"username=erp&password=correct+horse")[1].decode())
        poster.start()
        here.call("run", "main")
        wait_for(lambda: here.state()["counters"]["written"] >= 20, what="rows to arrive")
        for name in IN_ORDER:
            new, old = Replica(here, name), replicas[name]
            new.wait()
            if name == "gateway":
                poster.gateway = new
            old.retire()
        poster.stop()
        wait_for(lambda: not unfinished(here), what="all runs to end")
        judge(here, poster)


def unfinished(here) -> list[dict]:
    return [run for run in here.json("runs", "--limit", "10000") if run["status"] in ("queued", "reading", "draining")]


def judge(here, poster: Poster) -> None:
    runs = here.json("runs", "--limit", "10000")
    assert {run["status"] for run in runs} == {"success"}, [run for run in runs if run["status"] != "success"]
    assert all(balanced(run) for run in runs)
    assert not poster.refused
    posted = {run["run_id"]: run["rows"]["total"] for run in runs if run["flow"] == "posts"}
    assert posted == poster.accepted
    assert len(posted) >= 10
    total = sum(run["rows"]["total"] for run in runs)
    assert total == ROWS + sum(posted.values())
    counters = here.state()["counters"]
    assert total <= counters["written"] <= total + IN_FLIGHT
    assert counters["max_in_flight_per_product"] == 1
    images = here.images()
    assert {sku: found for sku, found in images.items() if not sku.startswith("POST-")} == expected(here)
    assert len(images) == total
