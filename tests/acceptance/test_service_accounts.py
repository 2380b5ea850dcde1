"""Each service with an account of its own, in PostgreSQL and in RabbitMQ: all that services and commands do still works."""

import asyncio
import json

import aiormq
import pytest
from pamqp.commands import Basic

from imageflow.store.service_roles import SERVICES
from tests import service_accounts as made
from tests.acceptance.harness import balanced, free_port, get, site, wait_for

ROWS = 100
BROKEN = """
def process_row(row):
    if row['sku'].endswith('7'):
        raise ValueError('oops')
    return {'sku': row['sku'], 'images': row['images']}
"""
FLAT = "def process(rows):\n    return [{'sku': r['sku'], 'url': i['url']} for r in rows['results'] for i in r['images']]\n"


@pytest.fixture
def place(tmp_path, rabbitmq, rabbitmq_vhost, postgres):
    """The services run, each with its own accounts; commands have the gateway's."""
    store = postgres.new_database()
    folder = made.urls(tmp_path / "urls", store, rabbitmq_vhost)
    with site(
        tmp_path / "site",
        IMAGEFLOW_BROKER_URL=rabbitmq_vhost,
        IMAGEFLOW_STORE_URL=store,
        IMAGEFLOW_SECRET_KEY="one for all",
    ) as here:
        assert "transformer" in here.call("db", "upgrade", "--roles", str(folder)).stdout
        definitions = here.call("broker", "accounts", "--urls", str(folder)).stdout
        assert (folder / "broker_url_erp").read_text().partition("//")[2].partition(":")[2][:16] not in definitions
        (folder / "definitions.json").write_text(definitions)
        rabbitmq.control("import_definitions", str(folder / "definitions.json"))
        here.own_accounts = {
            service: {
                f"IMAGEFLOW_{kind.upper()}_FILE": str(folder / f"{kind}_{service}")
                for kind in ("store_url", "broker_url")
            }
            for service in SERVICES
        }
        for variable in ("IMAGEFLOW_BROKER_URL", "IMAGEFLOW_STORE_URL"):
            del here.environ[variable]
        here.emulators(ROWS)
        here.folder_of_urls = folder
        here.port = free_port()
        yield here
    made.drop(postgres, folder, store.rpartition("/")[2])


def start(here) -> None:
    for service in SERVICES:
        here.environ["IMAGEFLOW_METRICS_PORT"] = str(free_port())
        here.spawn(service, *(["--port", str(here.port)] if service == "gateway" else []))
        ready = f"http://127.0.0.1:{here.environ['IMAGEFLOW_METRICS_PORT']}/ready"
        wait_for(lambda ready=ready: get(ready)[0] == 200, what=f"the {service}")


@pytest.mark.timeout(900)
def test_everything_works_with_an_account_for_each_service(place):
    """Reading, joining, posting by HTTP and AMQP, retrying, cancelling, fetching missing ones, parking: nobody is refused."""
    here = place
    outbound = {"direction": "outbound", "erp": {}, "mapping": []}
    here.flow("main", script=BROKEN, mapping=[])
    here.flow("flat", script=FLAT, mapping=[])
    here.flow("posts", script=None, **outbound)
    here.call("flow", "apply", *(str(path) for path in here.flows.glob("*.yaml")))
    start(here)
    run = here.json("run", "main", "--wait", check=False)
    assert (run["status"], run["rows"]["failed"]) == ("partial", 10)
    here.flow("main", script=BROKEN.replace("endswith('7')", "startswith('never')"), mapping=[])
    here.call("flow", "apply", *(str(path) for path in here.flows.glob("*.yaml")))
    assert here.json("retry", run["run_id"], "--wait")["rows"]["written"] == ROWS
    joined = here.json("run", "flat", "--wait")
    assert joined["status"] == "success"
    assert balanced(joined)
    _post_by_http(here)
    _publish_as_erp(here)
    wait_for(lambda: [r["status"] for r in here.json("runs", "posts")] == ["success"] * 2, what="both posts")
    assert len(here.json("parked", "list")) == 1
    here.call("parked", "drop", "--all")
    here.call("watermark", "set", "main", "none")
    here.call("cancel", here.json("run", "main")["run_id"], check=False)
    assert here.call("doctor", check=False).stdout.count("access_refused") == 0
    log = (here.folder / "log.txt").read_text()
    assert "the database refuses" not in log
    assert "RabbitMQ refuses" not in log


def _post_by_http(here) -> None:
    here.call("user", "add", "erp", stdin="a long enough phrase\n")
    url = f"http://127.0.0.1:{here.port}/api"
    _, token = get(f"{url}/nifi/login", data=b"username=erp&password=a+long+enough+phrase")
    bearer = {"Authorization": f"Bearer {token.decode()}"}
    status, answer = get(f"{url}/outbound/posts", data=_rows("H"), headers=bearer | {"Idempotency-Key": "1"})
    assert status == 202, answer


def _rows(mark: str) -> bytes:
    return json.dumps(
        [{"sku": f"{mark}-{n}", "images": [f"https://i.example.com/{n}.jpg"]} for n in range(50)]
    ).encode()


def _publish_as_erp(here) -> None:
    async def publish() -> None:
        connection = await aiormq.connect((here.folder_of_urls / "broker_url_erp").read_text())
        channel = await connection.channel()
        for body, headers in ((_rows("Q"), {"flow": "posts"}), (b"{}", {})):
            await channel.basic_publish(
                body, exchange="imageflow.outbound", properties=Basic.Properties(headers=headers, delivery_mode=2)
            )
        await connection.close()

    asyncio.run(publish())
