"""What lists and pages cost over many row logs: `python -m tests.benchmarks.million [--rows 1000000] [--store postgresql]`.

Half of the rows are one run of the flow `winter`, the others runs of 200 rows over five flows. 88 % are unchanged, 9 % written,
1 % superseded, 2 % failed, for five causes. The rows are made in the database, and what is kept of failures is made of them
as the migration does it. Each list is asked 20 times, each page of the console 50 times over HTTP, the first time cold; the time
of a process that has its connections. A page may take 300 ms with PostgreSQL and 500 ms with SQLite, in 95 of 100 cases.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import math
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import bindparam, insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from imageflow.clock import SystemClock
from imageflow.console.pages import PAGES
from imageflow.secret import Secret
from imageflow.store import Store, User
from imageflow.store.connect import connect
from imageflow.store.tables import Instant, registered_pages
from tests.console_site import serving
from tests.postgres_server import open_server

DOMAIN = "https://brand.omnitron.net"
SMALL = 200
"""Rows of a small run."""
START = datetime(2026, 11, 28, 12, tzinfo=UTC)
TIMES = 20
TIMES_OF_PAGES = 50
MOST_MS = {"postgresql": 300, "sqlite": 500}
FAILED = """CASE n * 13 % 20
    WHEN 0 THEN 'no images' WHEN 1 THEN 'no answer within 30 seconds' WHEN 2 THEN 'KeyError: pictures'
    WHEN 3 THEN 'images 3: Enter a valid URL.' ELSE 'Product with this SKU does not exist.' END"""
# `r` is the run's number, `n` the row's
STATE = """CASE WHEN (n * 7919 + r * 104729) % 100 < 88 THEN 'unchanged' WHEN (n * 7919 + r * 104729) % 100 < 97 THEN 'written'
    WHEN (n * 7919 + r * 104729) % 100 < 98 THEN 'superseded' ELSE 'failed' END"""
ROWS = f"""
    INSERT INTO rows (run_id, number, product, state, stage, reason, http_status, attempts, images, payload, page, retryable,
        version, key, fingerprint, settled_at)
    SELECT run_id, n, CASE WHEN state = 'failed' AND n * 13 % 20 = 2 THEN NULL ELSE CAST(sku AS text) END, state,
        CASE WHEN state = 'failed' AND n * 13 % 20 = 2 THEN 'script' ELSE 'write' END,
        CASE WHEN state = 'failed' THEN {FAILED} END, CASE WHEN state = 'written' THEN 200 END, 1,
        '[{{"url":"https://cdn.brand.example/p/' || sku || '_0.jpg","order"\\:0,"image_type":"default"}},'
        || '{{"url":"https://cdn.brand.example/p/' || sku || '_1.jpg","order"\\:1,"image_type":"default"}}]',
        NULL, CASE WHEN state = 'failed' AND n * 13 % 20 = 2 THEN 1 + (n - 1) / 500 END, false, r * 1000000 + n, 'sku',
        CASE WHEN state = 'failed' THEN 'aaaaaaaaaaaaaa' || CAST(10 + CASE WHEN n * 13 % 20 < 4 THEN n * 13 % 20 ELSE 4 END AS text) END,
        :at
    FROM (SELECT r, n, run_id, {STATE} AS state, 1182700000 + (n * 48271 + r * 69621) % 120000 AS sku FROM ({{numbers}}) AS m) AS made
"""
NUMBERS = {
    "postgresql": "SELECT CAST(:r AS bigint) + b AS r, n, 'run' || (:r + b) AS run_id"
    " FROM generate_series(0, CAST(:runs AS bigint) - 1) AS b CROSS JOIN generate_series(1, CAST(:rows AS bigint)) AS n",
    "sqlite": "WITH RECURSIVE runs(b) AS (SELECT 0 UNION ALL SELECT b + 1 FROM runs WHERE b + 1 < :runs),"
    " numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :rows)"
    " SELECT :r + b AS r, n, 'run' || (:r + b) AS run_id FROM runs CROSS JOIN numbers",
}
RUN = """
    INSERT INTO runs (run_id, flow, version, triggered, status, created_at, started_at, finished_at, pages, pages_done,
        read_complete, joining, total, written, unchanged, superseded, failed, warnings, released, join_sent)
    VALUES (:run_id, :flow, 1, '{"kind":"schedule"}', 'partial', :at, :at, :at, :pages, :pages, true, false, :total, 0, 0, 0, 0,
        '[]', true, true)
