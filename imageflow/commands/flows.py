"""Commands of flows: check, save, test, show, compare, switch and delete them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Any, NamedTuple

import click

from imageflow import settings as settings_
from imageflow.actions import flows as flow_actions
from imageflow.actions import left_behind, shapes, watermarks
from imageflow.actions.flow_folder import Applied
from imageflow.clock import SystemClock
from imageflow.commands import completion, stdout, texts
from imageflow.commands.completion import FLOW
from imageflow.commands.flow_files import apply_files, saved_text, say_deeper, say_moved
from imageflow.commands.groups import FullGroup
from imageflow.commands.probing import REQUEST_OPTIONS, probed
from imageflow.commands.rows import zone_of
from imageflow.commands.shell import (
    FILE_OR_FOLDER,
    JSON_OPTION,
    actor,
    changing,
    naming,
    note,
    print_json,
    reading,
    require_data,
    run_async,
    sandbox_of,
    with_store,
)
from imageflow.commands.texts import counted, printable_text, stale_text
from imageflow.errors import FlowFileError, ImageFlowError, Problem, RequestError
from imageflow.flows import file as flow_file
from imageflow.flows import meaning, sense
from imageflow.flows.template import SCHEMA_FILE, Looked, flow_file_text, questions_of
from imageflow.inspect import flow_cases
from imageflow.inspect.flow_cases import Suite, Verdict
from imageflow.inspect.stale import Stale
from imageflow.model.flow import Flow
from imageflow.model.run import Run
from imageflow.sandbox.check import mapping_warnings
from imageflow.sandbox.supervisor import Sandbox
from imageflow.settings import Settings
from imageflow.store import Store
from imageflow.store.flows import deleted_text

SHOWN_VERSIONS = 100


@click.group(cls=FullGroup)
def flow() -> None:
    """Check, save, show, compare, switch off and delete flows."""


PATHS = click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=FILE_OR_FOLDER)
NAME = click.argument("name", metavar="FLOW", type=FLOW)
VERSION = click.option("--version", "version", type=completion.VERSION, help="That version; the newest unless given.")


def _files(paths: Sequence[Path], *, others: bool = False) -> list[Path]:
    """The flow files that the paths stand for; those of a folder in the order of their names. `others`: also files of
    cases and of shared settings.
    """
    for path in paths:
        say_deeper(path)
    return [file for path in paths for file in flow_file.files_of(path, others=others)]


def _is_flow(path: Path) -> bool:
    return not flow_file.is_case_file(path) and not flow_file.is_shared_file(path)


@flow.command()
@PATHS
@JSON_OPTION
def lint(paths: tuple[Path, ...], as_json: bool) -> None:
    """Check flow files: fields, types, cron, script and mapping; the outline of files with their cases; and files of shared
    settings. A PATH is a file or a folder.
    """
    found = [_linted(path) for path in _files(paths, others=True)]
    names = [one.name for one in found]
    for name in dict.fromkeys(name for name in names if name is not None and names.count(name) > 1):
        files = ", ".join(str(one.path) for one in found if one.name == name)
        twice = Problem("name", f"{files}: all have the name {name}; a flow is in one file")
        found = [one._replace(problems=[twice]) if one.name == name else one for one in found]
    if as_json:
        print_json([_lint_shape(one) for one in found])
    for line in [] if as_json else [line for one in found for line in _lint_lines(one)]:
        click.echo(line)
    if any(one.problems for one in found):
        raise click.exceptions.Exit(2)


class _Linted(NamedTuple):
    """What lint says of a file. `name`: the flow's, if all is well. `taken`: what it takes from the file that it shares."""

    path: Path
    problems: list[Problem]
    warnings: Sequence[Problem] = ()
    name: str | None = None
    taken: str = ""


