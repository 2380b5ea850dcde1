"""Requests to the ERP: what a run asks for, as URL, query and body. Pure.

Parameters in this order, a later one of the same name wins: watermark, constants (`custom`), identifiers,
`extra_params`, pagination. GET: the query string, added to what `endpoint_url` has. POST: one JSON object, in which names
with dots nest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit
from zoneinfo import ZoneInfo

import msgspec

from imageflow.clock import of_date
from imageflow.errors import ReadError
from imageflow.http.origin import exact_origin
from imageflow.model.flow import Definition, Erp, QuerySetting
from imageflow.model.pagination.cursor import Cursor
from imageflow.model.run import Run
from imageflow.read import paging

DEFAULT_FORMAT = Erp().date_format
DATE_FORMAT = "%Y-%m-%d"
DEFAULT_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
MAX_IDENTIFIER_CHARS = 6000
"""Identifiers that one GET carries: longer URLs are refused by common servers (8 KiB). More travel in batches."""

MAX_IDENTIFIERS_POSTED = 5000
IDENTIFIER_NAMES = ("sku", "base_code")
UPPER_NAMES = ("modified_date__lt", "modified_date__lte")
"""What query_settings calls the parameter that carries the upper bound of a window."""


class Question(NamedTuple):
    """A request, without headers: those depend on where it goes."""

    method: str
    url: str
    body: bytes | None


class WatermarkParameter(NamedTuple):
    """The parameter that carries the watermark; `logical` is its name in query_settings, if it has one."""

    key: str
    kind: str
    logical: str | None


# bounds --------------------------------------------------------------------------------------------------------------


def since(definition: Definition, watermark: datetime | None) -> datetime | None:
    """Since when changes are asked for, inclusive: the overlap before the watermark; without one `initial_since`."""
    erp = erp_of(definition)
    if watermark is not None:
        return watermark - timedelta(seconds=erp.overlap)
    return initial_since(definition)


def initial_since(definition: Definition) -> datetime | None:
    """The flow's `initial_since` as an instant."""
    text = erp_of(definition).initial_since
    if text is None:
        return None
    try:
        return of_date(text, ZoneInfo(definition.timezone))
    except ValueError as error:
        raise ReadError(f"erp.initial_since: not an ISO date: {text[:60]!r}") from error


def wall_time(instant: datetime, zone: ZoneInfo) -> datetime:
    """The local time from which on everything at or after `instant` is found, however the ERP reads local times.

    When clocks go back, local times repeat: a row changed half an hour after the first 01:30 is stamped 01:00. A bound
    in the first of the two passes is moved before both.
    """
    local = instant.astimezone(zone)
    back = (local.replace(fold=0).utcoffset() or timedelta()) - (local.replace(fold=1).utcoffset() or timedelta())
    if local.fold == 0 and back > timedelta():
        return (instant.astimezone(UTC) - back).astimezone(zone)
    return local


def written(definition: Definition, instant: datetime, kind: str = "datetime") -> str:
    """An instant as the ERP reads it: `date_format` in the flow's timezone; never later than the instant."""
    form = erp_of(definition).date_format
    if form == DEFAULT_FORMAT and kind == "date":
        form = DATE_FORMAT
    if form == DEFAULT_FORMAT and kind in ("integer", "number"):
        form = "%s"
    return _strftime(wall_time(instant, ZoneInfo(definition.timezone)), instant, form)


