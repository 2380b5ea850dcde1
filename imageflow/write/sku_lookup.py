"""Which SKUs a base code stands for, as Omnitron's product list says; remembered for a while."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any
from urllib.parse import quote

from imageflow.clock import Clock
from imageflow.http.omnitron import OmnitronError, OmnitronSessions
from imageflow.model.flow import Definition

REMEMBER_SECONDS = 300.0
REMEMBER_EMPTY_SECONDS = 10.0
REMEMBER_LIMIT = 50_000
PAGE_LIMIT = 100


class SkuLookup:
    """Looks up the SKUs of base codes, each once at a time and at most every five minutes."""

    def __init__(self, omnitron: OmnitronSessions, clock: Clock) -> None:
        self._omnitron = omnitron
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], tuple[float, tuple[str, ...]]] = OrderedDict()
        self._asking: dict[tuple[str, str], asyncio.Lock] = {}

    async def skus(self, flow: Definition, base_code: str) -> tuple[str, ...]:
        """The SKUs of a base code, sorted; empty where Omnitron has none. Raises what OmnitronSessions.get_json does."""
        key = (flow.omnitron.domain, base_code)
        lock = self._asking.setdefault(key, asyncio.Lock())
        async with lock:
            known = self._known.get(key)
            if known is None or known[0] < self._clock.monotonic():
                found = tuple(sorted(await self._look_up(flow, base_code)))
                seconds = REMEMBER_SECONDS if found else REMEMBER_EMPTY_SECONDS
                known = self._known[key] = (self._clock.monotonic() + seconds, found)
                if len(self._known) > REMEMBER_LIMIT:
                    self._known.popitem(last=False)
        self._asking.pop(key, None)
        return known[1]

    async def _look_up(self, flow: Definition, base_code: str) -> set[str]:
        url: str | None = f"{flow.omnitron.products_path}?base_code={quote(base_code, safe='')}&limit={PAGE_LIMIT}"
        skus: set[str] = set()
        asked: set[str] = set()
        while url and url not in asked:
            asked.add(url)
            answer = await self._omnitron.get_json(flow, url)
            skus.update(_skus(answer, base_code))
            url = answer.get("next")
        return skus


def _skus(answer: Any, base_code: str) -> list[str]:
    """SKUs in a product list; products of another base code are passed over (an unknown filter must not fan out)."""
    try:
        return [str(product["sku"]) for product in answer["results"] if str(product["base_code"]) == base_code]
    except (KeyError, TypeError) as error:
        raise OmnitronError("Omnitron's product list does not hold results with sku and base_code") from error
