"""Commands of runs and rows, and of the watermark that runs move."""

from __future__ import annotations

import csv
import getpass
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from imageflow import bootstrap, secret
from imageflow.actions import flows as flow_actions
from imageflow.actions import runs as run_actions
from imageflow.actions.run_watch import follow, nothing_missing, summarize
from imageflow.actions.runs import inbound
from imageflow.commands.hosting import open_working, progress_line, running_services
from imageflow.commands.shell import FILE, FLOWS_DIR, JSON_OPTION, actor, print_json, run_async
from imageflow.commands.texts import run_text
from imageflow.flows import file as flow_file
from imageflow.runtime.substrate import open_substrate
from imageflow.settings import Settings


@click.command()
@click.argument("name", metavar="FLOW")
@click.option(
    "--flows",
    type=FLOWS_DIR,
    help="Apply the flow files in this folder first.",
)
@click.option("--ids", help="Only these identifiers: A,B.")
@click.option(
    "--ids-file",
    type=FILE,
    help="Only the identifiers in a CSV file's first column.",
)
@click.option("--missing", is_flag=True, help="Only products that have no images on Omnitron: fetch missing, now.")
@click.option("--wait", is_flag=True, help="Wait until the run has ended.")
@JSON_OPTION
@click.pass_obj
def run(
    settings: Settings,
    name: str,
    flows: Path | None,
    ids: str | None,
    ids_file: Path | None,
    missing: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Run a flow now."""
    if missing:
        if ids is not None or ids_file is not None:
            raise click.UsageError("--missing finds the identifiers itself: it takes neither --ids nor --ids-file")
        results = run_async(_run_missing(settings, name, _documents(flows), wait=wait))
    else:
        identifiers = _identifiers(ids, ids_file)
        results = [run_async(_run(settings, name, _documents(flows), identifiers, wait=wait))]
    _print(results, wait=wait, as_json=as_json)


def _print(results: Sequence[dict[str, Any]], *, wait: bool, as_json: bool) -> None:
    """The runs, one a line; exit status 1 where one was waited for and did not end well."""
    for result in results:
        if as_json:
            print_json(result)
        else:
            click.echo(run_text(result))
    if wait and any(result["status"] not in ("success", "empty") for result in results):
        raise click.exceptions.Exit(1)


def _documents(folder: Path | None) -> list[dict[str, Any]]:
    return flow_actions.checked_dir(folder) if folder is not None else []


def _identifiers(ids: str | None, ids_file: Path | None) -> tuple[str, ...]:
    """Identifiers from the option or the file's first column, without blanks and repetitions, in their order."""
    if ids is not None and ids_file is not None:
        raise click.UsageError("--ids and --ids-file cannot be used together")
    found: list[str] = []
    if ids is not None:
        found = ids.split(",")
    if ids_file is not None:
        with ids_file.open(newline="", encoding="utf-8-sig") as file:
            found = [line[0] for line in csv.reader(file) if line]
    unique = tuple(dict.fromkeys(item.strip() for item in found if item.strip()))
    if not unique and (ids is not None or ids_file is not None):
        raise click.UsageError("there are no identifiers")
    return unique


async def _run(
    settings: Settings, name: str, documents: Sequence[dict[str, Any]], ids: tuple[str, ...], *, wait: bool
) -> dict[str, Any]:
    async with open_working(settings, alone=wait) as (substrate, own):
        store = substrate.store
        for document in documents:
            await flow_actions.save_flow(store, document, actor())
        flow = await store.flow(name)
        if own:
            for ref in flow_file.referenced_secrets(flow.definition):
                secret.resolve(ref)
        run_id = await run_actions.start_run(store, substrate.publisher, name, ids, actor(), substrate.clock.now())
        if not wait:
            return await summarize(store, await store.run(run_id))
        async with running_services(substrate, enabled=own):
            return await summarize(store, await follow(store, run_id, progress_line()))


async def _run_missing(
    settings: Settings, name: str, documents: Sequence[dict[str, Any]], *, wait: bool
) -> list[dict[str, Any]]:
    """Fetch missing, now: the object of each run, in their order; one of an empty run where nothing is missing."""
    async with open_working(settings, alone=wait) as (substrate, own), bootstrap.missing_fetcher(substrate) as fetcher:
        store = substrate.store
        for document in documents:
            await flow_actions.save_flow(store, document, actor())
        flow = inbound(await store.flow(name))
        if own:
            for ref in flow_file.referenced_secrets(flow.definition):
                secret.resolve(ref)
        begun = await fetcher.ask_now(flow, getpass.getuser())
        if not begun.runs:
            return [await nothing_missing(store, name, begun.warnings)]
        if not wait:
            return [await summarize(store, await store.run(item.run_id)) for item in begun.runs]
        async with running_services(substrate, enabled=own):
            ended = [await follow(store, item.run_id, progress_line()) for item in begun.runs]
        return [await summarize(store, item) for item in await fetcher.judge(flow, ended)]


@click.command("retry")
@click.argument("run_id", metavar="RUN")
@click.option("--row", type=int, help="Only this row.")
@click.option("--group", metavar="FINGERPRINT", help="Only rows that failed of one cause, see `imageflow errors`.")
@click.option("--wait", is_flag=True, help="Wait until the run has ended.")
@JSON_OPTION
@click.pass_obj
def retry(settings: Settings, run_id: str, row: int | None, group: str | None, wait: bool, as_json: bool) -> None:
    """Write a run's failed rows again: all, one, or those of one cause."""

    async def work() -> dict[str, Any]:
        async with open_working(settings, alone=wait) as (substrate, own):
            store = substrate.store
            await run_actions.retry(store, substrate.publisher, run_id, actor(), row=row, group=group)
            if not wait:
                return await summarize(store, await store.run(run_id))
            async with running_services(substrate, enabled=own):
                return await summarize(store, await follow(store, run_id, progress_line()))

    _print([run_async(work())], wait=wait, as_json=as_json)


@click.command()
@click.argument("run_ids", metavar="RUN…", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All runs that have not ended.")
@click.pass_obj
def resume(settings: Settings, run_ids: tuple[str, ...], every: bool) -> None:
    """Publish anew what runs wait for, after the queues were lost; harmless if they were not."""
    if bool(run_ids) == every:
        raise click.UsageError("name the runs, or give --all")

    async def work() -> list[tuple[str, int]]:
        async with open_substrate(settings, os.environ, consumer=False) as substrate:
            store, resumed = substrate.store, []
            for run_id in run_ids or [run.run_id for run in await run_actions.active(store)]:
                try:
                    resumed.append((run_id, await run_actions.resume(store, substrate.broker, run_id, actor())))
                except run_actions.NotRunnable:  # with --all: it ended meanwhile, or waits for its turn
                    if not every:
                        raise
            return resumed

    for run_id, count in run_async(work()):
        click.echo(f"{run_id}: {count} messages published")
