"""Which SKUs a base code stands for, by Omnitron's product list; remembered for a while."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

from imageflow.clock import Clock
from imageflow.http.omnitron import OmnitronError, OmnitronSessions
from imageflow.model.flow import Definition
from imageflow.runtime.bounded import Recent

REMEMBER_SECONDS = 300.0
REMEMBER_EMPTY_SECONDS = 10.0
REMEMBER_LIMIT = 50_000
PAGE_LIMIT = 100


class SkuLookup:
    """Looks up the SKUs of base codes: one look-up of a base code at a time, and at most one in five minutes."""

    def __init__(self, omnitron: OmnitronSessions, clock: Clock) -> None:
        self._omnitron = omnitron
        self._known: Recent[tuple[str, str], tuple[str, ...]] = Recent(
            REMEMBER_LIMIT, REMEMBER_SECONDS, clock.monotonic
        )
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    async def skus(self, flow: Definition, base_code: str) -> tuple[str, ...]:
        """The SKUs of a base code, sorted; empty where Omnitron has none. Raises what OmnitronSessions.get_json raises."""
        key = (flow.omnitron.domain, base_code)
        async with self._locks.setdefault(key, asyncio.Lock()):
            known = self._known.get(key)
            if known is None:
                known = tuple(sorted(await self._look_up(flow, base_code)))
                self._known.put(key, known, REMEMBER_SECONDS if known else REMEMBER_EMPTY_SECONDS)
        self._locks.pop(key, None)  # tasks that wait hold the lock itself, later ones find the answer
        return known

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
    """SKUs in a product list. Products of another base code are left out: an Omnitron that does not know the filter lists
    all products, and one image set must not go to all of them."""
    try:
        return [str(product["sku"]) for product in answer["results"] if str(product["base_code"]) == base_code]
    except (KeyError, TypeError) as error:
        raise OmnitronError("Omnitron's product list does not hold results with sku and base_code") from error
