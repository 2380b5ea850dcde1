"""The command line. Each command is thin: settings, one call, what to print, the exit status.

Exit status: 0 done, 1 the work failed, 2 wrong usage, settings or flow file. Results go to stdout, logs to stderr.
"""

from __future__ import annotations

import asyncio
import csv
import gc
import getpass
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

import click
import msgspec
import orjson
import uvloop

from imageflow import __version__, bootstrap, secret
from imageflow import settings as settings_
from imageflow.actions import dead_letters
from imageflow.actions import runs as run_actions
from imageflow.actions.run_watch import follow, nothing_missing, summarize
from imageflow.actions.runs import Actor, inbound
from imageflow.bootstrap import Substrate
from imageflow.broker import Outgoing
from imageflow.clock import SystemClock, iso
from imageflow.errors import FlowFileError, ImageFlowError, Problem
from imageflow.flows import file as flow_file
from imageflow.gateway.access import MAX_KEY_DAYS, add_key, add_user
from imageflow.inspect import flow_cases
from imageflow.inspect import product_history as tracing
from imageflow.model import cron
from imageflow.model.flow import Definition, Flow
from imageflow.model.messages import OUTBOUND_QUEUE
from imageflow.model.row import RowLog, shown
from imageflow.model.run import FINAL, Run
from imageflow.read import request
from imageflow.sandbox.supervisor import Sandbox
from imageflow.schedule import alarm
from imageflow.settings import Settings
from imageflow.store import ApiKey, AuditEntry, ErrorGroup, OpenError, Store
from imageflow.store.data_dir import DataDirBusy, data_dir_lock
from imageflow.telemetry import log

T = TypeVar("T")
EPILOG = "\b\nSettings, from the environment:\n" + "\n".join(
    f"  {settings_.PREFIX}{name}\n      {text}" for name, text in settings_.DOCS.items()
)
GC_THRESHOLDS = (50_000, 20, 20)
"""Rows make objects by the thousand and hardly a cycle: Python's own thresholds (700, 10, 10) cost a service a tenth of its
time."""
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
            click.echo(problem, err=True)
        sys.exit(error.exit_status)
    except ImageFlowError as error:
        click.echo(f"imageflow: {error}", err=True)
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
    with data_dir_lock(settings):
        async with (
            bootstrap.stop_on_signals() as stop,
            bootstrap.open_substrate(settings, os.environ, consumer=True) as substrate,
        ):
            for document in documents:
                await run_actions.save_flow(substrate.store, document, actor())
            gc.freeze()  # what is loaded by now stays: the collector need not look at it again and again
            gc.set_threshold(*GC_THRESHOLDS)
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
        flow_cases.read_cases(path) if flow_file.is_case_file(path) else _checked(path)
    except FlowFileError as error:
        return error.problems
    return []


def _checked(path: Path) -> dict[str, Any]:
    """A flow file's document, with everything checked. Raises FlowFileError with all problems."""
    document: dict[str, Any] = flow_file.load(path)
    flow_file.compiled(document)
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
    return _checked_all(sorted(path for path in folder.iterdir() if flow_file.is_flow_file(path)))


@flow.command()
@FILES
@click.option("--force", is_flag=True, help="Save them even if they fail their cases.")
@click.pass_obj
def apply(settings: Settings, files: tuple[Path, ...], force: bool) -> None:
    """Save flow files as new versions; all of them or none, and none that fails its cases (see `flow test`)."""
    files = tuple(path for path in files if not flow_file.is_case_file(path))
    if not files:
        raise click.UsageError("these are files with cases; there is no flow file among them")
    documents = _checked_all(files)
    if not force:
        _pass_cases(settings, files)

    async def work(store: Store) -> list[Flow]:
        return [await run_actions.save_flow(store, document, actor()) for document in documents]

    for saved in _with_store(settings, work):
        click.echo(f"{saved.name}: version {saved.version}")


def _sandbox(settings: Settings) -> Sandbox:
    return Sandbox(best_effort=settings.jail == "best-effort")


