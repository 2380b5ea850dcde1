"""What lists read, in SQLite and PostgreSQL: a page of rows costs as much in a large run as in a small one.

In PostgreSQL the plans are run and their rows counted; SQLite counts the steps of its virtual machine.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from imageflow.clock import SystemClock
from imageflow.secret import Secret
from imageflow.store import Store
from imageflow.store.connect import connect
from imageflow.store.database import Tx
from imageflow.store.postgresql import PostgresDatabase
from tests import schemas
from tests.benchmarks import million
from tests.seen_statements import seen_statements

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])  # a plan does not depend on the loop

TOTAL = 20_000
READ = 2_500
"""So many records a list of 100 may read at most: each of them, and what is looked up for it. Half of all rows are one run."""
STEPS = 100_000
"""So many steps SQLite may take for it; to read the large run takes several times as many."""
PAGE_READ, PAGE_STEPS = 6_000, 250_000
"""A page asks for several lists."""


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "sqlite":
        url = schemas.lay(tmp_path / "store.db")
    else:
        url = request.getfixturevalue("postgres").new_database()
    async with connect(Secret(url), SystemClock(), connections=1) as opened:
        await opened.upgrade()
        await million.load(opened, TOTAL, analyse=request.param == "postgresql")
        yield opened


async def test_no_list_reads_a_run(store: Store) -> None:
    """Every list of commands and API reads about as much as it shows, whatever is filtered, and whatever else is in the run."""
    cost = _read if isinstance(store._database, PostgresDatabase) else _steps
    bound = READ if isinstance(store._database, PostgresDatabase) else STEPS
    found = {name: await cost(store, ask) for name, ask in million.lists(store, TOTAL // 2).items()}
    assert {name: cost for name, cost in found.items() if cost > bound} == {}


async def test_no_page_reads_a_run(store: Store, tmp_path: Path) -> None:
    """Every page of the console reads about as much as it shows: none searches the rows, whatever is filtered."""
    cost, bound = (_read, PAGE_READ) if isinstance(store._database, PostgresDatabase) else (_steps, PAGE_STEPS)
    found, wrong = {}, {}
    async with million.asking(store, store, tmp_path) as ask:
        for path in million.pages(TOTAL // 2):

            async def one(path: str = path) -> None:
                status = await ask(path)
                if status >= 500:
                    wrong[path] = status

            found[path] = await cost(store, one)
    assert wrong == {}
    assert {path: cost for path, cost in found.items() if cost > bound} == {}


async def _read(store: Store, ask: Callable[[], Awaitable[object]]) -> int:
    """How many records the plans of all its statements read, those that a filter dropped among them."""
    with seen_statements() as seen:
        await ask()
    selects = [one for one in seen if one[0].lstrip().upper().startswith(("SELECT", "WITH"))]

    def explain(connection: Connection) -> int:
        total = 0
        for statement, parameters in selects:
            [(plan,)] = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).all()
            plan = json.loads(plan) if isinstance(plan, str) else plan
            total += sum(_rows(node) for node in _nodes(plan[0]["Plan"]) if "Relation Name" in node)
        return total

    async def work(tx: Tx) -> int:
        return await tx.run_sync(explain)

    return await store._database.transact(work, writing=False)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


def _rows(node: dict[str, Any]) -> int:
    dropped = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return int((node["Actual Rows"] + dropped) * node["Actual Loops"])


async def _steps(store: Store, ask: Callable[[], Awaitable[object]]) -> int:
    """About how many steps SQLite's machine takes."""
    counted = 0

    def count() -> None:
        nonlocal counted
        counted += 1000

    def watch(connection: Connection) -> None:
        raw: Any = connection.connection.driver_connection
        raw.set_progress_handler(count, 1000)

    async def work(tx: Tx) -> None:
        await tx.run_sync(watch)

    await store._database.transact(work, writing=False)  # on the one connection that reads
    await ask()
    return counted
