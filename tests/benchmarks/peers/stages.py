"""What the pipelines of three stages have in common: a page of the ERP, and the names of the stages.

A pipeline does what our reader, transformer and writer do, and is let off what they keep: no log, no ledger, no watermark, no
retry. Each stage is a process of its own.

A message of the first two stages holds a page. One to the writer holds a page, too, which is fast and sends all of a page again
when one of its rows fails; or, with BENCH_MESSAGE=row, a row, so that each row is acknowledged and tried again by itself, as it is
with us.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import aiohttp
import orjson

from tests.benchmarks.peers.script import image_set

READ, TRANSFORM, WRITE = STAGES = ("read", "transform", "write")
STAGE = os.environ.get("BENCH_STAGE", "")
"""The stage that this process is."""
ROW_BY_ROW = os.environ.get("BENCH_MESSAGE") == "row"
FIRST = f"{os.environ.get('BENCH_ERP', '')}/images/next/?limit=100"


def messages(page: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The image sets of a page's rows, as the messages to the writer hold them."""
    sets = [image_set(row) for row in page]
    return [[one] for one in sets] if ROW_BY_ROW else [sets]


def starting() -> bool:
    """Whether this process is to start the pipeline (`start`) instead of being a stage of it."""
    return sys.argv[1:] == ["start"]


class Erp:
    """An aiohttp session that reads pages."""

    async def open(self) -> None:
        self._session = aiohttp.ClientSession()

    async def close(self) -> None:
        await self._session.close()

    async def page(self, url: str) -> tuple[list[dict[str, Any]], str | None]:
        """The rows of a page, and where the next one is."""
        async with self._session.get(url) as answer:
            answer.raise_for_status()
            found = orjson.loads(await answer.read())
        return found["results"], found["next"]
