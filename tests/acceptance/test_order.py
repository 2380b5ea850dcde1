"""Rows of the same products, many at once over several writers that die: never two in flight, the newest set wins.

`python -m tests.acceptance.test_order 10000` tells the story at full size and prints what it saw.
"""

import json
import random
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
import pytest
import uvloop

from imageflow.model.imageset import Image, digest
from tests import postgres_server, rabbitmq_server
from tests.acceptance.harness import free_port, get, kill, site, wait_for

SETS = 10
WRITERS = 3
CHUNK = 5_000


def image_set(product: int, number: int) -> list[str]:
    """The `number`th image set of a product: another one each time, of other sizes."""
    return [f"https://img.example.com/{product}/{number}/{n}.jpg" for n in range(1 + (product + number) % 3)]


def posts(products: int):
    """Bodies of outbound posts: SETS times all products, each time in another order; the last set is the newest."""
    dice = random.Random(7)
    for number in range(SETS):
        order = dice.sample(range(products), products)
        rows = [{"sku": f"P-{product:06}", "images": image_set(product, number)} for product in order]
        for start in range(0, products, CHUNK):
            yield json.dumps(rows[start : start + CHUNK]).encode()


def tell(folder: Path, broker: str, database: str, products: int, *, kills: int) -> dict:
    """Post all sets at once to a slow Omnitron, kill writers meanwhile, and give what came of it."""
    with site(folder, IMAGEFLOW_BROKER_URL=broker, IMAGEFLOW_STORE_URL=database, IMAGEFLOW_SECRET_KEY="k" * 40) as here:
        here.omnitron = here.emulate("omnitron", "--rows", "0", "--fast", "--fault=latency=2ms,jitter=30ms")
        here.erp = "http://127.0.0.1:9"
        here.flow(
            "posts", direction="outbound", erp={"rows_path": ""}, script=None, mapping=None, write={"timeout": "6s"}
        )
        here.call("flow", "apply", str(here.flows / "posts.yaml"))
        here.call("user", "add", "erp", stdin="correct horse\n")
        port = free_port()
        for service in ("scheduler", "transformer"):
            here.spawn(service)
        here.spawn("gateway", "--port", str(port))
        wait_for(lambda: get(f"http://127.0.0.1:{port}/ready")[0] == 200, what="the gateway")
        token = get(f"http://127.0.0.1:{port}/api/nifi/login", data=b"username=erp&password=correct+horse")[1].decode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        for body in posts(products):
            wait_for(
                lambda body=body: (
                    get(f"http://127.0.0.1:{port}/api/outbound/posts", data=body, headers=headers)[0] == 202
                ),
                what="room in the queue",
            )
        writers = [here.spawn("writer") for _ in range(WRITERS)]
        begun = time.monotonic()
        for n in range(kills):
            time.sleep(3)
            kill(writers[n % WRITERS])
            writers[n % WRITERS] = here.spawn("writer")
        runs = wait_for(lambda: ended(here), 180 + products * SETS / 100, "all runs to end")
        wait_for(lambda: not uvloop.run(differences(database, here.omnitron, here.state())), 120, "the last rewrites")
        state = here.state()
        return {
            "seconds": time.monotonic() - begun,
            "rows": {name: sum(run["rows"][name] for run in runs) for name in runs[0]["rows"]},
            "statuses": sorted({run["status"] for run in runs}),
            "in_flight": state["counters"]["max_in_flight_per_product"],
            "overlapped": state["counters"]["overlapped"],
            "wrong": [p for p in range(products) if urls(state, p) != image_set(p, SETS - 1)],
            "ledger_differs": uvloop.run(differences(database, here.omnitron, state)),
        }


def ended(here):
    found = here.json("runs")
    return found if all(run["status"] in ("success", "partial", "failed", "empty") for run in found) else None


def urls(state: dict, product: int) -> list[str]:
    return [image["url"] for image in state["products"].get(f"P-{product:06}", ())]


async def differences(database: str, domain: str, state: dict) -> list[str]:
    """Products of which the ledger says something else than the sink holds."""
    connection = await asyncpg.connect(database)
    try:
        known = await connection.fetch("SELECT product, digest FROM ledger WHERE domain = $1", domain)
    finally:
        await connection.close()
    held = {sku: digest(tuple(Image(**image) for image in images)) for sku, images in state["products"].items()}
    return sorted(set({row["product"]: row["digest"] for row in known}.items()) ^ set(held.items()))


def check(result: dict, products: int) -> None:
    assert result["wrong"] == [], result
    assert result["ledger_differs"] == [], result
    assert result["statuses"] == ["success"], result
    rows = result["rows"]
    assert rows["total"] == products * SETS == rows["written"] + rows["unchanged"] + rows["superseded"], rows
    assert rows["failed"] == 0, rows
    assert result["in_flight"] == 1, result


# A writer that has no processor for seconds may lose its lease, and what it then settles is written again after the runs
# ended: so the ledger is compared once nothing is in doubt, and no bound is tight.
@pytest.mark.timeout(400)
def test_the_newest_set_wins_over_writers_that_die(tmp_path, rabbitmq_vhost, postgres):
    """Ten sets of each product over three writers, two of which are killed: one in flight, the newest is there."""
    check(tell(tmp_path, rabbitmq_vhost, postgres.new_database(), 300, kills=2), 300)


def main() -> None:
    products = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rabbit, postgres = rabbitmq_server.open_server(), postgres_server.open_server()
    if rabbit is None or postgres is None:
        raise SystemExit("needs RabbitMQ and PostgreSQL")
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = tell(Path(folder), rabbit.url, postgres.new_database(), products, kills=12)
    finally:
        rabbit.close()
        postgres.close()
    print(json.dumps({**result, "wrong": len(result["wrong"]), "ledger_differs": len(result["ledger_differs"])}))
    check(result, products)


if __name__ == "__main__":
    main()
