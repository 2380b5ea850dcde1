"""Commands for trying things out: an answer, an endpoint, the emulators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from imageflow.actions import rows, shapes
from imageflow.clock import SystemClock
from imageflow.commands import dry_run_text, stdout
from imageflow.commands.completion import FLOW, RUN
from imageflow.commands.shell import (
    FILE_OR_STDIN,
    JSON_OPTION,
    content_of,
    print_json,
    reading,
    run_async,
    sandbox_of,
    say_stopping,
)
from imageflow.commands.tables import Column, Line
from imageflow.emulator.erp import Auth, FakeErp
from imageflow.emulator.omnitron import FakeOmnitron
from imageflow.emulator.server import Emulator, serve_forever
from imageflow.flows import file as flow_file
from imageflow.http.client import Transport
from imageflow.http.origin import exact_origin
from imageflow.inspect import probe as probing
from imageflow.inspect.dry_run import DryRun, context_of, dry_run
from imageflow.inspect.live import Checkup, live
from imageflow.model.flow import Definition
from imageflow.runtime.process import stop_on_signals
from imageflow.settings import Settings


@click.command("try")
@click.argument("name", metavar="FLOW", type=FLOW)
@click.option(
    "--input",
    "file",
    type=FILE_OR_STDIN,
    help="A file with an answer of the ERP (- reads stdin).",
)
@click.option("--from-run", "run_id", metavar="RUN", type=RUN, help="Take a page that a run has read.")
@click.option(
    "--live", "is_live", is_flag=True, help="Ask the ERP for a page now, with the flow's login, as a first run does."
)
@click.option(
    "--page", type=click.IntRange(min=1), help="Which page of the run, or of the ERP; the first unless given."
)
@click.option("--explain", is_flag=True, help="Show what each operation and each line of the mapping did.")
@JSON_OPTION
@click.pass_obj
def try_flow(
    settings: Settings,
    name: str,
    file: Path | None,
    run_id: str | None,
    is_live: bool,
    page: int | None,
    explain: bool,
    as_json: bool,
) -> None:
    """Show what script, mapping and rows make of an answer, step by step; nothing is written.

    FLOW is a saved flow's name, or the path of a flow file.
    """
    if (file is not None) + (run_id is not None) + is_live != 1 or (page is not None and file is not None):
        raise click.UsageError("give one of --input FILE, --from-run RUN [--page N] and --live [--page N]")
    wanted = named(settings, name)
    context: dict[str, Any] = {}
    if file is not None:
        body = content_of(file)
    elif run_id is not None:
        read = reading(settings, lambda store: rows.page(store, run_id, page or 1))
        body, context = read.body, context_of(read)
    else:
        body = run_async(_asked(settings, wanted, page or 1))

    async def work() -> DryRun:
        async with sandbox_of(settings) as sandbox:
            return await dry_run(sandbox, wanted, body, context, as_answered=file is not None)

    result = run_async(work())
    if as_json:
        print_json(shapes.dry_run(result))
    else:
        stdout.say(dry_run_text.report(result, explain=explain))
    if not result.ok:
        raise click.exceptions.Exit(1)


def named(settings: Settings, name: str) -> Definition:
    """The flow of a path of a flow file, or of a saved flow's name."""
    if "/" in name or "." in name:
        return flow_file.parse(flow_file.load(Path(name)))
    return reading(settings, lambda store: store.flow(name)).definition


async def _asked(settings: Settings, wanted: Definition, page: int) -> bytes:
    if not wanted.inbound:
        raise click.UsageError(f"{wanted.name} is an outbound flow: no ERP is asked for its rows; give --input FILE")
    async with live(settings, SystemClock()) as asking:
        return await asking.page(wanted, page)


@click.command()
@click.argument("name", metavar="FLOW", type=FLOW)
@JSON_OPTION
@click.pass_obj
def check(settings: Settings, name: str, as_json: bool) -> None:
    """Try both logins of a flow, ask for a page of the ERP and a product of Omnitron; nothing is written.

    FLOW is a saved flow's name, or the path of a flow file.
    """
    wanted = named(settings, name)

    async def work() -> Checkup:
        async with live(settings, SystemClock()) as asking:
            return await asking.check(wanted)

    found = run_async(work())
    if as_json:
        print_json(found)
    else:
        columns = (Column("RESULT"), Column("CHECK"))
        stdout.show(columns, [Line(["ok" if one.ok else "WRONG", one.check], one.detail) for one in found.checks])
    if not found.ok:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("target", metavar="URL|FLOW")
