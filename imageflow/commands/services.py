"""The services: each as a process of its own, or all in one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import click

from imageflow import bootstrap
from imageflow import settings as settings_
from imageflow.actions import flow_folder
from imageflow.commands.flow_files import say_deeper
from imageflow.commands.shell import FLOWS_DIR, PORT, actor, run_async
from imageflow.runtime.kept import KeptJobs
from imageflow.runtime.process import MARGIN_SECONDS, Watchdog, collect_seldom, stop_on_signals
from imageflow.runtime.startup import Startup
from imageflow.settings import Settings
from imageflow.store.data_dir import data_dir_lock

PORT_OPTION = click.option(
    "--port",
    type=PORT,
    default=8080,
    show_default=True,
    help=f"Where the gateway listens; 0 takes a free port. On which host: the setting {settings_.PREFIX}LISTEN.",
)


def _alone(settings: Settings, name: str, port: int | None = None) -> None:
    if settings.embedded:
        raise click.UsageError(
            f"{name} as a process of its own needs RabbitMQ: set {settings_.PREFIX}BROKER_URL=amqp://…, or use `imageflow up`"
        )
    run_async(_serve(settings, [name], port))


@click.command()
@click.pass_obj
def scheduler(settings: Settings) -> None:
    """Fire schedules and let runs begin."""
    _alone(settings, "scheduler")


@click.command()
@click.pass_obj
def reader(settings: Settings) -> None:
    """Read pages from ERPs."""
    _alone(settings, "reader")


@click.command()
@click.pass_obj
def transformer(settings: Settings) -> None:
    """Turn pages into rows: script, mapping."""
    _alone(settings, "transformer")


@click.command()
@click.pass_obj
def writer(settings: Settings) -> None:
    """Write rows to Omnitron."""
    _alone(settings, "writer")


@click.command()
@PORT_OPTION
@click.pass_obj
def gateway(settings: Settings, port: int) -> None:
    """Take in outbound posts; serve /ready, /health, /metrics."""
    _alone(settings, "gateway", port)


@click.command()
@click.option(
    "--flows",
    type=FLOWS_DIR,
    help="Apply the flow files in this folder, and what changes in it as long as the services run.",
)
@PORT_OPTION
@click.pass_obj
def up(settings: Settings, flows: Path | None, port: int) -> None:
    """Run all services in one process."""
    found: Sequence[flow_folder.Found] = ()
    if flows is not None:
        say_deeper(flows)
        found = flow_folder.read(flows)
    run_async(_serve(settings, bootstrap.SERVICES, port, flows, found))


def _say_where(console: str, setup: str | None) -> None:
    """The link goes to stderr: it is a secret, if a short-lived one, and no result."""
    click.echo(f"console: {console}")
    if setup is not None:
        click.echo(f"there is no user yet; make the first admin within an hour: {setup}", err=True)


async def _serve(
    settings: Settings,
    names: Sequence[str],
    port: int | None,
    flows: Path | None = None,
    found: Sequence[flow_folder.Found] = (),
) -> None:
    def opened(console: str, setup: str | None) -> None:
        say_whose(console)
        _say_where(console, setup)

    watchdog = Watchdog(settings.stop_seconds + MARGIN_SECONDS)
    with data_dir_lock(settings) as say_whose:
        async with stop_on_signals() as stop, AsyncExitStack() as stack:
            startup = Startup(settings, os.environ, stack)
            if (substrate := await startup.open()) is None:
                async with bootstrap.waiting(settings, names, lambda: startup.problem, port):
                    substrate = await startup.opened(stop)
            if substrate is None:
                return
            folder = None if flows is None else flow_folder.FlowFolder(flows, substrate.store, actor())
            if folder is not None:
                async with bootstrap.waiting(settings, names, lambda: "flow files are applied", port):
                    await folder.begin(found)
            collect_seldom()
            async with asyncio.TaskGroup() as group:
                if folder is not None:
                    group.create_task(KeptJobs().keep("the folder of flow files", partial(folder.follow, stop)))
                await bootstrap.run_services(substrate, names, stop, port=port, ending=watchdog.begin, opened=opened)
                stop.set()