def _pass_cases(settings: Settings, files: Sequence[Path]) -> None:
    """Raises ImageFlowError where a flow file fails the cases beside it, and says which on stderr."""
    found = [suite for suite in flow_cases.suites(files) if suite.cases]
    lines: list[str] = []
    if found and not run_async(flow_cases.run_cases(_sandbox(settings), found, lines.append)):
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
    if not run_async(flow_cases.run_cases(_sandbox(settings), found, click.echo)):
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
    definition = flow_file.parse(flow_file.load(Path(name))) if is_path else None
    body = None if file is None else sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()

    async def fetch(store: Store) -> tuple[Definition, bytes]:
        wanted = definition or (await store.flow(name)).definition
        if body is not None or run_id is None:
            return wanted, body or b""
        await store.run(run_id)
        return wanted, (await store.page(run_id, page or 1)).body

    async def work(wanted: Definition, answer: bytes) -> flow_cases.Trial:
        async with _sandbox(settings) as sandbox:
            return await flow_cases.attempt(sandbox, wanted, answer)

    needed = (definition, body) if definition is not None and body is not None else _with_store(settings, fetch)
    result = run_async(work(*needed))
    click.echo(flow_cases.as_json(result) if as_json else flow_cases.report(result))
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
        fires = cron.next_fires(schedule, item.definition.timezone, now, 5) if schedule is not None else []
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
    click.echo("---\n" + flow_file.dump(definition))


@flow.command()
@click.argument("name")
@click.pass_obj
def export(settings: Settings, name: str) -> None:
    """Print a flow as a flow file."""
    click.echo(flow_file.dump(_with_store(settings, lambda store: store.flow(name)).document), nl=False)


@flow.command()
def schema() -> None:
    """Print the JSON Schema of flow files."""
    print_json(flow_file.schema(), indent=True)


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
            await run_actions.save_flow(store, document, actor())
        flow = await store.flow(name)
        if own:
            for ref in flow_file.referenced_secrets(flow.definition):
                secret.resolve(ref)
        run_id = await run_actions.start_run(store, substrate.publisher, name, ids, actor(), substrate.clock.now())
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
            await run_actions.save_flow(store, document, actor())
        flow = inbound(await store.flow(name))
        if own:
            for ref in flow_file.referenced_secrets(flow.definition):
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
            with data_dir_lock(settings):
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
            await run_actions.retry(store, substrate.publisher, run_id, actor(), row=row, group=group)
            if not wait:
                return await summarize(store, await store.run(run_id))
            async with _services(substrate, enabled=own):
                return await summarize(store, await follow(store, run_id, _progress()))

    result = run_async(work())
    _print_run(result, as_json=as_json)
    if wait and result["status"] not in ("success", "empty"):
        raise click.exceptions.Exit(1)


@cli.command()
@click.argument("run_ids", metavar="RUN…", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All runs that have not ended.")
@click.pass_obj
def resume(settings: Settings, run_ids: tuple[str, ...], every: bool) -> None:
    """Publish anew what runs wait for, after the queues were lost; harmless if they were not."""
    if bool(run_ids) == every:
        raise click.UsageError("name the runs, or give --all")

    async def work() -> list[tuple[str, int]]:
        async with bootstrap.open_substrate(settings, os.environ, consumer=False) as substrate:
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
        async with _sandbox(settings) as sandbox:
            return await tracing.trace(store, sandbox, product, limit=limit)

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
        await run_actions.set_watermark(store, name, instant, actor())
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
            f"being read now: {', '.join(found['reading'])}; does not move a watermark that was set meanwhile", err=True
        )


@cli.command()
@click.argument("url")
@click.option("--header", multiple=True, help="A header to send, as in 'Authorization: Bearer …'; may be repeated.")
@click.option("--method", type=click.Choice(["GET", "POST"]), default="GET", show_default=True)
def probe(url: str, header: tuple[str, ...], method: str) -> None:
    """Look at an ERP's endpoint: where its list is and how it pages. Prints what a flow file needs, with evidence."""
    from imageflow.http.client import Transport, exact_origin
    from imageflow.inspect import probe as probing

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


# alarms and holds ---------------------------------------------------------------------------------------------------------


