"""The statements that a store runs: those of SQLAlchemy, and those that go to the driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from sqlalchemy import Connection, Engine, event

from imageflow.store.database import Tx
from imageflow.store.postgresql import PostgresTx
from imageflow.store.prepared import Bound
from imageflow.store.sqlite import SqliteTx

Statement = tuple[str, Any]
"""The text and its parameters, as the driver has them."""


@contextmanager
def seen_statements() -> Iterator[list[Statement]]:
    """What runs in the block, in its order, but for what begins and ends transactions."""
    seen: list[Statement] = []

    def note(_connection: Connection, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if not statement.startswith(("BEGIN", "SAVEPOINT", "RELEASE", "COMMIT")):
            seen.append((statement, parameters))

    with ExitStack() as stack:
        event.listen(Engine, "before_cursor_execute", note)
        stack.callback(event.remove, Engine, "before_cursor_execute", note)
        for kind in (PostgresTx, SqliteTx):
            stack.enter_context(mock.patch.object(kind, "run", _noting(kind.run, seen)))
        yield seen


def _noting(run: Any, seen: list[Statement]) -> Any:
    async def noting(tx: Tx, bound: Bound) -> list[Any]:
        seen.append((bound.statement.sql, tuple(bound.statement.values(bound.parameters))))
        found: list[Any] = await run(tx, bound)
        return found

    return noting
