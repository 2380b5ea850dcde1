"""Commands that show runs and rows, and what happened to a product."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec
import orjson

from imageflow.actions.run_watch import summarize
from imageflow.clock import iso
from imageflow.commands.shell import JSON_OPTION, print_json, with_store
from imageflow.commands.texts import run_text
from imageflow.inspect import flow_cases
from imageflow.inspect import product_history as tracing
from imageflow.model.row import RowLog, shown
from imageflow.sandbox.supervisor import Sandbox
from imageflow.settings import Settings
from imageflow.store import ErrorGroup, OpenError, Store


@click.command()
@click.argument("flow_name", metavar="[FLOW]", required=False)
@click.option("--limit", default=100, show_default=True)
@JSON_OPTION
@click.pass_obj
def runs(settings: Settings, flow_name: str | None, limit: int, as_json: bool) -> None:
    """List runs, newest first."""

    async def work(store: Store) -> list[dict[str, Any]]:
        if flow_name is not None:
            await store.flow(flow_name)
        return [await summarize(store, item) for item in await store.runs(flow_name, limit=limit)]

    found = with_store(settings, work)
    if as_json:
        print_json(found)
        return
    for item in found:
        click.echo(run_text(item))


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--state", type=click.Choice(["written", "unchanged", "superseded", "failed"]))
@JSON_OPTION
@click.pass_obj
def rows(settings: Settings, run_id: str, state: str | None, as_json: bool) -> None:
    """List the rows of a run."""

    async def work(store: Store) -> None:
        await store.run(run_id)
        after, separator = 0, "["
        while True:
            logs = await store.rows(run_id, state=state, after=after, limit=1000)
            for entry in logs:
                if as_json:
                    sys.stdout.write(separator + orjson.dumps(shown(entry)).decode())
                    separator = ",\n "
                else:
                    click.echo(_row_text(entry))
            if len(logs) < 1000:
                break
            after = logs[-1].row
        if as_json:
            sys.stdout.write("[]\n" if separator == "[" else "]\n")

    with_store(settings, work)


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--flow", "flow_name", metavar="FLOW", help="What is still open in a flow, over all of its runs.")
@JSON_OPTION
@click.pass_obj
def errors(settings: Settings, run_id: str | None, flow_name: str | None, as_json: bool) -> None:
    """List the causes for which rows of a run have failed, the most frequent first."""
    if (run_id is None) == (flow_name is None):
        raise click.UsageError("give either RUN or --flow FLOW")

    async def work(store: Store) -> list[ErrorGroup] | list[OpenError]:
        if run_id is not None:
            await store.run(run_id)
            return await store.errors(run_id)
        assert flow_name is not None
        await store.flow(flow_name)
        return await store.open_errors(flow_name)

    found = with_store(settings, work)
    if as_json:
        print_json([_error_object(group) for group in found])
        return
    for group in found:
        click.echo(flow_cases.printable_text(_error_text(group)))


def _error_object(group: ErrorGroup | OpenError) -> dict[str, Any]:
    shown_group: dict[str, Any] = msgspec.to_builtins(group)
    return shown_group | ({"since": iso(group.since)} if isinstance(group, OpenError) else {})


def _error_text(group: ErrorGroup | OpenError) -> str:
    cause = f"{group.stage}: {group.reason}"
    if isinstance(group, OpenError):
        newest = f"newest: run {group.run_id}, row {group.row}, {group.product or 'no product'}"
        counts = f"{_counted(group.rows, 'row')} in {_counted(group.runs, 'run')}"
        return f"{group.group}  {counts} since {iso(group.since)}  {cause} ({newest})"
    again = "" if group.retryable == group.rows else f", {group.retryable} can be written again"
    example = f"e.g. row {group.example_row}, {group.example_product or 'no product'}"
    return f"{group.group}  {_counted(group.rows, 'row')}{again}  {cause} ({example})"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


@click.command("trace")
@click.argument("product", metavar="SKU")
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=tracing.ROWS_LIMIT,
    show_default=True,
    help="How many rows, from the newest.",
)
@JSON_OPTION
@click.pass_obj
def trace(settings: Settings, product: str, limit: int, as_json: bool) -> None:
    """Show everything that happened to a product, from the ERP's row to Omnitron's answers. SKU: or a base code."""

    async def work(store: Store) -> tracing.Trace:
        async with Sandbox(best_effort=settings.jail == "best-effort") as sandbox:
            return await tracing.trace(store, sandbox, product, limit=limit)

    found = with_store(settings, work)
    click.echo(tracing.as_json(found) if as_json else tracing.report(found))


def _row_text(entry: RowLog) -> str:
    text = f"{entry.row:8}  {entry.product or '-':30}  {entry.state:10}"
    return f"{text}  {entry.stage}: {entry.reason}" if entry.reason else text
