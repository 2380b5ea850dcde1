"""The right side of a modify operation: a constant, a look-up `@(1,a)`, the context `^name`, or a call `=join(',',@(1,a))`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from imageflow.jolt import elements
from imageflow.jolt.elements import Lookup, Name
from imageflow.jolt.errors import SpecError
from imageflow.jolt.functions import COMMUNITY
from imageflow.jolt.names import nearest
from imageflow.jolt.patterns import compiled
from imageflow.jolt.values import LONG


@dataclass(frozen=True)
class Constant:
    value: Any


@dataclass(frozen=True)
class Context:
    """`^name.path`: a value of the context that the chain is applied with."""

    path: tuple[str, ...]


Argument: TypeAlias = Constant | Lookup | Context


@dataclass(frozen=True)
class Call:
    """A function with its arguments; None where it is named without any: then it gets the value that is there."""

    function: str
    arguments: tuple[Argument, ...] | None


Expression: TypeAlias = Argument | Call


def expression(value: Any, functions: frozenset[str]) -> Expression:
    """What stands on the right side, or one of the alternatives there. Raises SpecError."""
    if not isinstance(value, str):
        return Constant(value)
    if value.startswith("="):
        return _call(value, functions)
    return _argument_of(value) or Constant(value)


def _argument_of(text: str) -> Lookup | Context | None:
    if text.startswith("@"):
        return Lookup(0, ()) if text == "@" else elements.lookup(text)
    if text.startswith("^"):
        return Context(tuple(_context_path(text[1:])))
    return None


def _context_path(text: str) -> list[str]:
    steps = elements.path(text)
    words = [step.template[0] for step in steps if isinstance(step, Name) and len(step.template) == 1]
    if len(words) != len(steps):
        raise SpecError(f"^{text}: only names can stand here")
    return [str(word) for word in words]


def _call(text: str, functions: frozenset[str]) -> Call:
    name, bracket, rest = text[1:].partition("(")
    if name not in functions and name in COMMUNITY:
        raise SpecError(f"{name} is a function of jolt-community; Jolt 0.1.8 has none of that name ({text})")
    if name not in functions:
        raise SpecError(f"there is no function {name!r} ({text}); {nearest(name, sorted(functions))}")
    if not bracket:
        return Call(name, None)
    if not rest.endswith(")"):
        raise SpecError(f"{text}: the call does not end with a )")
    arguments = tuple(_argument(word, text, functions) for word in _words(rest[:-1], text))
    _check_pattern(name, arguments, text)
    return Call(name, arguments)


_PATTERNS = {"split": 0, "replaceAll": 1}
"""Which argument of a function is a regular expression."""


def _check_pattern(name: str, arguments: tuple[Argument, ...], text: str) -> None:
    place = _PATTERNS.get(name, len(arguments))
    pattern = arguments[place] if place < len(arguments) else None
    if isinstance(pattern, Constant) and isinstance(pattern.value, str) and compiled(pattern.value) is None:
        raise SpecError(f"{text}: the regular expression {pattern.value!r} is none, or uses what only Java knows")


def _words(text: str, whole: str) -> list[str]:
    """The arguments: split at commas that are neither quoted nor in parentheses."""
    words, word, depth, quoted = [], "", 0, False
    for position, mark in enumerate(text):
        if mark == "'" and text[position - 1 : position] != "\\":
            quoted = not quoted
        if not quoted:
            depth += {"(": 1, ")": -1}.get(mark, 0)
        if mark == "," and not depth and not quoted:
            words.append(word)
            word = ""
        else:
            word += mark
    if quoted or depth:
        raise SpecError(f"{whole}: {'a quote is not closed' if quoted else 'the parentheses do not match'}")
    return [*words, word]


_CALL = re.compile(r"=\w+\(")


def _argument(text: str, whole: str, functions: frozenset[str]) -> Argument:
    word = text.strip()
    if _CALL.match(word) and word[1:].partition("(")[0] in functions:
        raise SpecError(f"{whole}: a call cannot be an argument; compute it in a line before, into a field of its own")
    if len(word) > 1 and word.startswith("'") and word.endswith("'"):
        return Constant(word[1:-1])
    return _argument_of(word) or Constant(literal(word) if word else None)


_DOUBLE = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[fFdD]?")


def literal(word: str) -> Any:
    """An argument without quotes: a number or a boolean if it looks like one, otherwise a text."""
    if word in ("true", "false"):
        return word == "true"
    if re.fullmatch(r"[+-]?\d+", word, re.ASCII) and len(word) < 20 and -LONG <= int(word) < LONG:
        return int(word)
    if _DOUBLE.fullmatch(word):
        return float(word.rstrip("fFdD"))
    return word