def _strftime(local: datetime, instant: datetime, form: str) -> str:
    """Python's strftime, with `%s` (seconds since 1970) right in every timezone."""
    epoch = str(int(instant.timestamp() // 1))
    return local.strftime(re.sub(r"%(.)", lambda found: epoch if found[1] == "s" else found[0], form))


# identifiers ---------------------------------------------------------------------------------------------------------


def identifier_setting(definition: Definition) -> tuple[str, QuerySetting]:
    """The logical name that carries a run's identifiers; of `sku` and `base_code` the one fetch_missing looks at."""
    settings = erp_of(definition).query_settings
    named = [name for name in IDENTIFIER_NAMES if name in settings and settings[name].value is None]
    if not named:
        raise ReadError(
            "the run is limited to identifiers, but the flow does not say which parameter carries them: "
            "add erp.query_settings.sku (or base_code): {key: the parameter's name}"
        )
    wanted = re.split(r"\.|__|/", definition.fetch_missing.identifier_path)[-1]
    name = wanted if wanted in named else named[0]
    return name, settings[name]


def takes_identifiers(definition: Definition) -> bool:
    """Whether a request can ask for some products alone."""
    try:
        identifier_setting(definition)
    except ReadError:
        return False
    return True


def batches(definition: Definition, ids: Sequence[str]) -> list[tuple[str, ...]]:
    """Identifiers in the parts that one request carries each; one empty part where the run is not limited to any."""
    by_query = erp_of(definition).method == "GET"
    parts: list[tuple[str, ...]] = []
    current: list[str] = []
    weight = 0
    for identifier in ids:
        cost = len(quote(identifier, safe="")) + 3 if by_query else 1
        if current and weight + cost > (MAX_IDENTIFIER_CHARS if by_query else MAX_IDENTIFIERS_POSTED):
            parts.append(tuple(current))
            current, weight = [], 0
        current.append(identifier)
        weight += cost
    return [*parts, tuple(current)] if current or not parts else parts


# the request ---------------------------------------------------------------------------------------------------------


def build(definition: Definition, run: Run, cursor: Cursor) -> Question:
    """The request for the cursor's page. Raises ReadError where the flow lacks what it takes."""
    erp = erp_of(definition)
    asked = _Asked(definition, run, cursor)
    url, used = _substituted(asked)
    values = _parameters(asked, used)
    if erp.method == "POST":
        return Question("POST", cursor.url or url, msgspec.json.encode(nested(values)))
    return Question("GET", cursor.url or with_query(url, values), None)


def asked(question: Question, hidden: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The parameters of a request by name, as they were sent: texts of the query (a list where one is repeated), values of the
    body. Those with a `hidden` text in them are left out.
    """
    pairs = parse_qsl(urlsplit(question.url).query, keep_blank_values=True)
    values: dict[str, Any] = {}
    for name, text in pairs:
        known = values.get(name)
        values[name] = text if known is None else [*known, text] if isinstance(known, list) else [known, text]
    values |= msgspec.json.decode(question.body) if question.body else {}
    return {name: value for name, value in values.items() if not _has(value, hidden)}


def hidden(plain: Erp, filled: Erp) -> frozenset[str]:
    """The secrets among the parameters: the texts that the ERP has once its secrets are in place, and had not before."""
    before, after = (
        {
            text
            for part in (erp.extra_params, [one.value for one in erp.query_settings.values()])
            for text in _leaves(part)
        }
        for erp in (plain, filled)
    )
    return frozenset(after - before - {""})


def _has(value: Any, hidden: frozenset[str]) -> bool:
    return any(secret in text for text in _leaves(value) for secret in hidden)


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _leaves(item)
    else:
        yield str(value)


def nested(values: Mapping[str, Any], body: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Parameters as a POST body has them, put into `body`: a name with dots leads into objects, a backslash makes a dot part of a
    name. Objects are merged; what comes later wins.
    """
    body = dict(body)
    for name, value in values.items():
        *outer, last = (part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", name))
        inner: Any = value if not isinstance(value, dict) else dict(value)
        for part in (last, *reversed(outer)):
            inner = {part: inner}
        body = _merged(body, inner)
    return body


def _merged(one: dict[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(one)
    for name, value in other.items():
        known = merged.get(name)
        merged[name] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def own_headers(erp: Erp) -> dict[str, str]:
    """extra_headers, whose secrets are in place (see login.with_secrets)."""
    return cast("dict[str, str]", erp.extra_headers)


def headers(erp: Erp, url: str, login: Mapping[str, str]) -> dict[str, str]:
    """The headers of a request to `url`: extra_headers and the login's go to the ERP's own origin only."""
    merged = {**DEFAULT_HEADERS, "Accept": erp.answer_format.accept}
    if paging.is_own(erp, url):
        for name, value in (*own_headers(erp).items(), *login.items()):
            for known in [known for known in merged if known.lower() == name.lower()]:
                del merged[known]
            merged[name] = value
    return merged


def with_query(url: str, values: Mapping[str, Any]) -> str:
    """The URL with the values in its query. What it had is kept as written, except for parameters of the same name."""
    parts = urlsplit(url)
    kept = [pair for pair in parts.query.split("&") if pair and unquote(pair.partition("=")[0]) not in values]
    added = [
        f"{quote(name, safe='')}={quote(text, safe='')}" for name, value in values.items() for text in _texts(value)
    ]
    return urlunsplit(parts._replace(query="&".join((*kept, *added)), fragment=""))


class _Asked:
    """What one request is about: the run's bounds and identifiers in terms of the flow."""

    def __init__(self, definition: Definition, run: Run, cursor: Cursor) -> None:
        self.definition = definition
        self.erp = erp_of(definition)
        self.cursor = cursor
        self.since = run.since
        self.by_ids = bool(run.trigger.ids)
        self.ids = batches(definition, run.trigger.ids)[cursor.batch]
        self.until = run.until if run.window else None
        self.now = (None if run.window else run.until) or run.started_at or run.created_at
        self.watermark = watermark_parameter(self.erp)


def watermark_parameter(erp: Erp) -> WatermarkParameter | None:
    """`modified_date_key`, else what query_settings names modified_date__gt, else its only one of type datetime."""
    open_settings = {name: setting for name, setting in erp.query_settings.items() if setting.value is None}
    if erp.modified_date_key is not None:
        named = [
            (name, setting.type) for name, setting in open_settings.items() if setting.key == erp.modified_date_key
        ]
        dates = [one for one in named if one[1] in ("datetime", "date") and one[0] not in UPPER_NAMES]
        logical, kind = next(iter([*dates, *named]), (None, "datetime"))
        return WatermarkParameter(erp.modified_date_key, "datetime" if kind == "string" else kind, logical)
    dated = [name for name, setting in open_settings.items() if setting.type == "datetime" and name not in UPPER_NAMES]
    name = "modified_date__gt" if "modified_date__gt" in open_settings else dated[0] if len(dated) == 1 else None
    if name is None:
        return None
    setting = open_settings[name]
    return WatermarkParameter(setting.key, "datetime" if setting.type == "string" else setting.type, name)


def upper_setting(erp: Erp) -> tuple[str, QuerySetting] | None:
    """The logical name and the parameter that carry the upper bound of a window, if the flow has one."""
    settings = erp.query_settings
    return next(
        ((name, settings[name]) for name in UPPER_NAMES if name in settings and settings[name].value is None), None
    )


def takes_since(erp: Erp) -> bool:
    """Whether a request can say since when changes are asked for."""
    return watermark_parameter(erp) is not None or "{modified_date}" in (erp.endpoint_url or "")


def _parameters(asked: _Asked, used: frozenset[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    mark, settings = asked.watermark, asked.erp.query_settings
    if mark is not None and asked.since is not None and not {"modified_date", mark.logical} & used:
        setting = settings.get(mark.logical or "")
        _put(values, mark.key, setting, _dated(asked.definition, asked.since, mark.kind))
    for name, setting in settings.items():
        if setting.value is not None and name not in used:
            _put(values, setting.key, setting, typed(name, setting))
    upper = upper_setting(asked.erp)
    if asked.until is not None and upper is not None and upper[0] not in used:
        _put(values, upper[1].key, upper[1], _dated(asked.definition, asked.until, upper[1].type))
    if asked.by_ids:
        name, setting = identifier_setting(asked.definition)
        if name not in used:
            _put(values, setting.key, setting, ",".join(asked.ids))
    return values | asked.erp.extra_params | asked.erp.pagination.parameters(asked.cursor)


def _put(values: dict[str, Any], key: str, setting: QuerySetting | None, value: Any) -> None:
    """Put a value among the parameters, in the words of its template. Expressions for one parameter must all hold."""
    if setting is None or setting.template is None:
        values[key] = value
        return
    worded = setting.template.replace("{value}", text_of(value))
    values[key] = f"{values[key]} and {worded}" if key in values else worded


def _dated(definition: Definition, instant: datetime, kind: str) -> Any:
    text = written(definition, instant, kind)
    return int(text) if kind in ("integer", "number") and re.fullmatch(r"-?[0-9]+", text) else text


def typed(name: str, setting: QuerySetting) -> Any:
    """A constant in the type that query_settings gives it. Raises ReadError where it is not of that type."""
    try:
        return _CONVERSIONS[setting.type](setting.value)
    except (ValueError, TypeError, KeyError) as error:
        raise ReadError(f"erp.query_settings.{name}: {setting.value!r} is not of type {setting.type}") from error


def _boolean(value: Any) -> bool:
    return {"true": True, "false": False, "1": True, "0": False}[str(value).lower()]


def _integer(value: Any) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(value)
    return int(value)


def _number(value: Any) -> int | float:
    return value if isinstance(value, int) and not isinstance(value, bool) else float(value)


def text_of(value: Any) -> str:
    """A value as a query or a form has it."""
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "string": text_of,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "datetime": text_of,
    "date": text_of,
}


def _texts(value: Any) -> list[str]:
    """A value as it stands in a query: lists repeat the parameter, null leaves it out, objects are JSON."""
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return [text for item in value for text in _texts(item)]
    return [msgspec.json.encode(value).decode() if isinstance(value, dict) else text_of(value)]


# dynamic URLs --------------------------------------------------------------------------------------------------------


def _substituted(asked: _Asked) -> tuple[str, frozenset[str]]:
    """The endpoint's URL with its placeholders filled in, and the logical names that were used for it."""
    template = asked.erp.endpoint_url or ""
    used: set[str] = set()

    def fill(found: re.Match[str]) -> str:
        used.add(found[1].partition(":")[0])
        return quote(_placeholder(asked, found[1]), safe="")

    try:
        exact_origin(template)
    except ValueError as error:
        raise ReadError(f"erp.endpoint_url cannot be used: {error}") from error
    if "{" in urlsplit(template).netloc:
        raise ReadError("erp.endpoint_url: a placeholder cannot stand in the host")
    return re.sub(r"\{([^{}]*)\}", fill, template), frozenset(used)


def _placeholder(asked: _Asked, name: str) -> str:
    kind, _, form = name.partition(":")
    if kind == "now":
        local = asked.now.astimezone(ZoneInfo(asked.definition.timezone))
        return _strftime(local, asked.now, form or asked.erp.date_format)
    mark = asked.watermark
    if name == "modified_date" or (mark is not None and name == mark.logical):
        return _watermark_placeholder(asked, name)
    setting = asked.erp.query_settings.get(name)
    if setting is not None and name in UPPER_NAMES and setting.value is None:
        return written(asked.definition, asked.until or asked.now, setting.type)
    if setting is None:
        raise ReadError(f"erp.endpoint_url: there is no {{{name}}} in erp.query_settings")
    if setting.value is not None:
        return _texts(typed(name, setting))[0]
    if asked.by_ids and identifier_setting(asked.definition)[0] == name:
        return ",".join(asked.ids)
    raise ReadError(f"erp.endpoint_url: {{{name}}} has no value in this run" + _hint(name))


def _hint(name: str) -> str:
    return ": only a run by identifiers has one" if name in IDENTIFIER_NAMES else ""


def _watermark_placeholder(asked: _Asked, name: str) -> str:
    """The watermark in the URL; where a run has none (its first, or one by identifiers) it is `initial_since`."""
    instant = asked.since or initial_since(asked.definition)
    if instant is None:
        raise ReadError(f"erp.endpoint_url: {{{name}}} needs erp.initial_since for a run that has no watermark")
    return written(asked.definition, instant, asked.watermark.kind if asked.watermark else "datetime")


def erp_of(definition: Definition) -> Erp:
    """The flow's ERP. Raises ReadError where there is none to ask."""
    if definition.erp is None or definition.erp.endpoint_url is None:
        raise ReadError(f"flow {definition.name} has no erp.endpoint_url: there is nothing to read")
    return definition.erp
