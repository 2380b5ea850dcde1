"""A statement as its driver takes it.

SQLAlchemy writes the SQL once. What it does around each execution (context, cursor, result, events) takes several times as long
as a short statement takes in the driver. So the statements of the hot paths go to the driver itself.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from sqlalchemy import ColumnElement, Dialect, Select, TextClause, UpdateBase

Statement = Select[Any] | UpdateBase | TextClause


class Prepared:
    """A statement in a dialect: `sql` has the driver's places for parameters. `returns`: the columns that come back, where
    their values need a conversion.
    """

    def __init__(self, statement: Statement, dialect: Dialect, returns: Sequence[ColumnElement[Any]] = ()) -> None:
        compiled = statement.compile(dialect=dialect)
        self.sql = str(compiled)
        converters = {
            name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in compiled.binds.items()
        }
        self._places = [(name, converters[name]) for name in compiled.positiontup or ()]
        self._converters = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in returns]
        self._converts = any(self._converters)
        self._make: Callable[[Iterable[Any]], Any] | None = None

    def values(self, parameters: Mapping[str, Any]) -> list[Any]:
        """The parameters, in the order of their places."""
        return [parameters[name] if convert is None else convert(parameters[name]) for name, convert in self._places]

    def rows(self, names: Iterable[str], found: Collection[Sequence[Any]]) -> list[Any]:
        """What the driver found, as named tuples. `names`: of its columns."""
        if self._make is None:
            found_row: Any = namedtuple("Found", list(names), rename=True)  # type: ignore[misc]  # noqa: PYI024 - known when it runs
            self._make = found_row._make
        make = self._make
        if not self._converts:
            return [make(row) for row in found]
        return [
            make(
                [
                    value if convert is None else convert(value)
                    for value, convert in zip(row, self._converters, strict=True)
                ]
            )
            for row in found
        ]


class Bound(NamedTuple):
    """A statement with its parameters, for `Tx.run`."""

    statement: Prepared
    parameters: Mapping[str, Any]


class Speaks(Protocol):
    """What a statement must know of the transaction that it is bound for."""

    postgresql: bool
    dialect: Dialect


class Fixed:
    """A statement of which nothing changes but its parameters. All of these are named, and none is a list."""

    def __init__(self, statement: Select[Any] | UpdateBase) -> None:
        self._statement = statement
        self._prepared: dict[bool, Prepared] = {}
        """By dialect."""

    def bind(self, tx: Speaks, **parameters: Any) -> Bound:
        if tx.postgresql not in self._prepared:
            returns = list(self._statement.exported_columns)
            self._prepared[tx.postgresql] = Prepared(self._statement, tx.dialect, returns)
        return Bound(self._prepared[tx.postgresql], parameters)
