"""Warnings about the right side of modify operations: calls and texts that are allowed, and never do what they seem to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from imageflow.jolt.calls import Argument, Call, Constant, expression
from imageflow.jolt.errors import Problem
from imageflow.jolt.functions import FUNCTIONS

_FUNCTIONS = frozenset(FUNCTIONS)
_CALL = re.compile(r"(\w+)\(.*\)", re.DOTALL)
_DOTTED_LEVEL = re.compile(r"@\((\d+)\.([^,()]+)\)")
_THREE = frozenset({"replace", "replaceAll", "substring", "leftPad", "rightPad"})
"""Functions of three arguments; one may be the list of them."""
_TOLD = {"split": str, "join": str, "elementAt": int, "divideAndRound": int}
"""Functions that are told how to work by their first argument, and its kind."""
_KINDS = {str: "a text", int: "a number"}
_SPECIAL = {
    ".": "any character",
    "|": "nothing or nothing",
    "||": "nothing or nothing",
    "^": "the beginning",
    "$": "the end",
}


def warnings(value: Any, where: str) -> Iterator[Problem]:
    """Warnings about all right sides of a spec, or of a part of it, by line."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from warnings(below, f"{where}.{key}")
        return
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str):
            yield from (Problem(where, said) for said in _of(text))


def dotted_level(text: str) -> Iterator[str]:
    """A level with a dot after it, where a comma has to be."""
    for level, path in _DOTTED_LEVEL.findall(text):
        yield f"@({level}.{path}) looks for a key {level}; did you mean @({level},{path})?"


def _of(text: str) -> Iterator[str]:
    yield from dotted_level(text)
    if "${" in text:
        yield "${…} is NiFi's expression language; here it is plain text"
    found = _CALL.fullmatch(text)
    if found and found[1] in FUNCTIONS:
        yield f"{text} is plain text; a call begins with =: ={text}"
    call = expression(text, _FUNCTIONS)
    if isinstance(call, Call) and call.arguments is not None:
        yield from _call(call.function, call.arguments)


def _call(name: str, arguments: tuple[Argument, ...]) -> Iterator[str]:
    for text in (each.value for each in arguments if isinstance(each, Constant) and isinstance(each.value, str)):
        if re.match(r"&\(?\d", text):
            yield f"{text} is plain text here; a value is read by @(…)"
        if len(text) > 1 and text[0] == text[-1] == '"':
            yield f"the marks of {text} are part of the text; a text stands in '…'"
    if name in _THREE and len(arguments) not in (1, 3):
        yield f"{name} takes 3 arguments, and here are {len(arguments)}; it never has a value"
    yield from _order(name, arguments)
    pattern = arguments[0].value if name == "split" and arguments and isinstance(arguments[0], Constant) else None
    if pattern in _SPECIAL:
        yield f"{pattern} is a regular expression for {_SPECIAL[pattern]}; the character itself is \\\\{pattern[0]}"


def _order(name: str, arguments: tuple[Argument, ...]) -> Iterator[str]:
    kind = _TOLD.get(name)
    first, rest = arguments[:1], arguments[1:]
    if kind and rest and not isinstance(first[0], Constant) and all(_is(each, kind) for each in rest):
        yield f"{name} takes {_KINDS[kind]} first, and then what it works on"
    if name in ("leftPad", "rightPad") and len(rest) == 2 and _is(first[0], int) and not _is(rest[0], int):
        yield f"{name} takes the text, the width, and what to fill it with"


def _is(argument: Argument, kind: type) -> bool:
    return isinstance(argument, Constant) and type(argument.value) is kind
