"""Commands of flows: check, save, test and show them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from imageflow import settings as settings_
from imageflow.actions import flows as flow_actions
from imageflow.actions import runs as run_actions
from imageflow.actions.run_watch import summarize
from imageflow.actions.runs import inbound
from imageflow.clock import SystemClock, iso
from imageflow.commands.shell import FILE, JSON_OPTION, actor, print_json, run_async, with_store
from imageflow.commands.texts import run_text
from imageflow.errors import FlowFileError, ImageFlowError, Problem
from imageflow.flows import file as flow_file
from imageflow.inspect import flow_cases
from imageflow.model import cron
from imageflow.model.flow import Definition, Flow
from imageflow.read import request
from imageflow.sandbox.supervisor import Sandbox
from imageflow.schedule import alarm
from imageflow.settings import Settings
from imageflow.store import Store


@click.group()
def flow() -> None:
    """Check, save and show flows."""


FILES = click.argument("files", nargs=-1, required=True, type=FILE)


@flow.command()
@FILES
def lint(files: tuple[Path, ...]) -> None:
    """Check flow files: fields, types, cron, script and mapping; and the outline of files with their cases."""
    wrong = 0
    for path in files:
        problems = _problems(path)
        wrong += bool(problems)
        for problem in problems:
            click.echo(f"{path}: {problem}")
        if not problems:
            click.echo(f"{path}: ok")
    if wrong:
        raise click.exceptions.Exit(2)


def _problems(path: Path) -> list[Problem]:
    try:
        flow_cases.read_cases(path) if flow_file.is_case_file(path) else flow_actions.checked(path)
    except FlowFileError as error:
        return error.problems
    return []


@flow.command()
@FILES
@click.option("--force", is_flag=True, help="Save them even if they fail their cases.")
@click.pass_obj
def apply(settings: Settings, files: tuple[Path, ...], force: bool) -> None:
    """Save flow files as new versions; all of them or none, and none that fails its cases (see `flow test`)."""
    files = tuple(path for path in files if not flow_file.is_case_file(path))
    if not files:
        raise click.UsageError("these are files with cases; there is no flow file among them")
    documents = flow_actions.checked_all(files)
    if not force:
        _pass_cases(settings, files)

    async def work(store: Store) -> list[Flow]:
        return [await flow_actions.save_flow(store, document, actor()) for document in documents]

    for saved in with_store(settings, work):
        click.echo(f"{saved.name}: version {saved.version}")


def _pass_cases(settings: Settings, files: Sequence[Path]) -> None:
    """Raises ImageFlowError where a flow file fails the cases beside it, and says which on stderr."""
    found = [suite for suite in flow_cases.suites(files) if suite.cases]
    lines: list[str] = []
    if found and not run_async(
        flow_cases.run_cases(Sandbox(best_effort=settings.jail == "best-effort"), found, lines.append)
    ):
        click.echo("\n".join(lines), err=True)
        raise ImageFlowError("nothing is saved: a flow fails its cases (--force saves it all the same)")


@flow.command("test")
@FILES
@click.pass_obj
def test_flows(settings: Settings, files: tuple[Path, ...]) -> None:
    """Run the cases beside flow files: NAME.test.yaml beside NAME.yaml, a list of {name, input, expect} (or error)."""
    found = flow_cases.suites(files)
    if not any(suite.cases for suite in found):
        names = ", ".join(f"{suite.path.stem}.test.yaml" for suite in found)
        raise click.UsageError(f"there are no cases: {names} would hold them")
    if not run_async(flow_cases.run_cases(Sandbox(best_effort=settings.jail == "best-effort"), found, click.echo)):
        raise click.exceptions.Exit(1)


@flow.command("list")
@JSON_OPTION
@click.pass_obj
def list_flows(settings: Settings, as_json: bool) -> None:
    """List the flows."""
    flows = with_store(settings, lambda store: store.flows())
    if as_json:
        print_json([_flow_line(item) for item in flows])
        return
    for item in flows:
        line = _flow_line(item)
        state = "enabled" if line["enabled"] else "disabled"
        click.echo(
            f"{line['name']:20}  {line['direction']:8}  {state:8}  version {line['version']}  {line['schedule'] or ''}"
        )


def _flow_line(item: Flow) -> dict[str, Any]:
    definition = item.definition
    return {
        "name": item.name,
        "version": item.version,
        "direction": definition.direction,
        "enabled": definition.enabled,
        "schedule": _schedule_text(definition),
    }


def _schedule_text(definition: Definition) -> str | None:
    schedule = definition.schedule
    if schedule is None:
        return None
    if schedule.cron is not None:
        return f"cron {schedule.cron} ({definition.timezone})"
    return f"after {schedule.after}" if schedule.after is not None else f"every {schedule.every:g}s"


@flow.command()
@click.argument("name")
@JSON_OPTION
@click.pass_obj
def show(settings: Settings, name: str, as_json: bool) -> None:
    """Show a flow: version, schedule with its next five fires, watermark, last runs."""

    async def work(store: Store) -> dict[str, Any]:
        item = await store.flow(name)
        schedule = item.definition.schedule
        now = SystemClock().now()
        fires = cron.next_fires(schedule, item.definition.timezone, now, 5) if schedule is not None else []
        runs = [await summarize(store, run) for run in await store.runs(name, limit=5)]
        return {
            **_flow_line(item),
            "next_fires": [iso(fire) for fire in fires],
            "watermark": iso(await store.watermark(name)),
            "runs": runs,
            "definition": item.document,
        }

    shown_flow = with_store(settings, work)
    if as_json:
        print_json(shown_flow)
        return
    definition, runs = shown_flow.pop("definition"), shown_flow.pop("runs")
    for key, value in shown_flow.items():
        click.echo(f"{key.replace('_', ' ')}: {', '.join(value) if isinstance(value, list) else value}")
    for item in runs:
        click.echo("run " + run_text(item))
    click.echo("---\n" + flow_file.dump(definition))


@flow.command()
@click.argument("name")
@click.pass_obj
def export(settings: Settings, name: str) -> None:
    """Print a flow as a flow file."""
    click.echo(flow_file.dump(with_store(settings, lambda store: store.flow(name)).document), nl=False)


@flow.command()
def schema() -> None:
    """Print the JSON Schema of flow files."""
    print_json(flow_file.schema(), indent=True)


@flow.command("webhook-key")
@click.argument("name")
@click.pass_obj
def webhook_key(settings: Settings, name: str) -> None:
    """Print the key that posts to a flow's alarm webhook are signed with, for the receiver to check them."""
    with_store(settings, lambda store: store.flow(name))
    click.echo(alarm.webhook_key(settings_.secret_key(settings), name))