def _linted(path: Path) -> _Linted:
    try:
        if flow_file.is_shared_file(path):
            flow_file.read_shared(path)
            return _Linted(path, [])
        if flow_file.is_case_file(path):
            flow_cases.read_cases(path)
            return _Linted(path, [], _alone(path))
        document = flow_actions.checked(path)
    except FlowFileError as error:
        return _Linted(path, error.problems)
    return _Linted(path, [], _warnings(document), document["name"], _taken(path))


def _alone(path: Path) -> list[Problem]:
    """What is to be said of a file of cases without a flow file."""
    flow = flow_cases.flow_path(path)
    return [] if flow.is_file() else [Problem("", f"there is no {flow.name} beside it: its cases are not run")]


def _lint_lines(one: _Linted) -> Iterator[str]:
    for problem in one.problems:
        yield f"{one.path}: {problem}"
    for warning in [] if one.problems else one.warnings:
        yield f"{one.path}: warning: {warning}"
    if not one.problems:
        if one.taken:
            yield f"{one.path}: takes from {one.taken}"
        yield f"{one.path}: ok"


def _lint_shape(one: _Linted) -> dict[str, Any]:
    def listed(problems: Sequence[Problem]) -> list[dict[str, str]]:
        return [{"path": problem.path, "message": problem.message} for problem in problems]

    return {
        "file": str(one.path),
        "ok": not one.problems,
        "problems": listed(one.problems),
        "warnings": listed([] if one.problems else one.warnings),
    }


def _taken(path: Path) -> str:
    """What a flow file takes from the one that it shares settings with, for people; empty if nothing."""
    file, fields = flow_file.taken(path)
    return f"{file}: {', '.join(fields)}" if fields else ""


def _warnings(document: dict[str, Any]) -> list[Problem]:
    """What a flow says that is allowed, and hardly what is meant."""
    mapping = document.get("mapping")
    return [*sense.warnings(document), *(mapping_warnings(mapping) if mapping else [])]


@flow.command()
@PATHS
@click.option("--force", is_flag=True, help="Save them even if they fail their cases.")
@click.option("--prune", is_flag=True, help="Delete the flows that are in none of these files.")
@click.option(
    "--keep-changes",
    is_flag=True,
    help="As `up --flows`: leave alone a flow that a person changed, unless its file says something new.",
)
@JSON_OPTION
@click.pass_obj
def apply(
    settings: Settings, paths: tuple[Path, ...], force: bool, prune: bool, keep_changes: bool, as_json: bool
) -> None:
    """Save flow files as new versions; all of them or none, and none that fails its cases (see `flow test`). A PATH is a
    file or a folder.
    """
    every = _files(paths, others=True)
    files = [path for path in every if _is_flow(path)]
    if not files:
        raise click.UsageError("these are files with cases or shared settings; there is no flow file among them")
    try:
        documents = flow_actions.checked_all(files)
        suites = [] if force else flow_cases.suites(files)
        _check_others([path for path in every if not _is_flow(path) and not (force and flow_file.is_case_file(path))])
    except FlowFileError as error:
        raise FlowFileError([*error.problems, Problem("", "nothing is saved: mend that first")]) from error
    _pass_cases(settings, suites)
    whole = keep_changes or any(path.is_dir() for path in paths)
    work = _Apply(list(zip(files, documents, strict=True)), keep_changes=keep_changes, prune=prune, whole=whole)
    say = (lambda _: None) if as_json else click.echo
    saved, deleted = with_store(settings, lambda store: _apply(store, work, say))
    if as_json:
        flows = [
            {"name": one.flow.name, "version": one.flow.version, "enabled": one.flow.definition.enabled}
            for one in saved
        ]
        print_json({"saved": flows, "deleted": deleted})


class _Apply(NamedTuple):
    """What is to be applied. `whole`: the files may be all flow files, so flows that none of them names are listed."""

    files: list[tuple[Path, dict[str, Any]]]
    keep_changes: bool
    prune: bool
    whole: bool


