"""How a method becomes a transaction: `@writes`, `@writes_once` and `@reads` give it a `Tx` and run it on the store's database."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from imageflow.store.database import Database, Tx

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="Sql")


class Sql:
    """What all parts of the store stand on."""

    def __init__(self, database: Database) -> None:
        self._database = database


def writes(
    method: Callable[Concatenate[S, Tx, P], Awaitable[T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """The method is one transaction that changes something."""
    return _transaction(method, writing=True)


def writes_once(
    method: Callable[Concatenate[S, Tx, P], Awaitable[T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """The method is one statement that changes something, a transaction by itself. It may run twice: where a connection broke,
    it is unknown whether it was committed.
    """
    return _transaction(method, writing=True, alone=True)


def reads(method: Callable[Concatenate[S, Tx, P], Awaitable[T]]) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """The method is one transaction that changes nothing."""
    return _transaction(method, writing=False)


def _transaction(
    method: Callable[Concatenate[S, Tx, P], Awaitable[T]], *, writing: bool, alone: bool = False
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._database.transact(lambda tx: method(self, tx, *args, **kwargs), writing=writing, alone=alone)

    functools.update_wrapper(call, method)
    return call
