"""Search: products, runs, flows and causes by what a person types."""

from __future__ import annotations

from typing import NamedTuple

from imageflow.actions import search as actions_search
from imageflow.console.pages.shared import all_flows, common_zone, part
from imageflow.console.visit import Answer, Go, Page, Show, Visit


class Hit(NamedTuple):
    """Something that was found: of which kind, its name, what else to say, and where it is. `state`: of a product's newest row."""

    kind: str
    name: str
    about: str
    url: str
    state: str = ""


async def search(visit: Visit) -> Answer:
    """The only hit itself, or the only product of exactly this name; else a list of them."""
    text = visit.asked("q")[:200]
    hits = await _hits(visit, text) if text else []
    products = [hit for hit in hits if hit.kind == "product"]
    exact = [hit for hit in products if hit.name == text] or [
        hit for hit in products if hit.name.casefold() == text.casefold()
    ]
    for only in (exact, hits):
        if len(only) == 1:
            return Go(only[0].url)
    values = {"here": None, "q": text, "hits": hits}
    return Show("search.html", values, zone=common_zone(await all_flows(visit)))


async def _hits(visit: Visit, text: str) -> list[Hit]:
    return [_hit(one) for one in await actions_search.find(visit.store, text)]


def _hit(found: actions_search.Hit) -> Hit:
    name = part(found.name)
    urls = {
        "product": f"/products/{name}",
        "flow": f"/flows/{name}",
        "run": f"/runs/{name}",
        "cause": f"/errors?cause={name}&of={part(found.flow)}#products",
    }
    if found.kind == "cause":
        return Hit("cause", found.about, found.flow, urls["cause"])
    state = found.about if found.kind == "product" else ""
    return Hit(found.kind, found.name, found.flow if found.kind == "run" else "", urls[found.kind], state)


PAGES = (Page("GET", "/search", search),)
