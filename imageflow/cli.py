"""The command line. Each command is thin: settings, one call, what to print, the exit status.

Exit status: 0 done, 1 the work failed, 2 wrong usage, settings or flow file. Results go to stdout, logs to stderr.
"""

from __future__ import annotations

import asyncio
import csv
import getpass
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
import msgspec
import orjson
import uvloop

from imageflow import __version__, bootstrap, changes, flowfile, log, secret, trial
from imageflow import settings as settings_
from imageflow import trace as tracing
from imageflow.bootstrap import DataDirBusy, Substrate
from imageflow.changes import Actor, inbound
from imageflow.clock import SystemClock, iso
from imageflow.errors import FlowFileError, ImageFlowError, Problem
from imageflow.flow import Definition, Flow
from imageflow.follow import follow, nothing_missing, summarize
from imageflow.gateway.access import add_user
from imageflow.read import request
from imageflow.row import RowLog, shown
from imageflow.run import FINAL, Run
from imageflow.schedule import trigger
from imageflow.settings import Settings
from imageflow.store import ErrorGroup, OpenError, Store
from imageflow.transform.mapping import check_mapping
from imageflow.transform.script import Jails, check_script

T = TypeVar("T")
EPILOG = "\b\nSettings, from the environment:\n" + "\n".join(
    f"  {settings_.PREFIX}{name}\n      {text}" for name, text in settings_.DOCS.items()
)
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def main() -> NoReturn:
    """The entry point: runs a command and turns errors into words and an exit status."""
    try:
        # outside standalone mode click returns the status of an Exit instead of ending the process
        status = cli(standalone_mode=False)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except FlowFileError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        sys.exit(error.exit_status)
    except ImageFlowError as error:
        print(f"imageflow: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="imageflow")
@click.pass_context
def cli(context: click.Context) -> None:
    """Move product images from an ERP to Omnitron."""
    context.obj = settings_.load(os.environ)
    log.configure(context.obj.log_format)


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end on uvloop. A TaskGroup's single error is raised as itself."""
    try:
        return uvloop.run(work)
    except BaseExceptionGroup as group:
        raise _first(group) from group
    except asyncio.CancelledError as error:
        raise ImageFlowError("stopped before the end; what was accepted goes on when ImageFlow runs again") from error


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def actor() -> Actor:
    """Who changes something: whoever runs the command."""
    return Actor(getpass.getuser(), "command line")


def print_json(value: Any, *, indent: bool = False) -> None:
    """One line, so that the last line of stdout is the whole object; indented where people read it."""
    option = orjson.OPT_INDENT_2 if indent else 0
    sys.stdout.write(orjson.dumps(value, option=option).decode() + "\n")
    sys.stdout.flush()


# services ----------------------------------------------------------------------------------------------------------------


def _service_command(name: str, text: str) -> None:
    @click.pass_obj
    def command(settings: Settings, port: int | None = None) -> None:
        if settings.embedded:
            raise click.UsageError(
                f"{name} as a process of its own needs RabbitMQ: set {settings_.PREFIX}BROKER_URL=amqp://…, or use `imageflow up`"
            )
        run_async(_serve(settings, [name], port, ()))

    if name == "gateway":
        command = click.option("--port", default=8080, show_default=True, help="Where to listen; 0 takes a free port.")(
            command
        )
    cli.command(name, help=text)(command)


_service_command("scheduler", "Fire schedules and let runs begin.")
_service_command("reader", "Read pages from ERPs.")
_service_command("transformer", "Turn pages into rows: script, mapping.")
_service_command("writer", "Write rows to Omnitron.")
_service_command("gateway", "Take in outbound posts; serve /ready, /health, /metrics.")


@cli.command()
@click.option(
    "--flows",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Apply the flow files in this folder.",
)
@click.option("--port", default=8080, show_default=True, help="Where the gateway listens; 0 takes a free port.")
@click.pass_obj
def up(settings: Settings, flows: Path | None, port: int) -> None:
    """Run all services in one process."""
    run_async(_serve(settings, bootstrap.SERVICES, port, _load_dir(flows)))


async def _serve(
    settings: Settings, names: Sequence[str], port: int | None, documents: Sequence[dict[str, Any]]
) -> None:
    with bootstrap.data_dir_lock(settings):
        async with (
            bootstrap.stop_on_signals() as stop,
            bootstrap.open_substrate(settings, os.environ, consumer=True) as substrate,
        ):
            for document in documents:
                await changes.save_flow(substrate.store, document, actor())
            await bootstrap.run_services(substrate, names, stop, port=port)


# flows -------------------------------------------------------------------------------------------------------------------


@cli.group()
def flow() -> None:
    """Check, save and show flows."""


FILES = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))


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
        trial.read_cases(path) if flowfile.is_case_file(path) else _checked(path)
    except FlowFileError as error:
        return error.problems
    return []


