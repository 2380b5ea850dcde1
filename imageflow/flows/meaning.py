"""Meaning: single fields of a flow file whose type is right (a cron expression, a timezone, a script). Pure."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from imageflow.flows import limits, plain_secrets, words
from imageflow.http.origin import exact_origin
from imageflow.model import answer_format, charset, filename_template, flow, pagination
from imageflow.model.cron import parse_cron
from imageflow.model.field_types import Complaints, Duration, Meaning, json_path
from imageflow.sandbox import jolt

FLOW_NAME = "must be 1 to 20 characters of a-z, 0-9 and -"
LONGEST_NAME = 20
IDENTIFIERS = ("sku", "base_code")

_ENV_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,254}"
_HEADER_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_OWN_HEADERS = frozenset(
    ("content-length", "transfer-encoding", "host", "connection", "keep-alive", "te", "trailer", "upgrade", "expect")
) | {"proxy-connection", "proxy-authenticate", "content-encoding", "x-forwarded-for", "x-forwarded-host", "forwarded"}
_DIRECTIVES = "aAbBcCdDeFfGhHIjklmMpPrRsSTuUVwWxXyYzZ%"
_TEMPLATE_FIELDS = (*IDENTIFIERS, filename_template.ORDER)


def complaints(owner: type, field: str, value: Any) -> Complaints:
    """What is wrong with the value of a struct's field, whose type is right."""
    check = _MEANINGS.get((owner, field))
    if check is not None and value is not None and isinstance(value, dict) is (check in _OF_OBJECTS):
        yield from check(value)
    if (limit := limits.LIMITS.get((owner, field))) is not None and value is not None:
        yield from limits.check(limit)(value)


def _cron(text: str) -> Complaints:
    try:
        parse_cron(text)
    except ValueError as error:
        yield "", str(error)


def flow_name(text: str) -> str | None:
    """What is wrong with the name of a flow."""
    if re.fullmatch(flow.NAME_PATTERN, text):
        return None
    return FLOW_NAME + (f"; these are {len(text)}" if len(text) > LONGEST_NAME else "")


def _flow_name(text: str) -> Complaints:
    if wrong := flow_name(text):
        yield "", f"must be the name of a flow: {wrong.removeprefix('must be ')}"


def _timezone(name: str) -> Complaints:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        zones = {zone.lower(): zone for zone in available_timezones()}
        near = words.near(name, zones)
        hint = f"did you mean {zones[near]}?" if near else "such as Europe/Istanbul"
        yield "", f"{words.shown(name)} is no IANA timezone; {hint}"


def _http_url(url: str) -> Complaints:
    try:
        exact_origin(url)
    except ValueError as error:
        yield "", f"cannot be used as a URL: {error}"


def _domain_url(url: str) -> Complaints:
    yield from _http_url(url)
    if "?" in url or "#" in url:
        yield "", "must not have a query or fragment: paths are added to it"


def date_format(text: str) -> Complaints:
    directives = re.findall(r"%[-_0^#]?(.?)", text, re.DOTALL)
    if wrong := [letter for letter in directives if not letter or letter not in _DIRECTIVES]:
        yield "", f"%{wrong[0]} means nothing to strftime; a date is written like %Y-%m-%dT%H:%M:%S"
    elif not set(directives) - {"%"}:
        yield "", "names no part of a date; it is written like %Y-%m-%dT%H:%M:%S"


def _iso_date(text: str) -> Complaints:
    try:
        # A day off either end: it still has to be an instant in every timezone.
        given = datetime.fromisoformat(text)
        if not datetime(1900, 1, 1, tzinfo=UTC) <= given.replace(tzinfo=UTC) < datetime(9000, 1, 1, tzinfo=UTC):
            yield "", "is too far away: the year must be 1900 to 8999"
    except ValueError:
        yield "", f"{words.shown(text)} is no ISO date; write it like 2025-12-21 or 2025-12-21T12:00:30"


def _header_name(name: str) -> Complaints:
    if not re.fullmatch(_HEADER_NAME, name):
        yield "", "must be the name of an HTTP header: letters, digits and -, without spaces or colon"
    elif name.lower() in _OWN_HEADERS:
        yield "", "this header is set by ImageFlow itself"


def _template_value(text: str) -> Complaints:
    if "{token}" not in text:
        yield "", "must hold {token}, the place where the token goes"
    if _controls(text):
        yield "", "must not hold line breaks or control characters: it is sent in a header"


def _controls(text: str) -> bool:
    return re.search(r"[\x00-\x08\x0a-\x1f\x7f]", text) is not None


