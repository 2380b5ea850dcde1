"""Values of NiFi: parameters, attributes, expressions, periods. Pure.

`#{name}` is a parameter, `${name}` an attribute or a variable; both are filled in where what they stand for is known and no
secret. What NiFi computes is not: such a value is open.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

MAX_CHARS = 100_000
MAX_DEPTH = 10

_PARAMETER = re.compile(r"#\{\s*'?([^{}']{1,200})'?\s*\}")
_ATTRIBUTE = re.compile(r"\$\{\s*'?([\w.@!/-]{1,200})'?\s*\}")
_NOW = re.compile(r"\$\{now\(\):format\(\s*(?:'([^'{}]{1,60})'|\"([^\"{}]{1,60})\")\s*(?:,[^(){}]{1,60})?\)\}")
_JAVA_DATE = {"yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S", "SSSSSS": "%f", "'T'": "T"}
_DATE_PART = re.compile("|".join(sorted(_JAVA_DATE, key=len, reverse=True)))
_PERIOD = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([a-z]+)")
_UNITS = {
    ("ms", "milli", "millis", "millisecond", "milliseconds"): 0.001,
    ("s", "sec", "secs", "second", "seconds"): 1.0,
    ("m", "min", "mins", "minute", "minutes"): 60.0,
    ("h", "hr", "hrs", "hour", "hours"): 3600.0,
    ("d", "day", "days"): 86400.0,
    ("w", "wk", "wks", "week", "weeks"): 604_800.0,
}


class Scope(NamedTuple):
    """What names stand for. `secret`: the parameters whose values NiFi keeps back."""

    parameters: Mapping[str, str]
    secret: frozenset[str]
    attributes: Mapping[str, str]


class Value(NamedTuple):
    """A value with what is known filled in. `secret`: a sensitive parameter is in it; `open`: NiFi computes a part of it."""

    text: str
    secret: bool = False
    open: bool = False


def resolved(text: str, scope: Scope) -> Value:
    """The value of a property. A date of now becomes a placeholder of `endpoint_url`."""
    secret = False

    def parameter(found: re.Match[str]) -> str:
        nonlocal secret
        secret = secret or found[1] in scope.secret
        return scope.parameters.get(found[1], found[0])

    for _ in range(MAX_DEPTH):
        before = text
        text = _PARAMETER.sub(parameter, text)
        text = _ATTRIBUTE.sub(lambda found: scope.attributes.get(found[1], found[0]), text)
        if text == before or len(text) > MAX_CHARS:
            break
    text = _NOW.sub(_placeholder, text[:MAX_CHARS])
    return Value(text, secret, "${" in text or (_PARAMETER.search(text) is not None and not secret))


def _placeholder(found: re.Match[str]) -> str:
    form = _DATE_PART.sub(lambda part: _JAVA_DATE[part[0]], found[1] or found[2])
    return found[0] if re.search(r"(?<!%)[A-Za-z]", form.replace("T", "")) else f"{{now:{form}}}"


def seconds(period: str) -> float | None:
    """A period of NiFi, `5 min`; None: it is none."""
    found = _PERIOD.fullmatch(period.strip().lower())
    if found is None:
        return None
    return next((float(found[1]) * size for names, size in _UNITS.items() if found[2] in names), None)


def schedule(strategy: str, period: str) -> tuple[dict[str, str] | None, str | None]:
    """The schedule of a processor as a flow file has it, or None, and what is to be asked about it."""
    if strategy == "CRON_DRIVEN":
        fields = period.split()
        if not 6 <= len(fields) <= 7:
            return None, f"the cron expression {period[:60]!r} has not 6 or 7 fields: set schedule by hand"
        return {"cron": " ".join(fields)}, "NiFi fires cron in the time zone of its server: is `timezone` that?"
    every = seconds(period) if strategy in ("TIMER_DRIVEN", "") else None
    if every is None:
        return (
            None,
            f"NiFi starts it by {strategy or 'nothing'} {period[:60]!r}: set schedule by hand, e.g. {{every: 15m}}",
        )
    if every < 1:
        return None, "NiFi runs it all the time: set schedule to what the ERP stands, e.g. {every: 15m}"
    return {"every": _duration(every)}, None


def _duration(value: float) -> str:
    for size, name in ((3600, "h"), (60, "m")):
        if value % size == 0:
            return f"{int(value // size)}{name}"
    return f"{value:g}s"
