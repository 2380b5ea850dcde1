"""A writer is frozen, or cut off from the database, while its rows wait in line; others write newer rows of the same products.

It must send nothing old when it wakes. What was in flight at that moment is written over by itself. The final state is the
newest version of each product, and the books say the same.

`python -m tests.acceptance.test_fencing --runs 50` plays the stories in turn, two at once, and prints what it saw.
"""

import argparse
import asyncio
import json
import signal
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from imageflow.model.imageset import Image, digest
from tests.acceptance.harness import balanced, free_port, get, site, wait_for
from tests.acceptance.network import Network, Proxy
from tests.acceptance.stories import asked, ledger, play, quiet, url_of

AWAY_SECONDS = {"freeze": 45.0, "cut": 70.0, "stall": 45.0}
PRODUCTS = 100
QUIET_SECONDS = 8.0


class Story(NamedTuple):
    """How a writer is taken out, how the flow writes, and in which order the newer rows come."""

    fault: str
    write: str
    reverse: bool
    writers: int = 2
    seconds: float | None = None

    @property
    def away(self) -> float:
        return self.seconds or AWAY_SECONDS[self.fault]


WRITES = {
    "concurrency": {"concurrency": 2},
    "rate": {"concurrency": "auto", "rate_limit": "25/s"},
    "auto": {"concurrency": "auto"},
}
STORIES = [
    Story(fault, write, reverse, writers)
    for writers in (2, 3)
    for reverse in (False, True)
    for fault in AWAY_SECONDS
    for write in WRITES
]


def body(version: int, *, reverse: bool = False) -> bytes:
    products = reversed(range(PRODUCTS)) if reverse else range(PRODUCTS)
    return json.dumps([{"sku": f"P-{p:03}", "images": [url_of(version, p)]} for p in products]).encode()


def tell(folder: Path, broker: str, database: str, story: Story) -> dict:
    """Play a story; gives what is wrong in the end."""
    network = Network()
    try:
        return _tell(folder, broker, database, network.proxy(database), story)
    finally:
        network.close()


def _tell(folder: Path, broker: str, database: str, proxy: Proxy, story: Story) -> dict:
    with site(folder, IMAGEFLOW_BROKER_URL=broker, IMAGEFLOW_STORE_URL=database, IMAGEFLOW_SECRET_KEY="k" * 40) as here:
        here.omnitron = here.emulate("omnitron", "--rows", "0", "--fault=latency=500ms")
        here.erp = "http://127.0.0.1:9"
        write = {"timeout": "6s", **WRITES[story.write]}
        here.flow("posts", direction="outbound", erp={"rows_path": ""}, script=None, mapping=None, write=write)
        here.call("flow", "apply", str(here.flows / "posts.yaml"))
        here.call("user", "add", "erp", stdin="correct horse\n")
        port = free_port()
        for service in ("scheduler", "transformer"):
            here.spawn(service)
        here.spawn("gateway", "--port", str(port))
        here.environ["IMAGEFLOW_STORE_URL"] = proxy.url
        victim = here.spawn("writer")
        here.environ["IMAGEFLOW_STORE_URL"] = database
        wait_for(lambda: get(f"http://127.0.0.1:{port}/ready")[0] == 200, 120, what="the gateway")
        token = get(f"http://127.0.0.1:{port}/api/nifi/login", data=b"username=erp&password=correct+horse")[1].decode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

        def post(version: int, *, reverse: bool = False) -> None:
            sent = body(version, reverse=reverse)
            url = f"http://127.0.0.1:{port}/api/outbound/posts"
            wait_for(lambda: get(url, data=sent, headers=headers)[0] == 202, what="room in the queue")

        post(1)
        wait_for(lambda: here.state()["counters"]["written"] >= 2, 120, "the first rows")
        begun = time.monotonic()
        if story.fault == "freeze":
            victim.send_signal(signal.SIGSTOP)
        else:
            proxy.be(story.fault)
        get(f"{here.omnitron}/_emulator/faults", data=json.dumps(["latency=20ms"]).encode())
        for _ in range(story.writers - 1):
            here.spawn("writer")
        newest = 2 if story.fault == "freeze" else 3
        for version in range(2, newest + 1):
            post(version, reverse=story.reverse)
        time.sleep(max(0.0, begun + story.away - time.monotonic()))
        if story.fault == "freeze":
            victim.send_signal(signal.SIGCONT)
        else:
            proxy.be("open")
        quiet(here, QUIET_SECONDS)
        runs = wait_for(lambda: ended(here), 240, "all runs to end")
        wait_for(lambda: not asyncio.run(in_doubt(database)), 180, "the last rewrites")
        state = quiet(here, QUIET_SECONDS)
        held = {sku: [image["url"] for image in images] for sku, images in state["products"].items()}
        known = asyncio.run(ledger(database))
        expected = {f"P-{p:03}": url_of(newest, p) for p in range(PRODUCTS)}
        return {
            "wrong": sorted(sku for sku, url in expected.items() if held.get(sku) != [url]),
            "ledger_differs": sorted(sku for sku, url in expected.items() if known.get(sku) != digest((Image(url),))),
            "unbalanced": [run["run_id"] for run in runs if not balanced(run)],
            "statuses": sorted({run["status"] for run in runs}),
            "rows": {name: sum(run["rows"][name] for run in runs) for name in runs[0]["rows"]},
            "writes": state["counters"]["written"],
            "victim_died": victim.poll() is not None,
        }


def ended(here):
    found = here.json("runs")
    return found if all(run["status"] in ("success", "partial", "failed", "empty") for run in found) else None


async def in_doubt(database: str) -> bool:
    return bool(await asked(database, "SELECT 1 FROM ledger WHERE doubt_until IS NOT NULL OR digest IS NULL LIMIT 1"))


def faulty(result: dict) -> bool:
    right = result["statuses"] == ["success"] and not result["victim_died"]
    return bool(result["wrong"] or result["ledger_differs"] or result["unbalanced"] or not right)


@pytest.mark.timeout(500)
def test_a_writer_that_is_away(tmp_path, rabbitmq_vhost, postgres):
    """A frozen writer wakes after its lease: what it had in line is not sent, and newer rows stay."""
    story = Story("freeze", "concurrency", reverse=True, seconds=20.0)
    result = tell(tmp_path, rabbitmq_vhost, postgres.new_database(), story)
    assert not faulty(result), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=len(STORIES))
    parser.add_argument("--first", type=int, default=0, help="the number of the first story")
    parser.add_argument("--at-once", type=int, default=2)
    options = parser.parse_args()

    def story_of(number: int) -> Story:
        return STORIES[number % len(STORIES)]

    def story(folder: Path, broker: str, database: str, number: int) -> dict:
        return tell(folder, broker, database, story_of(number))

    numbers = range(options.first, options.first + options.runs)
    play(numbers, options.at_once, story, faulty, said=story_of)


if __name__ == "__main__":
    main()
