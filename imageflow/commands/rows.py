"""Commands that show runs and rows, and what happened to a product."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from imageflow.actions import rows as row_actions
from imageflow.actions import run_log, shapes
from imageflow.actions import runs as run_actions
from imageflow.actions.runs import Seen
from imageflow.commands import history_text
from imageflow.commands.shell import JSON_OPTION, json_text, print_json, sandbox_of, with_store
from imageflow.commands.texts import error_text, printable_text, row_text, run_text
from imageflow.inspect import product_history
from imageflow.model.row import STATES, State
from imageflow.settings import Settings
from imageflow.store import ErrorGroup, Store


@click.command()
@click.argument("flow_name", metavar="[FLOW]", required=False)
@click.option("--limit", default=100, show_default=True)
@JSON_OPTION
@click.pass_obj
def runs(settings: Settings, flow_name: str | None, limit: int, as_json: bool) -> None:
    """List runs, newest first."""

    async def work(store: Store) -> list[Seen]:
        found = await run_actions.listed(store, flow_name, limit=limit)
        if flow_name is not None and not found:
            await store.flow(flow_name)
        return found

    found = [shapes.run_shown(seen) for seen in with_store(settings, work)]
    if as_json:
        print_json(found)
        return
    for item in found:
        click.echo(run_text(item))


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--state", type=click.Choice(STATES))
@JSON_OPTION
@click.pass_obj
def rows(settings: Settings, run_id: str, state: State | None, as_json: bool) -> None:
    """List the rows of a run."""

    async def work(store: Store) -> None:
        separator, bad = "[", 0
        async for row in row_actions.every(store, run_id, state=state):
            if as_json:
                sys.stdout.write(separator + json_text(shapes.row_shown(row)))
                separator = ",\n "
            else:
                click.echo(row_text(row))
                bad += row.state in ("failed", "cancelled")
        if as_json:
            sys.stdout.write("[]\n" if separator == "[" else "]\n")
        elif bad:
            click.echo(f"{bad:,} rows were not written: imageflow errors {run_id}; then: imageflow retry {run_id}")

    with_store(settings, work)


@click.command()
@click.argument("run_id", metavar="RUN")
@JSON_OPTION
@click.pass_obj
def log(settings: Settings, run_id: str, as_json: bool) -> None:
    """Tell a run: who asked for it, what was read, printed and failed, and how it ended."""

    async def work(store: Store) -> list[shapes.LogEntry]:
        entries, more = await run_log.told(store, run_id)
        while more is not None:
            later, more = await run_log.told(store, run_id, after=more)
            entries += later
        return [shapes.log_entry(entry) for entry in entries]

    found = with_store(settings, work)
    if as_json:
        print_json(found)
        return
    for entry in found:
        about = f"page {entry.page}" if entry.page is not None else entry.at or ""
        first, *others = printable_text(entry.text).split("\n")
        click.echo(f"{about:27}  {entry.what:8}  {first}")
        for line in others:
            click.echo(f"{'':39}{line}")


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--flow", "flow_name", metavar="FLOW", help="What is still open in a flow, over all of its runs.")
@JSON_OPTION
@click.pass_obj
def errors(settings: Settings, run_id: str | None, flow_name: str | None, as_json: bool) -> None:
    """List the causes for which rows of a run have failed, the most frequent first."""
    if (run_id is None) == (flow_name is None):
        raise click.UsageError("give either RUN or --flow FLOW")

    async def work(store: Store) -> Sequence[ErrorGroup | shapes.OpenErrorShown]:
        if run_id is not None:
            return await row_actions.errors(store, run_id)
        return [shapes.open_error(error) for error in await row_actions.open_errors(store, flow_name or "")]

    found = with_store(settings, work)
    if as_json:
        print_json(found)
        return
    for error in found:
        click.echo(printable_text(error_text(error)))
    if found:
        what = run_id or f"--flow {flow_name}"
        click.echo(f"mend the cause (imageflow flow apply FILE), then: imageflow retry {what} [--group CAUSE] [--wait]")


@click.command("trace")
@click.argument("product", metavar="SKU")
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=product_history.ROWS_LIMIT,
    show_default=True,
    help="How many rows, from the newest.",
)
@JSON_OPTION
@click.pass_obj
def trace(settings: Settings, product: str, limit: int, as_json: bool) -> None:
    """Show everything that happened to a product, from the ERP's row to Omnitron's answers. SKU: or a base code."""

    async def work(store: Store) -> product_history.Trace:
        async with sandbox_of(settings) as sandbox:
            return await product_history.trace(store, sandbox, product, limit=limit)

    found = with_store(settings, work)
    if as_json:
        print_json(shapes.product_history(found))
    else:
        click.echo(history_text.report(found))