@click.group()
def watermark() -> None:
    """The instant since which a flow asks for changes."""


@watermark.command("show")
@click.argument("name", metavar="FLOW")
@JSON_OPTION
@click.pass_obj
def show_watermark(settings: Settings, name: str, as_json: bool) -> None:
    """Show a flow's watermark, and since when its next run will ask."""
    _print_watermark(with_store(settings, lambda store: _watermark(store, name)), as_json=as_json)


@watermark.command("set")
@click.argument("name", metavar="FLOW")
@click.argument("since", metavar="ISO-DATE|none")
@JSON_OPTION
@click.pass_obj
def set_watermark(settings: Settings, name: str, since: str, as_json: bool) -> None:
    """Set a flow's watermark, backwards too; a date without an offset is in the flow's timezone; none: ask for all."""

    async def work(store: Store) -> dict[str, Any]:
        definition = inbound(await store.flow(name)).definition
        try:
            instant = None if since.lower() == "none" else request.instant(since, definition.timezone)
        except ValueError as error:
            raise click.UsageError(f"not an ISO date, nor none: {since!r}") from error
        if instant is not None and instant.year < 1970:
            raise click.UsageError("a watermark before 1970 is none: say none")
        await run_actions.set_watermark(store, name, instant, actor())
        return await _watermark(store, name)

    _print_watermark(with_store(settings, work), as_json=as_json)


async def _watermark(store: Store, name: str) -> dict[str, Any]:
    definition = inbound(await store.flow(name)).definition
    instant = await store.watermark(name)
    active = [item.run_id for item in await store.runs(name, active=True) if not item.read_complete]
    return {
        "flow": name,
        "watermark": iso(instant),
        "asks_since": iso(request.since(definition, instant)),
        "reading": active,
    }


def _print_watermark(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    click.echo(f"watermark: {found['watermark'] or 'none'}")
    click.echo(f"the next run asks for changes since: {found['asks_since'] or 'ever'}")
    if found["reading"]:
        click.echo(
            f"being read now: {', '.join(found['reading'])}; does not move a watermark that was set meanwhile", err=True
        )