@cli.command()
@click.argument("flow_name", metavar="[FLOW]", required=False)
@click.option("--all", "every", is_flag=True, help="Those that have closed, too.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=1))
@JSON_OPTION
@click.pass_obj
def alarms(settings: Settings, flow_name: str | None, every: bool, limit: int, as_json: bool) -> None:
    """List open alarms, newest first."""

    async def work(store: Store) -> list[dict[str, Any]]:
        if flow_name is not None:
            await store.flow(flow_name)
        found = await store.alarms(flow_name, is_open=None if every else True, limit=limit)
        return [{**alarm.shown(item), "notice": item.notice} for item in found]

    found = _with_store(settings, work)
    if as_json:
        print_json(found)
        return
    for item in found:
        state = f"closed {item['closed_at']}" if item["closed_at"] else "open"
        click.echo(f"{item['opened_at']}  {item['flow']:20}  {item['kind']:17}  {state}  {item['text']}")
        if item["notice"]:
            click.echo(f"    webhook: {item['notice']}")


@cli.command()
@JSON_OPTION
@click.pass_obj
def holds(settings: Settings, as_json: bool) -> None:
    """List the Omnitron domains that writers hold back from, because they are away."""
    found = _with_store(settings, lambda store: store.holds())
    if as_json:
        print_json(
            [{"domain": h.domain, "reason": h.reason, "since": iso(h.since), "writers": h.writers} for h in found]
        )
        return
    for item in found:
        click.echo(f"{item.domain}  since {iso(item.since)}  by {item.writers} writers  {item.reason}")


@flow.command("webhook-key")
@click.argument("name")
@click.pass_obj
def webhook_key(settings: Settings, name: str) -> None:
    """Print the key that posts to a flow's alarm webhook are signed with, for the receiver to check them."""
    _with_store(settings, lambda store: store.flow(name))
    click.echo(alarm.webhook_key(settings_.secret_key(settings), name))


# the outbound queue, and what is parked -----------------------------------------------------------------------------------


@cli.command()
@click.argument("name", metavar="FLOW")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True))
@click.option("--id", "message_id", help="The message's id: publishing it again with the same id adds nothing.")
@click.pass_obj
def publish(settings: Settings, name: str, file: Path, message_id: str | None) -> None:
    """Publish rows (JSON or NDJSON; - reads stdin) to the outbound queue, as an ERP may; the gateway takes them in."""
    body = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    headers = {"flow": name} | ({"message-id": message_id} if message_id else {})

    async def work() -> None:
        async with bootstrap.open_substrate(settings, os.environ, consumer=False) as substrate:
            await substrate.broker.publish(Outgoing(OUTBOUND_QUEUE, body, headers=headers))

    run_async(work())
    click.echo(f"published {len(body):,} bytes for {name}")


@cli.group("parked")
def parked_() -> None:
    """Messages that could not be used, with the reason: look at them, send them again, throw them away."""


PARKED_ID = click.argument("wanted", metavar="ID", required=False)
PARKED_ALL = click.option("--all", "every", is_flag=True, help="All of them.")


@parked_.command("list")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=1))
@JSON_OPTION
@click.pass_obj
def list_parked(settings: Settings, limit: int, as_json: bool) -> None:
    """List parked messages, the oldest first."""
    found = _with_broker(settings, lambda substrate: dead_letters.look(substrate.broker, limit))
    if as_json:
        print_json([msgspec.to_builtins(item) for item in found])
        return
    for item in found:
        click.echo(_parked_text(item))


@parked_.command("show")
@click.argument("wanted", metavar="ID")
@click.option("--body", is_flag=True, help="Print the body alone, as it is.")
@JSON_OPTION
@click.pass_obj
def show_parked(settings: Settings, wanted: str, body: bool, as_json: bool) -> None:
    """Show a parked message whole."""
    found, content = _with_broker(settings, lambda substrate: dead_letters.one(substrate.broker, wanted))
    if body:
        sys.stdout.buffer.write(content)
        return
    if as_json:
        print_json({**msgspec.to_builtins(found), "body": content.decode("utf-8", "replace")})
        return
    click.echo(_parked_text(found))
    for name, value in found.headers.items():
        click.echo(f"    {name}: {value}")
    click.echo(content.decode("utf-8", "replace"))


