"""What jolt-community has in addition to Java's Jolt 0.1.8: replacing, multiplying, rounding, dates, identifiers.

Written from its documentation. Where that is silent: a date is a text of ISO 8601 or a number of milliseconds, a text without
an offset is in UTC, and a date comes back in the form in which it came.
"""

from __future__ import annotations

import calendar
import random
import re
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from imageflow.jolt.functions.date_patterns import read, written
from imageflow.jolt.functions.numbers import ROUNDINGS, number, quotient, rounded
from imageflow.jolt.functions.shapes import Function, of_list
from imageflow.jolt.functions.texts import MAX_TEXT, bounded
from imageflow.jolt.patterns import compiled, plain, watched
from imageflow.jolt.values import MISSING

_RANDOM = random.Random()  # noqa: S311 - identifiers, no secrets; seeded while the system's source can still be read

# texts -------------------------------------------------------------------------------------------------------------------


def _replace(arguments: tuple[Any, ...]) -> Any:
    """The first occurrence of a text."""
    if [argument.__class__ for argument in arguments] != [str, str, str]:
        return MISSING
    text, target, other = arguments
    return bounded(text.replace(target, other, 1))


def _replace_all(arguments: tuple[Any, ...]) -> Any:
    """All matches of a regular expression; `$1` in the replacement is the first group."""
    if [argument.__class__ for argument in arguments] != [str, str, str]:
        return MISSING
    text, pattern, other = arguments
    word, other_word = plain(pattern), _group_template(other)
    if word and "\\" not in other and "$" not in other:
        room = MAX_TEXT // max(len(other), 1)
        return bounded(text.replace(word, other, room + 1))
    expression = compiled(pattern)
    if expression is None:
        return MISSING
    try:
        with watched(pattern, text):
            return bounded(expression.sub(other_word, text))
    except (re.error, IndexError):
        return MISSING


def _group_template(text: str) -> str:
    r"""Java's `$1` and `\$` as Python's `\g<1>` and `$`."""
    found = re.compile(r"\\(.)|\$(\d)|\\")
    return found.sub(
        lambda match: match[1] if match[1] and match[1] != "\\" else rf"\g<{match[2]}>" if match[2] else r"\\", text
    )


# numbers -----------------------------------------------------------------------------------------------------------------


def _product(values: list[Any]) -> Any:
    found = [number(value) for value in values]
    if len(found) < 2 or None in found:
        return MISSING
    result = 1.0
    for factor in found:
        result *= float(factor or 0)
    return result


def _multiply_and_round(arguments: tuple[Any, ...]) -> Any:
    if arguments and arguments[0].__class__ is float and arguments[-1].__class__ is int:
        arguments = (arguments[-1], *arguments[:-1])  # as an example of the documentation has it
    return _round(arguments, _product)


def divide_and_round(arguments: tuple[Any, ...]) -> Any:
    """Also with the name of a way to round after the number of digits: `=divideAndRound(2,'HALF_EVEN',@(1,a),3)`."""
    return _round(arguments, quotient)


def _round(arguments: tuple[Any, ...], work: Any) -> Any:
    if len(arguments) == 1 and arguments[0].__class__ is list:
        arguments = tuple(arguments[0])
    digits, *rest = arguments or (None,)
    mode = "HALF_UP"
    if rest and rest[0].__class__ is str and rest[0] in ROUNDINGS:
        mode, *rest = rest
    if len(rest) == 1 and rest[0].__class__ is list:
        rest = rest[0]
    result = work(rest) if digits.__class__ is int else MISSING
    return MISSING if result is MISSING else rounded(result, digits, ROUNDINGS[mode])


# dates -------------------------------------------------------------------------------------------------------------------

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _now(arguments: tuple[Any, ...]) -> Any:
    now = datetime.fromtimestamp(time.time(), UTC)
    return _iso(now) if not arguments or arguments == (None,) else _in(now, arguments[0])


def _iso(when: datetime) -> str:
    text = when.isoformat(timespec="milliseconds" if when.microsecond else "seconds")
    return text.replace("+00:00", "Z")


def _in(when: datetime, pattern: Any) -> Any:
    text = written(when, pattern) if pattern.__class__ is str else None
    return MISSING if text is None else text