async def _apply(store: Store, work: _Apply, say: Callable[[str], object]) -> tuple[Sequence[Applied], Sequence[str]]:
    if work.keep_changes:
        saved = await apply_files(store, work.files)
    else:
        flows = await flow_actions.save_all(store, [document for _, document in work.files], actor())
        saved = [Applied(one, None, kept=False) for one in flows]
        await say_moved(store, flows)
    for one, (_, document) in zip(saved, work.files, strict=True):
        say(saved_text(one, document))
    named = [document["name"] for _, document in work.files]
    deleted = await flow_actions.prune(store, named, actor()) if work.prune else ()
    for name in deleted:
        say(f"{name}: deleted")
    left = [flow.name for flow in await flow_actions.listed(store) if flow.name not in named]
    if left and work.whole:
        note(f"in none of these files, and still there: {', '.join(left)} (imageflow flow delete NAME; --prune: all)")
    return saved, deleted


def _check_others(files: Sequence[Path]) -> None:
    """Check files of cases and of shared settings as `flow lint` does, with its warnings on stderr. Raises FlowFileError."""
    found = [_linted(path) for path in files]
    if problems := [problem for one in found for problem in FlowFileError(one.problems).of(one.path).problems]:
        raise FlowFileError(problems)
    for one in found:
        for warning in one.warnings:
            stdout.beside(f"{one.path}: warning: {warning}")


def _pass_cases(settings: Settings, suites: Sequence[Suite]) -> None:
    """Raises ImageFlowError where a flow file fails the cases beside it, and says which on stderr."""
    found = [suite for suite in suites if suite.cases]
    lines: list[str] = []
    if found and not run_async(run_cases(sandbox_of(settings), found, lines.append)):
        click.echo("\n".join(lines), err=True)
        raise ImageFlowError("nothing is saved: a flow fails its cases (--force saves it all the same)")


@flow.command("test")
@PATHS
@JSON_OPTION
@click.pass_obj
def test_flows(settings: Settings, paths: tuple[Path, ...], as_json: bool) -> None:
    """Run the cases beside flow files: NAME.test.yaml beside NAME.yaml, a list of {name, input, expect} (or error). A PATH is
    a file or a folder.
    """
    every = _files(paths, others=True)
    found = flow_cases.suites([path for path in every if _is_flow(path) or path in paths])
    _check_others([path for path in every if not _is_flow(path)])
    if not any(suite.cases for suite in found):
        if as_json:
            print_json([])
        names = ", ".join(f"{suite.path.stem}.test.yaml" for suite in found)
        raise RequestError(f"there are no cases: {names} would hold them")
    if as_json:
        verdicts = run_async(_verdicts(sandbox_of(settings), found))
        print_json([{"case": one.case, "ok": not one.difference, **one._asdict()} for one in verdicts])
        passed = not any(one.difference for one in verdicts)
    else:
        passed = run_async(run_cases(sandbox_of(settings), found, click.echo))
    if not passed:
        raise click.exceptions.Exit(1)


async def _verdicts(sandbox: Sandbox, found: Sequence[Suite]) -> list[Verdict]:
    return [verdict async for verdict in flow_cases.verdicts(sandbox, found)]


async def run_cases(sandbox: Sandbox, found: Sequence[Suite], say: Callable[[str], None]) -> bool:
    """Say of each case whether it passes, with a diff where it fails; whether all pass."""
    passed = failed = 0
    async for name, difference, warnings in flow_cases.verdicts(sandbox, found):
        details = [*difference, *(f"warning: {warning}" for warning in warnings)]
        say(printable_text("\n    ".join([f"{name} ... {'FAILED' if difference else 'ok'}", *details])))
        passed, failed = passed + (not difference), failed + bool(difference)
    say(f"{counted(passed + failed, 'case')}: {passed} passed, {failed} failed")
    return not failed


