"""Commands that start runs, or let them go on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from imageflow import bootstrap
from imageflow.actions import errors, left_behind, shapes
from imageflow.actions import flows as flow_actions
from imageflow.actions import missing as missing_actions
from imageflow.actions import runs as run_actions
from imageflow.actions.shapes import NoRun, RunShown
from imageflow.clock import INSTANT
from imageflow.commands import stdout
from imageflow.commands.completion import ACTIVE_RUN, CAUSE, FLOW, RUN
from imageflow.commands.flow_files import apply_files, saved_text, say_deeper
from imageflow.commands.hosting import follow
from imageflow.commands.rows import say_who_waits, zone_of
from imageflow.commands.shell import (
    FILE,
    FLOWS_DIR,
    JSON_OPTION,
    actor,
    changing,
    is_free,
    naming,
    note,
    print_json,
    require_data,
    run_async,
)
from imageflow.commands.texts import counted, next_text, retry_text, run_text, way_out_text
from imageflow.errors import NotFoundError
from imageflow.flows import file as flow_file
from imageflow.model.flow import Flow
from imageflow.model.identifiers import SEPARATOR, distinct, first_column
from imageflow.model.run import FINAL, Run
from imageflow.runtime.substrate import Substrate, open_substrate
from imageflow.settings import Settings
from imageflow.store import Store
from imageflow.text.instant import iso

GOOD = ("success", "empty")


class _Told(NamedTuple):
    """A run, and what leads out of its state."""

    run: RunShown | NoRun
    way_out: str


@click.command()
@click.argument("name", metavar="FLOW", type=FLOW)
@click.option("--flows", type=FLOWS_DIR, help="Apply the flow files in this folder first, as `up` does.")
@click.option("--ids", help="Only these identifiers: A,B.")
@click.option("--ids-file", type=FILE, help="Only the identifiers in a CSV file's first column.")
@click.option("--missing", is_flag=True, help="Only products that have no images on Omnitron: fetch missing, now.")
@click.option("--since", metavar="TIME", help=f"Read again what changed since then: {INSTANT}.")
@click.option("--until", metavar="TIME", help="With --since: up to then, if the flow has a parameter for it.")
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
    since: str | None,
    until: str | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Run a flow now.

    With --since it reads a window again, and neither uses nor moves the watermark.
    """
    _check_options(missing=missing, by_ids=ids is not None or ids_file is not None, since=since, until=until)
    identifiers = _identifiers(ids, ids_file)
    if flows is None:
        require_data(settings)
    files = [] if flows is None else _files(flows, name)

    async def work() -> list[_Told]:
        async with open_substrate(settings, os.environ, consumer=False) as substrate:
            await _apply(substrate.store, files)
            if not (await _saved(substrate.store, name, flows)).definition.enabled:
                note(
                    f"{name} is disabled: it runs because a person asks for it (imageflow flow enable {name}: by itself, too)"
                )
            if wait and is_free(settings):
                flow_actions.check_secrets(await substrate.store.flow(name))
            if missing:
                return await _told(substrate.store, await _missing(substrate, name, wait=wait))
            window = run_actions.window(since, until)
            begun = await _start(substrate, name, identifiers, window, wait=wait)
            return await _told(substrate.store, [begun])

    with naming():
        found = run_async(work())
    _print(found, wait=wait, as_json=as_json)
    _say_who_waits(settings, found)


def _say_who_waits(settings: Settings, found: Sequence[_Told]) -> None:
    say_who_waits(settings, [one.run.run_id for one in found if one.run.run_id and one.run.status not in FINAL])


async def _apply(store: Store, files: Sequence[tuple[Path, dict[str, Any]]]) -> None:
    """Apply flow files, and say which of them made a new version."""
    for (path, document), one in zip(files, await apply_files(store, files), strict=True):
        if one.new:
            note(f"{path} is applied: {saved_text(one, document)}")


async def _saved(store: Store, name: str, folder: Path | None) -> Flow:
    """The flow that is to run. If it does not exist, a note says which files of the folder do not count as flow files."""
    try:
        return await store.flow(name)
    except NotFoundError:
        if folder is not None and (text := flow_file.left_alone(folder)):
            note(f"{folder}: {text}")
        raise


def _files(folder: Path, name: str) -> list[tuple[Path, dict[str, Any]]]:
    """The valid flow files of the folder. Prints to stderr what is wrong with the others."""
    say_deeper(folder)
    found = flow_actions.checked_folder(folder, name)
    for problem in found.problems:
        stdout.beside(f"{problem}")
    if found.problems:
        note(f"the broken files above change nothing; {name} runs all the same")
    return found.files


