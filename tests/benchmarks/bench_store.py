"""How many rows a second one writer claims and settles, and skips as unchanged, 100 at a time: `python -m tests.benchmarks.bench_store`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time

from imageflow.clock import SystemClock
from imageflow.model.imageset import Image
from imageflow.model.row import Row, RowLog, digest_of
from imageflow.model.run import Run, Trigger, new_run_id
from imageflow.secret import Secret
from imageflow.store import LedgerEntry, Store, Wanted
from imageflow.store.connect import connect
from tests.postgres_server import open_server
from tests.posting import accept_post

DOMAIN = "https://brand.omnitron.net"
FLOW = {
    "name": "bench",
    "direction": "outbound",
    "omnitron": {"domain_url": DOMAIN, "username": "bot", "password": {"env": "OMNITRON_PASSWORD"}},
}
IMAGES = tuple(Image(f"https://cdn.example.com/images/winter/{i:08}.jpg", i) for i in range(4))
DIGEST = digest_of(Row(1, 1, "sku", IMAGES))


async def measure(url: str, total: int) -> None:
    async with connect(Secret(url), SystemClock()) as store:
        await store.upgrade()
        await store.save_flow(FLOW)
        await store.alive("bench", 600)
        run_id = await _run(store, total)
        claiming, settling = 0.0, 0.0
        for start in range(1, total + 1, 100):
            numbers = range(start, start + 100)
            began = time.perf_counter()
            await store.claim(DOMAIN, "bench", f"t{start}", [Wanted(_sku(number), number) for number in numbers])
            claimed = time.perf_counter()
            await store.settle(
                f"t{start}",
                [_log(run_id, number) for number in numbers],
                written=[LedgerEntry(DOMAIN, _sku(number), number, DIGEST, run_id, number) for number in numbers],
            )
            claiming += claimed - began
            settling += time.perf_counter() - claimed
        skipping = await _skip(store, total)
        each = 100_000 / total
        print(
            f"{url.partition(':')[0]}: {total / (claiming + settling):,.0f} rows/s written, {total / skipping:,.0f} unchanged; per 100 "
            f"rows: claim {claiming * each:.1f} ms, settle {settling * each:.1f} ms, skip {skipping * each:.1f} ms"
        )


async def _skip(store: Store, total: int) -> float:
    """The seconds that it takes to skip as many rows with the image sets that are written."""
    run_id = await _run(store, total)
    seconds = 0.0
    for start in range(1, total + 1, 100):
        rows = [Row(number, total + number, _sku(number), IMAGES) for number in range(start, start + 100)]
        began = time.perf_counter()
        skipped = await store.skip(DOMAIN, run_id, rows)
        seconds += time.perf_counter() - began
        assert len(skipped.rows) == len(rows)
    return seconds


async def _run(store: Store, total: int) -> str:
    now = SystemClock().now()
    run = Run(
        run_id=new_run_id(now),
        flow="bench",
        version=1,
        trigger=Trigger("outbound"),
        status="draining",
        created_at=now,
        read_complete=True,
        pages=1,
    )
    await accept_post(store, run, b"[]", rows=total, key=None)
    await store.register_page(run.run_id, 1, total, [])
    return run.run_id


def _sku(number: int) -> str:
    return f"sku-{number % 5000}"


def _log(run_id: str, number: int) -> RowLog:
    return RowLog(
        run_id=run_id,
        row=number,
        product=_sku(number),
        state="written",
        http_status=200,
        attempts=1,
        images=IMAGES,
        page=1,
        version=number,
    )


def main() -> None:
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    server = open_server()
    try:
        if server is not None:
            asyncio.run(measure(server.new_database(), total))
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(f"sqlite:///{folder}/store.db", total))
    finally:
        if server is not None:
            server.close()


if __name__ == "__main__":
    main()
