"""A statement as SQLite's and PostgreSQL's drivers take it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Boolean, Dialect, bindparam, column, text, update
from sqlalchemy.dialects.postgresql.asyncpg import dialect as postgresql
from sqlalchemy.dialects.sqlite import dialect as sqlite

from imageflow.store.prepared import Fixed, Prepared
from imageflow.store.tables import Instant, owners

AT = datetime(2026, 11, 28, 12, tzinfo=UTC)
STATEMENT = text("SELECT :b, :a, :b, :at").bindparams(bindparam("at", type_=Instant()))


@pytest.mark.parametrize(
    ("dialect", "sql", "values"),
    [
        (sqlite(), "SELECT ?, ?, ?, ?", ["two", 1, "two", 1_795_867_200_000_000]),
        (postgresql(), "SELECT $1, $2, $1, $3::TIMESTAMP WITH TIME ZONE", ["two", 1, AT]),
    ],
    ids=["sqlite", "postgresql"],
)
def test_parameters_in_their_places(dialect: Dialect, sql: str, values: list[object]) -> None:
    prepared = Prepared(STATEMENT, dialect)
    assert prepared.sql == sql
    assert prepared.values({"a": 1, "b": "two", "at": AT, "more": None}) == values


def test_rows_are_named() -> None:
    prepared = Prepared(text("SELECT 1"), sqlite())
    [row] = prepared.rows(["product", "?column?"], [("A", 1)])
    assert (row.product, tuple(row)) == ("A", ("A", 1))
    assert prepared.rows(["product", "?column?"], [("B", 2), ("C", 3)]) == [("B", 2), ("C", 3)]


def test_values_of_ours() -> None:
    """What SQLite keeps as a number comes back as what it means."""
    prepared = Prepared(text("SELECT 1"), sqlite(), [column("at", Instant()), column("good", Boolean)])
    found = [(1_795_867_200_000_000, 1), (None, 0), (None, None)]
    assert prepared.rows(["at", "good"], found) == [(AT, True), (None, False), (None, None)]


class _Tx(NamedTuple):
    dialect: Dialect
    postgresql: bool


@pytest.mark.parametrize(
    ("dialect", "sql"),
    [
        (sqlite(), "UPDATE owners SET alive_until=? WHERE owners.owner = ?"),
        (
            postgresql(),
            'UPDATE owners SET alive_until=$1::TIMESTAMP WITH TIME ZONE WHERE owners.owner = $2::VARCHAR COLLATE "C"',
        ),
    ],
    ids=["sqlite", "postgresql"],
)
def test_a_fixed_statement(dialect: Dialect, sql: str) -> None:
    """It is written once for each dialect, and knows how to read what comes back."""
    changed = update(owners).where(owners.c.owner == bindparam("of")).values(alive_until=bindparam("alive_until"))
    fixed = Fixed(changed.returning(owners))
    tx: Any = _Tx(dialect, isinstance(dialect, postgresql))
    bound = fixed.bind(tx, of="w", alive_until=AT)
    assert " ".join(bound.statement.sql.split()).partition(" RETURNING ")[0] == sql
    at, owner = bound.statement.values(bound.parameters)
    assert (owner, fixed.bind(tx, of="v", alive_until=AT).statement) == ("w", bound.statement)
    [row] = bound.statement.rows(["owner", "alive_until"], [("w", at)])
    assert (row.owner, row.alive_until) == ("w", AT)
