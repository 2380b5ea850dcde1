"""Commands for trying things out: an answer, an endpoint, the emulators."""

from __future__ import annotations

from pathlib import Path

import click

from imageflow.actions import rows, shapes
from imageflow.commands import dry_run_text
from imageflow.commands.shell import (
    FILE_OR_STDIN,
    JSON_OPTION,
    content_of,
    print_json,
    run_async,
    sandbox_of,
    with_store,
)
from imageflow.emulator.erp import FakeErp
from imageflow.emulator.omnitron import FakeOmnitron
from imageflow.emulator.server import Emulator, serve_forever
from imageflow.flows import file as flow_file
from imageflow.http.client import Transport, exact_origin
from imageflow.inspect import probe as probing
from imageflow.inspect.dry_run import DryRun, dry_run
from imageflow.model.flow import Definition
from imageflow.runtime.process import stop_on_signals
from imageflow.settings import Settings
from imageflow.store import Store


@click.command("try")
@click.argument("name", metavar="FLOW")
@click.option(
    "--input",
    "file",
    type=FILE_OR_STDIN,
    help="A file with an answer of the ERP (- reads stdin).",
)
@click.option("--from-run", "run_id", metavar="RUN", help="Take a page that a run has read.")
@click.option("--page", type=click.IntRange(min=1), help="Which page of that run; the first unless given.")
@click.option("--explain", is_flag=True, help="Show what each operation and each line of the mapping did.")
@JSON_OPTION
@click.pass_obj
def try_flow(
    settings: Settings, name: str, file: Path | None, run_id: str | None, page: int | None, explain: bool, as_json: bool
) -> None:
    """Show what script, mapping and rows make of an answer, step by step; nothing is written.

    FLOW is a saved flow's name, or the path of a flow file.
    """
    if (file is None) == (run_id is None) or (page is not None and run_id is None):
        raise click.UsageError("give either --input FILE, or --from-run RUN with --page N")
    is_path = "/" in name or "." in name
    definition = flow_file.parse(flow_file.load(Path(name))) if is_path else None
    body = None if file is None else content_of(file)

    async def fetch(store: Store) -> tuple[Definition, bytes]:
        wanted = definition or (await store.flow(name)).definition
        if body is not None or run_id is None:
            return wanted, body or b""
        return wanted, (await rows.page(store, run_id, page or 1)).body

    async def work(wanted: Definition, answer: bytes) -> DryRun:
        async with sandbox_of(settings) as sandbox:
            return await dry_run(sandbox, wanted, answer)

    needed = (definition, body) if definition is not None and body is not None else with_store(settings, fetch)
    result = run_async(work(*needed))
    if as_json:
        print_json(shapes.dry_run(result))
    else:
        click.echo(dry_run_text.report(result, explain=explain))
    if not result.ok:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("url")
@click.option("--header", multiple=True, help="A header to send, as in 'Authorization: Bearer …'; may be repeated.")
@click.option("--method", type=click.Choice(["GET", "POST"]), default="GET", show_default=True)
def probe(url: str, header: tuple[str, ...], method: str) -> None:
    """Look at an ERP's endpoint: where its list is and how it pages. Prints what a flow file needs, with evidence."""
    try:
        exact_origin(url)
    except ValueError as error:
        raise click.UsageError(f"the URL cannot be probed: {error}") from error
    headers = {name.strip(): value.strip() for name, colon, value in (one.partition(":") for one in header) if colon}
    if len(headers) != len(header) or not all(headers):
        raise click.UsageError("--header: write 'Name: value', each name once")

    async def work() -> probing.Found:
        async with Transport() as transport:
            return await probing.probe(transport, url, method, headers)

    found = run_async(work())
    for line in found.lines:
        click.echo(f"# {line}")
    if found.snippet is None:
        raise click.exceptions.Exit(1)
    click.echo(found.snippet, nl=False)


@click.command()
@click.argument("which", type=click.Choice(["erp", "omnitron"]))
@click.option("--port", default=0, help="Where to listen; 0 takes a free port.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--rows", default=1000, show_default=True, help="Rows of the ERP, or products of Omnitron.")
@click.option("--fault", multiple=True, help="A scripted fault, as in status=503,every=10; may be repeated.")
@click.option("--fast", is_flag=True, help="Omnitron: keep no history of writes, to be a quick sink.")
def emulate(which: str, port: int, host: str, rows: int, fault: tuple[str, ...], fast: bool) -> None:
    """Run a fake ERP or a fake Omnitron (user demo, password demo)."""
    try:
        emulator: Emulator = (
            FakeErp(rows=rows, faults=fault)
            if which == "erp"
            else FakeOmnitron(products=rows, faults=fault, keep_history=not fast)
        )
    except ValueError as error:
        raise click.UsageError(f"--fault: {error}") from error

    async def work() -> None:
        async with stop_on_signals() as stop:
            await serve_forever(emulator, host=host, port=port, announce=click.echo, stop=stop)

    run_async(work())
