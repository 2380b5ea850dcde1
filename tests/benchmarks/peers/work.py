"""What the peers have in common: where they read and write, what their messages hold, and the POST of the async ones."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import aiohttp
import msgspec
import orjson

from tests.benchmarks.catalogue import PAGE, images

BROKER_URL = os.environ["BENCH_BROKER_URL"]
SINK = os.environ["BENCH_SINK"]
CONCURRENCY = int(os.environ["BENCH_CONCURRENCY"])
"""Messages in hand at once; each writes its rows one after the other, which costs less than a task for each row."""

CREDENTIALS = {"username": "demo", "password": "demo"}
LOGIN_URL = f"{SINK}/api/v1/auth/login/"
IMAGES_URL = f"{SINK}/api/v1/downloadable-image/"


def chunks(rows: int, salt: str) -> list[list[dict[str, Any]]]:
    """The rows of the messages: `rows` products in all."""
    made = [
        {"product_sku": f"{salt}-{n:07}", "images": [msgspec.to_builtins(image) for image in images(n)]}
        for n in range(rows)
    ]
    return [made[start : start + PAGE] for start in range(0, rows, PAGE)]


def publishing(publish: Callable[[list[list[dict[str, Any]]]], None]) -> bool:
    """Whether this process is to publish (`publish ROWS SALT`) instead of working; then it has done so."""
    if sys.argv[1:2] != ["publish"]:
        return False
    publish(chunks(int(sys.argv[2]), sys.argv[3]))
    return True


class Poster:
    """An aiohttp session that is logged in."""

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY))
        async with self._session.post(LOGIN_URL, json=CREDENTIALS) as answer:
            token = (await answer.json())["key"]
        self._headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}

    async def close(self) -> None:
        await self._session.close()

    async def post(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            async with self._session.post(IMAGES_URL, data=orjson.dumps(row), headers=self._headers) as answer:
                await answer.read()
                assert answer.status < 300