@parked_.command("replay")
@PARKED_ID
@PARKED_ALL
@click.pass_obj
def replay_parked(settings: Settings, wanted: str | None, every: bool) -> None:
    """Send a parked message back to the queue it came from."""
    _settle_parked(settings, wanted, every=every, verb="replay")


@parked_.command("drop")
@PARKED_ID
@PARKED_ALL
@click.pass_obj
def drop_parked(settings: Settings, wanted: str | None, every: bool) -> None:
    """Throw a parked message away."""
    _settle_parked(settings, wanted, every=every, verb="drop")


def _settle_parked(settings: Settings, wanted: str | None, *, every: bool, verb: Literal["replay", "drop"]) -> None:
    if (wanted is None) != every:
        raise click.UsageError("give either the ID of a parked message (see `parked list`), or --all")

    async def work(substrate: Substrate) -> list[dead_letters.Parked]:
        act = dead_letters.replay if verb == "replay" else dead_letters.drop
        done = await act(substrate.broker, wanted)
        for item in done:
            about = {"queue": item.queue, "flow": item.flow, "reason": item.reason}
            await substrate.store.record(actor().entry(f"parked.{verb}", f"message {item.id}", **about))
        return done

    for item in _with_broker(settings, work):
        click.echo(f"{'sent to ' + item.queue if verb == 'replay' else 'dropped'}: {item.id}")


def _parked_text(item: dead_letters.Parked) -> str:
    about = f"{item.queue or '?'}{' (flow ' + item.flow + ')' if item.flow else ''}"
    return f"{item.id}  {item.parked_at:25}  {about:40}  {item.bytes:,} bytes  {item.reason}"


def _with_broker(settings: Settings, work: Callable[[Substrate], Awaitable[T]]) -> T:
    async def body() -> T:
        async with bootstrap.open_substrate(settings, os.environ, consumer=False) as substrate:
            return await work(substrate)

    return run_async(body())


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
            await serve_forever(emulator, host=host, port=port, announce=click.echo, stop=stop)

    run_async(work())


@cli.command()
@click.option("--rows", default=1000, show_default=True, help="Rows in the fake ERP.")
@click.option("--serve", is_flag=True, help="Keep everything running afterwards.")
@JSON_OPTION
@click.pass_obj
def demo(settings: Settings, rows: int, serve: bool, as_json: bool) -> None:
    """Fake ERP, fake Omnitron and all services: run the main job and check the result."""
    from imageflow.commands.demo import demonstrate, report

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


@cli.command()
@click.option(
    "--management", metavar="URL", help="RabbitMQ's management API; by default on the usual port of its host."
)
@JSON_OPTION
@click.pass_obj
def doctor(settings: Settings, management: str | None, as_json: bool) -> None:
    """Look at broker, database, flows and machine: what is wrong, and the command that mends it."""
    from imageflow.doctor import checks
    from imageflow.doctor.visit import visit

    found = checks.findings(run_async(visit(settings, os.environ, management)))
    if as_json:
        print_json({"ok": checks.ok(found), "findings": [msgspec.to_builtins(item) for item in found]})
    else:
        for item in found:
            click.echo(f"{item.level:8}{item.about:10}{item.text}")
            if item.mend:
                click.echo(f"{'':18}-> {item.mend}")
    if not checks.ok(found):
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


@cli.command("migrate-data")
@click.option("--from", "source", metavar="DIR|URL", help="The DATA_DIR of the embedded default, or a store's URL.")
@click.option("--from-env", metavar="NAME", help="The variable that holds the store's URL, password and all.")
@JSON_OPTION
@click.pass_obj
def migrate_data(settings: Settings, source: str | None, from_env: str | None, as_json: bool) -> None:
    """Move everything a store holds to the (empty) one that STORE_URL names; the source stays as it is.

    Nothing may be in flight: let runs end and stop all services before.
    """
    from imageflow.actions import migrate_data

    if (source is None) == (from_env is None):
        raise click.UsageError("give either --from or --from-env")
    text = source if from_env is None else os.environ.get(from_env)
    if not text:
        raise click.UsageError(f"--from-env: the variable {from_env} is not set")
    moved = run_async(migrate_data.move(migrate_data.origin(text), settings))
    if as_json:
        print_json({item.table: item.rows for item in moved})
        return
    for item in moved:
        click.echo(f"{item.table:20}{item.rows:12,}")
    click.echo("everything is moved; start the services with the new settings")
    key = Path(text) / "secret.key"
    if key.exists() and settings.secret_key is None:
        click.echo(f"tokens stay good with {settings_.PREFIX}SECRET_KEY set to what is in {key}")


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
    entry = actor().entry("user.save", f"user {name}", role=role)
    _with_store(settings, lambda store: add_user(store, name, password, role, audit=entry))
    click.echo(f"{name}: {role}")


