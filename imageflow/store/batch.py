"""Statements over a whole batch of values: one statement and one round trip, however many rows.

A `Batch` is a table made of parameters: `unnest` of one array per column in PostgreSQL, one JSON document in SQLite.
PostgreSQL locks rows in the order in which a batch lists them, so a batch is always sorted: two writers whose batches
overlap then wait for each other, and never deadlock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import BindParameter, Column, Executable, TextClause, text

from imageflow.store.database import Tx


class Batch:
    """A table `name` with columns of these SQL types: text, bigint, boolean."""

    def __init__(self, name: str, **columns: str) -> None:
        self.name = name
        self.columns = columns

    def source(self, *, postgresql: bool) -> str:
        """What stands in FROM."""
        if postgresql:
            arrays = ", ".join(f"CAST(:{self.name}_{column} AS {kind}[])" for column, kind in self.columns.items())
            return f"unnest({arrays}) AS {self.name}({', '.join(self.columns)})"
        values = ", ".join(f"json_extract(value, '$[{i}]') AS {column}" for i, column in enumerate(self.columns))
        return f"(SELECT {values} FROM json_each(:{self.name})) AS {self.name}"  # noqa: S608 - names of our own

    def parameters(self, rows: Sequence[Sequence[Any]], *, postgresql: bool) -> dict[str, Any]:
        if not postgresql:
            return {self.name: msgspec.json.encode(rows).decode()}
        arrays = zip(*rows, strict=True) if rows else [()] * len(self.columns)
        return {f"{self.name}_{column}": list(array) for column, array in zip(self.columns, arrays, strict=True)}


class BatchStatement:
    """A statement in SQL whose `{name}` places stand for batches; `returns` types what comes back."""

    def __init__(
        self,
        sql: str,
        *batches: Batch,
        typed: Sequence[BindParameter[Any]] = (),
        returns: Sequence[Column[Any]] = (),
    ) -> None:
        self._batches = batches
        self._sqlite = self._prepare(sql, typed, returns, postgresql=False)
        self._postgresql = self._prepare(sql, typed, returns, postgresql=True)

    def _prepare(
        self, sql: str, typed: Sequence[BindParameter[Any]], returns: Sequence[Column[Any]], *, postgresql: bool
    ) -> Executable:
        sources = {batch.name: batch.source(postgresql=postgresql) for batch in self._batches}
        statement: TextClause = text(sql.format(**sources)).bindparams(*typed)
        return statement.columns(*returns) if returns else statement

    def on(self, tx: Tx) -> Executable:
        return self._postgresql if tx.postgresql else self._sqlite

    def parameters(self, tx: Tx, *batches: Sequence[Sequence[Any]], **single: Any) -> dict[str, Any]:
        for batch, rows in zip(self._batches, batches, strict=True):
            single.update(batch.parameters(rows, postgresql=tx.postgresql))
        return single
