"""Patterns of dates as Java's DateTimeFormatter has them: `dd.MM.yyyy HH:mm:ss`. Letters that are not in TABLE are refused."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple

_MONTHS = ("January February March April May June July August September October November December").split()  # noqa: SIM905 - a table of words
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()  # noqa: SIM905 - a table of words


class Field(NamedTuple):
    """A letter: the regular expression of its text, and the text that it gives, by how often the letter stands there."""

    reads: Callable[[int], str]
    gives: Callable[[datetime, int], str]


def _digits(size: int) -> str:
    return rf"\d{{{size}}}" if size > 1 else r"\d{1,2}"


def _names(words: list[str], size: int) -> str:
    return "|".join(words if size > 3 else [word[:3] for word in words])


def _offset(when: datetime, size: int, zero: str) -> str:
    seconds = int((when.utcoffset() or timedelta()).total_seconds())
    if not seconds and zero:
        return zero
    hours, minutes = divmod(abs(seconds) // 60, 60)
    colon = ":" if size in (3, 5) else ""
    return f"{'-' if seconds < 0 else '+'}{hours:02}" + (f"{colon}{minutes:02}" if size > 1 or minutes else "")


TABLE: dict[str, Field] = {
    "y": Field(
        lambda n: r"\d{2}" if n == 2 else r"\d{4}", lambda t, n: f"{t.year:04}"[-2:] if n == 2 else f"{t.year:0{n}}"
    ),
    "M": Field(
        lambda n: _digits(n) if n < 3 else _names(_MONTHS, n),
        lambda t, n: f"{t.month:0{n}}" if n < 3 else _MONTHS[t.month - 1][: None if n > 3 else 3],
    ),
    "d": Field(_digits, lambda t, n: f"{t.day:0{n}}"),
    "H": Field(_digits, lambda t, n: f"{t.hour:0{n}}"),
    "h": Field(_digits, lambda t, n: f"{t.hour % 12 or 12:0{n}}"),
    "m": Field(_digits, lambda t, n: f"{t.minute:0{n}}"),
    "s": Field(_digits, lambda t, n: f"{t.second:0{n}}"),
    "S": Field(lambda n: rf"\d{{{n}}}", lambda t, n: f"{t.microsecond:06}000"[:n]),
    "a": Field(lambda _: "AM|PM", lambda t, _: "AM" if t.hour < 12 else "PM"),
    "E": Field(lambda n: _names(_DAYS, n), lambda t, n: _DAYS[t.weekday()][: None if n > 3 else 3]),
    "X": Field(lambda _: r"Z|[+-]\d\d(?::?\d\d)?", lambda t, n: _offset(t, n, "Z")),
    "x": Field(lambda _: r"[+-]\d\d(?::?\d\d)?", lambda t, n: _offset(t, n, "")),
    "Z": Field(lambda _: r"[+-]\d\d(?::?\d\d)?", lambda t, _: _offset(t, 2, "")),
}
TABLE["u"] = TABLE["y"]

_TOKEN = re.compile(r"'((?:[^']|'')*)'|(([A-Za-z])\3*)|([^A-Za-z']+)")


@functools.lru_cache(maxsize=256)
def _tokens(pattern: str) -> tuple[tuple[str, int], ...] | None:
    """Letters with how often they stand there, and texts with 0; None for a pattern that cannot be understood."""
    found: list[tuple[str, int]] = []
    position = 0
    while position < len(pattern):
        match = _TOKEN.match(pattern, position)
        if match is None or (match[3] and match[3] not in TABLE):
            return None
        found.append((match[3], len(match[2])) if match[3] else (_text(match), 0))
        position = match.end()
    return tuple(found)


def _text(match: re.Match[str]) -> str:
    if match[1] is None:
        return match[4]
    return match[1].replace("''", "'") or "'"


def written(when: datetime, pattern: str) -> str | None:
    """A time in a pattern; None for a pattern that cannot be understood."""
    tokens = _tokens(pattern)
    if tokens is None:
        return None
    return "".join(TABLE[word].gives(when, size) if size else word for word, size in tokens)


def read(text: str, pattern: str) -> datetime | None:
    """The time that a text says in a pattern, in UTC where it names no offset; None if it says none."""
    tokens = _tokens(pattern)
    if tokens is None:
        return None
    parts = [f"({TABLE[word].reads(size)})" if size else re.escape(word) for word, size in tokens]
    match = re.fullmatch("".join(parts), text)
    if match is None:
        return None
    try:
        return _time(dict(zip([word for word, size in tokens if size], match.groups(), strict=True)))
    except ValueError:
        return None


def _time(said: dict[str, str]) -> datetime:
    year = said.get("y") or said.get("u") or "1970"
    hour = int(said.get("H", 0))
    if "h" in said:
        hour = int(said["h"]) % 12 + (12 if said.get("a") == "PM" else 0)
    return datetime(
        int(year) + (2000 if len(year) == 2 else 0),
        _month(said.get("M", "1")),
        int(said.get("d", 1)),
        hour,
        int(said.get("m", 0)),
        int(said.get("s", 0)),
        int(f"{said.get('S', '0'):0<6}"[:6]),
        _zone(said.get("X") or said.get("x") or said.get("Z") or "Z"),
    )


def _month(word: str) -> int:
    return int(word) if word.isdecimal() else [name[:3] for name in _MONTHS].index(word[:3]) + 1


def _zone(word: str) -> timezone:
    if word == "Z":
        return UTC
    digits = word[1:].replace(":", "")
    delta = timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))
    return timezone(-delta if word[0] == "-" else delta)
