"""What can be wrong: a `Problem` of a spec, and a `JoltError` of a document that a chain fails on."""

from __future__ import annotations

from typing import NamedTuple


class Problem(NamedTuple):
    """What is wrong with a spec. `where` is a path in the chain: `[1].spec.*.sku`."""

    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}" if self.where else self.text


class SpecError(ValueError):
    """An element of a spec cannot be used; the text says why. `where`: the path to it in its operation, once known."""

    def __init__(self, text: str, where: str = "") -> None:
        super().__init__(text)
        self.where = where

    def at(self, where: str) -> SpecError:
        """With a place, unless it has a more exact one."""
        self.where = self.where or where
        return self


class LimitError(Exception):
    """A limit is reached while a chain works: an index, a text, the output. It becomes a JoltError with its place."""


class PatternTimeout(LimitError):
    """A regular expression ran too long; the `limit` of `patterns.watch` raises it."""


class JoltError(Exception):
    """A chain failed on a document.

    `operation`: its index and name. `where`: the path in the spec. `at`: the path in the input. `text`: what is wrong.
    """

    def __init__(self, text: str, operation: tuple[int, str] | None = None, where: str = "", at: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.operation = operation
        self.where = where
        self.at = at

    def __str__(self) -> str:
        name = f"[{self.operation[0]}] ({self.operation[1]})" if self.operation else ""
        place = f"{self.where} at input {self.at}" if self.at else self.where
        return ": ".join(part for part in (name, place, self.text) if part)
