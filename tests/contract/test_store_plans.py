"""The plans that PostgreSQL makes for the statements of the hot path whose speed depends on them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from imageflow.clock import SystemClock
from imageflow.model.imageset import Image
from imageflow.model.row import Row, digest_of
from imageflow.secret import Secret
from imageflow.store import Store, settling
from imageflow.store.batch import BatchStatement
from imageflow.store.connect import connect
from imageflow.store.database import Tx
from imageflow.store.row_record import unchanged_values
from tests.postgres_server import Postgres

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])  # a plan does not depend on the loop

SKIPPING = pytest.mark.parametrize(
    "statement", [settling._SKIP_AND_LOG, settling._SKIP_AND_LOG_NEW], ids=["logged before", "new"]
)


@pytest.fixture
async def store(postgres: Postgres) -> AsyncIterator[Store]:
    async with connect(Secret(postgres.new_database()), SystemClock()) as opened:
        await opened.upgrade()
        yield opened


async def fill(store: Store, entries: int, token: str | None, *, analyse: bool) -> None:
    """A ledger of that size, claimed with that token; PostgreSQL knows of it only where it was analysed."""

    async def change(tx: Tx) -> None:
        await tx.execute(text("ALTER TABLE ledger SET (autovacuum_enabled = off)"))
        if entries:
            made = "SELECT 'd', 'sku-' || i, 1, 'x', :token FROM generate_series(1, :entries) AS i"
            insert = text(f"INSERT INTO ledger (domain, product, version, digest, claim_token) {made}")
            await tx.execute(insert, {"entries": entries, "token": token})
        if analyse:
            await tx.execute(text("ANALYZE ledger"))

    await store._database.transact(change, writing=True)


async def plan(store: Store, statement: BatchStatement) -> str:
    """The generic plan: made once for each connection, whatever the values are."""

    async def explain(tx: Tx) -> str:
        await tx.run(settling._ROW_BY_ROW.bind(tx))
        rows = [Row(number, 9, f"sku-{number}", (Image("https://cdn.example.com/1.jpg"),)) for number in range(1, 4)]
        records = [(*unchanged_values("r", row), digest_of(row)) for row in rows]
        bound = statement.bind(tx, records, domain="d", now=tx.now)
        sql = bound.statement.sql
        nulls = ", ".join(["NULL"] * len(set(re.findall(r"\$\d+", sql))))
        await tx.connection.exec_driver_sql(f"PREPARE planned AS {sql}")
        lines = await tx.connection.exec_driver_sql(f"EXPLAIN (COSTS OFF) EXECUTE planned({nulls})")
        return "\n".join(line for (line,) in lines)

    return await store._database.transact(explain, writing=True)


@SKIPPING
@pytest.mark.parametrize("analyse", [False, True], ids=["unknown", "analysed"])
@pytest.mark.parametrize(
    ("entries", "token"),
    [(0, None), (100, None), (100, "t"), (50_000, None), (50_000, "t")],
    ids=["empty", "small", "small and claimed", "large", "large and claimed"],
)
async def test_skipping_looks_up_row_by_row(
    store: Store, statement: BatchStatement, entries: int, token: str | None, analyse: bool
) -> None:
    """Each row of the batch is looked up by the ledger's key and updated by its place, in the order of the batch, however
    large the ledger is, and whatever PostgreSQL knows of it.
    """
    await fill(store, entries, token, analyse=analyse)
    found = await plan(store, statement)
    steps = [line.strip(" ->") for line in found.splitlines()]
    assert "Index Scan using ledger_pkey on ledger k" in steps, found
    assert "Tid Scan on ledger l" in steps, found
    assert "TID Cond: (ctid = known.place)" in steps, found
    batch = next(index for index, step in enumerate(steps) if step.startswith("Function Scan on logs"))
    assert steps[batch - 1] == "Nested Loop", found
    for other in ("Seq Scan", "Bitmap", "Hash Join", "Merge Join", "Memoize", "Sort", "Materialize"):
        assert other not in found, found
