"""Statements over a whole batch of records: one statement and one round trip, however many rows.

A `Batch` is a table made of parameters, which stands in a statement's FROM. Its encodings are there for speed alone:

    SQLite       one parameter, a JSON document of all records
                 (SELECT json_extract(value, '$[0]') AS product, … FROM json_each(:wanted)) AS wanted
    PostgreSQL   one parameter per column: texts joined by a separator, numbers and booleans as an array literal
                 unnest((string_to_array(:wanted_product, :wanted_separator, :wanted_nothing))[2:], …) AS wanted
    compact      in both: a column that has the same value in all records is that one value
                 (SELECT product, CAST(:wanted_domain AS text) AS domain FROM unnest(…)) AS wanted

Joined texts, because asyncpg encodes an array value by value, at about a microsecond each, and `str.join` takes a fraction
of that. A separator that occurs in a text would move all that follows, so it is counted, and where it occurs random ones
are used. A statement has one SQL text for each encoding of its batches, and PostgreSQL one plan for each.

In a join, SQLite is to go through the batch and look each record up by a key. Of itself it may read all that a part of the key
finds, and for each of these rows the whole batch. So a SELECT says CROSS JOIN, which keeps the order; in an UPDATE the batch has
all columns of the key, none of them alike. tests/contract/test_batch_plans.py holds it.

PostgreSQL locks rows in the order in which a batch lists them, so a batch is always sorted: two writers whose batches
overlap then wait for each other, and never deadlock.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, cast

import msgspec
from sqlalchemy import BindParameter, ColumnElement, text

from imageflow.store.database import Tx
from imageflow.store.prepared import Bound, Prepared


class Batch:
    """A table `name` with columns of these SQL types: text, bigint, boolean.

    `alike`: columns that have the same value in every record as a rule. Where all of them do, the batch is compact.
    """

    def __init__(self, name: str, *, alike: Collection[str] = (), **columns: str) -> None:
        self.name = name
        self.columns = columns
        self._alike = frozenset(alike)

    def source(self, *, postgresql: bool, compact: bool = False) -> str:
        """What stands in FROM."""
        single = [column for column in self.columns if compact and column in self._alike]
        spread = [column for column in self.columns if column not in single]
        if not postgresql:
            values = [f"json_extract(value, '$[{i}]') AS {column}" for i, column in enumerate(spread)]
            values += [f":{self.name}_{column} AS {column}" for column in single]
            return f"(SELECT {', '.join(values)} FROM json_each(:{self.name})) AS {self.name}"  # noqa: S608 - names of our own
        arrays = ", ".join(self._array(column) for column in spread)
        table = f"unnest({arrays}) AS {self.name}({', '.join(spread)})"
        if not single:
            return table
        values = [f"CAST(:{self.name}_{column} AS {self.columns[column]}) AS {column}" for column in single]
        return f"(SELECT {', '.join([*spread, *values])} FROM {table}) AS {self.name}"  # noqa: S608 - the same

    def _array(self, column: str) -> str:
        """What `arrays` gives for a column, as PostgreSQL's array of it."""
        given = f"CAST(:{self.name}_{column} AS text)"
        if (kind := self.columns[column]) != "text":
            return f"CAST({given} AS {kind}[])"
        marks = ", ".join(f"CAST(:{self.name}_{mark} AS text)" for mark in Marks._fields)
        return f"(string_to_array({given}, {marks}))[2:]"

    def by_column(self, records: Sequence[Sequence[Any]]) -> dict[str, Sequence[Any]]:
        """The values of each column."""
        if not records:
            return dict.fromkeys(self.columns, ())
        return dict(zip(self.columns, zip(*records, strict=True), strict=True))

    def compact(self, values: Mapping[str, Sequence[Any]]) -> bool:
        """Whether every column in `alike` has one value."""
        return bool(self._alike) and all(_same(values[column]) for column in self._alike)

    def document(self, values: Mapping[str, Sequence[Any]], *, compact: bool) -> dict[str, Any]:
        """SQLite's parameters for values by column."""
        single = self._single(values, compact=compact)
        spread = [held for column, held in values.items() if column not in single]
        records = msgspec.json.encode(list(zip(*spread, strict=True))).decode()
        return {self.name: records} | {f"{self.name}_{column}": value for column, value in single.items()}

    def arrays(self, values: Mapping[str, Sequence[Any]], *, compact: bool) -> dict[str, Any]:
        """PostgreSQL's parameters for values by column."""
        single = self._single(values, compact=compact)
        spread = {column: held for column, held in values.items() if column not in single}
        texts = {column: held for column, held in spread.items() if self.columns[column] == "text"}
        joined, marks = joined_texts(list(texts.values()))
        others = {column: listed(held) for column, held in spread.items() if column not in texts}
        given = single | dict(zip(texts, joined, strict=True)) | others | (marks._asdict() if texts else {})
        return {f"{self.name}_{column}": value for column, value in given.items()}

    def _single(self, values: Mapping[str, Sequence[Any]], *, compact: bool) -> dict[str, Any]:
        """The columns that are one value."""
        return {column: values[column][0] for column in self._alike} if compact else {}