def _check_options(*, missing: bool, by_ids: bool, since: str | None, until: str | None) -> None:
    if missing and by_ids:
        raise click.UsageError("--missing finds the identifiers itself: it takes neither --ids nor --ids-file")
    if since is not None and (missing or by_ids):
        raise click.UsageError("--since reads a window: it takes none of --ids, --ids-file and --missing")
    if until is not None and since is None:
        raise click.UsageError("--until needs --since")


def _identifiers(ids: str | None, ids_file: Path | None) -> tuple[str, ...]:
    """Identifiers from the option or from the file's first column."""
    if ids is None and ids_file is None:
        return ()
    if ids is not None and ids_file is not None:
        raise click.UsageError("--ids and --ids-file cannot be used together")
    found = distinct(ids.split(SEPARATOR)) if ids is not None else _column(ids_file)
    if not found:
        raise click.UsageError("there are no identifiers")
    return found


def _column(path: Path | None) -> tuple[str, ...]:
    assert path is not None
    try:
        return first_column(path.read_bytes())
    except ValueError as error:
        raise click.UsageError(f"{path} {error}") from error


async def _start(
    substrate: Substrate, name: str, ids: Sequence[str], window: run_actions.Window | None, *, wait: bool
) -> RunShown:
    s = substrate
    begun = await run_actions.start(s.store, s.publisher, name, ids, actor(), s.clock.now(), window=window)
    if wait:
        await follow(s.settings, s.store, name, [begun.run.run_id])
    return shapes.run_shown(await run_actions.show(s.store, begun.run.run_id))


async def _missing(substrate: Substrate, name: str, *, wait: bool) -> Sequence[RunShown | NoRun]:
    """The runs that began, in their order. If nothing is missing, no run began, and a single NoRun says so."""
    store = substrate.store
    async with bootstrap.missing_fetcher(substrate) as fetcher:
        begun = await missing_actions.fetch_missing(store, fetcher, name, actor())
        if not begun.runs:
            return [NoRun(name, iso(await store.watermark(name)), list(begun.warnings))]
        found = begun.runs
        if wait:
            run_ids = [item.run_id for item in found]
            await follow(substrate.settings, store, name, run_ids)
            found = await fetcher.judge(await store.flow(name), [await store.run(run_id) for run_id in run_ids])
    return [shapes.run_shown(await run_actions.show(store, item.run_id)) for item in found]


async def _told(store: Store, found: Sequence[RunShown | NoRun]) -> list[_Told]:
    takes_since = {name: await run_actions.takes_since(store, name) for name in {run.flow for run in found}}
    zones = {name: await zone_of(store, name) for name in takes_since}
    return [_Told(run, way_out_text(run, zones[run.flow], takes_since=takes_since[run.flow])) for run in found]


def _print(found: Sequence[_Told], *, wait: bool, as_json: bool) -> None:
    """Print the runs, one a line. Exit with status 1 if they were waited for and one did not end well."""
    for one in found:
        if as_json:
            print_json(one.run)
        else:
            stdout.say(run_text(one.run))
            if one.way_out:
                stdout.say(next_text(one.way_out))
    if wait and any(one.run.status not in GOOD for one in found):
        raise click.exceptions.Exit(1)


