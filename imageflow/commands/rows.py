"""Commands that show runs and rows, and what happened to a product."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import Sequence
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import click

from imageflow.actions import errors as error_actions
from imageflow.actions import flows as flow_actions
from imageflow.actions import rows as row_actions
from imageflow.actions import run_log, shapes
from imageflow.actions import runs as run_actions
from imageflow.actions.runs import Seen
from imageflow.clock import INSTANT, SystemClock, instant
from imageflow.commands import history_text, stdout, texts
from imageflow.commands.completion import CAUSE, FLOW, RUN
from imageflow.commands.shell import JSON_OPTION, is_free, json_text, note, print_json, reading, sandbox_of
from imageflow.commands.texts import counted, printable_text
from imageflow.errors import NotFoundError
from imageflow.inspect import product_history
from imageflow.model.messages import OUTBOUND_QUEUE
from imageflow.model.row import STATES, RowLog, State
from imageflow.model.run import FINAL, Run, Status, TriggerKind, warnings_of
from imageflow.settings import Settings
from imageflow.store import ErrorGroup, InRetry, Store

SHOWN_RUNS = 20
LISTED_RUNS = 100
SHOWN_ROWS = 100
SHOWN_PRINTS = 100


@click.command()
@click.argument("flow_name", metavar="[FLOW]", required=False, type=FLOW)
@click.option(
    "--status", multiple=True, type=click.Choice(get_args(Status)), help="Runs of this status; may be repeated."
)
@click.option("--active", is_flag=True, help="Runs that have not ended.")
@click.option("--trigger", type=click.Choice(get_args(TriggerKind)), help="Runs that were started so.")
@click.option("--since", metavar="TIME", help=f"Runs created since then: {INSTANT}.")
@click.option("--until", metavar="TIME", help="Runs created before then.")
@click.option(
    "--limit", type=click.IntRange(min=1), help=f"How many. Unless given: {SHOWN_RUNS}, and {LISTED_RUNS} with --json."
)
@JSON_OPTION
@click.pass_obj
def runs(
    settings: Settings,
    flow_name: str | None,
    status: tuple[Status, ...],
    active: bool,
    trigger: TriggerKind | None,
    since: str | None,
    until: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """List runs, newest first.

    Times are in the time zone that the flows share, or else in this machine's; those of --since and --until, too.
    """
    most = limit or (LISTED_RUNS if as_json else SHOWN_RUNS)
    now = SystemClock().now()

    async def work(store: Store) -> tuple[list[Seen], tzinfo]:
        of = await zone_of(store, flow_name)
        found = await run_actions.listed(
            store,
            flow_name,
            limit=most + 1,
            active=active,
            status=status or None,
            trigger=trigger,
            since=_instant("--since", since, of, now),
            until=_instant("--until", until, of, now),
        )
        if flow_name is not None and not found:
            await store.flow(flow_name)
        return found, of

    seen, of = reading(settings, work)
    found = [shapes.run_shown(one) for one in seen[:most]]
    if as_json:
        print_json(found)
    elif found:
        stdout.show(texts.RUN, [texts.run_line(item, of, now) for item in found])
    if len(seen) > most:
        until = texts.localised(f"--until {found[-1].created_at}", of)
        note(f"there are older runs: --limit {2 * most}, or {until}")
    wanted = [text for text in (" or ".join(status), "active" if active else "", trigger or "") if text]
    when = " ".join(f"{name} {value}" for name, value in (("since", since), ("until", until)) if value)
    if not found and not as_json:
        about = f"{', '.join(wanted)} " if wanted else ""
        note(f"no {about}runs" + (f" of {flow_name}" if flow_name else "") + (f" {when}" if when else ""))
    say_who_waits(settings, [one.run.run_id for one in seen if not one.run.ended])
    _say_what_waits(settings)


async def zone_of(store: Store, flow: str | None = None) -> tzinfo:
    """The time zone of a list: of one flow its own, also after it was deleted; of all, what they have in common."""
    there = {one.name: texts.zone(one.definition.timezone) for one in await flow_actions.listed(store)}
    if flow is None:
        return texts.common(there.values())
    if flow not in there:
        with contextlib.suppress(NotFoundError):
            newest = (await flow_actions.versions(store, flow))[0].version
            there[flow] = texts.zone((await flow_actions.version(store, flow, newest)).definition.timezone)
    return there.get(flow) or texts.common(there.values())


def _instant(option: str, text: str | None, of: tzinfo, now: datetime) -> datetime | None:
    try:
        return None if text is None else instant(text, of, now)
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}") from error


def say_who_waits(settings: Settings, run_ids: Sequence[str]) -> None:
    """A run that goes on while no process runs the services waits for ever. `run_ids`: those that did not end."""
    if run_ids and is_free(settings):
        many, which = counted(len(run_ids), "run"), run_ids[0] if len(run_ids) == 1 else "RUN"
        alone = f"imageflow resume {which} --wait"
        note(f"{many} did not end yet, and no process runs the services: imageflow up; or for one run alone: {alone}")


def _say_what_waits(settings: Settings) -> None:
    """What was published is no run yet, and becomes none while no process runs the services."""
    path = Path(settings.broker_url.reveal().removeprefix("sqlite:///"))
    if not settings.embedded or not path.exists():
        return
    from imageflow.broker.sqlite import messages_in  # noqa: PLC0415 - only with the embedded default

    count = 0
    with contextlib.suppress(sqlite3.Error):  # `imageflow doctor` says that the file cannot be used
        count = messages_in(path).get(OUTBOUND_QUEUE, 0)
    if count and is_free(settings):
        verb = "waits" if count == 1 else "wait"
        note(f"{counted(count, 'published message')} {verb}, and no process runs the services: imageflow up")


@click.command()
@click.argument("run_id", metavar="RUN", type=RUN)
@click.option("--state", type=click.Choice(STATES), help="Rows of this state.")
@click.option("--product", metavar="SKU", help="Rows of this product.")
@click.option("--group", metavar="CAUSE", type=CAUSE, help="Rows that failed of one cause, see `imageflow errors`.")
@click.option(
    "--limit", type=click.IntRange(min=1), help=f"How many. Unless given: {SHOWN_ROWS}, and all of them with --json."
)
@JSON_OPTION
@click.pass_obj
def rows(
    settings: Settings,
    run_id: str,
    state: State | None,
    product: str | None,
    group: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """List the rows of a run."""

    async def work(store: Store) -> None:
        if as_json:
            found = row_actions.every(store, run_id, state=state, product=product, group=group, limit=limit)
            separator = "["
            async for row in found:
                sys.stdout.write(separator + json_text(shapes.row_shown(row)))
                separator = ",\n "
            sys.stdout.write("[]\n" if separator == "[" else "]\n")
            return
        most = limit or SHOWN_ROWS
        found = row_actions.every(store, run_id, state=state, product=product, group=group, limit=most + 1)
        about = [
            state or "settled",
            "row",
            f"of product {product}" if product else "",
            f"of cause {group}" if group else "",
        ]
        _show_rows(
            [row async for row in found], most, await store.run(run_id), " ".join(part for part in about if part)
        )

    reading(settings, work)


def _show_rows(found: Sequence[RowLog], most: int, run: Run, wanted: str) -> None:
    if found:
        stdout.show(texts.ROW, [texts.row_line(row) for row in found[:most]])
    if len(found) > most:
        note(f"there are more rows: --limit {2 * most}; all: --json")
    if not found:
        note(f"run {run.run_id} has no {wanted}; its status: {run.status}{_settled(run)}")
    if run.counts.failed:
        note(
            f"{counted(run.counts.failed, 'row')} failed: imageflow errors {run.run_id}; then: imageflow retry {run.run_id}"
        )
    if run.counts.cancelled:
        note(_cancelled(run))


def _settled(run: Run) -> str:
    """How many of its rows are done, where it has any."""
    return (
        f", {run.counts.settled:,} of {counted(run.counts.total, 'row')} settled" if run.counts.total else ", no rows"
    )


def _cancelled(run: Run) -> str:
    return (
        f"{counted(run.counts.cancelled, 'row')} not sent, because the run was cancelled: imageflow retry {run.run_id}"
    )


@click.command()
@click.argument("run_id", metavar="RUN", type=RUN)
@click.option("--page", type=click.IntRange(min=1), help="Only what was printed on this page.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help=f"How many lines that scripts printed. Unless given: {SHOWN_PRINTS}, and all of them with --json.",
)
@JSON_OPTION
@click.pass_obj
def log(settings: Settings, run_id: str, page: int | None, limit: int | None, as_json: bool) -> None:
    """Tell a run: who asked for it, what was read, printed and failed, who retried it, and how it ended."""
    most = limit or (sys.maxsize if as_json else SHOWN_PRINTS)

    async def work(store: Store) -> tuple[list[shapes.LogEntry], int, tzinfo, bool, str]:
        entries, left = run_log.bounded(await _log(store, run_id, page), most)
        run = await store.run(run_id)
        of = await zone_of(store, run.flow)
        takes_since = await run_actions.takes_since(store, run.flow)
        way = texts.way_out_text(shapes.run_shown(Seen(run, None)), of, takes_since=takes_since) if run.ended else ""
        return [shapes.log_entry(entry) for entry in entries], left, of, run.ended, way

    found, left, of, ended, way_out = reading(settings, work)
    if as_json:
        print_json(found)
    else:
        _show_log(found, of)
        if way_out and page is None:
            stdout.say(texts.next_text(way_out))
        say_who_waits(settings, [] if ended else [run_id])
    if left:
        note(f"{counted(left, 'printed line')} left out: --limit {2 * most}, or --page N; all: --json")
    if page is not None and not found:
        note(f"nothing was printed on page {page} of run {run_id}")


async def _log(store: Store, run_id: str, page: int | None) -> list[run_log.Entry]:
    """The log of a run, or what was printed on a page of it."""
    if page is not None:
        told = await run_log.told(store, run_id, after=page - 1, limit=1)
        return [entry for entry in told.entries if entry.page == page]
    entries, more = await run_log.told(store, run_id)
    while more is not None:
        later, more = await run_log.told(store, run_id, after=more)
        entries += later
    return entries


def _show_log(found: Sequence[shapes.LogEntry], of: tzinfo) -> None:
    for entry in found:
        about = f"page {entry.page}" if entry.page is not None else texts.local(entry.at, of)
        first, *others = printable_text(texts.localised(entry.text, of)).split("\n")
        stdout.say(f"{about:23}  {entry.what:9}  {first}")
        for line in others:
            stdout.say(f"{'':36}{line}")


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False, type=RUN)
@click.option(
    "--flow", "flow_name", metavar="FLOW", type=FLOW, help="What is still open in a flow, over all of its runs."
)
@click.option("--group", metavar="CAUSE", type=CAUSE, help="The rows of this cause that are open, newest first.")
@click.option("--closed", is_flag=True, help="Causes that have closed, the last first.")
@click.option("--limit", default=error_actions.CAUSES, show_default=True, type=click.IntRange(1, 1000))
@JSON_OPTION
@click.pass_obj
def errors(
    settings: Settings,
    run_id: str | None,
    flow_name: str | None,
    group: str | None,
    closed: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List the causes for which rows have failed: those of a run, or those that are open in all flows, the most frequent first."""
    if (run_id is not None and (flow_name or group or closed)) or (group and closed):
        raise click.UsageError("give RUN alone, or --flow, and with it or alone --group or --closed")
    if group:
        _open_rows(settings, group, flow_name, limit, as_json=as_json)
        return

    async def work(store: Store) -> _Failures:
        of = await zone_of(store, flow_name)
        if run_id is not None:
            run = await store.run(run_id)
            return _Failures(
                await row_actions.errors(store, run_id, limit=limit), [run], await _ways(store, [run], of), of
            )
        state: Literal["open", "closed"] = "closed" if closed else "open"
        causes = await error_actions.listed(store, flow_name, state=state, limit=limit)
        whole = [] if closed else await error_actions.failed_runs(store, flow_name)
        again = await error_actions.in_retry(store, flow_name)
        return _Failures([shapes.cause_shown(one) for one in causes], whole, await _ways(store, whole, of), of, again)

    found = reading(settings, work)
    if as_json:
        print_json(found.causes)
    elif run_id is not None:
        _show_run_causes(found)
    else:
        _show_causes(found, flow_name, closed=closed)