@flow.command("list")
@JSON_OPTION
@click.pass_obj
def list_flows(settings: Settings, as_json: bool) -> None:
    """List the flows: when each runs next, and how its newest run went."""
    now = SystemClock().now()
    found = reading(settings, lambda store: flow_actions.overview(store, now))
    if as_json:
        print_json([shapes.flow_listed(item) for item in found])
    elif found:
        of = texts.common([texts.zone(item.flow.definition.timezone) for item in found])
        stdout.show(texts.FLOW, [texts.flow_line(item, of) for item in found])
    else:
        note("no flows: imageflow flow new NAME writes a file to begin with, imageflow flow apply FILE saves it")


@flow.command()
@NAME
@VERSION
@JSON_OPTION
@click.pass_obj
def show(settings: Settings, name: str, version: int | None, as_json: bool) -> None:
    """Show a flow: version, schedule with its next five fires, watermark, last runs."""
    now = SystemClock().now()
    seen = reading(settings, lambda store: flow_actions.show(store, name, now, version))
    found = shapes.flow_shown(seen)
    if as_json:
        print_json(found)
        return
    of = texts.zone(seen.flow.definition.timezone)
    click.echo(
        f"{found.name}, {found.direction}, {'enabled' if found.enabled else 'disabled'}, version {found.version}"
    )
    by_hand = "it runs when a person asks for it"
    by_post = f"it runs when rows are posted to /api/outbound/{found.name}"
    click.echo(f"schedule:   {found.schedule or 'none; ' + (by_hand if seen.flow.definition.inbound else by_post)}")
    if found.next_fires:
        click.echo("next runs:  " + f"\n{'':12}".join(texts.local(fire, of) for fire in found.next_fires))
    if seen.flow.definition.inbound:
        click.echo(f"watermark:  {texts.local(found.watermark, of) or 'none'}")
    if found.runs:
        click.echo()
        stdout.show(texts.RUN, [texts.run_line(item, of, now) for item in found.runs])
    click.echo("\n" + flow_file.dump(found.document))


@flow.command()
@NAME
@VERSION
@click.pass_obj
def export(settings: Settings, name: str, version: int | None) -> None:
    """Print a flow as a flow file."""
    found = reading(settings, lambda store: flow_actions.version(store, name, version))
    click.echo(flow_actions.as_file(found), nl=False)


@flow.command()
@NAME
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help=f"How many. Unless given: {SHOWN_VERSIONS}, and all of them with --json.",
)
@JSON_OPTION
@click.pass_obj
def versions(settings: Settings, name: str, limit: int | None, as_json: bool) -> None:
    """List the versions of a flow, newest first: when and by whom each was saved."""

    async def work(store: Store) -> tuple[list[shapes.VersionLine], tzinfo, bool]:
        found = [shapes.version_line(item) for item in await flow_actions.versions(store, name)]
        is_there = any(one.name == name for one in await flow_actions.listed(store))
        return found, await zone_of(store, name), is_there

    found, of, is_there = reading(settings, work)
    most = limit or (len(found) if as_json else SHOWN_VERSIONS)
    if as_json:
        print_json(found[:most])
    else:
        stdout.show(texts.VERSION, [texts.version_line(item, of) for item in found[:most]])
    if len(found) > most:
        note(f"there are older versions: --limit {2 * most}")
    if not is_there:
        note(deleted_text(name, found[0].version))


@flow.command()
@NAME
@click.argument("a", required=False, type=completion.VERSION)
@click.argument("b", required=False, type=completion.VERSION)
@JSON_OPTION
@click.pass_obj
def diff(settings: Settings, name: str, a: int | None, b: int | None, as_json: bool) -> None:
    """Show what changed from version A of a flow to version B, the newest unless given; without both, by its newest version."""

    async def work(store: Store) -> tuple[Flow, Flow]:
        newer = await flow_actions.version(store, name, b)
        older = a if a is not None else max(newer.version - 1, 1)
        return await flow_actions.version(store, name, older), newer

    old, new = reading(settings, work)
    lines = flow_actions.diff(old, new)
    if as_json:
        print_json(shapes.difference(name, old.version, new.version, lines))
        return
    for line in lines:
        click.echo(printable_text(line))
    if a is None and old.version == new.version:
        note(f"{name} has one version")
    elif not lines:
        note(f"{name}: versions {old.version} and {new.version} say the same")