def _headers(headers: dict[str, Any]) -> Complaints:
    seen: set[str] = set()
    for name, value in headers.items():
        where = f".{words.name(name)}"
        yield from ((where, message) for _, message in _header_name(name))
        if isinstance(value, str) and _controls(value):
            yield where, "must not hold line breaks or control characters: it is sent in a header"
        if isinstance(value, str) and plain_secrets.refused(name, value):
            yield where, "carries a secret: " + words.PLAIN_REFUSED
        if name.lower() in seen:
            yield where, "is given twice: case makes no difference in a header's name"
        seen.add(name.lower())


def _body(body: dict[str, Any]) -> Complaints:
    for where, name, value in plain_secrets.leaves(body, "", ""):
        if isinstance(value, dict):
            yield from ((where, message) for message in (secret(value),) if message)
        elif plain_secrets.refused(name, value):
            yield where, words.PLAIN_REFUSED


def _form(body: dict[str, Any]) -> Complaints:
    yield from _body(body)
    for name, value in body.items():
        if isinstance(value, list) or (isinstance(value, dict) and not set(value) <= {"env", "file"}):
            yield f".{words.name(name)}", "must be a single value: a form has no lists and objects"


def _query_settings(settings: dict[str, Any]) -> Complaints:
    for name, setting in settings.items():
        value, key = (setting.get("value"), setting.get("key")) if isinstance(setting, dict) else (None, None)
        if isinstance(value, (str, int, float)) and any(plain_secrets.refused(str(one), value) for one in (name, key)):
            yield f".{words.name(name)}.value", "carries a secret: " + words.PLAIN_REFUSED


def _webhook(url: str) -> Complaints:
    yield from _http_url(url)
    yield from plain_secrets.webhook_complaints(url)


def _asked_url(url: str) -> Complaints:
    yield from _http_url(url)
    yield from plain_secrets.url_complaints(url)


def _basic_username(name: str) -> Complaints:
    if ":" in name:
        yield "", "must not hold a colon: HTTP basic authentication ends the user name there"


def _worded(template: str) -> Complaints:
    if "{value}" not in template:
        yield "", "must hold {value}, the place where the value goes"


def _not_empty(text: str) -> Complaints:
    if not text.strip():
        yield "", "must not be empty"


def _charset(name: str) -> Complaints:
    try:
        charset.codec(name)
    except ValueError as error:
        yield "", f"{error}; it is written like windows-1254, iso-8859-9 or utf-8"


def _above_zero(seconds: object) -> Complaints:
    if Duration.parse(seconds) <= 0:
        yield "", "must be longer than 0s"


def _rare(seconds: object) -> Complaints:
    if Duration.parse(seconds) < 1:
        yield "", "must be at least 1s"


def secret(value: object, *, plain: bool = False) -> str | None:
    """What is wrong with a reference to a secret. Says nothing of what is there: it may be the secret itself."""
    if not isinstance(value, dict) or not set(value) <= {"env", "file"}:
        if not plain:
            return words.PLAIN_REFUSED
        quoted = "; put it in quotes" if isinstance(value, (bool, int, float)) else ""
        return f"must be a text or a secret: {{env: NAME}} or {{file: PATH}}{quoted}"
    named = {kind: name for kind, name in value.items() if name is not None}
    if len(named) != 1:
        return "must be exactly one of {env: NAME} and {file: PATH}"
    return _secret_name(*named.popitem())


def _secret_name(kind: str, name: object) -> str | None:
    if kind == "env" and not (isinstance(name, str) and re.fullmatch(_ENV_NAME, name)):
        return "env must be the name of an environment variable: letters, digits and _"
    if kind == "file" and not (isinstance(name, str) and name.strip()):
        return "file must be the path of a file"
    return None


def _filename_template(text: str) -> Complaints:
    if text.count("{") != text.count("}"):
        yield "", "has a brace that is not closed or not opened"
        return
    unknown = [name for name in re.findall(r"\{([^{}]*)\}", text) if name not in _TEMPLATE_FIELDS]
    for name in unknown:
        near = words.near(name, _TEMPLATE_FIELDS)
        hint = f"did you mean {{{near}}}?" if near else "there are {sku}, {base_code} and {image_order}"
        yield "", f"there is no field {{{words.name(name)}}}; {hint}"
    if not unknown:
        try:
            filename_template.parse(text)
        except ValueError as error:
            yield "", str(error)


def _script(source: str) -> Complaints:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, "script")
            compile(tree, "script", "exec", dont_inherit=True)
    except SyntaxError as error:
        yield "", f"line {error.lineno}: {type(error).__name__}: {error.msg}"
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        yield "", f"cannot be compiled: {type(error).__name__}"
    else:
        yield from _entry_points(tree)


