"""The log of a run, with what its script printed on each page."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from click.testing import CliRunner, Result

from imageflow.actions import run_log
from imageflow.cli import cli
from imageflow.errors import NotFoundError
from tests.integration.pipeline import SCRIPT, pipeline

PRINTING = SCRIPT.replace("    return", "    print('seen', row['sku'])\n    return")


async def test_what_a_script_printed_is_kept(tmp_path: Path) -> None:
    """Each page's prints are there, in the order of the pages, in parts that follow each other; a replay replaces them."""
    async with pipeline(tmp_path, rows=120) as running:
        await running.save(script=PRINTING)
        run = await running.run()
        whole = await run_log.told(running.store, run.run_id)
        printed = [entry for entry in whole.entries if entry.what == "printed"]
        assert [entry.page for entry in printed] == [1, 2, 3]
        assert printed[2].text.splitlines() == [f"seen SKU-{number:06}" for number in range(101, 121)]
        assert [entry.what for entry in whole.entries if entry.what != "printed"] == [
            "asked",
            "reading",
            "read",
            "ended",
        ]
        first = await run_log.told(running.store, run.run_id, limit=2)
        rest = await run_log.told(running.store, run.run_id, after=first.more or 0, limit=2)
        assert (first.more, rest.more, first.entries + rest.entries) == (2, None, whole.entries)


async def test_a_page_that_is_put_through_again(tmp_path: Path) -> None:
    """Its new prints replace the old ones."""
    async with pipeline(tmp_path, rows=10) as running:
        await running.save(script="def process_row(row):\n    print('first')\n    raise ValueError('oops')\n")
        run = await running.run()
        await running.save(script=PRINTING)
        assert (await running.retry(run.run_id)).status == "success"
        told = await run_log.told(running.store, run.run_id)
        [printed] = [entry.text for entry in told.entries if entry.what == "printed"]
        assert printed.splitlines()[0] == "seen SKU-000001"


async def test_the_command(tmp_path: Path) -> None:
    """A line each, prints indented, JSON of the same; a run that is not there is said."""
    async with pipeline(tmp_path, rows=2) as running:
        await running.save(script=PRINTING)
        run = await running.run()

    def call(*args: str) -> Result:
        return CliRunner().invoke(cli, ["log", *args], env={"IMAGEFLOW_DATA_DIR": str(tmp_path)})

    text = (await asyncio.to_thread(call, run.run_id)).stdout.splitlines()
    assert text[-3].split() == ["page", "1", "printed", "seen", "SKU-000001"]
    assert text[-2].split() == ["seen", "SKU-000002"]
    assert text[-1].split()[3:] == ["ended", "success"]
    found = json.loads((await asyncio.to_thread(call, run.run_id, "--json")).stdout)
    assert found[-2] == {"what": "printed", "text": "seen SKU-000001\nseen SKU-000002", "at": None, "page": 1}
    short = await asyncio.to_thread(call, run.run_id, "--limit", "1")
    assert "SKU-000002" not in short.stdout
    assert short.stdout.splitlines()[-1].split()[3:] == ["ended", "success"]
    assert "1 printed line left out: --limit 2, or --page N; all: --json" in short.stderr
    assert len((await asyncio.to_thread(call, run.run_id, "--page", "1")).stdout.splitlines()) == 2
    assert "nothing was printed on page 2" in (await asyncio.to_thread(call, run.run_id, "--page", "2")).stderr
    assert isinstance((await asyncio.to_thread(call, "nobody")).exception, NotFoundError)


async def test_what_the_commands_advise(tmp_path: Path) -> None:
    """A run that goes on says how to follow it; a cancelled one names the person, and nobody is told to cancel it again. A flow
    that always asks for everything is not asked for changes since an instant."""
    async with pipeline(tmp_path, rows=2) as running:
        await running.save()
        await running.run()
        second = await running.run()
        entries = (await run_log.told(running.store, second.run_id)).entries
    assert second.since is not None
    assert [entry.text for entry in entries if entry.what == "reading"] == ["asks for everything"]

    async def call(*args: str) -> str:
        env = {"IMAGEFLOW_DATA_DIR": str(tmp_path)}
        return (await asyncio.to_thread(CliRunner().invoke, cli, list(args), env=env)).stdout

    begun = await call("run", "main")
    run_id = begun.split()[0]
    assert f"next: how far it is: imageflow log {run_id}\n" in begun
    ended = await call("cancel", run_id)
    assert ended.split()[2] == "cancelled"
    assert "imageflow cancel" not in ended
    assert ended.splitlines()[-1].strip() == "next: what was not read: imageflow run main"
    told = [line.split() for line in (await call("log", run_id)).splitlines()]
    assert (told[-3][3:6], told[-2][3:]) == (["cancelled", "cancelled", "by"], ["ended", "cancelled"])
    assert " ".join(told[-1]) == "next: what was not read: imageflow run main"
    assert "since" not in await call("log", run_id)