def _checked(path: Path) -> dict[str, Any]:
    """A flow file's document, with everything checked. Raises FlowFileError with all problems."""
    document: dict[str, Any] = flowfile.load(path)
    definition = flowfile.parse(document)
    problems = check_script(definition.script) if definition.script else []
    problems += check_mapping(definition.mapping) if definition.mapping else []
    if problems:
        raise FlowFileError(problems)
    return document


def _checked_all(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Documents of several files; problems carry their file's name; nothing is applied if one is wrong."""
    documents, problems = [], []
    for path in paths:
        try:
            documents.append(_checked(path))
        except FlowFileError as error:
            problems += [Problem("", f"{path}: {problem}") for problem in error.problems]
    names = [document["name"] for document in documents]
    problems += [
        Problem("", f"two flow files have the name {name}") for name in {n for n in names if names.count(n) > 1}
    ]
    if problems:
        raise FlowFileError(problems)
    return documents


def _load_dir(folder: Path | None) -> list[dict[str, Any]]:
    if folder is None:
        return []
    return _checked_all(sorted(path for path in folder.iterdir() if flowfile.is_flow_file(path)))


@flow.command()
@FILES
@click.option("--force", is_flag=True, help="Save them even if they fail their cases.")
@click.pass_obj
def apply(settings: Settings, files: tuple[Path, ...], force: bool) -> None:
    """Save flow files as new versions; all of them or none, and none that fails its cases (see `flow test`)."""
    files = tuple(path for path in files if not flowfile.is_case_file(path))
    if not files:
        raise click.UsageError("these are files with cases; there is no flow file among them")
    documents = _checked_all(files)
    if not force:
        _pass_cases(files)

    async def work(store: Store) -> list[Flow]:
        return [await changes.save_flow(store, document, actor()) for document in documents]

    for saved in _with_store(settings, work):
        click.echo(f"{saved.name}: version {saved.version}")


def _pass_cases(files: Sequence[Path]) -> None:
    """Raises ImageFlowError where a flow file fails the cases beside it, and says which on stderr."""
    found = [suite for suite in trial.suites(files) if suite.cases]
    lines: list[str] = []
    if found and not run_async(trial.run_cases(found, lines.append)):
        click.echo("\n".join(lines), err=True)
        raise ImageFlowError("nothing is saved: a flow fails its cases (--force saves it all the same)")


@flow.command("test")
@FILES
def test_flows(files: tuple[Path, ...]) -> None:
    """Run the cases beside flow files: NAME.test.yaml beside NAME.yaml, a list of {name, input, expect} (or error)."""
    found = trial.suites(files)
    if not any(suite.cases for suite in found):
        names = ", ".join(f"{suite.path.stem}.test.yaml" for suite in found)
        raise click.UsageError(f"there are no cases: {names} would hold them")
    if not run_async(trial.run_cases(found, click.echo)):
        raise click.exceptions.Exit(1)


@cli.command("try")
@click.argument("name", metavar="FLOW")
@click.option(
    "--input",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
    help="A file with an answer of the ERP (- reads stdin).",
)
@click.option("--from-run", "run_id", metavar="RUN", help="Take a page that a run has read.")
@click.option("--page", type=click.IntRange(min=1), help="Which page of that run; the first unless given.")
@JSON_OPTION
@click.pass_obj
def try_flow(
    settings: Settings, name: str, file: Path | None, run_id: str | None, page: int | None, as_json: bool
) -> None:
    """Show what script, mapping and rows make of an answer, step by step; nothing is written.

    FLOW is a saved flow's name, or the path of a flow file.
    """
    if (file is None) == (run_id is None) or (page is not None and run_id is None):
        raise click.UsageError("give either --input FILE, or --from-run RUN with --page N")
    is_path = "/" in name or "." in name
    definition = flowfile.parse(flowfile.load(Path(name))) if is_path else None
    body = None if file is None else sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()

    async def fetch(store: Store) -> tuple[Definition, bytes]:
        wanted = definition or (await store.flow(name)).definition
        if body is not None or run_id is None:
            return wanted, body or b""
        await store.run(run_id)
        return wanted, (await store.page(run_id, page or 1)).body

    async def work(wanted: Definition, answer: bytes) -> trial.Trial:
        async with Jails() as jails:
            return await trial.attempt(jails, wanted, answer)

    needed = (definition, body) if definition is not None and body is not None else _with_store(settings, fetch)
    result = run_async(work(*needed))
    click.echo(trial.as_json(result) if as_json else trial.report(result))
    if not result.ok:
        raise click.exceptions.Exit(1)


@flow.command("list")
@JSON_OPTION
@click.pass_obj
def list_flows(settings: Settings, as_json: bool) -> None:
    """List the flows."""
    flows = _with_store(settings, lambda store: store.flows())
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
        fires = trigger.next_fires(schedule, item.definition.timezone, now, 5) if schedule is not None else []
        runs = [await summarize(store, run) for run in await store.runs(name, limit=5)]
        return {
            **_flow_line(item),
            "next_fires": [iso(fire) for fire in fires],
            "watermark": iso(await store.watermark(name)),
            "runs": runs,
            "definition": item.document,
        }

    shown_flow = _with_store(settings, work)
    if as_json:
        print_json(shown_flow)
        return
    definition, runs = shown_flow.pop("definition"), shown_flow.pop("runs")
    for key, value in shown_flow.items():
        click.echo(f"{key.replace('_', ' ')}: {', '.join(value) if isinstance(value, list) else value}")
    for item in runs:
        click.echo("run " + _run_text(item))
    click.echo("---\n" + flowfile.dump(definition))


@flow.command()
@click.argument("name")
@click.pass_obj
def export(settings: Settings, name: str) -> None:
    """Print a flow as a flow file."""
    click.echo(flowfile.dump(_with_store(settings, lambda store: store.flow(name)).document), nl=False)


@flow.command()
def schema() -> None:
    """Print the JSON Schema of flow files."""
    print_json(flowfile.schema(), indent=True)


# runs and rows ------------------------------------------------------------------------------------------------------------


@cli.command()
@click.argument("name", metavar="FLOW")
@click.option(
    "--flows",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Apply the flow files in this folder first.",
)
@click.option("--ids", help="Only these identifiers: A,B.")
@click.option(
    "--ids-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
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
        results = run_async(_run_missing(settings, name, _load_dir(flows), wait=wait))
        for result in results:
            _print_run(result, as_json=as_json)
        if wait and any(result["status"] not in ("success", "empty") for result in results):
            raise click.exceptions.Exit(1)
        return
    identifiers = _identifiers(ids, ids_file)
    result = run_async(_run(settings, name, _load_dir(flows), identifiers, wait=wait))
    _print_run(result, as_json=as_json)
    if wait and result["status"] not in ("success", "empty"):
        raise click.exceptions.Exit(1)


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
    async with _working(settings, alone=wait) as (substrate, own):
        store = substrate.store
        for document in documents:
            await changes.save_flow(store, document, actor())
        flow = await store.flow(name)
        if own:
            for ref in flowfile.referenced_secrets(flow.definition):
                secret.resolve(ref)
        run_id = await changes.start_run(store, substrate.relay, name, ids, actor(), substrate.clock.now())
        if not wait:
            return await summarize(store, await store.run(run_id))
        async with _services(substrate, enabled=own):
            return await summarize(store, await follow(store, run_id, _progress()))


async def _run_missing(
    settings: Settings, name: str, documents: Sequence[dict[str, Any]], *, wait: bool
) -> list[dict[str, Any]]:
    """Fetch missing, now: the object of each run, in their order; one of an empty run where nothing is missing."""
    async with _working(settings, alone=wait) as (substrate, own), bootstrap.missing_fetcher(substrate) as fetcher:
        store = substrate.store
        for document in documents:
            await changes.save_flow(store, document, actor())
        flow = inbound(await store.flow(name))
        if own:
            for ref in flowfile.referenced_secrets(flow.definition):
                secret.resolve(ref)
        begun = await fetcher.ask_now(flow, getpass.getuser())
        if not begun.runs:
            return [await nothing_missing(store, name, begun.warnings)]
        if not wait:
            return [await summarize(store, await store.run(item.run_id)) for item in begun.runs]
        async with _services(substrate, enabled=own):
            ended = [await follow(store, item.run_id, _progress()) for item in begun.runs]
        return [await summarize(store, item) for item in await fetcher.judge(flow, ended)]


@asynccontextmanager
async def _working(settings: Settings, *, alone: bool) -> AsyncIterator[tuple[Substrate, bool]]:
    """The substrate, and whether this process is to run the services itself: embedded, and no other process does."""
    if settings.embedded and alone:
        try:
            with bootstrap.data_dir_lock(settings):
                async with bootstrap.open_substrate(settings, os.environ, consumer=True) as substrate:
                    yield substrate, True
                    return
        except DataDirBusy:
            click.echo(f"handing over to the process that runs on {settings.data_dir}", err=True)
    async with bootstrap.open_substrate(settings, os.environ, consumer=False) as substrate:
        yield substrate, False


@asynccontextmanager
async def _services(substrate: Substrate, *, enabled: bool) -> AsyncIterator[None]:
    """All services but the gateway, in this process, for as long as the body lasts."""
    if not enabled:
        yield
        return
    async with bootstrap.stop_on_signals() as stop, asyncio.TaskGroup() as group:
        services = group.create_task(
            bootstrap.run_services(substrate, ("scheduler", "reader", "transformer", "writer"), stop)
        )
        try:
            async with bootstrap.ended_by(stop):
                yield
        finally:
            stop.set()
            await asyncio.shield(services)


def _progress() -> Callable[[Run], None] | None:
    """A progress line, where somebody looks at one."""
    if not sys.stderr.isatty():
        return None

    def show_progress(run: Run) -> None:
        end = "\n" if run.status in FINAL else ""
        counts = run.counts
        sys.stderr.write(f"\r\x1b[K{run.status}: {run.pages} pages, {counts.settled} of {counts.total} rows{end}")
        sys.stderr.flush()

    return show_progress


@cli.command()
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

    found = _with_store(settings, work)
    if as_json:
        print_json(found)
        return
    for item in found:
        click.echo(_run_text(item))


@cli.command()
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

    _with_store(settings, work)


@cli.command()
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

    found = _with_store(settings, work)
    if as_json:
        print_json([_error_object(group) for group in found])
        return
    for group in found:
        click.echo(trial.printable_text(_error_text(group)))


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


@cli.command("retry")
@click.argument("run_id", metavar="RUN")
@click.option("--row", type=int, help="Only this row.")
@click.option("--group", metavar="FINGERPRINT", help="Only rows that failed of one cause, see `imageflow errors`.")
@click.option("--wait", is_flag=True, help="Wait until the run has ended.")
@JSON_OPTION
@click.pass_obj
def retry_rows(settings: Settings, run_id: str, row: int | None, group: str | None, wait: bool, as_json: bool) -> None:
    """Write a run's failed rows again: all, one, or those of one cause."""

    async def work() -> dict[str, Any]:
        async with _working(settings, alone=wait) as (substrate, own):
            store = substrate.store
            await changes.retry(store, substrate.relay, run_id, actor(), row=row, group=group)
            if not wait:
                return await summarize(store, await store.run(run_id))
            async with _services(substrate, enabled=own):
                return await summarize(store, await follow(store, run_id, _progress()))

    result = run_async(work())
    _print_run(result, as_json=as_json)
    if wait and result["status"] not in ("success", "empty"):
        raise click.exceptions.Exit(1)


@cli.command("trace")
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
def trace_product(settings: Settings, product: str, limit: int, as_json: bool) -> None:
    """Show everything that happened to a product, from the ERP's row to Omnitron's answers. SKU: or a base code."""

    async def work(store: Store) -> tracing.Trace:
        async with Jails() as jails:
            return await tracing.trace(store, jails, product, limit=limit)

    found = _with_store(settings, work)
    click.echo(tracing.as_json(found) if as_json else tracing.report(found))


def _print_run(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(result)
    else:
        click.echo(_run_text(result))


def _run_text(item: dict[str, Any]) -> str:
    rows_ = item["rows"]
    parts = ", ".join(
        f"{rows_[state]} {state}" for state in ("written", "unchanged", "superseded", "failed") if rows_[state]
    )
    text = f"{item['run_id']}  {item['flow']:20}  {item['status']:8}  {item['pages']} pages, {rows_['total']} rows"
    text += f" ({parts})" if parts else ""
    text += f"  {item['error']}" if item["error"] else ""
    return "\n    warning: ".join([text, *item["warnings"]])


def _row_text(entry: RowLog) -> str:
    text = f"{entry.row:8}  {entry.product or '-':30}  {entry.state:10}"
    return f"{text}  {entry.stage}: {entry.reason}" if entry.reason else text


@cli.group()
def watermark() -> None:
    """The instant since which a flow asks for changes."""


@watermark.command("show")
@click.argument("name", metavar="FLOW")
@JSON_OPTION
@click.pass_obj
def show_watermark(settings: Settings, name: str, as_json: bool) -> None:
    """Show a flow's watermark, and since when its next run will ask."""
    _print_watermark(_with_store(settings, lambda store: _watermark(store, name)), as_json=as_json)


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
        await changes.set_watermark(store, name, instant, actor())
        return await _watermark(store, name)

    _print_watermark(_with_store(settings, work), as_json=as_json)


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
            f"being read now, which moves the watermark when it is done: {', '.join(found['reading'])}", err=True
        )


@cli.command()
@click.argument("url")
@click.option("--header", multiple=True, help="A header to send, as in 'Authorization: Bearer …'; may be repeated.")
@click.option("--method", type=click.Choice(["GET", "POST"]), default="GET", show_default=True)
def probe(url: str, header: tuple[str, ...], method: str) -> None:
    """Look at an ERP's endpoint: where its list is and how it pages. Prints what a flow file needs, with evidence."""
    from imageflow.read import probe as probing
    from imageflow.transport import Transport, exact_origin

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


# emulators, demo ----------------------------------------------------------------------------------------------------------


@cli.command()
@click.argument("which", type=click.Choice(["erp", "omnitron"]))
@click.option("--port", default=0, help="Where to listen; 0 takes a free port.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--rows", default=1000, show_default=True, help="Rows of the ERP, or products of Omnitron.")
@click.option("--fault", multiple=True, help="A scripted fault, as in status=503,every=10; may be repeated.")
@click.option("--fast", is_flag=True, help="Omnitron: keep no history of writes, to be a quick sink.")
def emulate(which: str, port: int, host: str, rows: int, fault: tuple[str, ...], fast: bool) -> None:
    """Run a fake ERP or a fake Omnitron (user demo, password demo)."""
    from imageflow.emulator.erp import FakeErp
    from imageflow.emulator.omnitron import FakeOmnitron
    from imageflow.emulator.server import Emulator, serve_forever

    try:
        emulator: Emulator = (
            FakeErp(rows=rows, faults=fault)
            if which == "erp"
            else FakeOmnitron(products=rows, faults=fault, keep_history=not fast)
        )
    except ValueError as error:
        raise click.UsageError(f"--fault: {error}") from error

    async def work() -> None:
        async with bootstrap.stop_on_signals() as stop:
            await serve_forever(emulator, host=host, port=port, announce=lambda url: click.echo(url), stop=stop)

    run_async(work())


@cli.command()
@click.option("--rows", default=1000, show_default=True, help="Rows in the fake ERP.")
@click.option("--serve", is_flag=True, help="Keep everything running afterwards.")
@JSON_OPTION
@click.pass_obj
def demo(settings: Settings, rows: int, serve: bool, as_json: bool) -> None:
    """Fake ERP, fake Omnitron and all services: run the main job and check the result."""
    from imageflow.demo import demonstrate, report

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


# database and users -------------------------------------------------------------------------------------------------------


@cli.group()
def db() -> None:
    """The database."""


@db.command()
@click.pass_obj
def upgrade(settings: Settings) -> None:
    """Bring the database schema up to date."""

    async def work(_: Store) -> None:
        pass

    _with_store(settings, work)
    click.echo("the database is up to date")


@cli.group()
def user() -> None:
    """Who may log in to the gateway."""


@user.command()
@click.argument("name")
@click.option("--role", type=click.Choice(["viewer", "operator", "admin"]), default="operator", show_default=True)
@click.pass_obj
def add(settings: Settings, name: str, role: str) -> None:
    """Add a user, or change their password and role; the password is read from stdin where there is no terminal."""
    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    _with_store(settings, lambda store: add_user(store, name, password, role))
    click.echo(f"{name}: {role}")


def _with_store(settings: Settings, work: Callable[[Store], Awaitable[T]]) -> T:
    async def body() -> T:
        async with bootstrap.open_store(settings) as store:
            return await work(store)

    return run_async(body())


if __name__ == "__main__":
    main()