@user.command("list")
@JSON_OPTION
@click.pass_obj
def list_users(settings: Settings, as_json: bool) -> None:
    """List the users and their roles."""
    users = _with_store(settings, lambda store: store.users())
    if as_json:
        print_json([{"name": item.name, "role": item.role} for item in users])
        return
    for item in users:
        click.echo(f"{item.name:30}  {item.role}")


@user.command("remove")
@click.argument("name")
@click.pass_obj
def remove_user(settings: Settings, name: str) -> None:
    """Remove a user; their tokens end within ten seconds."""
    entry = actor().entry("user.remove", f"user {name}")
    _with_store(settings, lambda store: store.remove_user(name, audit=entry))
    click.echo(f"{name}: removed")


@cli.group()
def key() -> None:
    """Keys of machines: each opens the outbound door of one flow."""


@key.command("add")
@click.argument("flow_name", metavar="FLOW")
@click.argument("name")
@click.option(
    "--days", type=click.IntRange(1, MAX_KEY_DAYS), help="For how many days it is good; until revoked unless given."
)
@JSON_OPTION
@click.pass_obj
def add_flow_key(settings: Settings, flow_name: str, name: str, days: int | None, as_json: bool) -> None:
    """Make a key for posting to a flow, and print it: this once."""
    secret_key = settings_.secret_key(settings)

    def entry(key_id: str) -> AuditEntry:
        return actor().entry("key.add", f"key {key_id}", flow=flow_name, name=name, days=days)

    made, text = _with_store(
        settings, lambda store: add_key(store, secret_key, flow_name, name, days, SystemClock(), entry)
    )
    if as_json:
        print_json({"key": text, **_key_line(made)})
        return
    click.echo(f"{made.name}: key {made.id} of {made.flow}, {_good_until(made)}", err=True)
    click.echo(text)


@key.command("list")
@click.argument("flow_name", metavar="[FLOW]", required=False)
@JSON_OPTION
@click.pass_obj
def list_keys(settings: Settings, flow_name: str | None, as_json: bool) -> None:
    """List keys, also those that have expired; their texts are not kept."""

    async def work(store: Store) -> list[ApiKey]:
        if flow_name is not None:
            await store.flow(flow_name)
        return await store.keys(flow_name)

    found = _with_store(settings, work)
    if as_json:
        print_json([_key_line(item) for item in found])
        return
    for item in found:
        click.echo(f"{item.id}  {item.flow:20}  {item.name:30}  by {item.created_by}, {_good_until(item)}")


@key.command("revoke")
@click.argument("key_id", metavar="ID")
@click.pass_obj
def revoke_key(settings: Settings, key_id: str) -> None:
    """Revoke a key; it ends within ten seconds."""
    entry = actor().entry("key.revoke", f"key {key_id}")
    gone = _with_store(settings, lambda store: store.revoke_key(key_id, audit=entry))
    click.echo(f"{gone.name}: key {gone.id} of {gone.flow} revoked")


def _key_line(item: ApiKey) -> dict[str, Any]:
    return {
        "id": item.id,
        "flow": item.flow,
        "name": item.name,
        "created_by": item.created_by,
        "created_at": iso(item.created_at),
        "expires_at": iso(item.expires_at),
    }


def _good_until(item: ApiKey) -> str:
    if item.expires_at is None:
        return "good until it is revoked"
    return f"{'was good' if item.expires_at <= SystemClock().now() else 'good'} until {iso(item.expires_at)}"


def _with_store(settings: Settings, work: Callable[[Store], Awaitable[T]]) -> T:
    async def body() -> T:
        async with bootstrap.open_store(settings) as store:
            return await work(store)

    return run_async(body())


if __name__ == "__main__":
    main()