class Marks(NamedTuple):
    """What separates joined texts, and what stands for NULL. Neither occurs in a text."""

    separator: str
    nothing: str


_MARKS = Marks("\x1f", "\x1e")


def joined_texts(columns: Sequence[Sequence[str | None]]) -> tuple[list[str], Marks]:
    """Each column as one text, and the marks in it. Each begins with the separator, and the statement drops the first value:
    of an empty text, PostgreSQL makes an array of no values, not of one empty value.
    """
    joined = [_joined(values, _MARKS) for values in columns]
    if all(
        text.count(_MARKS.separator) == len(values) and text.count(_MARKS.nothing) == values.count(None)
        for text, values in zip(joined, columns, strict=True)
    ):
        return joined, _MARKS
    rare = secrets.token_hex(16)
    marks = Marks(f"\x1f{rare}", f"\x1e{rare}")
    return [_joined(values, marks) for values in columns], marks


def _joined(values: Sequence[str | None], marks: Marks) -> str:
    if None in values:
        return marks.separator.join(["", *(marks.nothing if value is None else value for value in values)])
    return marks.separator.join(["", *cast("Sequence[str]", values)])


def listed(values: Sequence[int | bool | None]) -> str:
    """Numbers or booleans as the literal of a PostgreSQL array."""
    return f"{{{str(list(values))[1:-1]}}}".replace("None", "NULL")


def _same(values: Sequence[Any]) -> bool:
    return bool(values) and values.count(values[0]) == len(values)


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
        self._prepared: dict[tuple[bool, ...], Prepared] = {}
        """By dialect, and by which batches are compact."""

    def _prepare(self, tx: Tx, compact: Sequence[bool]) -> Prepared:
        sources = {
            batch.name: batch.source(postgresql=tx.postgresql, compact=short)
            for batch, short in zip(self._batches, compact, strict=True)
        }
        return Prepared(text(self._sql.format(**sources)).bindparams(*self._typed), tx.dialect, self._returns)

    def bind(self, tx: Tx, *batches: Sequence[Sequence[Any]], **single: Any) -> Bound:
        """The statement for these records, a sequence for each batch, and its other parameters."""
        compact = []
        for batch, records in zip(self._batches, batches, strict=True):
            values = batch.by_column(records)
            compact.append(batch.compact(values))
            encode = batch.arrays if tx.postgresql else batch.document
            single.update(encode(values, compact=compact[-1]))
        shape = (tx.postgresql, *compact)
        if shape not in self._prepared:
            self._prepared[shape] = self._prepare(tx, compact)
        return Bound(self._prepared[shape], single)