@click.option("--header", multiple=True, help="A header to send, as in 'Authorization: Bearer …'; may be repeated.")
@click.option("--method", type=click.Choice(["GET", "POST"]), default="GET", show_default=True)
@click.pass_obj
@click.pass_context
def probe(context: click.Context, settings: Settings, target: str, header: tuple[str, ...], method: str) -> None:
    """Look at an ERP's endpoint: where its list is and how it pages. Prints what a flow file needs, with evidence.

    A URL is asked as it is. FLOW is a flow file, or a saved flow's name: then its endpoint is asked with its login, headers and
    parameters, and the body of a POST.
    """
    if "://" in target:
        found = _probed_url(settings, target, header, method)
    elif context.get_parameter_source("method") is not ParameterSource.DEFAULT or header:
        raise click.UsageError("--header and --method are for a URL; a flow says itself how its ERP is asked")
    else:
        found = run_async(_probed_flow(settings, named(settings, target)))
    for line in found.lines:
        click.echo(f"# {line}")
    if found.snippet is None:
        raise click.exceptions.Exit(1)
    click.echo(found.snippet, nl=False)


async def _probed_flow(settings: Settings, wanted: Definition) -> probing.Found:
    if not wanted.inbound:
        raise click.UsageError(f"{wanted.name} is an outbound flow: no ERP is asked for its rows")
    async with live(settings, SystemClock()) as asking:
        return await asking.probe(wanted)


def _probed_url(settings: Settings, url: str, header: tuple[str, ...], method: str) -> probing.Found:
    try:
        exact_origin(url)
    except ValueError as error:
        raise click.UsageError(f"the URL cannot be probed: {error}") from error
    headers = {name.strip(): value.strip() for name, colon, value in (one.partition(":") for one in header) if colon}
    if len(headers) != len(header) or not all(headers):
        raise click.UsageError("--header: write 'Name: value', each name once")

    async def work() -> probing.Found:
        async with Transport.of(settings) as transport:
            return await probing.probe(transport, url, method, headers)

    return run_async(work())


@click.command()
@click.argument("which", type=click.Choice(["erp", "omnitron"]))
@click.option("--port", default=0, help="Where to listen; 0 takes a free port.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--rows", default=1000, show_default=True, help="Rows of the ERP, or products of Omnitron.")
@click.option(
    "--auth",
    type=click.Choice(["none", "token", "oauth2", "basic", "header"]),
    default="none",
    show_default=True,
    help="How the ERP lets in, with user demo and password demo. token: POST /login; oauth2: POST /oauth2/token; header: "
    "X-Api-Key.",
)
@click.option(
    "--fault",
    multiple=True,
    help="A scripted fault, as in status=503,every=10 or latency=50ms,match=SKU-1*; a wrong one says what there is. May be "
    "repeated.",
)
@click.option("--fast", is_flag=True, help="Omnitron: keep no history of writes, to be a quick sink.")
def emulate(which: str, port: int, host: str, rows: int, auth: Auth, fault: tuple[str, ...], fast: bool) -> None:
    """Run a fake ERP or a fake Omnitron (user demo, password demo).

    The ERP pages in each way that flows know, below /images/ (next, offset, page, seek, …) and /shapes/ (odata, graphql, csv, …): `/`
    lists them all.
    """
    try:
        emulator: Emulator = (
            FakeErp(rows=rows, faults=fault, auth=auth)
            if which == "erp"
            else FakeOmnitron(products=rows, faults=fault, keep_history=not fast)
        )
    except ValueError as error:
        raise click.UsageError(f"--fault: {error}") from error

    async def work() -> None:
        async with stop_on_signals(say_stopping) as stop:
            await serve_forever(emulator, host=host, port=port, announce=click.echo, stop=stop)

    run_async(work())
