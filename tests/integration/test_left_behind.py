"""What a run left behind is told by the API and after a roll back, and a rewrite asks the ERP for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from imageflow.actions.runs import NotRunnable
from imageflow.clock import SystemClock
from imageflow.model.run import Run
from imageflow.settings import load
from imageflow.store.connect import open_store
from tests.integration.test_api import api, furniture  # noqa: F401  fixtures
from tests.integration.test_console import cancel, read, write
from tests.integration.test_flow_commands import Shell

BY_SKU = {"endpoint_url": "https://erp.example.com/images/", "query_settings": {"sku": {"key": "sku"}}}


async def test_the_api_tells_it(api):  # noqa: F811
    """A run and what is going on now name the products, as long as they are so; a rewrite asks for them, and is audited."""
    flow = await api.ok("GET", "/api/flows/polled")
    document = flow["document"] | {"erp": flow["document"]["erp"] | {"query_settings": {"sku": {"key": "sku"}}}}
    await api.ok("PUT", "/api/flows/polled", document)
    await api.ok("PUT", "/api/flows/polled", document | {"timezone": "UTC"})
    last = (await api.ok("GET", "/api/flows/polled"))["version"]
    run_id = await read(api.store, 1, version=last)
    await write(api.store, run_id)
    assert (await api.ok("GET", f"/api/runs/{run_id}"))["stale"] is None
    await api.refused(409, "POST", f"/api/runs/{run_id}/rewrite")
    await api.ok("POST", "/api/flows/polled/rollback", {"version": last - 1})
    told = {"run_id": run_id, "flow": "polled", "version": last, "in_force": last + 1, "products": 2, "way": "products"}
    assert (await api.ok("GET", f"/api/runs/{run_id}"))["stale"] == told | {"counted": True}
    assert (await api.ok("GET", "/api/now"))["stale"] == [told | {"counted": False}]
    await api.refused(403, "POST", f"/api/runs/{run_id}/rewrite", token="viewer")
    await api.refused(404, "POST", "/api/runs/x/rewrite")
    again = await api.ok("POST", f"/api/runs/{run_id}/rewrite", status=202, token="operator")
    assert (again["flow"], again["status"]) == ("polled", "queued")
    run = await api.store.run(again["run_id"])
    assert (run.version, run.trigger.ids) == (last + 1, ("S-1", "S-2"))
    started = (await api.ok("GET", "/api/audit?what=run.start"))["items"]
    assert [one["detail"]["run_id"] for one in started] == [again["run_id"]]


async def test_the_api_tells_rows_that_were_not_sent(api):  # noqa: F811
    """Until a newer run has brought as many rows."""
    run_id = await read(api.store, 1)
    await cancel(api.store, run_id)
    assert (await api.ok("GET", "/api/now"))["unsent"] == [{"run_id": run_id, "flow": "polled", "rows": 2}]
    await write(api.store, await read(api.store, 2))
    assert (await api.ok("GET", "/api/now"))["unsent"] == []


@pytest.mark.parametrize(
    ("erp", "mend"),
    [
        (BY_SKU, "to write them again: imageflow rewrite {run}"),
        ({"endpoint_url": "https://erp.example.com/"}, "one by one, nor by a date: imageflow watermark set a none"),
    ],
    ids=["by products", "everything"],
)
def test_a_roll_back_tells_it(tmp_path: Path, erp: dict[str, object], mend: str) -> None:
    """With the command that has it written again."""
    shell = Shell(tmp_path)
    shell("flow", "apply", str(shell.write("a", erp=erp)))
    shell("flow", "apply", str(shell.write("a", erp=erp, timezone="Europe/Istanbul")))
    settings = load(shell.environ)

    async def written() -> str:
        async with open_store(settings, SystemClock()) as store:
            await write(store, run_id := await read(store, 1, flow="a", version=2))
            return run_id

    async def newest() -> Run:
        async with open_store(settings, SystemClock()) as store:
            return (await store.runs("a", limit=1))[0]

    run_id = asyncio.run(written())
    noted = shell("flow", "rollback", "a", "1", stderr=True)
    assert f"2 products of run {run_id} stay as version 2 wrote them; " in noted
    assert mend.format(run=run_id) in noted
    if erp is not BY_SKU:
        with pytest.raises(NotRunnable, match="imageflow watermark set a none"):
            shell("rewrite", run_id)
        return
    shell("rewrite", run_id)
    assert asyncio.run(newest()).trigger.ids == ("S-1", "S-2")