@flow.command()
@NAME
@click.argument("version", type=completion.VERSION)
@click.pass_obj
def rollback(settings: Settings, name: str, version: int) -> None:
    """Save an earlier version of a flow once more, as its newest."""

    async def work(store: Store) -> tuple[Flow, Flow, list[tuple[Run, Stale]]]:
        before = await store.flow(name)
        saved = await flow_actions.roll_back(store, name, version, actor())
        await say_moved(store, [saved])
        return before, saved, await left_behind.of_flow(store, name)

    before, saved, left = changing(settings, work)
    if saved.version == before.version:
        click.echo(f"{name}: version {saved.version} says what version {version} says: nothing is changed")
        return
    click.echo(f"{name}: version {saved.version}, which says what version {version} says")
    for run, old in left:
        note(stale_text(run, old))
    note(
        "its flow file is as it was: the next `flow apply` brings the mistake back, and so do `up --flows` and `run --flows` "
        f"when the file changes. To put this version into the file: imageflow flow export {saved.name} > FILE"
    )


@flow.command()
@NAME
@click.pass_obj
def enable(settings: Settings, name: str) -> None:
    """Enable a flow: it is scheduled and takes posts again."""
    _switch(settings, name, enabled=True)


@flow.command()
@NAME
@click.pass_obj
def disable(settings: Settings, name: str) -> None:
    """Disable a flow: it is not scheduled and takes no posts, whatever its file says, until `flow enable`."""
    _switch(settings, name, enabled=False)


def _switch(settings: Settings, name: str, *, enabled: bool) -> None:
    saved = changing(settings, lambda store: flow_actions.enable(store, name, actor(), enabled=enabled))
    click.echo(f"{saved.name}: {'enabled' if enabled else 'disabled'}, version {saved.version}")


@flow.command()
@NAME
@click.pass_obj
def delete(settings: Settings, name: str) -> None:
    """Delete a flow: it fires no more and takes no posts. Its versions and runs can still be looked at."""

    async def work(store: Store) -> str | None:
        await flow_actions.delete(store, name, actor())
        return await flow_actions.file_of(store, name)

    file = changing(settings, work)
    click.echo(f"{name}: deleted")
    if file is None:
        note("applying a file with it brings it back")
    else:
        note(
            f"it was saved from {file}: delete that file, too, or the flow is back with the next `run --flows`, when `up --flows` "
            "starts again, or when the file changes"
        )


@flow.command("new")
@click.argument("name")
@click.option("--probe", "url", metavar="URL", help="Look at this endpoint of the ERP, and write a flow that reads it.")
@click.option("--direction", type=click.Choice(["inbound", "outbound"]), default="inbound", show_default=True)
@REQUEST_OPTIONS
@click.pass_obj
def new_flow(settings: Settings, /, name: str, url: str | None, direction: str, **request: Any) -> None:
    """Write a flow file to begin with, NAME.yaml, into this folder.

    With --probe it says where the list is in the ERP's answer and how it pages, and makes rows of what is in it; what cannot be told
    is a question in the file.
    """
    path = Path(f"{name}.yaml")
    if wrong := meaning.flow_name(name):
        raise click.UsageError(f"a flow's name {wrong}, not {name!r}")
    if path.exists():
        raise click.UsageError(f"{path} is there already; it stays as it is")
    if url is not None and direction == "outbound":
        raise click.UsageError("--probe is of no use for an outbound flow: no ERP is asked")
    if url is None and any(request.values()):
        raise click.UsageError("--header, --method and --body say how --probe URL asks")
    looked = None if url is None else _looked_at(settings, url, request)
    write_schema(Path())
    path.write_text(flow_file_text(name, inbound=direction == "inbound", looked=looked))
    if looked is not None and looked.refused:
        for line in looked.said:
            click.echo(printable_text(line), err=True)
        told = f"{path} is written all the same, with a sketch of erp.login: fill that in, then imageflow probe {path} finds out the rest"
        raise ImageFlowError(
            f"the ERP asks for a login, so the probe found nothing; {told}. Or: --header 'Name: value'"
        )
    click.echo(f"{path} is written; next: fill it in, imageflow flow lint {path}, imageflow check {path}")
    for question in [] if looked is None else questions_of(looked):
        note(f"question: {question}")


