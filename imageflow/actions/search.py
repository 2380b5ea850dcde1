"""Search: products, flows, runs and causes by what a person types."""

from __future__ import annotations

from typing import Literal

import msgspec

from imageflow.inspect import product_history
from imageflow.store import Store

HITS = 20
"""At most so many of a kind."""
NEWEST_RUNS = 500
"""Among so many one may name a run by the last part of its id."""
CAUSES = 200
LEAST_LETTERS = 3
"""Of the words of a cause, and digits of a product's number."""


class Hit(msgspec.Struct, frozen=True):
    """Something that was found: its kind, its name (a SKU or base code, a flow, a run's id, a cause's group), the flow that it is
    of, and what else to say: the state of a product's newest row, the status of a run, the words of a cause.
    """

    kind: Literal["product", "flow", "run", "cause"]
    name: str
    flow: str = ""
    about: str = ""


async def find(store: Store, text: str) -> list[Hit]:
    """What begins with the text: products that were sent to Omnitron, also by their number alone, and in upper and lower
    case too, or whose rows were logged under exactly this name, or failed and have it as a value; flows whose name holds it;
    runs by the beginning of their id or of its last part; open causes whose words hold it.
    """
    text = text.strip()
    if not text:
        return []
    return [
        *await _products(store, text),
        *await _flows(store, text.lower()),
        *await _runs(store, text.lower()),
        *await _causes(store, text.lower()),
    ]


async def _products(store: Store, text: str) -> list[Hit]:
    """Those of exactly this name, in whatever case, first."""
    domains = sorted({flow.definition.omnitron.domain for flow in await store.flows()})
    spelled = list(dict.fromkeys((text, text.upper(), text.lower())))
    known = {one: await store.product_rows(one, limit=1) for one in spelled}
    found = [one for one, rows in known.items() if rows]
    nameless = text not in found and await _failed(store, text)
    if nameless:
        found.append(text)
    for one in spelled:
        found += await store.products(one, domains, limit=HITS)
    if text.isascii() and text.isdigit() and len(text.lstrip("0")) >= LEAST_LETTERS:
        heads = await store.product_heads(domains)
        for one in sorted({head.rstrip("0") + text for head in heads} | {head + text.lstrip("0") for head in heads}):
            found += await store.products(one, domains, limit=HITS)
    found.sort(key=lambda name: name.casefold() != text.casefold())
    states = {name: await _state(store, name) for name in list(dict.fromkeys(found))[:HITS]}
    if nameless and text in states:
        states[text] = "failed"
    hits = [Hit("product", name, about=state) for name, state in states.items()]
    return [hit for hit in hits if hit.about or await _is_told(store, hit.name, domains)]


async def _failed(store: Store, product: str) -> bool:
    """Whether a row that failed before its product was known holds the product as a value."""
    return len(product) >= LEAST_LETTERS and bool(await product_history.logs(store, product, 1, exactly=True))


async def _is_told(store: Store, product: str, domains: list[str]) -> bool:
    """Whether the ledger says anything of a product."""
    return any(state.tells for state in await store.ledger(product, domains))


async def _state(store: Store, product: str) -> str:
    """The state of a product's newest row; empty: none of its rows is kept."""
    return next((row.state for row in await store.product_rows(product, limit=1)), "")


async def _flows(store: Store, text: str) -> list[Hit]:
    return [Hit("flow", flow.name, flow.name) for flow in await store.flows() if text in flow.name][:HITS]


async def _runs(store: Store, text: str) -> list[Hit]:
    found = await store.runs_named(text, limit=HITS)
    if not found:
        newest = await store.runs(limit=NEWEST_RUNS)
        found = [run for run in newest if run.run_id.rpartition("-")[2].startswith(text)]
    return [Hit("run", run.run_id, run.flow, run.status) for run in found[:HITS]]


async def _causes(store: Store, text: str) -> list[Hit]:
    if len(text) < LEAST_LETTERS:
        return []
    return [
        Hit("cause", one.group, one.flow, one.reason or one.stage)
        for one in await store.causes(limit=CAUSES)
        if text in (one.reason or "").lower() or one.group == text
    ][:HITS]
