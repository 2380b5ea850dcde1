"""Queues that were lost: runs go on from what the store knows, and balance."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from imageflow import bootstrap
from imageflow import settings as settings_
from imageflow.actions import runs
from imageflow.actions.actor import Actor
from imageflow.actions.run_watch import until_ended
from imageflow.actions.runs import NotRunnable
from imageflow.bootstrap import Substrate
from imageflow.clock import SystemClock
from imageflow.commands.demo import PASSWORDS, flows
from imageflow.emulator.erp import FakeErp
from imageflow.emulator.omnitron import FakeOmnitron
from imageflow.errors import ConflictError
from imageflow.runtime.substrate import open_substrate
from tests.draining import drain

ME = Actor("tester", "here")
ROWS = 300


@asynccontextmanager
async def running(substrate: Substrate, *names: str) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(bootstrap.run_services(substrate, names, stop))
        try:
            yield
        finally:
            stop.set()


@pytest.mark.parametrize("group", ["page", "run"])
async def test_queues_that_were_lost(tmp_path: Path, group: str) -> None:
    """A run in the middle of its read, with rows in flight, loses all messages; resumed (twice, even), it ends well."""
    environ = {"IMAGEFLOW_DATA_DIR": str(tmp_path), "IMAGEFLOW_STOP_SECONDS": "2"}
    settings = settings_.load(environ)
    erp, omnitron = FakeErp(rows=ROWS), FakeOmnitron()
    async with (
        erp.serve() as erp_url,
        omnitron.serve() as omnitron_url,
        open_substrate(settings, PASSWORDS, consumer=True) as substrate,
    ):
        store, broker = substrate.store, substrate.broker
        document = {**flows(erp_url, omnitron_url)[0], "group": group}
        await store.save_flow(document)
        run_id, later = [
            (await runs.start(store, substrate.publisher, document["name"], (), ME, SystemClock().now())).run.run_id
            for _ in range(2)
        ]
        async with running(substrate, "reader", "transformer"):
            while not (await store.run(run_id)).pages_done:
                await asyncio.sleep(0.01)
        name = document["name"]
        for queue in ("imageflow.read", f"imageflow.transform.{name}", f"imageflow.write.{name}"):
            await drain(broker, queue)
        with pytest.raises(NotRunnable, match=f"older run of .*: imageflow resume {run_id}"):
            await runs.resume(store, broker, later, ME)
        assert await runs.resume(store, broker, run_id, ME) > 0
        await runs.resume(store, broker, run_id, ME)
        async with running(substrate, "scheduler", "reader", "transformer", "writer"):
            ended = await asyncio.wait_for(until_ended(store, run_id, None), 60)
            await asyncio.wait_for(until_ended(store, later, None), 60)
        assert ended.status == "success"
        assert (ended.counts.total, ended.counts.written, ended.counts.failed) == (ROWS, ROWS, 0)
        assert len(omnitron.images) == ROWS
        with pytest.raises(ConflictError, match="has ended"):
            await runs.resume(store, broker, run_id, ME)
