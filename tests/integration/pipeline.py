"""All services in the test's own process, on files, between a fake ERP and a fake Omnitron."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from imageflow import bootstrap, settings
from imageflow.actions import runs, shapes
from imageflow.actions.actor import Actor
from imageflow.actions.run_watch import until_ended
from imageflow.commands import history_text
from imageflow.emulator.erp import FakeErp
from imageflow.emulator.omnitron import FakeOmnitron
from imageflow.inspect import product_history
from imageflow.model.run import Run, Trigger, new_run_id
from imageflow.runtime.substrate import Substrate, open_substrate
from imageflow.sandbox.supervisor import Sandbox
from imageflow.store import Store
from tests.posting import accept_post

ACTOR = Actor("ada", "test")
SERVICES = ("scheduler", "reader", "transformer", "writer")
MAPPING = [
    {
        "operation": "shift",
        "spec": {
            "*": {
                "sku": "[&1].sku",
                "pictures": {"*": {"url": "[&3].images[&1].url", "order": "[&3].images[&1].order"}},
            }
        },
    }
]
SCRIPT = "def process_row(row):\n    return {'sku': row['sku'], 'pictures': row['images']}\n"


class Pipeline:
    def __init__(self, substrate: Substrate, erp: FakeErp, omnitron: FakeOmnitron) -> None:
        self.substrate = substrate
        self.store: Store = substrate.store
        self.erp = erp
        self.omnitron = omnitron

    async def save(self, name: str = "main", **changed: Any) -> None:
        """Save a flow: inbound, pages of 50 by `next`, with a script and a mapping; or outbound, without."""
        inbound = changed.get("direction", "inbound") == "inbound"
        omnitron = {"domain_url": self.omnitron.url, "username": "demo", "password": {"env": "OMNITRON_PASSWORD"}}
        erp = {
            "endpoint_url": f"{self.erp.url}/images/next/",
            "extra_params": {"limit": 50},
            "query_settings": {"sku": {"key": "sku", "type": "string"}},
            "rows_path": "results",
            "pagination": {"type": "next"},
        }
        read = {"direction": "inbound", "erp": erp, "script": SCRIPT, "mapping": MAPPING} if inbound else {}
        await self.store.save_flow({"name": name, "omnitron": omnitron, **read, **changed})

    async def run(self, name: str = "main", ids: Iterable[str] = ()) -> Run:
        """Run a flow to its end."""
        s = self.substrate
        begun = await runs.start(s.store, s.publisher, name, tuple(ids), ACTOR, s.clock.now())
        return await self.follow(begun.run.run_id)

    async def post(self, rows: list[Any], name: str = "main") -> Run:
        """What the gateway does with a post, and the run that comes of it, ended."""
        s, now = self.substrate, self.substrate.clock.now()
        run = Run(
            run_id=new_run_id(now),
            flow=name,
            version=(await s.store.flow(name)).version,
            trigger=Trigger("outbound"),
            status="draining",
            created_at=now,
            started_at=now,
            read_complete=True,
            pages=1,
        )
        accepted = await accept_post(s.store, run, msgspec.json.encode(rows), rows=len(rows), key=None)
        await s.publisher.send(accepted.outbox)
        return await self.follow(run.run_id)

    async def retry(self, run_id: str, **only: Any) -> Run:
        await runs.retry(self.store, self.substrate.publisher, run_id, ACTOR, **only)
        return await self.follow(run_id)

    async def follow(self, run_id: str) -> Run:
        async with asyncio.timeout(60):
            return await until_ended(self.store, run_id)

    async def trace(self, product: str, **options: Any) -> dict[str, Any]:
        """A trace as its JSON says."""
        async with Sandbox() as sandbox:
            found = await product_history.trace(self.store, sandbox, product, **options)
        assert history_text.report(found).startswith(product)
        return msgspec.json.decode(msgspec.json.encode(shapes.product_history(found)))


@asynccontextmanager
async def pipeline(
    folder: Path, rows: int = 0, services: Iterable[str] = SERVICES, **environ: str
) -> AsyncIterator[Pipeline]:
    """Services that run while the context lasts; `rows` in the ERP."""
    loaded = settings.load({"IMAGEFLOW_DATA_DIR": str(folder), "IMAGEFLOW_LISTEN": "127.0.0.1", **environ})
    erp, omnitron = FakeErp(rows=rows), FakeOmnitron()
    async with (
        erp.serve(),
        omnitron.serve(),
        open_substrate(loaded, {"OMNITRON_PASSWORD": "demo"}, consumer=True) as substrate,
        asyncio.TaskGroup() as group,
    ):
        stop = asyncio.Event()
        group.create_task(bootstrap.run_services(substrate, services, stop))
        try:
            yield Pipeline(substrate, erp, omnitron)
        finally:
            stop.set()