async def _ways(store: Store, found: Sequence[Run], of: tzinfo) -> list[str]:
    """What leads to what each of these runs did not read."""
    takes_since = {run.flow: await run_actions.takes_since(store, run.flow) for run in found}
    shown = [shapes.run_shown(Seen(run, None)) for run in found]
    return [texts.unread_text(run, of, takes_since=takes_since[run.flow]) for run in shown]


class _Failures(NamedTuple):
    """Causes of failed rows, and runs, each with what leads out of it: the run that was asked about, or those that failed as a
    whole. `of`: the time zone of the list.
    """

    causes: Sequence[ErrorGroup | shapes.CauseShown]
    runs: Sequence[Run]
    ways: Sequence[str]
    of: tzinfo
    in_retry: Sequence[InRetry] = ()


def _show_run_causes(found: _Failures) -> None:
    """Print the causes of a run's failed rows, why the run itself failed, and what to do."""
    [run], [way] = found.runs, found.ways
    if found.causes:
        stdout.show(texts.ERROR, [texts.error_line(error, found.of) for error in found.causes])
        _say_how_to_mend(f"{run.run_id} [--group CAUSE]")
    else:
        note(f"no row of run {run.run_id} has failed")
    if run.counts.cancelled:
        note(_cancelled(run))
    if run.error is not None:
        note(_itself_failed(run, way))
    elif run.incomplete:
        why = "; ".join(warnings_of(run))
        note(f"the read of run {run.run_id} is incomplete{f': {why}' if why else ''}\n    next: {way}")


