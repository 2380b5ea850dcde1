"""Whether an ERP ignores the watermark: rows that are older than what was asked for. Pure.

It is only a warning: dates are read without knowing their timezone, and a name only suggests what a date means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from imageflow.model.envelope import compact
from imageflow.model.flow import Definition
from imageflow.model.run import Run
from imageflow.read import request

TOLERANCE = timedelta(hours=26)
"""Two timezones are at most 26 hours apart."""
FEWEST_ROWS = 2
_LOOKED_AT = 1000
_MODIFIED = re.compile(r"modif|updat|chang|lastedit|lastwrite|degis|degistir|guncel|sondeg")
_OPERATOR = re.compile(r"(__|_|\[|\.|\$)?(gte?|after|since|from|min|start|greaterthan(orequal)?)\]?$", re.IGNORECASE)
_FORMS = ("%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y", "%Y/%m/%d %H:%M:%S", "%Y%m%d%H%M%S", "%Y%m%d")


def warnings(definition: Definition, run: Run, rows: Sequence[Any]) -> tuple[str, ...]:
    """The warning, if most rows of a page that have a date of change are older than the run asked for."""
    carrier = asked(definition)
    if run.since is None or run.trigger.ids or carrier is None:
        return ()
    what, name = carrier
    dated = [found for row in rows[:_LOOKED_AT] if (found := _changed(row, name)) is not None]
    old = [(field, date) for field, date in dated if date < run.since - TOLERANCE]
    if len(old) < FEWEST_ROWS or len(old) * 2 <= len(dated):
        return ()
    text = (
        f"the ERP seems to ignore {what}: rows came that were changed before what it was asked for, "
        f"{request.written(definition, run.since)} (they say so in {old[0][0]!r}). Does the ERP know that parameter, and "
        "erp.date_format? If so, it may give rows that did not change: then this is harmless"
    )
    return (text,)


class Asked(NamedTuple):
    """What carries the watermark, for people, and its name."""

    what: str
    name: str


def asked(definition: Definition) -> Asked | None:
    """What carries the watermark; None where nothing does."""
    mark = request.watermark_parameter(request.erp_of(definition))
    if mark is not None:
        return Asked(f"the parameter {mark.key!r}", mark.key)
    if "{modified_date}" in (request.erp_of(definition).endpoint_url or ""):
        return Asked("{modified_date} in erp.endpoint_url", "modified_date")
    return None


def _changed(row: Any, name: str) -> tuple[str, datetime] | None:
    """The newest date of change in a row, with its field."""
    wanted = compact(_OPERATOR.sub("", name))
    found = [
        (field, date)
        for field, value in _fields(row)
        if (compact(field) == wanted or _MODIFIED.search(compact(field))) and (date := date_of(value)) is not None
    ]
    return max(found, key=lambda one: one[1]) if found else None


def _fields(row: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(row, dict):
        return
    for name, value in row.items():
        if isinstance(value, dict):
            yield from ((inner, item) for inner, item in value.items() if not isinstance(item, (dict, list)))
        else:
            yield name, value


def date_of(value: Any) -> datetime | None:
    """A date as ERPs write it: ISO 8601, seconds or milliseconds since 1970, /Date(…)/, or dotted. Without an offset UTC."""
    if isinstance(value, str) and (found := re.fullmatch(r"/Date\((-?\d{1,15})([+-]\d{4})?\)/", value)):
        value = int(found[1])
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _since_1970(value)
    return _read(value.strip()) if isinstance(value, str) and len(value) < 40 else None


def _since_1970(number: float) -> datetime | None:
    seconds = number / 1000 if number > 100_000_000_000 else number
    return datetime.fromtimestamp(seconds, UTC) if 300_000_000 < seconds < 10_000_000_000 else None


def _read(text: str) -> datetime | None:
    for form in (None, *_FORMS):
        try:
            date = datetime.fromisoformat(text) if form is None else datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        return date if date.tzinfo else date.replace(tzinfo=UTC)
    return None
