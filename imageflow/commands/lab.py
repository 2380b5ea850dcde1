"""Commands for trying things out: an answer, an endpoint, the emulators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from imageflow.actions import bench, rows, shapes
from imageflow.actions.bench import Tried
from imageflow.clock import SystemClock
from imageflow.commands import dry_run_text, stdout
from imageflow.commands.completion import FLOW_OR_FILE, RUN
from imageflow.commands.probing import LET_IN, REQUEST_OPTIONS, probed
from imageflow.commands.shell import (
    FILE_OR_STDIN,
    JSON_OPTION,
    PORT,
    content_of,
    note,
    print_json,
    reading,
    run_async,
    sandbox_of,
    say_stopping,
    store_to_read,
)
from imageflow.commands.tables import Column, Line
from imageflow.emulator.erp import Auth, FakeErp
from imageflow.emulator.omnitron import FakeOmnitron
from imageflow.emulator.server import Emulator, serve_forever
from imageflow.errors import FlowFileError, ImageFlowError
from imageflow.flows import file as flow_file
from imageflow.inspect import probe as probing
from imageflow.inspect.dry_run import DryRun, context_of, dry_run
from imageflow.inspect.live import Answered, Checkup, live
from imageflow.model.flow import Definition
from imageflow.runtime.process import stop_on_signals
from imageflow.settings import Settings


@click.command("try")
@click.argument("name", metavar="FLOW", type=FLOW_OR_FILE)
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
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=dry_run_text.SHOWN_ROWS,
    show_default=True,
    help="Show so many rows, those that failed first.",
)
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
    limit: int,
    as_json: bool,
) -> None:
    """Show what script, mapping and rows make of an answer, step by step; nothing is written.

    It also says which rows would be new on Omnitron, which would change there, and which are as they were written last.

    FLOW is a saved flow's name, or the path of a flow file.
    """
    if (file is not None) + (run_id is not None) + is_live != 1 or (page is not None and file is not None):
        raise click.UsageError("give one of --input FILE, --from-run RUN [--page N] and --live [--page N]")
    wanted = named(settings, name)
    context: dict[str, Any] = {}
    warned = None
    if file is not None:
        body = content_of(file)
    elif run_id is not None:
        read = reading(settings, lambda store: rows.page(store, run_id, page or 1))
        body, context = read.body, context_of(read)
    else:
        body, warned = run_async(_asked(settings, wanted, page or 1))

    async def work() -> Tried:
        async with sandbox_of(settings) as sandbox:
            dry = await dry_run(sandbox, wanted, body, context, as_answered=file is not None, warned=warned)
            return await _compared(settings, wanted, dry)

    result = run_async(work())
    if as_json:
        print_json(shapes.dry_run(result))
    else:
        stdout.say(dry_run_text.report(result, explain=explain, limit=limit))
    if not result.dry.ok:
        raise click.exceptions.Exit(1)


async def _compared(settings: Settings, wanted: Definition, dry: DryRun) -> Tried:
    """A dry run with what it would change. If the store is away, prints a note and leaves out what it would change."""
    try:
        async with store_to_read(settings, said=False) as store:
            return await bench.compared(store, wanted, dry)
    except ImageFlowError as error:
        note(f"what would change on Omnitron is not known: {error}")
        return bench.not_compared(dry)


def named(settings: Settings, name: str) -> Definition:
    """The flow of a path of a flow file, or of a saved flow's name."""
    if "/" in name or "." in name:
        try:
            return flow_file.parse(flow_file.load(Path(name)))
        except FlowFileError as error:
            raise error.of(name) from error
    return reading(settings, lambda store: store.flow(name)).definition


async def _asked(settings: Settings, wanted: Definition, page: int) -> Answered:
    if not wanted.inbound:
        raise click.UsageError(f"{wanted.name} is an outbound flow: no ERP is asked for its rows; give --input FILE")
    async with live(settings, SystemClock()) as asking:
        return await asking.page(wanted, page)


@click.command()
@click.argument("name", metavar="FLOW", type=FLOW_OR_FILE)
@JSON_OPTION
@click.pass_obj
def check(settings: Settings, name: str, as_json: bool) -> None:
    """Try both logins of a flow, ask for a page of the ERP and a product of Omnitron; nothing is written.

    Also whether the ERP knows the parameters that ask for changes and for single products: it asks for changes since a future date,
    and for an unknown product. Both must return no rows.

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
@click.argument("target", metavar="URL|FLOW", type=FLOW_OR_FILE)
@REQUEST_OPTIONS
@click.pass_obj
def probe(settings: Settings, /, target: str, **request: Any) -> None:
    """Look at an ERP's endpoint: where its list is and how it pages. Prints what a flow file needs, with evidence.

    A URL is asked as it is, and what makes rows of its answer is printed, too. FLOW is a flow file, or a saved flow's name: then its
    endpoint is asked with its login, headers and parameters, and the body of a POST.
    """
    if "://" in target:
        found = probed(settings, target, **request)
    elif any(request.values()):
        raise click.UsageError("--header, --method and --body are for a URL; a flow says itself how its ERP is asked")
    else:
        found = run_async(_probed_flow(settings, named(settings, target)))
    questions = found.rows.questions if found.rows else ()
    for line in [*found.lines, *(f"question: {question}" for question in questions)]:
        click.echo(f"# {line}")
    if found.refused is not None:
        note(LET_IN)
    if found.erp is None:
        raise click.exceptions.Exit(1)
    click.echo(flow_file.dump({"erp": found.erp, **((found.rows and found.rows.fields) or {})}), nl=False)


async def _probed_flow(settings: Settings, wanted: Definition) -> probing.Found:
    if not wanted.inbound:
        raise click.UsageError(f"{wanted.name} is an outbound flow: no ERP is asked for its rows")
    async with live(settings, SystemClock()) as asking:
        return (await asking.probe(wanted))._replace(rows=None)


@click.command()
@click.argument("which", type=click.Choice(["erp", "omnitron"]))
@click.option("--port", type=PORT, default=0, help="Where to listen; 0 takes a free port.")
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
    help="A scripted fault, as in status=503,every=10 or latency=50ms,match=SKU-1*; a wrong one lists the known faults. May be "
    "repeated.",
)
@click.option(
    "--strict", is_flag=True, help="Omnitron: refuse (400) images of a product that it does not have, see --rows."
)
@click.option("--fast", is_flag=True, help="Omnitron: keep no history of writes, to be a quick sink.")
def emulate(
    which: str, port: int, host: str, rows: int, auth: Auth, fault: tuple[str, ...], strict: bool, fast: bool
) -> None:
    """Run a fake ERP or a fake Omnitron (user demo, password demo).

    The ERP pages in each way that flows know, below /images/ (next, offset, page, seek, …) and /shapes/ (odata, graphql, csv, …): `/`
    lists them all.
    """
    try:
        emulator: Emulator = (
            FakeErp(rows=rows, faults=fault, auth=auth)
            if which == "erp"
            else FakeOmnitron(products=rows, faults=fault, strict=strict, keep_history=not fast)
        )
    except ValueError as error:
        raise click.UsageError(f"--fault: {error}") from error

    async def work() -> None:
        async with stop_on_signals(say_stopping) as stop:
            await serve_forever(emulator, host=host, port=port, announce=click.echo, stop=stop)

    run_async(work())