def _show_causes(found: _Failures, flow: str | None, *, closed: bool) -> None:
    """Print causes, runs that failed as a whole, and what to do."""
    whose = "" if flow is None else f" of {flow}"
    if found.causes:
        stdout.show(texts.ERROR, [texts.error_line(error, found.of) for error in found.causes])
    elif not found.runs:
        note(f"no failure{whose} is {'closed' if closed else 'open'}")
    else:
        note(f"no failed row{whose} is open")
    if found.causes and not closed:
        flows = {one.flow for one in found.causes if isinstance(one, shapes.CauseShown)}
        one = flow or (next(iter(flows)) if len(flows) == 1 else None)
        _say_how_to_mend(f"--flow {one} [--group CAUSE]" if one else "--flow FLOW, or --group CAUSE")
    for again in found.in_retry:
        note(f"{again.flow}: being tried again now: {counted(again.rows, 'row')} of run {again.run_id}")
    for run, way in zip(found.runs, found.ways, strict=True):
        note(f"{run.flow}: {_itself_failed(run, way)}")


def _say_how_to_mend(what: str) -> None:
    note(f"mend what the reasons name (in the flow: imageflow flow apply FILE), then: imageflow retry {what} [--wait]")


def _itself_failed(run: Run, way: str) -> str:
    verb = "failed" if run.status in FINAL else "fails"
    return f"run {run.run_id} itself {verb} in {run.error_stage}: {run.error}\n    next: {way}"


def _open_rows(settings: Settings, group: str, flow: str | None, limit: int, *, as_json: bool) -> None:
    """Print the open rows of a cause."""
    found = reading(settings, lambda store: error_actions.open_rows(store, group, flow, limit=limit + 1))
    if as_json:
        print_json([shapes.row_shown(row) for row in found[:limit]])
        return
    if found:
        stdout.show(texts.OPEN_ROW, [texts.open_row_line(row) for row in found[:limit]])
    else:
        note(f"no failure of cause {group} is open: the cause has closed")
    if len(found) > limit:
        note(f"there are older ones: --limit {2 * limit}")


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
    """Show everything that happened to a product, from the ERP's row to Omnitron's answers. A base code works as well as a SKU."""

    async def work(store: Store) -> tuple[product_history.Trace, tzinfo]:
        async with sandbox_of(settings) as sandbox:
            found = await product_history.trace(store, sandbox, product, limit=limit)
        flows = {row.run.flow for row in found.rows if row.run is not None}
        return found, texts.common([await zone_of(store, name) for name in flows])

    found, of = reading(settings, work)
    if as_json:
        print_json(shapes.product_history(found))
    else:
        stdout.say(history_text.report(found, of))
