"""What an engineer would write in an afternoon: `python -m tests.benchmarks.peers.script ERP OMNITRON CONCURRENCY LOOP`, on the loop
uvloop or asyncio.

It follows the ERP's `next` links, makes an image set of each row, and POSTs that, many at once; it tries again what failed.
No queue, no log, no ledger: what it had in hand is lost when it ends, and it sends again what is there already.
"""

from __future__ import annotations

import asyncio
import sys
import time
from urllib.parse import urlsplit

import aiohttp
import uvloop

ATTEMPTS = 5
WAITING = 500


def image_set(row: dict) -> dict:
    images = sorted(row["images"], key=lambda image: image["order"])
    for image in images:
        if urlsplit(image["url"]).scheme not in ("http", "https"):
            raise ValueError(f"{row['sku']}: {image['url']} is no URL of an image")
    return {
        "product_sku": row["sku"],
        "images": [{"url": image["url"], "order": order} for order, image in enumerate(images)],
    }


async def main(erp: str, omnitron: str, concurrency: int) -> None:
    begun, done = time.perf_counter(), 0
    rows: asyncio.Queue[dict | None] = asyncio.Queue(WAITING)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency + 1)) as session:
        login = {"username": "demo", "password": "demo"}
        async with session.post(f"{omnitron}/api/v1/auth/login/", json=login) as answer:
            headers = {"Authorization": f"Token {(await answer.json())['key']}"}

        async def read() -> None:
            url = f"{erp}/images/next/?limit=100"
            while url:
                async with session.get(url) as answer:
                    answer.raise_for_status()
                    page = await answer.json()
                for row in page["results"]:
                    await rows.put(row)
                url = page["next"]
            for _ in range(concurrency):
                await rows.put(None)

        async def write() -> None:
            nonlocal done
            while (row := await rows.get()) is not None:
                body = image_set(row)
                for attempt in range(1, ATTEMPTS + 1):
                    url = f"{omnitron}/api/v1/downloadable-image/"
                    async with session.post(url, json=body, headers=headers) as answer:
                        await answer.read()
                        if answer.status < 300:
                            done += 1
                            break
                        if answer.status not in (429, 500, 502, 503) or attempt == ATTEMPTS:
                            raise SystemExit(f"{body['product_sku']}: {answer.status}")
                    await asyncio.sleep(2**attempt)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(read())
            for _ in range(concurrency):
                tasks.create_task(write())
    print(done, time.perf_counter() - begun)


if __name__ == "__main__":
    run = uvloop.run if sys.argv[4] == "uvloop" else asyncio.run
    run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