ENTRY_POINTS = ("process", "process_row")


def _entry_points(tree: ast.Module) -> Complaints:
    there = dict(_top_level(tree.body))
    defined = {name: node for name, node in there.items() if name in ENTRY_POINTS}
    if not defined:
        meant = ((name, words.near(name, ENTRY_POINTS)) for name in there)
        hint = next((f"; did you mean {near}, in place of {name}?" for name, near in meant if near), "")
        yield "", f"must define process(response) or process_row(row){hint}"
    for name, node in defined.items():
        if isinstance(node, ast.AsyncFunctionDef):
            yield "", f"line {node.lineno}: {name} must be a plain function, without async"
        elif isinstance(node, ast.FunctionDef) and not _takes_one(node.args):
            yield "", f"line {node.lineno}: {name} must take exactly one argument"


def _top_level(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """Names that a module defines, in blocks (`if`, `try`, `with`) too."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, node
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from ((alias.asname or alias.name, node) for alias in node.names)
        for part in ast.iter_child_nodes(node):
            if isinstance(part, ast.stmt):
                yield from _top_level([part])
            elif isinstance(part, ast.ExceptHandler):
                yield from _top_level(part.body)
            else:
                names = (name for name in ast.walk(part) if isinstance(name, ast.Name))
                yield from ((name.id, node) for name in names if isinstance(name.ctx, ast.Store))


def _takes_one(args: ast.arguments) -> bool:
    positional = len(args.posonlyargs) + len(args.args)
    required = positional - len(args.defaults)
    needed_by_name = [default for default in args.kw_defaults if default is None]
    return required <= 1 and (positional >= 1 or args.vararg is not None) and not needed_by_name


def _mapping(spec: list[dict[str, Any]]) -> Complaints:
    for index, entry in enumerate(spec):
        operation = entry.get("operation")
        if "operation" not in entry:
            yield f"[{index}].operation", "required, and missing: " + " | ".join(jolt.OPERATIONS)
        elif not isinstance(operation, str) or operation not in {*jolt.OPERATIONS, *jolt.JAVA_NAMES}:
            yield f"[{index}].operation", words.no_choice(operation, list(jolt.OPERATIONS))


_MEANINGS: dict[tuple[type, str], Meaning] = {
    (flow.Definition, "timezone"): _timezone,
    (flow.Definition, "script_timeout"): _above_zero,
    (flow.Definition, "script"): _script,
    (flow.Definition, "mapping"): _mapping,
    (flow.Definition, "filename_template"): _filename_template,
    (flow.Schedule, "cron"): _cron,
    (flow.Schedule, "after"): _flow_name,
    (flow.Omnitron, "domain_url"): _domain_url,
    (flow.Omnitron, "username"): _not_empty,
    (flow.TokenLogin, "url"): _asked_url,
    (flow.TokenLogin, "body"): _body,
    (flow.TokenLogin, "token_path"): json_path,
    (flow.TokenLogin, "header"): _header_name,
    (flow.TokenLogin, "template"): _template_value,
    (flow.OAuth2Login, "token_url"): _asked_url,
    (flow.OAuth2Login, "client_id"): _not_empty,
    (flow.OAuth2Login, "body"): _form,
    (flow.BasicLogin, "username"): _basic_username,
    (flow.HeaderLogin, "name"): _header_name,
    (flow.Erp, "endpoint_url"): _asked_url,
    (flow.Erp, "extra_params"): _body,
    (flow.Erp, "query_settings"): _query_settings,
    (flow.Erp, "extra_headers"): _headers,
    (flow.Erp, "date_format"): date_format,
    (flow.Erp, "initial_since"): _iso_date,
    (flow.Erp, "rows_path"): json_path,
    (flow.Erp, "timeout"): _above_zero,
    (flow.Erp, "charset"): _charset,
    (flow.QuerySetting, "template"): _worded,
    (flow.Success, "path"): json_path,
    (flow.FetchMissing, "identifier_path"): json_path,
    (flow.FetchMissing, "every"): _rare,
    (flow.Write, "timeout"): _above_zero,
    (flow.Alarms, "average_flow_time"): _above_zero,
    (flow.Alarms, "silence"): _above_zero,
    (flow.Alarms, "webhook_url"): _webhook,
    **{
        (kind, field): check
        for kind in (*pagination.TYPES, *answer_format.TYPES)
        for base in reversed(kind.__mro__)  # a type's own checks come on top of those of the types that it extends
        for field, check in getattr(base, "meanings", {}).items()
    },
}
_OF_OBJECTS = (_body, _form, _headers, _query_settings)
