"""Search: products, runs, flows and causes by what a person types."""

from __future__ import annotations

from typing import NamedTuple

from imageflow.actions import rows
from imageflow.console.pages.errors import causes_of
from imageflow.console.pages.shared import all_flows, common_zone, part, runs_of
from imageflow.console.visit import Answer, Go, Page, Show, Visit

RUNS = 500
HITS = 20


class Hit(NamedTuple):
    """Something that was found: of which kind, its name, what else to say, and where it is."""

    kind: str
    name: str
    about: str
    url: str


async def search(visit: Visit) -> Answer:
    """The only hit itself; else a list of them."""
    text = visit.asked("q")[:200]
    hits = await _hits(visit, text) if text else []
    if len(hits) == 1:
        return Go(hits[0].url)
    values = {"here": None, "q": text, "hits": hits}
    return Show("search.html", values, zone=common_zone(await all_flows(visit)))


async def _hits(visit: Visit, text: str) -> list[Hit]:
    low = text.lower()
    flows = await all_flows(visit)
    found = (
        [Hit("product", text, "", f"/products/{part(text)}")]
        if await rows.of_product(visit.store, text, limit=1)
        else []
    )
    found += [Hit("flow", flow.name, "", f"/flows/{part(flow.name)}") for flow in flows if low in flow.name]
    found += [
        Hit("run", run.run_id, run.flow, f"/runs/{part(run.run_id)}")
        for run in await runs_of(visit.store, limit=RUNS)
        if run.run_id.startswith(low) or run.run_id.rpartition("-")[2].startswith(low)
    ][:HITS]
    if len(low) >= 3:
        found += [
            Hit("cause", one.error.reason or one.error.stage, one.flow, f"/errors?cause={part(one.error.group)}")
            for one in await causes_of(visit.store)
            if low in (one.error.reason or "").lower()
        ][:HITS]
    return found


PAGES = (Page("GET", "/search", search),)
