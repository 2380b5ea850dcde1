"""How SQLite joins a batch with a table: it goes through the batch, and looks each record up by a key."""

from __future__ import annotations

import importlib
import pkgutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy.dialects.sqlite import dialect

import imageflow.store as store_package
from imageflow.store.batch import BatchStatement
from tests import schemas


class SqliteTx:
    postgresql = False
    dialect = dialect()


def statements() -> Iterator[tuple[str, BatchStatement]]:
    """All statements of the store that have a batch, by their names."""
    for module in pkgutil.iter_modules(store_package.__path__):
        if module.ispkg:
            continue
        found = vars(importlib.import_module(f"{store_package.__name__}.{module.name}"))
        for name, value in found.items():
            if isinstance(value, BatchStatement) and value._batches:
                yield f"{module.name}.{name}", value


POSTGRESQL_ONLY = {
    "outbox._SENT_IN_ORDER",
    "posts._INSERT",
    *(f"settling.{name}" for name in ("_SETTLE", "_SETTLE_NEW", "_SETTLE_UNSENT", "_SETTLE_UNSENT_NEW")),
    *(f"settling.{name}" for name in ("_SKIP_AND_LOG", "_SKIP_AND_LOG_NEW")),
}
CHOSEN = [
    pytest.param(statement, compact, id=f"{name}-{'compact' if compact else 'spread'}")
    for name, statement in statements()
    if name not in POSTGRESQL_ONLY
    for compact in (False, True)
    if not compact or any(batch._alike for batch in statement._batches)
]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("plans") / "store.db"
    schemas.lay(path)
    return path


@pytest.mark.parametrize(("statement", "compact"), CHOSEN)
def test_the_batch_leads(file, statement, compact):
    """No table stands before it at its level of the plan: that would be read for each record, or the batch for each of its rows."""
    prepared = statement._prepare(SqliteTx(), [compact and bool(batch._alike) for batch in statement._batches])
    with closing(sqlite3.connect(file)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {prepared.sql}", [None] * len(prepared._places)).fetchall()
    levels: dict[int, list[str]] = {}
    for _, parent, _, step in plan:
        if step.startswith(("SCAN", "SEARCH")):
            levels.setdefault(parent, []).append(step)
    late = [steps for steps in levels.values() if any("json_each" in step for step in steps[1:])]
    assert not late