def _moment(value: Any, pattern: Any = None) -> datetime | None:
    """A time: milliseconds, or a text of ISO 8601 or in a pattern."""
    try:
        if value.__class__ is int:
            return _EPOCH + timedelta(milliseconds=value)
        if value.__class__ is not str:
            return None
        when = read(value, pattern) if pattern.__class__ is str else datetime.fromisoformat(value)
    except (ValueError, OverflowError):
        return None
    return when if when is None or when.tzinfo else when.replace(tzinfo=UTC)


def _format_date(arguments: tuple[Any, ...]) -> Any:
    """`(date, pattern)` or `(date, pattern it is in, pattern)`."""
    if len(arguments) not in (2, 3):
        return MISSING
    when = _moment(arguments[0], arguments[1] if len(arguments) == 3 else None)
    return MISSING if when is None else _in(when, arguments[-1])


def _from_epoch(arguments: tuple[Any, ...]) -> Any:
    found = number(arguments[0]) if arguments else None
    when = _moment(int(found)) if found is not None else None
    if when is None:
        return MISSING
    return _in(when, arguments[1]) if len(arguments) > 1 else _iso(when)


def _to_epoch(arguments: tuple[Any, ...]) -> Any:
    when = _moment(*arguments[:2]) if arguments else None
    return MISSING if when is None else (when - _EPOCH) // timedelta(milliseconds=1)


_UNITS = {
    "MILLIS": timedelta(milliseconds=1),
    "SECONDS": timedelta(seconds=1),
    "MINUTES": timedelta(minutes=1),
    "HOURS": timedelta(hours=1),
    "DAYS": timedelta(days=1),
    "WEEKS": timedelta(weeks=1),
}
_MONTHS = {"MONTHS": 1, "YEARS": 12}


def _moved(arguments: tuple[Any, ...], sign: int) -> Any:
    """`(date, amount, unit)`, and a pattern if the date is in one."""
    if len(arguments) < 3 or arguments[2].__class__ is not str:
        return MISSING
    value, amount, unit, *pattern = arguments
    steps, when = number(amount), _moment(value, *pattern[:1])
    if steps is None or when is None:
        return MISSING
    try:
        later = _later(when, sign * int(steps), unit.upper())
    except (OverflowError, ValueError):
        return MISSING
    return MISSING if later is None else _as_it_came(later, value, pattern)


def _later(when: datetime, amount: int, unit: str) -> datetime | None:
    if unit in _UNITS:
        return when + amount * _UNITS[unit]
    if unit not in _MONTHS:
        return None
    months = when.year * 12 + when.month - 1 + amount * _MONTHS[unit]
    year, month = months // 12, months % 12 + 1
    return when.replace(year=year, month=month, day=min(when.day, calendar.monthrange(year, month)[1]))


def _as_it_came(when: datetime, value: Any, pattern: list[Any]) -> Any:
    if value.__class__ is int:
        return (when - _EPOCH) // timedelta(milliseconds=1)
    if pattern:
        return _in(when, pattern[0])
    if len(value) <= 10:
        return when.date().isoformat()
    return _iso(when) if value[-6:-5] in "+-" or value.endswith("Z") else _iso(when.replace(tzinfo=None))


def _uuid(_arguments: tuple[Any, ...]) -> str:
    return str(uuid.UUID(int=_RANDOM.getrandbits(128), version=4))


COMMUNITY: dict[str, Function] = {
    "replace": _replace,
    "replaceAll": _replace_all,
    "multiply": of_list(_product),
    "multiplyAndRound": _multiply_and_round,
    "divideAndRound": divide_and_round,
    "uuid": _uuid,
    "now": _now,
    "nowEpochMillis": lambda _arguments: int(time.time() * 1000),
    "formatDate": _format_date,
    "fromEpochMilli": _from_epoch,
    "toEpochMilli": _to_epoch,
    "dateAdd": lambda arguments: _moved(arguments, 1),
    "dateSubstract": lambda arguments: _moved(arguments, -1),
}
"""By jolt-community's names; `dateSubstract` is its spelling."""
MAKERS = frozenset({"uuid", "now", "nowEpochMillis"})
"""They need no value to work on."""
