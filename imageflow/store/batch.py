"""Statements over a whole batch of values: one statement and one round trip, however many rows.

A `Batch` is a table made of parameters: `unnest` of one array per column in PostgreSQL, one JSON document in SQLite.
PostgreSQL locks rows in the order in which a batch lists them, so a batch is always sorted: two writers whose batches
overlap then wait for each other, and never deadlock.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import BindParameter, ColumnElement, Executable, TextClause, text

from imageflow.store.database import Tx


class Batch:
    """A table `name` with columns of these SQL types: text, bigint, boolean.

    `alike`: columns that hold the same value in every record as a rule. Where all of them do, PostgreSQL gets each as
    one value: a value in an array costs the driver about a microsecond.
    """

    def __init__(self, name: str, *, alike: Collection[str] = (), **columns: str) -> None:
        self.name = name
        self.columns = columns
        self._alike = [position for position, column in enumerate(columns) if column in alike]

    def source(self, *, postgresql: bool, compact: bool = False) -> str:
        """What stands in FROM."""
        if not postgresql:
            values = ", ".join(f"json_extract(value, '$[{i}]') AS {column}" for i, column in enumerate(self.columns))
            return f"(SELECT {values} FROM json_each(:{self.name})) AS {self.name}"  # noqa: S608 - names of our own
        columns = {column: f"CAST(:{self.name}_{column} AS {kind}" for column, kind in self.columns.items()}
        single = [column for i, column in enumerate(columns) if compact and i in self._alike]
        spread = [column for column in columns if column not in single]
        arrays = f"unnest({', '.join(columns[column] + '[])' for column in spread)}) AS {self.name}"
        if not single:
            return f"{arrays}({', '.join(spread)})"
        values = ", ".join(f"{columns[column]}) AS {column}" for column in single)
        return f"(SELECT {', '.join(spread)}, {values} FROM {arrays}({', '.join(spread)})) AS {self.name}"  # noqa: S608

    def compact(self, columns: Sequence[Sequence[Any]]) -> bool:
        """Whether values by column hold the same wherever they are expected to."""
        return bool(self._alike) and all(_same(columns[position]) for position in self._alike)

    def arrays(self, columns: Sequence[Sequence[Any]], *, compact: bool) -> dict[str, Any]:
        """PostgreSQL's parameters."""
        single = self._alike if compact else ()
        return {
            f"{self.name}_{column}": columns[i][0] if i in single else columns[i]
            for i, column in enumerate(self.columns)
        }


def _same(values: Sequence[Any]) -> bool:
    return bool(values) and values.count(values[0]) == len(values)


class Bound(NamedTuple):
    """A statement with its parameters."""

    statement: Executable
    parameters: dict[str, Any]


class BatchStatement:
    """A statement in SQL whose `{name}` places stand for batches; `returns` types what comes back."""

    def __init__(
        self,
        sql: str,
        *batches: Batch,
        typed: Sequence[BindParameter[Any]] = (),
        returns: Sequence[ColumnElement[Any]] = (),
    ) -> None:
        self._sql = sql
        self._batches = batches
        self._typed = typed
        self._returns = returns
        self._sqlite = self._prepare({batch.name: batch.source(postgresql=False) for batch in batches})
        self._postgresql: dict[tuple[bool, ...], Executable] = {}

    def _prepare(self, sources: dict[str, str]) -> Executable:
        statement: TextClause = text(self._sql.format(**sources)).bindparams(*self._typed)
        return statement.columns(*self._returns) if self._returns else statement

    def bind(self, tx: Tx, *batches: Sequence[Sequence[Any]], **single: Any) -> Bound:
        """The statement for these records, a sequence for each batch, and its other parameters."""
        if not tx.postgresql:
            for batch, records in zip(self._batches, batches, strict=True):
                single[batch.name] = msgspec.json.encode(records).decode()
            return Bound(self._sqlite, single)
        compact = []
        for batch, records in zip(self._batches, batches, strict=True):
            columns = list(zip(*records, strict=True)) if records else [()] * len(batch.columns)
            compact.append(batch.compact(columns))
            single.update(batch.arrays(columns, compact=compact[-1]))
        shape = tuple(compact)
        if shape not in self._postgresql:
            self._postgresql[shape] = self._prepare(
                {
                    batch.name: batch.source(postgresql=True, compact=short)
                    for batch, short in zip(self._batches, shape, strict=True)
                }
            )
        return Bound(self._postgresql[shape], single)
