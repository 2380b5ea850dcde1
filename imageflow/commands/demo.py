"""The demo: the main job on one machine, from a fake ERP to a fake Omnitron over real HTTP, and a check of the result."""

from __future__ import annotations

import asyncio
import os
import resource
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import click
import msgspec

from imageflow import bootstrap
from imageflow.actions import runs, shapes, users
from imageflow.actions.actor import Actor
from imageflow.actions.flows import save_all
from imageflow.actions.run_waits import Wait
from imageflow.actions.run_watch import Progress, until_ended
from imageflow.actions.shapes import RunShown
from imageflow.clock import SystemClock
from imageflow.commands.shell import JSON_OPTION, print_json, run_async, say_stopping
from imageflow.commands.texts import progress_text
from imageflow.emulator.erp import FakeErp
from imageflow.emulator.omnitron import FakeOmnitron
from imageflow.errors import ImageFlowError
from imageflow.gateway.sessions import Sessions
from imageflow.http.client import Transport
from imageflow.model.row import STATES
from imageflow.model.run import Run
from imageflow.runtime.process import collect_seldom, ended_by, stop_on_signals
from imageflow.runtime.substrate import Substrate, open_substrate
from imageflow.secret import Secret
from imageflow.settings import Settings, secret_key
from imageflow.store.data_dir import data_dir_lock

ACTOR = Actor("demo", "demo")
PASSWORDS = {"DEMO_OMNITRON_PASSWORD": "demo", "DEMO_ERP_PASSWORD": "demo"}
ENV_PREFIX, LOCAL = "DEMO_", "127.0.0.1"
"""What flows that are saved in the demo's console may name: the demo's passwords and its emulators."""
POSTED_LIMIT = 200
PAGE_SIZE = 100

SCRIPT = """\
def process_row(row):
    # the ERP names its products sku; what else it sends is not needed
    return {"sku": row["sku"], "pictures": row["images"]}
"""
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


def flows(erp: str, omnitron: str) -> list[dict[str, Any]]:
    """The demo's flow files: an inbound flow with script and mapping, and an outbound flow."""
    target = {"domain_url": omnitron, "username": "demo", "password": {"env": "DEMO_OMNITRON_PASSWORD"}}
    inbound = {
        "name": "demo-inbound",
        "direction": "inbound",
        "omnitron": target,
        "erp": {
            "endpoint_url": f"{erp}/images/next/",
            "extra_params": {"limit": PAGE_SIZE},
            "modified_date_key": "modified_date__gt",
            "rows_path": "results",
            "pagination": {"type": "next", "field": "next"},
        },
        "script": SCRIPT,
        "mapping": MAPPING,
    }
    return [inbound, {"name": "demo-outbound", "direction": "outbound", "omnitron": target}]


def posted(count: int, pictures: str) -> list[dict[str, Any]]:
    """What the demo posts to the outbound flow: products that the fake ERP does not have, with pictures that it has."""
    return [
        {
            "sku": f"POST-{n:06}",
            "images": [f"{pictures}/POST-{n:06}/{order}.png" for order in range(1, 2 + n % 3)],
        }
        for n in range(1, count + 1)
    ]


async def demonstrate(
    rows: int,
    *,
    stop_seconds: float,
    log_format: Literal["text", "json"],
    serve: bool,
    say: Callable[[str], Any] | None,
) -> dict[str, Any]:
    """Run the demo on a data directory of its own. The result holds `ok`, both runs, what was checked and what it took."""
    tell = say or (lambda _: None)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="imageflow-demo-") as folder:
        data_dir = Path(folder)
        settings = Settings(
            broker_url=Secret(f"sqlite:///{data_dir / 'broker.db'}"),
            store_url=Secret(f"sqlite:///{data_dir / 'store.db'}"),
            data_dir=data_dir,
            secret_key=None,
            log_format=log_format,
            metrics_port=None,
            stop_seconds=stop_seconds,
            secret_env_prefixes=(ENV_PREFIX,),
            allow_private=(LOCAL,),
        )
        erp, omnitron = FakeErp(rows=rows, images_here=True), FakeOmnitron(keep_history=False)
        async with erp.serve() as erp_url, omnitron.serve() as omnitron_url:
            tell(f"fake ERP with {rows} rows at {erp_url}, fake Omnitron at {omnitron_url}")
            async with _running(settings) as (substrate, port, stop):
                tell(f"all services run in this process, the gateway at http://127.0.0.1:{port}")
                await save_all(substrate.store, flows(erp_url, omnitron_url), ACTOR)
                async with ended_by(stop):
                    inbound = await _inbound(substrate, tell)
                    outbound, rows_posted = await _outbound(substrate, port, erp_url, min(rows, POSTED_LIMIT), tell)
                result = _checked(inbound, outbound, _differences(erp, rows_posted, omnitron))
                result["seconds"] = round(time.monotonic() - started, 2)
                result["peak_memory_mb"] = _peak_memory_mb()
                if serve:
                    tell(f"{report(result)}\n{await _door(substrate, port)}\nstill running; stop with Ctrl-C")
                    await stop.wait()
    return result


@asynccontextmanager
async def _running(settings: Settings) -> AsyncIterator[tuple[Substrate, int, asyncio.Event]]:
    environ = {**os.environ, **PASSWORDS}
    with data_dir_lock(settings):
        async with (
            stop_on_signals(say_stopping) as stop,
            open_substrate(settings, environ, consumer=True) as substrate,
            asyncio.TaskGroup() as group,
        ):
            collect_seldom()
            port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            group.create_task(
                bootstrap.run_services(
                    substrate,
                    bootstrap.SERVICES,
                    stop,
                    port=0,
                    started=lambda bound: port.set_result(bound or 0),
                )
            )
            try:
                yield substrate, await port, stop
            finally:
                stop.set()


