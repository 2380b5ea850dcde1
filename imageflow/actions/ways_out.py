"""The command that leads out of each state that a run or a row can be in. Pure.

Texts of errors, runs and rows are made from these tables; the README shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from imageflow.model.row import State
from imageflow.model.run import Run, Status, TriggerKind
from imageflow.store import Left
from imageflow.text.instant import iso


class WayOut(NamedTuple):
    """What a state means, and what leads out of it: commands with {run}, {flow} and {again} (see `again`); "": nothing is to
    be done. `unread`: what leads to rows that were not read.
    """

    why: str
    do: str
    unread: str = ""


GOES_ON = "how far it is: imageflow log {run}; to end it: imageflow cancel {run}"
CANCELLING = WayOut("what is on its way to Omnitron finishes", "when it has ended, it says so: imageflow log {run}")
"""A run that a person cancelled, and that has not ended."""
RUNS: Mapping[Status, WayOut] = {
    "queued": WayOut("an older run of the flow is not done, or no services run", GOES_ON),
    "reading": WayOut("the ERP is asked for its pages", GOES_ON),
    "draining": WayOut(
        "rows are on their way", f"{GOES_ON}; after a loss of the queues: imageflow resume {{run}} --wait"
    ),
    "success": WayOut("all rows are done", ""),
    "empty": WayOut("there were no rows", ""),
    "partial": WayOut(
        "rows failed, or the read is incomplete",
        "imageflow errors {run}; mend what it names, then: imageflow retry {run}",
        "what was not read: {unread}",
    ),
    "failed": WayOut(
        "login or read failed, or every row failed",
        "imageflow errors {run}; mend what it names, then: imageflow retry {run}",
        "what was not read: {unread}",
    ),
    "cancelled": WayOut("a person ended it", "imageflow retry {run}", "what was not read: {unread}"),
}

ROWS: Mapping[State, WayOut] = {
    "written": WayOut("Omnitron has it", ""),
    "unchanged": WayOut("Omnitron had the same images, nothing was sent", ""),
    "superseded": WayOut("a newer row of the product came first", ""),
    "failed": WayOut("its reason says why", "mend what the reason names, then: imageflow retry {run}"),
    "cancelled": WayOut("its run was cancelled before it was sent", "imageflow retry {run}"),
}

LEFT: Mapping[Left, WayOut] = {
    "in flight": WayOut("are being retried already", "imageflow runs {flow}"),
    "page gone": WayOut("came from a page that is not stored any more", "{again}"),
    "joined": WayOut("were to be joined with other pages of their run", "{again}"),
}
"""Rows that a retry leaves."""


class About(NamedTuple):
    """The run that a state is of. `since`: the instant that it asked from, as text, where its flow asks from one; `rows`:
    whether rows of it can be retried; `unread`: whether there may be rows that were not read; `mend`: what must be mended before
    they can be.
    """

    run_id: str
    flow: str
    kind: TriggerKind
    ids: bool
    since: str | None
    rows: bool = True
    unread: bool = True
    mend: str = ""


def about(run: Run, *, takes_since: bool = True) -> About:
    """`takes_since`: whether its flow can be asked for changes since an instant."""
    since = iso(run.since) if takes_since else None
    return About(run.run_id, run.flow, run.trigger.kind, bool(run.trigger.ids), since)


def again(run: About) -> str:
    """How the rows of a run are got from the ERP once more."""
    if run.kind == "outbound":
        return "post the rows again"
    if run.ids:
        return f"imageflow run {run.flow} --ids …"
    return f"imageflow run {run.flow}" + (f" --since {run.since}" if run.since else "")


def to_mend(flow: str, stage: str | None, *, incomplete: bool, rows: int) -> str:
    """What must be mended in a flow before its ERP is read again: otherwise the ERP would answer the same. `stage`:
    where the run itself failed; `incomplete`: the ERP's answers said that there is more than the `rows` that came.
    """
    if stage is not None:
        return f"the login (imageflow check {flow})" if stage == "login" else "what its error names"
    if incomplete:
        return "erp.pagination" if rows else "erp.rows_path or erp.pagination"
    return ""


def command(way: WayOut, run: About) -> str:
    """What leads out of a state of this run."""
    once_more = again(run)
    unread = f"mend {run.mend}, then: {once_more}" if run.mend else once_more
    steps = [way.do if run.rows or not way.unread else "", way.unread if run.unread else ""]
    return "; ".join(step for step in steps if step).format(
        run=run.run_id, flow=run.flow, again=once_more, unread=unread
    )
