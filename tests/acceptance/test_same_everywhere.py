"""One flow file, three ways to run it, one result."""

import json

import pytest

from tests.acceptance.harness import balanced, get, site, wait_for

ROWS = 400


def embedded(here):
    """`run --wait` needs nothing else running."""
    return here.json("run", "main", "--flows", str(here.flows), "--wait")


def one_process(here):
    """`up` over RabbitMQ and PostgreSQL; `run` publishes the request and follows."""
    here.spawn("up", "--flows", str(here.flows), "--port", "0")
    wait_for(lambda: here.json("flow", "list"), what="up to apply the flow")
    return here.json("run", "main", "--wait")


def separate(here):
    """Each service in its own process, and three writers."""
    here.call("flow", "apply", str(here.flows / "main.yaml"))
    for name in ("scheduler", "reader", "transformer", "writer", "writer", "writer"):
        here.spawn(name)
    return here.json("run", "main", "--wait")


@pytest.mark.parametrize("way", [embedded, one_process, separate])
def test_same_flow_same_omnitron(tmp_path, way, request):
    """Embedded, over RabbitMQ and PostgreSQL in one process, and as separate processes: Omnitron ends the same."""
    environ = {}
    if way is not embedded:
        environ["IMAGEFLOW_BROKER_URL"] = request.getfixturevalue("rabbitmq_vhost")
        environ["IMAGEFLOW_STORE_URL"] = request.getfixturevalue("postgres").new_database()
    with site(tmp_path, **environ) as here:
        here.emulators(ROWS)
        here.flow()
        result = way(here)
        assert result["status"] == "success"
        assert balanced(result)
        assert result["rows"]["written"] == ROWS
        assert result["watermark"].endswith("Z")
        assert here.images() == expected(here)
        again = here.json("run", "main", "--wait")
    assert again["status"] in ("success", "empty")
    assert again["rows"]["written"] == 0


def expected(here) -> dict:
    """What the fake ERP has, as Omnitron should hold it."""
    status, body = get(f"{here.erp}/images/none/?limit={ROWS}")
    assert status == 200
    return {
        row["sku"]: sorted(
            (image["order"], image["url"], image.get("image_type") or "default") for image in row["images"]
        )
        for row in json.loads(body)["results"]
    }