LOGIN_QUESTION = "how does the ERP let in? Fill in erp.login below; then `imageflow probe FILE` finds out the rest"


def _looked_at(settings: Settings, url: str, request: dict[str, Any]) -> Looked:
    """What a probe finds of an endpoint; ends the command where there is no list."""
    found = probed(settings, url, **request)
    if found.refused is not None:
        return Looked(found.refused, found.lines, None, (LOGIN_QUESTION,), refused=True)
    if found.erp is None:
        click.echo("\n".join(found.lines), err=True)
        raise click.exceptions.Exit(1)
    if found.rows is None:
        return Looked(found.erp, found.lines, None, ("where are a product's SKU and images? No row came that says it",))
    return Looked(found.erp, found.lines, found.rows.fields, found.rows.questions)


def write_schema(folder: Path) -> None:
    """Put the schema where the flow files of a folder name it, for editors."""
    path = folder / SCHEMA_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(flow_file.schema(), indent=1) + "\n")


@flow.command()
def schema() -> None:
    """Print the JSON Schema of flow files."""
    print_json(flow_file.schema(), indent=True)


@flow.command("webhook-key")
@NAME
@click.pass_obj
def webhook_key(settings: Settings, name: str) -> None:
    """Print the key that posts to a flow's alarm webhook are signed with, for the receiver to check them."""
    require_data(settings)
    secret_key = settings_.secret_key(settings)
    click.echo(changing(settings, lambda store: flow_actions.webhook_key(store, secret_key, name)))


@click.group(cls=FullGroup)
def watermark() -> None:
    """The instant since which a flow asks for changes."""


@watermark.command("show")
@NAME
@JSON_OPTION
@click.pass_obj
def show_watermark(settings: Settings, name: str, as_json: bool) -> None:
    """Show a flow's watermark, and since when its next run will ask."""

    async def work(store: Store) -> Watermarked:
        return await watermarks.show(store, name), await zone_of(store, name)

    _print_watermark(reading(settings, work), as_json=as_json)


@watermark.command("set")
@NAME
@click.argument("since", metavar="TIME|none")
@JSON_OPTION
@click.pass_obj
def set_watermark(settings: Settings, name: str, since: str, as_json: bool) -> None:
    """Set a flow's watermark, backwards too; none: ask for all.

    TIME is an ISO date, without an offset in the flow's timezone, or so long ago: 90m, 24h, 7d.
    """
    wanted, now = None if since.lower() == "none" else since, SystemClock().now()

    async def work(store: Store) -> Watermarked:
        return await watermarks.set_to(store, name, wanted, actor(), now), await zone_of(store, name)

    with naming(since="TIME"):
        standing = changing(settings, work)
    _print_watermark(standing, as_json=as_json)


Watermarked = tuple[watermarks.Standing, tzinfo]


def _print_watermark(standing: Watermarked, *, as_json: bool) -> None:
    found, of = shapes.watermark(standing[0]), standing[1]
    if as_json:
        print_json(found)
        return
    click.echo(f"watermark: {_both(found.watermark, of) or 'none'}")
    click.echo(f"the next run asks for changes since: {_both(found.asks_since, of) or 'ever; it asks for everything'}")
    if found.reading:
        note(f"being read now: {', '.join(found.reading)}; does not move a watermark that was set meanwhile")


def _both(instant: str | None, of: tzinfo) -> str:
    """An instant in the flow's zone and, where that differs, as it is in JSON."""
    if instant is None:
        return ""
    return texts.local(instant, of) + ("" if texts.local(instant, of).endswith("UTC") else f" ({instant})")