"""
COUNT = """
    UPDATE runs SET written = c.written, unchanged = c.unchanged, superseded = c.superseded, failed = c.failed
    FROM (
        SELECT run_id, sum(CASE WHEN state = 'written' THEN 1 ELSE 0 END) AS written,
            sum(CASE WHEN state = 'unchanged' THEN 1 ELSE 0 END) AS unchanged,
            sum(CASE WHEN state = 'superseded' THEN 1 ELSE 0 END) AS superseded,
            sum(CASE WHEN state = 'failed' THEN 1 ELSE 0 END) AS failed
        FROM rows GROUP BY run_id
    ) AS c WHERE c.run_id = runs.run_id
"""
LEDGER = """
    INSERT INTO ledger (domain, product, version)
    SELECT :domain, product, max(version) FROM rows WHERE product IS NOT NULL GROUP BY product
"""
BIG = "run0"


async def load(store: Store, total: int, *, analyse: bool = True) -> None:
    """Fill an empty store with so many row logs. A store of SQLite is never analysed, unless its owner does."""
    omnitron = {"domain_url": DOMAIN, "username": "bot", "password": {"env": "P"}}
    for name in ("winter", *(f"flow{i}" for i in range(5))):
        await store.save_flow({"name": name, "direction": "outbound", "omnitron": omnitron})
    small = total // 2 // SMALL
    engine = store._database.migrator()
    try:
        async with engine.begin() as connection:
            await fill(connection, total - small * SMALL, small)
            migration = importlib.import_module("imageflow.store.migrations.versions.0017_open_failures")
            await connection.run_sync(migration.fill)
        if analyse:
            async with engine.begin() as connection:
                await connection.execute(text("ANALYZE"))
    finally:
        await engine.dispose()


async def fill(connection: AsyncConnection, big: int, small: int) -> None:
    at = bindparam("at", type_=Instant())
    run = text(RUN).bindparams(at)
    about = {"run_id": BIG, "flow": "winter", "at": START, "total": big, "pages": math.ceil(big / 500)}
    runs = [about]
    for number in range(1, small + 1):
        when = START + timedelta(minutes=number)
        runs.append({"run_id": f"run{number}", "flow": f"flow{number % 5}", "at": when, "total": SMALL, "pages": 1})
    await connection.execute(run, runs)
    rows = text(ROWS.replace("{numbers}", NUMBERS[connection.dialect.name])).bindparams(at)
    await connection.execute(rows, {"r": 0, "runs": 1, "rows": big, "at": START})
    await connection.execute(rows, {"r": 1, "runs": small, "rows": SMALL, "at": START + timedelta(hours=1)})
    numbered = [
        {
            "run_id": one["run_id"],
            "page": page,
            "numbers": f"[[{500 * page - 499},{min(500, total - 500 * (page - 1))}]]",
        }
        for one in runs
        for total in (one["total"],)
        for page in range(1, 1 + math.ceil(total / 500))
    ]
    await connection.execute(insert(registered_pages), numbered)
    await connection.execute(text(COUNT))
    await connection.execute(text(LEDGER), {"domain": DOMAIN})


def lists(store: Store, big: int) -> dict[str, Callable[[], Awaitable[object]]]:
    """The lists of command line and API, and what they ask of the store."""
    late = big * 9 // 10
    return {
        "errors of all flows": store.causes,
        "errors of the flow with the large run": lambda: store.causes("winter"),
        "closed errors": lambda: store.causes(state="closed"),
        "rows of a cause": lambda: store.open_rows("aaaaaaaaaaaaaa14"),
        "runs with open failures": lambda: store.failed_runs("flow1"),
        "errors of the large run": lambda: store.errors(BIG),
        "pages of the large run with failures": lambda: store.failed_pages(BIG),
        "rows of it, first": lambda: store.rows(BIG, limit=100),
        "rows of it, late": lambda: store.rows(BIG, after=late, limit=100),
        **{
            f"{state} rows of it": lambda state=state: store.rows(BIG, state=state, limit=100)
            for state in ("written", "unchanged", "superseded", "failed", "cancelled")
        },
        "rows of a cause in it": lambda: store.rows(BIG, group="aaaaaaaaaaaaaa12", limit=100),
        "rows of it that failed at the login": lambda: store.rows(BIG, stage="login", limit=100),
        "cancelled rows of it of the write": lambda: store.rows(BIG, state="cancelled", stage="write", limit=100),
        "rows of it that failed in the script": lambda: store.rows(BIG, state="failed", stage="script", limit=100),
        "rows of it written in the script": lambda: store.rows(BIG, state="written", stage="script", limit=100),
        "a product's rows in it": lambda: store.rows(BIG, product="1182700042", limit=100),
        "products by prefix": lambda: store.products("11827", [DOMAIN]),
        "what products begin with": lambda: store.product_heads([DOMAIN]),
        "failures without a product": lambda: store.nameless_rows("1182700042"),
        "a product's rows": lambda: store.product_rows("1182700042"),
        "a product that is unknown": lambda: store.product_rows("none"),
        "rows written last": lambda: store.written_last(42),
        "runs": store.runs,
        "failed runs of a flow": lambda: store.runs("flow1", status="failed"),
        "cancelled runs": lambda: store.runs(status="cancelled"),
        "runs being read": lambda: store.runs(status="reading"),
        "active runs": lambda: store.runs(active=True),
    }


CAUSE = "aaaaaaaaaaaaaa14"
SKU = "1182700042"
SAMPLES = {
    "{name}": "winter",
    r"{version:\d{1,9}}": "1",
    "{run_id}": BIG,
    "{sku}": SKU,
    "{cause}": CAUSE,
    "{key}": "none",
    r"{row:\d{1,9}}": "2",
    r"{number:\d{1,9}}": "1",
    "{user}": "admin",
    "{message}": "0" * 12,
}
"""What stands in the addresses of pages."""


def pages(big: int) -> list[str]:
    """The address of each page of the console, once more with what may be asked of it."""
    found = []
    for page in PAGES:
        if page.method == "GET":
            path = page.path
            for name, value in SAMPLES.items():
                path = path.replace(name, value)
            found.append(path)
    run = f"/runs/{BIG}"
    return [
        *found,
        "/errors?flow=winter",
        f"/errors?cause={CAUSE}&of=winter",
        "/errors?state=closed",
        f"/products/{SKU}?how=1",
        "/products/none",
        "/runs?flow=flow1",
        "/runs?status=failed",
        *(f"{run}?state={state}" for state in ("written", "unchanged", "superseded", "failed", "cancelled", "waiting")),
        f"{run}?state=failed&cause={CAUSE}",
        f"{run}?after={big * 9 // 10}",
        f"/search?q={SKU[:6]}",
        "/search?q=SKU",
        "/search?q=827",
        f"/flows/winter/bench?run={BIG}&row=2",
    ]


@asynccontextmanager
async def asking(store: Store, looks: Store, folder: Path) -> AsyncIterator[Callable[[str], Awaitable[int]]]:
    """Ask pages of a console as an admin; gives the status of the answer."""
    await store.save_user(User("admin", "no hash", "admin"))
    async with serving(store, looks, folder) as site:
        visitor = await site.visitor("admin")

        async def ask(path: str) -> int:
            return (await visitor.get(path)).status

        yield ask


@asynccontextmanager
async def opened(kind: str) -> AsyncIterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        if kind == "sqlite":
            async with connect(Secret(f"sqlite:///{Path(folder) / 'store.db'}"), SystemClock()) as store:
                yield store
            return
        server = open_server()
        if server is None:
            sys.exit("there is no PostgreSQL: set its URL, see tests/postgres_server.py")
        try:
            async with connect(Secret(server.new_database()), SystemClock()) as store:
                yield store
        finally:
            server.close()


async def measure(kind: str, total: int) -> None:
    async with opened(kind) as store:
        await store.upgrade()
        began = time.perf_counter()
        await load(store, total, analyse=kind == "postgresql")
        print(f"{kind}: {total:,} rows in {time.perf_counter() - began:.0f} s")
        print(f"{'':42}{'first':>8}{'median':>9}{'worst':>8}  ms")
        for name, ask in lists(store, total // 2).items():
            taken = []
            for _ in range(TIMES):
                began = time.perf_counter()
                await ask()
                taken.append((time.perf_counter() - began) * 1000)
            print(f"{name:42}{taken[0]:8.1f}{statistics.median(taken):9.1f}{max(taken[1:]):8.1f}", flush=True)
        await measure_pages(store, kind, total // 2)


async def measure_pages(store: Store, kind: str, big: int) -> None:
    """Say what each page takes, and which take too long."""
    print(f"\n{'page':66}{'first':>8}{'median':>9}{'p95':>8}  ms, at most {MOST_MS[kind]}")
    late = []
    with tempfile.TemporaryDirectory() as folder:
        async with asking(store, store, Path(folder)) as ask:
            for path in pages(big):
                taken, status = [], 0
                for _ in range(TIMES_OF_PAGES):
                    began = time.perf_counter()
                    status = await ask(path)
                    taken.append((time.perf_counter() - began) * 1000)
                p95 = statistics.quantiles(taken, n=20)[18]
                late += [path] if p95 > MOST_MS[kind] else []
                numbers = f"{taken[0]:8.1f}{statistics.median(taken):9.1f}{p95:8.1f}"
                print(f"{path[:64]:66}{numbers}  {status}", flush=True)
    print(f"too late: {', '.join(late) or 'none'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="postgresql")
    asked = parser.parse_args()
    asyncio.run(measure(asked.store, asked.rows))