async def _door(substrate: Substrate, port: int) -> str:
    """Where the console is, and a link that logs in there, once."""
    user = await users.save(substrate.store, "demo", os.urandom(12).hex(), "admin", ACTOR)
    sessions = Sessions(substrate.store, secret_key(substrate.settings), substrate.clock)
    link, address = await sessions.login_link(user.name), f"http://127.0.0.1:{port}/"
    return f"console: {address}\nlog in, once, within an hour: {address}login?once={link}"


async def _inbound(substrate: Substrate, tell: Callable[[str], Any]) -> RunShown:
    now = SystemClock().now()
    begun = await runs.start(substrate.store, substrate.publisher, "demo-inbound", (), ACTOR, now)
    tell(f"inbound run {begun.run.run_id}")
    return await _ended(substrate, begun.run.run_id, tell)


async def _ended(substrate: Substrate, run_id: str, tell: Callable[[str], Any]) -> RunShown:
    await until_ended(substrate.store, run_id, _progress(tell))
    return shapes.run_shown(await runs.show(substrate.store, run_id))


async def _outbound(
    substrate: Substrate, port: int, erp: str, count: int, tell: Callable[[str], Any]
) -> tuple[RunShown, list[dict[str, Any]]]:
    """Add a user, log in as an ERP would, post rows, and follow the run."""
    body = posted(count, f"{erp}/media")
    password = os.urandom(12).hex()
    await users.save(substrate.store, "demo-erp", password, "operator", ACTOR)
    base = f"http://127.0.0.1:{port}"
    async with Transport() as transport:
        form = f"username=demo-erp&password={password}".encode()
        login = await transport.request(
            "POST", f"{base}/api/nifi/login", headers={"Content-Type": "application/x-www-form-urlencoded"}, body=form
        )
        answer = await transport.request(
            "POST",
            f"{base}/api/outbound/demo-outbound",
            headers={"Authorization": f"Bearer {login.body.decode()}", "Content-Type": "application/json"},
            body=msgspec.json.encode(body),
        )
    if answer.status != 202:
        raise ImageFlowError(f"the outbound post was answered {answer.status}: {answer.excerpt()}")
    run_id = msgspec.json.decode(answer.body)["run_id"]
    tell(f"outbound run {run_id}: {count} rows posted")
    return await _ended(substrate, run_id, tell), body


def _progress(tell: Callable[[str], Any]) -> Progress:
    last = time.monotonic()

    def show(run: Run, waits: Wait | None) -> None:
        nonlocal last
        if run.ended or time.monotonic() - last >= 1:
            last = time.monotonic()
            tell(f"  {progress_text(run, waits)}")

    return show


def _differences(erp: FakeErp, rows_posted: list[dict[str, Any]], omnitron: FakeOmnitron) -> dict[str, int]:
    """How what Omnitron holds differs from what it should hold."""
    expected = {sku: _normal(erp.expected_images(sku)) for sku in erp.skus()}
    expected |= {
        row["sku"]: _normal([{"url": url, "order": n} for n, url in enumerate(row["images"])]) for row in rows_posted
    }
    held = {sku: _normal(msgspec.to_builtins(images)) for sku, images in omnitron.images.items()}
    return {
        "expected": len(expected),
        "missing": len(expected.keys() - held.keys()),
        "unexpected": len(held.keys() - expected.keys()),
        "different": sum(held[sku] != expected[sku] for sku in expected.keys() & held.keys()),
    }


def _normal(images: Any) -> list[tuple[int, str, str]]:
    return sorted((image["order"], image["url"], image.get("image_type", "default")) for image in images)


def _checked(inbound: RunShown, outbound: RunShown, products: dict[str, int]) -> dict[str, Any]:
    both = [inbound, outbound]
    balanced = all(run.rows.total == sum(getattr(run.rows, state) for state in STATES) for run in both)
    complete = not (products["missing"] or products["unexpected"] or products["different"])
    ok = balanced and complete and all(run.status == "success" for run in both)
    return {"ok": ok, "balanced": balanced, "runs": both, "products": products}


def _peak_memory_mb() -> float:
    """The largest resident size that this process has had, emulators included."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def report(result: dict[str, Any]) -> str:
    """The summary that people read."""
    lines = []
    for run in result["runs"]:
        parts = " + ".join(f"{getattr(run.rows, state)} {state}" for state in STATES)
        lines.append(f"{run.flow}: {run.status}; {run.rows.total} rows = {parts}")
        if run.error:
            lines.append(f"  {run.error}")
    products = result["products"]
    lines.append(
        f"Omnitron holds {products['expected'] - products['missing']} of {products['expected']} products;"
        f" {products['different']} differ, {products['unexpected']} unexpected"
    )
    lines.append(
        f"{'balanced and complete' if result['ok'] else 'NOT as expected'} in {result['seconds']} s, at most {result['peak_memory_mb']} MB"
    )
    return "\n".join(lines)


@click.command()
@click.option("--rows", default=1000, show_default=True, help="Rows in the fake ERP.")
@click.option("--serve", is_flag=True, help="Keep everything running afterwards.")
@JSON_OPTION
@click.pass_obj
def demo(settings: Settings, rows: int, serve: bool, as_json: bool) -> None:
    """Fake ERP, fake Omnitron and all services: run the main job and check the result."""
    if rows < 1:
        raise click.UsageError("--rows: at least 1")
    result = run_async(
        demonstrate(
            rows,
            stop_seconds=settings.stop_seconds,
            log_format=settings.log_format,
            serve=serve,
            say=None if as_json else click.echo,
        )
    )
    if as_json:
        print_json(result)
    else:
        click.echo(report(result))
    if not result["ok"]:
        raise click.exceptions.Exit(1)