@click.command("retry")
@click.argument("run_id", metavar="[RUN]", required=False, type=RUN)
@click.option(
    "--flow",
    "flow_name",
    metavar="FLOW",
    type=FLOW,
    help="All rows of a flow whose failure is open, over all of its runs.",
)
@click.option("--row", type=int, help="Only this row.")
@click.option(
    "--group", metavar="CAUSE", type=CAUSE, help="Only rows that failed of one cause, see `imageflow errors`."
)
@click.option("--wait", is_flag=True, help="Wait until the runs have ended.")
@JSON_OPTION
@click.pass_obj
def retry(
    settings: Settings,
    run_id: str | None,
    flow_name: str | None,
    row: int | None,
    group: str | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Put failed and cancelled rows through again: a run's, one, or those of one cause.

    Rows that failed before they were written go through the newest version of the flow, from their stored page: mend the
    flow and apply it first. The ERP is not asked.
    """
    everywhere = run_id is None and flow_name is None and group is not None
    if ((run_id is None) == (flow_name is None) and not everywhere) or (run_id is None and row is not None):
        raise click.UsageError("give RUN, perhaps with --row, or --flow FLOW, or --group CAUSE alone: in all flows")
    require_data(settings)

    async def work() -> list[_Told]:
        async with open_substrate(settings, os.environ, consumer=False) as substrate:
            store, publisher = substrate.store, substrate.publisher
            if run_id is not None:
                done = [await run_actions.retry(store, publisher, run_id, actor(), row=row, group=group)]
            elif group is not None:
                done = await errors.retry(store, publisher, group, actor(), flow=flow_name)
            else:
                done = await run_actions.retry_flow(store, publisher, flow_name or "", actor())
            if not as_json:
                texts = [retry_text(shapes.retried(one)) for one in done]
                stdout.say("\n".join(texts) or f"no failure of {flow_name} is open")
            if wait:
                await _follow_all(settings, store, [one.run for one in done])
            ended = [shapes.retried_run(await run_actions.show(store, one.run.run_id), one) for one in done]
            return await _told(store, ended)

    found = run_async(work())
    _print(found, wait=wait, as_json=as_json)
    _say_who_waits(settings, found)


@click.command()
@click.argument("run_id", metavar="RUN", type=ACTIVE_RUN)
@JSON_OPTION
@click.pass_obj
def cancel(settings: Settings, run_id: str, as_json: bool) -> None:
    """End a run: nothing more is read or sent.

    What is in flight is settled. `retry` puts the other rows through after all."""

    async def work(store: Store) -> list[_Told]:
        return await _told(store, [shapes.run_shown(await run_actions.cancel(store, run_id, actor()))])

    found = changing(settings, work)
    _print(found, wait=False, as_json=as_json)
    _say_who_waits(settings, found)


@click.command()
@click.argument("run_id", metavar="RUN", type=RUN)
@click.option("--wait", is_flag=True, help="Wait until the new run has ended.")
@JSON_OPTION
@click.pass_obj
def rewrite(settings: Settings, run_id: str, wait: bool, as_json: bool) -> None:
    """Ask the ERP again for what a run wrote by a version that was rolled back.

    A new run reads these products, or what changed since, by the version in force."""
    require_data(settings)

    async def work() -> list[_Told]:
        async with open_substrate(settings, os.environ, consumer=False) as substrate:
            store = substrate.store
            begun = await left_behind.rewrite(store, substrate.publisher, run_id, actor(), substrate.clock.now())
            if wait:
                await _follow_all(settings, store, [begun.run])
            return await _told(store, [shapes.run_shown(await run_actions.show(store, begun.run.run_id))])

    found = run_async(work())
    _print(found, wait=wait, as_json=as_json)
    _say_who_waits(settings, found)


@click.command()
@click.argument("run_ids", metavar="RUN...", nargs=-1, type=ACTIVE_RUN)
@click.option("--all", "every", is_flag=True, help="All runs that have not ended.")
@click.option("--wait", is_flag=True, help="Wait until the runs have ended; older runs of their flows end first.")
@click.pass_obj
def resume(settings: Settings, run_ids: tuple[str, ...], every: bool, wait: bool) -> None:
    """Let runs go on: publish anew what they wait for. Harmless where nothing was lost.

    With --wait, this process runs the services of their flows until they have ended, if no other process does. No schedule
    fires meanwhile."""
    if bool(run_ids) == every:
        raise click.UsageError("name the runs, or give --all")
    if every and wait:
        raise click.UsageError("--wait needs the names of runs; all runs: imageflow up")
    require_data(settings)

    found = run_async(_resume(settings, run_ids, every=every, wait=wait))
    if not found:
        note("every run has ended: there is nothing to resume")
    if wait:
        _print(found, wait=True, as_json=False)
    _say_who_waits(settings, found)


async def _resume(settings: Settings, run_ids: Sequence[str], *, every: bool, wait: bool) -> list[_Told]:
    async with open_substrate(settings, os.environ, consumer=False) as substrate:
        store, broker = substrate.store, substrate.broker
        if every:
            resumed = await run_actions.resume_all(store, broker, actor())
        else:
            resumed = {one: await run_actions.resume(store, broker, one, actor(), queued=wait) for one in run_ids}
        for run_id, count in resumed.items():
            stdout.say(f"{run_id}: {counted(count, 'message')} published")
        if wait:
            await _follow_all(settings, store, [await store.run(run_id) for run_id in resumed])
        return await _told(store, [shapes.run_shown(await run_actions.show(store, run_id)) for run_id in resumed])


async def _follow_all(settings: Settings, store: Store, found: Sequence[Run]) -> None:
    """Follow runs of any flows, one flow after the other."""
    for flow in dict.fromkeys(run.flow for run in found):
        await follow(settings, store, flow, [run.run_id for run in found if run.flow == flow])
