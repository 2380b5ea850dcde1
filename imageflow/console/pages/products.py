"""Products: what each shows on Omnitron, what was asked for, and how that came about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from imageflow.actions import flows, rows, runs, search
from imageflow.console import plots
from imageflow.console.causes import Cause, broken_places, cause
from imageflow.console.marks import marked, names
from imageflow.console.pages.shared import all_flows, common_zone, part, zone_of
from imageflow.console.visit import Answer, Go, Page, Show, Visit
from imageflow.errors import NotFoundError
from imageflow.gateway.problem_details import Refusal
from imageflow.inspect import product_history
from imageflow.inspect.product_history import Standing, TracedRow
from imageflow.model.flow import Flow
from imageflow.model.imageset import Image
from imageflow.model.row import CANCELLED, RowLog, Try, fingerprint, history, when
from imageflow.model.run import Run
from imageflow.read.request import takes_identifiers
from imageflow.store import AuditRecord

SHOWN_ROWS = 50
SHOWN_CHARS = 8_000
REEL = 42
NEAR = 12
LETTERS_LEFT_OUT = 2


async def list_(visit: Visit) -> Answer:
    """What was written last, and a field to look for others."""
    wanted = visit.asked("sku")
    if wanted:
        return Go(f"/products/{part(wanted)}")
    found = await all_flows(visit)
    return Show(
        "products.html",
        {"here": "product", "reel": await rows.written_last(visit.store, REEL)},
        zone=common_zone(found),
    )


async def show(visit: Visit) -> Answer:
    """A product: one sentence, the pictures joined, all that happened to it."""
    sku = visit.path("sku")
    logs = [as_it_was(log) for log in await product_history.logs(visit.store, sku, SHOWN_ROWS, exactly=True)]
    standing = await product_history.standings(visit.store, sku, logs)
    if not logs and not any(one.state.tells for one in standing):
        return await _unknown(visit, sku)
    newest = logs[0] if logs else None
    runs_by_id = await _runs(visit, logs)
    retries = await product_history.retries(visit.store, runs_by_id)
    run = runs_by_id.get(newest.run_id) if newest else None
    before, after = _sets(newest, standing, logs)
    in_flight = any(one.state.in_flight is not None for one in standing)
    again = newest is not None and newest.in_retry
    why = None
    if newest and newest.state == "failed" and not again:
        why = cause(newest.stage, newest.http_status, newest.reason)
    flow = await _flow(visit, run.flow) if run is not None else None
    sent_by = product_history.sent_by(runs_by_id[newest.run_id], retries, newest.settled_at) if newest and run else 0
    values = {
        "here": "product",
        "sku": sku,
        "newest": newest,
        "again": again,
        "over": not again and not in_flight,
        "failed_again": failed_again(newest, retries) if why and newest else None,
        "run": run,
        "runs": runs_by_id,
        "happened": happened(logs),
        "when": when,
        "version": lambda log, at: product_history.sent_by(runs_by_id[log.run_id], retries, at),
        "tries": lambda log: max(log.attempts, len(history(log))),
        "on": next((one for one in standing if one.state.version > 0), None),
        "before": before,
        "after": after,
        "links": plots.links([image.url for image in before], [image.url for image in after]),
        "why": why,
        "broken": broken_places(newest.reason) if why and newest else frozenset(),
        "kinds": _kinds([image.url for image in before], [image.url for image in after]),
        "in_flight": in_flight,
        "chain": None,
        "group": fingerprint(newest) if why and newest else "",
        "guilty": _guilty(sku, why, after, newest) if why and newest else (),
        "marked": marked,
        "inbound": flow is not None and flow.definition.inbound,
        "takes": flow is not None and takes_identifiers(flow.definition),
        "main": _main(why, flow, changed=flow is None or flow.version != sent_by),
    }
    if visit.asked("how"):
        values["chain"] = await _chain(visit, sku)
    return Show("product.html", values, zone=await zone_of(visit, run.flow if run else ""))


async def _unknown(visit: Visit, sku: str) -> Show:
    """Of a product that nothing is known of: those that it may be now, and the flows that can ask for it."""
    same = [name for name in await _products(visit, sku) if name.casefold() == sku.casefold()]
    head = beginning(sku)
    near = [name for name in await _products(visit, head) if name not in (sku, *same)] if head else []
    known = await all_flows(visit)
    values = {
        "here": "product",
        "sku": sku[:200],
        "alike": [name for name in same if name != sku],
        "head": head[:200],
        "near": near[:NEAR],
        "asks": [flow.name for flow in known if flow.definition.inbound and takes_identifiers(flow.definition)],
    }
    return Show("no_product.html", values, 404, common_zone(known))


async def _products(visit: Visit, text: str) -> list[str]:
    return [hit.name for hit in await search.find(visit.store, text) if hit.kind == "product"]


def beginning(sku: str) -> str:
    """What SKUs of the same kind begin with: all up to the last sign, or but the last letters; empty: too little is left."""
    at = max(sku.rfind(sign) for sign in "-_/. ") + 1
    head = sku[:at] if 1 < at < len(sku) else sku[:-LETTERS_LEFT_OUT]
    return head if len(head) > 1 else ""


def as_it_was(log: RowLog) -> RowLog:
    """A cancelled row that is being retried is still a cancelled one: the store shows it as failed until it is settled."""
    cancelled = log.state == "failed" and log.reason == CANCELLED
    return msgspec.structs.replace(log, state="cancelled") if cancelled else log


def happened(logs: Sequence[RowLog]) -> list[tuple[RowLog, Try | None]]:
    """Each row with its last try (None), and with those before that one, the newest first."""
    return [(log, one) for log in logs for one in (None, *reversed(history(log)[:-1]))]


def failed_again(log: RowLog, steered: Sequence[AuditRecord]) -> AuditRecord | None:
    """The last retry of a failed row: it has failed again since. None: it was not retried. `steered`: retries of its run and others."""
    cause = fingerprint(log)
    its = (
        one
        for one in reversed(steered)
        if one.entry.what == "run.retry" and one.entry.object == f"run {log.run_id}"
        if log.settled_at is not None and one.at <= log.settled_at
        if one.entry.detail.get("row", log.row) == log.row and one.entry.detail.get("group", cause) == cause
    )
    return next(its, None)


def _guilty(sku: str, why: Cause, after: Sequence[Image], newest: RowLog) -> tuple[str, ...]:
    """What is at fault: the pictures that the refusal names, or the SKU that Omnitron does not know."""
    if why.name == "unknown sku":
        return (sku,)
    broken = [image for place, image in enumerate(after) if place in broken_places(newest.reason)]
    return tuple(name for image in broken for name in names(image.url))


async def _flow(visit: Visit, name: str) -> Flow | None:
    try:
        return await flows.version(visit.store, name)
    except NotFoundError:
        return None


def _main(why: Cause | None, flow: Flow | None, *, changed: bool) -> Literal["again", "ask", "bench"]:
    """What helps first: where writing again can only fail, the ERP is asked anew, or the row looked at on the bench."""
    if why is None or flow is None or not why.stays or (changed and why.name != "no images"):
        return "again"
    return "ask" if why.name in ("no images", "no address", "rows") and flow.definition.inbound else "bench"


async def _runs(visit: Visit, logs: Sequence[RowLog]) -> dict[str, Run]:
    found = {}
    for run_id in dict.fromkeys(log.run_id for log in logs):
        try:
            found[run_id] = (await runs.show(visit.store, run_id)).run
        except NotFoundError:
            continue  # the run is gone, its rows go soon
    return found


def _sets(
    newest: RowLog | None, standing: Sequence[Standing], logs: Sequence[RowLog]
) -> tuple[list[Image], list[Image]]:
    """What Omnitron has (or had before), and what was asked for last."""
    written = next((one.log for one in standing if one.log is not None), None)
    if newest is None:
        return (_sorted(written.images) if written else []), []
    if newest.state in ("failed", "cancelled"):
        return (_sorted(written.images) if written else []), _sorted(newest.images)
    earlier = [log for log in logs[1:] if log.state == "written"]
    current = written or newest
    before = next((log for log in earlier if (log.run_id, log.row) != (current.run_id, current.row)), None)
    return (_sorted(before.images) if before else []), _sorted(current.images or newest.images)


def _sorted(images: Sequence[Image]) -> list[Image]:
    """In the order of the shop, the swatch first."""
    return sorted(images, key=lambda image: (image.image_type != "swatch", image.order))


def _kinds(before: Sequence[str], after: Sequence[str]) -> dict[int, str]:
    """What is to be said at each picture of the second set."""
    return {link.after: link.kind for link in plots.links(before, after) if link.after is not None and before}


async def _chain(visit: Visit, sku: str) -> dict[str, Any] | None:
    """The steps of the newest row: run again in the sandbox, with the version that it went through."""
    trace = await product_history.trace(visit.store, visit.deps.tools.sandbox, sku, limit=1)
    return _steps(trace.rows[0]) if trace.rows else None


def _steps(row: TracedRow) -> dict[str, Any]:
    source = next(iter(row.sources), None)
    steps = source.dry.steps if source is not None and source.dry is not None else ()
    found = {step.step: step for step in steps}
    elements = list(source.elements.values()) if source is not None else []
    sent = product_history.sent(row)
    return {
        "note": source.note if source is not None else None,
        "page": source.page if source is not None else None,
        "element": _text(elements[0] if len(elements) == 1 else elements) if elements else "",
        "script": _said(found.get("script")),
        "mapping": _said(found.get("mapping")),
        "rows": _text(found["rows"].output) if "rows" in found and found["rows"].output is not None else "",
        "sent": f"{sent.method} {sent.url}\n{_text(sent.body)}" if sent is not None else "",
    }


def _said(step: Any) -> dict[str, str] | None:
    if step is None:
        return None
    error = step.error or next(iter(step.row_errors.values()), None)
    return {
        "output": _text(step.output) if step.output is not None else "",
        "prints": step.prints[:2000],
        "error": (f"line {error.line}: " if error.line else "") + error.reason if error is not None else "",
    }


def _text(value: Any) -> str:
    text = msgspec.json.format(msgspec.json.encode(value), indent=1).decode()
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "\n…"


async def again(visit: Visit) -> Answer:
    """Write a product's newest row again."""
    sku = visit.path("sku")
    logs = await product_history.logs(visit.deps.store, sku, 1, exactly=True)
    if not logs:
        raise Refusal(404, "there is nothing at this address")
    deps = visit.deps
    done = await runs.retry(deps.store, deps.publisher, logs[0].run_id, visit.actor, row=logs[0].row)
    return Go(f"/products/{part(sku)}", ("again",) if done.rows else ("retried", "0", str(sum(done.left.values()))))


PAGES = (
    Page("GET", "/products", list_),
    Page("GET", "/products/{sku}", show),
    Page("POST", "/products/{sku}/again", again, role="operator"),
)
