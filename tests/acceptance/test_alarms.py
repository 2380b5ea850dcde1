"""Alarms, holds and parked messages, as somebody on the command line meets them."""

import asyncio
import json
from pathlib import Path

import click
import pytest
import structlog
from click.testing import CliRunner

from imageflow.broker import Outgoing
from imageflow.broker.connect import connect as connect_broker
from imageflow.cli import cli
from imageflow.clock import SystemClock
from imageflow.errors import NotFoundError
from imageflow.model.messages import OUTBOUND_QUEUE
from imageflow.secret import Secret
from imageflow.store.connect import connect
from tests.acceptance.harness import get, site, wait_for

ROWS = [{"sku": f"P-{n}", "images": [f"https://img.example.com/{n}.jpg"]} for n in range(40)]


def ask(here, question):
    """What the store says: asked again and again, that costs less than a command."""

    async def asking():
        async with connect(Secret(f"sqlite:///{here.folder}/data/store.db"), SystemClock()) as store:
            return await question(store)

    return asyncio.run(asking())


def command(here, *args, stdin=None):
    """What a command prints, run in this process; raises what it raises."""
    try:
        done = CliRunner().invoke(cli, args, env=here.environ, input=stdin, standalone_mode=False)
    finally:
        structlog.reset_defaults()
    if done.exception:
        raise done.exception
    return done.stdout


def erp_publishes(here, flow, rows):
    """What an ERP publishes: nobody looks before whether there is such a flow."""

    async def publishing():
        async with connect_broker(Secret(f"sqlite:///{here.folder}/data/broker.db")) as broker:
            await broker.publish(Outgoing(OUTBOUND_QUEUE, Path(rows).read_bytes(), headers={"flow": flow}))

    asyncio.run(publishing())


def refused(here, *args):
    """Why a command ends with status 2."""
    with pytest.raises((NotFoundError, click.UsageError)) as caught:
        command(here, *args)
    return str(caught.value)


def shown(here, *args):
    return json.loads(command(here, *args, "--json").splitlines()[-1])


def succeeded(here, flow):
    return [run.status for run in ask(here, lambda store: store.runs(flow))] == ["success"]


def outbound(here, *faults):
    """`up` with an outbound flow, in front of an Omnitron with faults; and a file with rows."""
    here.omnitron = here.emulate("omnitron", "--rows", "0", *(f"--fault={fault}" for fault in faults))
    here.erp = "http://127.0.0.1:9"
    here.flow("posts", direction="outbound", erp=None, script=None, mapping=None)
    rows = here.folder / "rows.json"
    rows.write_text(json.dumps(ROWS))
    here.spawn("up", "--flows", str(here.flows), "--port", "0")
    wait_for(lambda: "started" in (here.folder / "log.txt").read_text(), what="up")
    return str(rows)


def test_an_outage_is_seen_and_passes(tmp_path):
    """Omnitron is away: its domain is held, an alarm is open; when it is back, both end and all rows are there."""
    with site(tmp_path) as here:
        rows = outbound(here, "down")
        command(here, "publish", "posts", rows, "--id", "first")
        wait_for(lambda: ask(here, lambda store: store.alarms()), what="the alarm")
        assert [item["domain"] for item in shown(here, "holds")] == [here.omnitron]
        (alarm,) = shown(here, "alarms", "posts")
        assert (alarm["flow"], alarm["kind"], alarm["closed_at"]) == ("posts", "hold", None)
        get(f"{here.omnitron}/_emulator/faults", data=b"[]", headers={"Content-Type": "application/json"})
        command(here, "publish", "posts", rows, "--id", "first")
        wait_for(lambda: succeeded(here, "posts"), what="the only run to end")
        wait_for(lambda: not ask(here, lambda store: store.alarms(is_open=True)), what="the alarm to end")
        assert shown(here, "alarms") == shown(here, "holds") == []
        assert "closed" in command(here, "alarms", "--all")
        assert here.images() == {row["sku"]: [(0, row["images"][0], "default")] for row in ROWS}


def test_a_parked_message_is_mended(tmp_path):
    """A message for a flow that does not exist yet is parked; once it does, replaying it writes its rows."""
    with site(tmp_path) as here:
        rows = outbound(here)
        erp_publishes(here, "later", rows)
        command(here, "publish", "posts", "-", stdin="{nonsense")
        later, nonsense = sorted(
            wait_for(lambda: (found := shown(here, "parked", "list"))[1:] and found, what="two parked messages"),
            key=lambda item: item["flow"],
        )
        assert "no flow 'later'" in later["reason"]
        assert "not JSON" in nonsense["reason"]
        assert json.loads(command(here, "parked", "show", later["id"], "--body")) == ROWS
        command(here, "parked", "drop", nonsense["id"])
        here.flow("later", direction="outbound", erp=None, script=None, mapping=None)
        command(here, "flow", "apply", str(here.flows / "later.yaml"))
        assert "sent to imageflow.outbound" in command(here, "parked", "replay", later["id"])
        wait_for(lambda: succeeded(here, "later"), what="the run")
        assert shown(here, "parked", "list") == []
        assert "no parked message" in refused(here, "parked", "replay", later["id"])
        assert "--all" in refused(here, "parked", "drop")
        assert len(here.images()) == len(ROWS)
