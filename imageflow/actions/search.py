"""Search: products, flows, runs and causes by what a person types."""

from __future__ import annotations

from typing import Literal

import msgspec

from imageflow.store import Store

HITS = 20
"""At most so many of a kind."""
NEWEST_RUNS = 500
"""Among so many one may name a run by the last part of its id."""
CAUSES = 200
LEAST_LETTERS = 3
"""Of the words of a cause."""


class Hit(msgspec.Struct, frozen=True):
    """Something that was found: its kind, its name (a SKU or base code, a flow, a run's id, a cause's group), the flow that it is
    of, and what else to say.
    """

    kind: Literal["product", "flow", "run", "cause"]
    name: str
    flow: str = ""
    about: str = ""


async def find(store: Store, text: str) -> list[Hit]:
    """What begins with the text: products that are on Omnitron, or whose rows were logged under exactly this name; flows whose
    name holds it; runs by the beginning of their id or of its last part; open causes whose words hold it.
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
    domains = {flow.definition.omnitron.domain for flow in await store.flows()}
    found = await store.products(text, sorted(domains), limit=HITS)
    if text not in found and await store.product_rows(text, limit=1):
        found = [text, *found]
    return [Hit("product", name) for name in found[:HITS]]


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
