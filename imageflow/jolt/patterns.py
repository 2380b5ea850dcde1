"""Patterns: of keys (`a*b`), and regular expressions as Java has them."""

from __future__ import annotations

import contextlib
import functools
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from imageflow.jolt.budget import budget
from imageflow.jolt.errors import LimitError, PatternTimeout
from imageflow.jolt.values import MISSING


def between(text: str, around: tuple[str, ...]) -> tuple[str, ...] | None:
    """What the stars of a pattern stand for, each as short as possible and never empty; None if it does not match."""
    first, *middle, last = around
    if not text.startswith(first):
        return None
    start = len(first)
    parts: list[str] = []
    for word in middle:
        end = text.find(word, start + 1)
        if end < 0:
            return None
        parts.append(text[start:end])
        start = end + len(word)
    end = len(text) - len(last)
    if end <= start or not text.endswith(last):
        return None
    parts.append(text[start:end])
    return tuple(parts) if len(parts) < 3 or not any(_breaks(part) for part in parts) else None


def _breaks(text: str) -> bool:
    """Three stars and more do not match across lines, in Java."""
    return any(mark in text for mark in "\n\r\u0085\u2028\u2029")


# regular expressions -----------------------------------------------------------------------------------------------------

PATTERN_SECONDS = 0.3
"""How long one regular expression may run on one text."""


WATCHED = 20
"""A text that is shorter, in characters, cannot take long."""
MAX_PARTS = 300_000
"""How many parts `split` makes."""
PART_SIZE = 50
"""What a part costs beside its characters."""


class _Watch:
    """The caller may set `limit`: it gives a context manager that raises PatternTimeout after some seconds."""

    limit: Callable[[float], contextlib.AbstractContextManager[None]] | None = None


watch = _Watch()

_JAVA_ONLY = re.compile(r"(?<!\\)(?:\\\\)*\\[pPQEhHRXGzK]|&&|\(\?<[a-zA-Z]")
_PLAIN = re.compile(r"[^\\.\[\](){}*+?^$|]+|\\[^a-zA-Z0-9]")


@functools.lru_cache(maxsize=256)
def compiled(pattern: str) -> re.Pattern[str] | None:
    """A regular expression of Java; None if it is none, or means something that Python's cannot say."""
    if _JAVA_ONLY.search(pattern):
        return None
    try:
        return re.compile(pattern, re.ASCII)
    except (re.error, RecursionError, OverflowError):
        return None


def plain(pattern: str) -> str | None:
    """The text that a regular expression stands for, if it stands for one only."""
    return (
        pattern[-1]
        if len(pattern) == 2 and _PLAIN.fullmatch(pattern) and pattern[0] == "\\"
        else (pattern if _PLAIN.fullmatch(pattern) and "\\" not in pattern else None)
    )


@contextlib.contextmanager
def watched(pattern: str, text: str) -> Iterator[None]:
    """Where a regular expression runs on a text: it ends after PATTERN_SECONDS, if somebody keeps the clock. Those that are slow
    on many texts end together.
    """
    began = time.process_time()
    if watch.limit is None or len(text) < WATCHED:
        yield
    else:
        try:
            with watch.limit(PATTERN_SECONDS):
                yield
        except PatternTimeout:
            raise LimitError(f"the regular expression {pattern!r} takes too long on a text of {len(text):,}") from None
    budget.pattern(pattern, time.process_time() - began)


def split_by(pattern: str, text: str) -> list[str] | Any:
    """As Java's `String.split`: without empty texts at the end. MISSING for a pattern that is none."""
    word = plain(pattern)
    if not pattern:
        parts: Any = list(text[: MAX_PARTS + 1]) or [""]
    else:
        parts = text.split(word, MAX_PARTS) if word else _split(pattern, text)
    if parts is not MISSING:
        _allow(parts, text)
    if parts is MISSING or len(parts) == 1:
        return parts
    while parts and not parts[-1]:
        parts.pop()
    return parts


def _allow(parts: list[str], text: str) -> None:
    """Raises LimitError for too many parts, here or in all."""
    if len(parts) > MAX_PARTS:
        raise LimitError(f"a text of {len(text):,} characters is split into more than {MAX_PARTS:,} parts")
    budget.characters(len(text) + PART_SIZE * len(parts))


def _split(pattern: str, text: str) -> Any:
    expression = compiled(pattern)
    if expression is None:
        return MISSING
    parts, start = [], 0
    with watched(pattern, text):
        for match in expression.finditer(text):
            if match.end():
                parts.append(text[start : match.start()])
                start = match.end()
                if len(parts) > MAX_PARTS:
                    break
    return [*parts, text[start:]]
