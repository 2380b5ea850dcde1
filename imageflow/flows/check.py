"""What is wrong with a flow file's document: every problem, each with the dotted path of its field. Pure.

Three passes, none of which stops at the first problem. *Shape* walks the msgspec types of `flow.Definition`, so that
fields, types, bounds and near misses come from the same place as the values themselves. *Meaning* looks at single fields
whose type is right (a cron expression, a timezone, a script). *Sense* looks at fields that depend on each other; it
reads the raw document and keeps quiet about what the other two have named.

The value of a secret, or of what should have been one, is in no message.
"""

from __future__ import annotations

import ast
import difflib
import functools
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

import msgspec
from msgspec import inspect

from imageflow.errors import Problem
from imageflow.http.client import exact_origin
from imageflow.model import filename_template, flow
from imageflow.model.cron import parse_cron
from imageflow.pointer import describe
from imageflow.sandbox import jolt
from imageflow.secret import SecretRef

MAX_PROBLEMS = 100
MAX_DEPTH = 100
PLAIN_REFUSED = "must be a secret: {env: NAME} or {file: PATH}; plain text is refused"

_TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels"
_SHOWN_CHARS = 60
_ENV_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,254}"
_HEADER_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_DIRECTIVES = "aAbBcCdDeFfGhHIjklmMpPrRsSTuUVwWxXyYzZ%"
_IDENTIFIERS = ("sku", "base_code")
_TEMPLATE_FIELDS = (*_IDENTIFIERS, filename_template.ORDER)


def _pattern(kind: Any) -> str:
    return str(get_args(kind)[1].pattern)


_PATTERNS = {
    flow.NAME_PATTERN: "must be 1 to 20 characters of a-z, 0-9 and -",
    _pattern(flow.HttpUrl): "must be an absolute URL that begins with http:// or https://, without spaces",
    _pattern(flow.UrlPath): "must be a path that begins with /, without spaces",
}


def problems(document: object) -> list[Problem]:
    """Everything that is wrong with a document, at most MAX_PROBLEMS; empty: `flow.Definition` takes it."""
    if not isinstance(document, dict):
        return [Problem("", f"a flow file must be an object with the fields of a flow, not {_kind(document)}")]
    foreign = list(islice(_foreign(document, "", 0), MAX_PROBLEMS))
    if any(problem.message == _TOO_DEEP for problem in foreign):
        return foreign
    found = chain(foreign, _walk(_definition(), document, ""), _sense(document))
    return list(dict.fromkeys(islice(found, MAX_PROBLEMS)))


@functools.cache
def _definition() -> inspect.Type:
    return inspect.type_info(flow.Definition)


def shown(value: object) -> str:
    """A value in a message: short, printable."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"


def _key(key: object) -> str:
    return key if isinstance(key, str) and len(key) <= _SHOWN_CHARS and key.isprintable() else shown(key)


def _join(path: str, key: object) -> str:
    return f"{path}.{_key(key)}" if path else _key(key)


def _kind(value: object) -> str:
    """What a value is, without saying what is in it."""
    if isinstance(value, dict):
        return "an object"
    return (
        describe(value) if value is None or isinstance(value, (bool, int, float, str, list)) else type(value).__name__
    )


def _near(word: object, words: Iterable[str]) -> str | None:
    if not isinstance(word, str) or len(word) > _SHOWN_CHARS:
        return None
    return next(iter(difflib.get_close_matches(word.lower(), words, n=1)), None)


# what is no JSON, or cannot be stored ---------------------------------------------------------------------------------


def _foreign(value: object, path: str, depth: int) -> Iterator[Problem]:
    if depth > MAX_DEPTH:
        yield Problem(path[:_SHOWN_CHARS], _TOO_DEEP)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or _unstorable(key):
                yield Problem(path, "has a field whose name is no text that can be stored")
            yield from _foreign(item, _join(path, key), depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _foreign(item, f"{path}[{index}]", depth + 1)
    elif message := _foreign_scalar(value):
        yield Problem(path, message)


def _foreign_scalar(value: object) -> str | None:
    if isinstance(value, str):
        return "holds characters that cannot be stored (NUL or half a surrogate pair)" if _unstorable(value) else None
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return None if -(2**63) <= value < 2**63 else "is a number too large for 64 bits; write it as a text"
    if isinstance(value, float):
        return None if math.isfinite(value) else "must be a finite number"
    return f"must be JSON, not {type(value).__name__}"


def _unstorable(text: str) -> bool:
    return re.search("[\x00\ud800-\udfff]", text) is not None


# shape ----------------------------------------------------------------------------------------------------------------


def _walk(kind: inspect.Type, value: Any, path: str) -> Iterator[Problem]:
    match kind:
        case inspect.UnionType():
            yield from _union(kind, value, path)
        case inspect.StructType(cls=cls) if cls is SecretRef:
            yield from _secret(value, path)
        case inspect.StructType():
            yield from _struct(kind, value, path)
        case inspect.DictType():
            yield from _dict(kind, value, path)
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            yield from _list(item, value, path)
        case _:
            if message := _scalar(kind, value):
                yield Problem(path, message)


def _struct(kind: inspect.StructType, value: Any, path: str) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield Problem(path, f"must be an object with fields, not {_kind(value)}")
        return
    fields = {field.encode_name: field for field in kind.fields}
    known = {*fields, kind.tag_field} if kind.tag_field else set(fields)
    unknown = islice((key for key in value if key not in known), MAX_PROBLEMS)
    found = [Problem(_join(path, key), _unknown(key, known, path)) for key in unknown]
    for name, field in fields.items():
        if name in value:
            found += _field(kind.cls, field, value[name], _join(path, name))
        elif field.required:
            found.append(Problem(_join(path, name), "required, and missing"))
    yield from found
    if not found and hasattr(kind.cls, "__post_init__") and (message := _refused(kind.cls, value)):
        field_name, _, rest = message.partition(": ")
        yield Problem(_join(path, field_name), rest) if field_name in fields else Problem(path, message)


def _field(owner: type, field: inspect.Field, value: Any, path: str) -> list[Problem]:
    found = list(_walk(field.type, value, path))
    check = _MEANINGS.get((owner.__name__, field.name))
    if found or check is None or value is None or isinstance(value, dict) is not (check in _OF_OBJECTS):
        return found
    return [Problem(path + where, message) for where, message in check(value)]


def _refused(cls: type, value: object) -> str | None:
    """What a struct that is well formed says against the combination of its fields."""
    try:
        msgspec.convert(value, cls, dec_hook=flow.decode_custom)
    except msgspec.ValidationError as error:
        return str(error.__cause__ or error)
    return None


def _unknown(key: object, known: Iterable[str], path: str) -> str:
    near = _near(key, known)
    if near is None and isinstance(key, str):
        near = next((place for place in _places().get(key, ()) if place != _join(path, key)), None)
    return f"unknown field; did you mean {near}?" if near else f"unknown field; there are: {', '.join(sorted(known))}"


@functools.cache
def _places() -> Mapping[str, list[str]]:
    """Where in a flow file a field of that name is: for fields that stand on the wrong level."""
    places: dict[str, list[str]] = {}

    def note(kind: inspect.Type, path: str) -> None:
        for struct in _structs(kind):
            for field in struct.fields:
                here = _join(path, field.encode_name)
                if struct.cls is not SecretRef and here not in places.setdefault(field.encode_name, []):
                    places[field.encode_name].append(here)
                note(field.type, here)

    note(_definition(), "")
    return places


def _structs(kind: inspect.Type) -> list[inspect.StructType]:
    options = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    return [option for option in options if isinstance(option, inspect.StructType)]


def _dict(kind: inspect.DictType, value: Any, path: str) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield Problem(path, f"must be an object with fields, not {_kind(value)}")
        return
    for key, item in value.items():
        if message := _scalar(kind.key_type, key):
            yield Problem(_join(path, key), f"the field's name {message}")
        yield from _walk(kind.value_type, item, _join(path, key))


def _list(item_type: inspect.Type, value: Any, path: str) -> Iterator[Problem]:
    if not isinstance(value, list):
        yield Problem(path, f"must be a list, not {_kind(value)}")
        return
    for index, item in enumerate(value):
        yield from _walk(item_type, item, f"{path}[{index}]")


def _union(kind: inspect.UnionType, value: Any, path: str) -> Iterator[Problem]:
    options = [option for option in kind.types if not isinstance(option, inspect.NoneType)]
    if value is None and len(options) < len(kind.types):
        return
    tagged = {str(option.tag): option for option in _structs(kind) if option.tag_field}
    if tagged:
        yield from _tagged(tagged, value, path)
    elif len(options) == 1:
        yield from _walk(options[0], value, path)
    elif _structs(kind) and not isinstance(value, str):
        yield from _secret(value, path, plain=True)
    else:
        yield from _scalars([option for option in options if not isinstance(option, inspect.StructType)], value, path)


def _tagged(options: Mapping[str, inspect.StructType], value: Any, path: str) -> Iterator[Problem]:
    names = " | ".join(options)
    if not isinstance(value, dict):
        yield Problem(path, f"must be an object with type: {names}; not {_kind(value)}")
    elif "type" not in value:
        yield Problem(_join(path, "type"), f"required, and missing: {names}")
    elif not isinstance(value["type"], str) or value["type"] not in options:
        yield Problem(_join(path, "type"), _no_choice(value["type"], list(options)))
    else:
        yield from _walk(options[value["type"]], value, path)


def _scalars(options: list[inspect.Type], value: Any, path: str) -> Iterator[Problem]:
    messages = [_scalar(option, value) for option in options]
    refusals = [message for message in messages if message is not None]
    if len(refusals) < len(messages):
        return
    if len(refusals) == 1:
        yield Problem(path, refusals[0])
        return
    wanted = [message.removeprefix("must be ").partition(", not ")[0] for message in refusals]
    given = shown(value) if isinstance(value, (str, int, float)) else _kind(value)
    yield Problem(path, f"must be {' or '.join(wanted)}, not {given}")


def _secret(value: Any, path: str, *, plain: bool = False) -> Iterator[Problem]:
    """A reference to a secret. Says nothing of what is there: it may be the secret itself."""
    if isinstance(value, dict) and set(value) <= {"env", "file"}:
        named = {kind: name for kind, name in value.items() if name is not None}
        if len(named) != 1:
            yield Problem(path, "must be exactly one of {env: NAME} and {file: PATH}")
        elif message := _secret_name(*named.popitem()):
            yield Problem(path, message)
    else:
        yield Problem(path, "must be a text or a secret: {env: NAME} or {file: PATH}" if plain else PLAIN_REFUSED)


def _secret_name(kind: str, name: object) -> str | None:
    if kind == "env" and not (isinstance(name, str) and re.fullmatch(_ENV_NAME, name)):
        return "env must be the name of an environment variable: letters, digits and _"
    if kind == "file" and not (isinstance(name, str) and name.strip()):
        return "file must be the path of a file"
    return None


def _scalar(kind: inspect.Type, value: Any) -> str | None:  # noqa: PLR0911 - one line per kind
    match kind:
        case inspect.AnyType():
            return None
        case inspect.BoolType():
            return None if isinstance(value, bool) else f"must be true or false, not {_kind(value)}"
        case inspect.StrType():
            return _text(kind, value)
        case inspect.IntType():
            return (
                _number(kind, value, "a whole number")
                if _is_int(value)
                else f"must be a whole number, not {_kind(value)}"
            )
        case inspect.FloatType():
            numeric = _is_int(value) or isinstance(value, float)
            return _number(kind, value, "a number") if numeric else f"must be a number, not {_kind(value)}"
        case inspect.LiteralType(values=values):
            return None if isinstance(value, str) and value in values else _no_choice(value, [str(v) for v in values])
        case inspect.CustomType(cls=cls):
            return _custom(cls, value)
    raise NotImplementedError(kind)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(kind: inspect.StrType, value: Any) -> str | None:
    if not isinstance(value, str):
        quoted = ": put it in quotes" if isinstance(value, (bool, int, float)) else ""
        return f"must be a text, not {_kind(value)}{quoted}"
    if kind.min_length and not value.strip():
        return "must not be empty"
    if kind.pattern and not re.fullmatch(kind.pattern, value):
        return _PATTERNS.get(kind.pattern, f"must match {kind.pattern}")
    return None


def _number(kind: inspect.IntType | inspect.FloatType, value: float, what: str) -> str | None:
    if kind.ge is not None and not value >= kind.ge:
        return f"must be {what} of at least {kind.ge:g}"
    if kind.le is not None and not value <= kind.le:
        return f"must be {what} of at most {kind.le:g}"
    return None


def _no_choice(value: object, choices: list[str]) -> str:
    if not isinstance(value, str):
        return f"must be {' | '.join(choices)}, not {_kind(value)}"
    near = _near(value, choices)
    hint = f"; did you mean {near}?" if near else ""
    return f"must be {' | '.join(choices)}, not {shown(value)}{hint}"


def _custom(cls: type, value: object) -> str | None:
    try:
        flow.decode_custom(cls, value if not isinstance(value, str) or len(value) <= _SHOWN_CHARS else "")
    except OverflowError:
        return "is too large"
    except ValueError as error:
        wanted = str(error).partition(", not ")[0]
        return f"{wanted}, not {shown(value) if isinstance(value, (str, int, float)) else _kind(value)}"
    return None


# meaning: fields of the right type ------------------------------------------------------------------------------------

Found = Iterator[tuple[str, str]]
"""What is wrong inside a field: what to add to its path, and the message."""


def _cron(text: str) -> Found:
    try:
        parse_cron(text)
    except ValueError as error:
        yield "", str(error)


def _flow_name(text: str) -> Found:
    if not re.fullmatch(flow.NAME_PATTERN, text):
        yield "", f"must be the name of a flow: {_PATTERNS[flow.NAME_PATTERN].removeprefix('must be ')}"


def _timezone(name: str) -> Found:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        zones = {zone.lower(): zone for zone in available_timezones()}
        near = _near(name, zones)
        hint = f"did you mean {zones[near]}?" if near else "such as Europe/Istanbul"
        yield "", f"{shown(name)} is no IANA timezone; {hint}"


def _http_url(url: str) -> Found:
    try:
        exact_origin(url)
    except ValueError as error:
        yield "", f"cannot be used as a URL: {error}"


def _domain_url(url: str) -> Found:
    yield from _http_url(url)
    if "?" in url or "#" in url:
        yield "", "must not have a query or fragment: paths are added to it"


def _date_format(text: str) -> Found:
    directives = re.findall(r"%[-_0^#]?(.?)", text, re.DOTALL)
    if wrong := [letter for letter in directives if not letter or letter not in _DIRECTIVES]:
        yield "", f"%{wrong[0]} means nothing to strftime; a date is written like %Y-%m-%dT%H:%M:%S"
    elif not set(directives) - {"%"}:
        yield "", "names no part of a date; it is written like %Y-%m-%dT%H:%M:%S"


def _iso_date(text: str) -> Found:
    try:
        # A day off either end: it still has to be an instant in every timezone.
        given = datetime.fromisoformat(text)
        if not datetime(1900, 1, 1, tzinfo=UTC) <= given.replace(tzinfo=UTC) < datetime(9000, 1, 1, tzinfo=UTC):
            yield "", "is too far away: the year must be 1900 to 8999"
    except ValueError:
        yield "", f"{shown(text)} is no ISO date; write it like 2025-12-21 or 2025-12-21T12:00:30"


def _json_path(path: str) -> Found:
    if path.startswith("/"):
        if re.search(r"~(?![01])", path):
            yield "", "is no JSON Pointer: ~ is written ~0 and / is written ~1"
    elif path and (re.match(r"\$(\.|\[|$)", path) or re.search(r"\[(\d+|\*)\]|\s$|^\s", path)):
        yield (
            "",
            "must be a dotted path like data.items (numbers index lists: items.0.id) or a JSON Pointer like /data/items",
        )
    elif path and not all(path.split(".")):
        yield "", "has an empty part: a dotted path is written like data.items"


def _header_name(name: str) -> Found:
    if not re.fullmatch(_HEADER_NAME, name):
        yield "", "must be the name of an HTTP header: letters, digits and -, without spaces or colon"
    elif name.lower() in ("content-length", "transfer-encoding"):
        yield "", "this header is set by ImageFlow itself"


def _template_value(text: str) -> Found:
    if "{token}" not in text:
        yield "", "must hold {token}, the place where the token goes"
    if _controls(text):
        yield "", "must not hold line breaks or control characters: it is sent in a header"


def _controls(text: str) -> bool:
    return re.search(r"[\x00-\x08\x0a-\x1f\x7f]", text) is not None


def _headers(headers: dict[str, str]) -> Found:
    seen: set[str] = set()
    for name, value in headers.items():
        where = f".{_key(name)}"
        yield from ((where, message) for _, message in _header_name(name))
        if _controls(value):
            yield where, "must not hold line breaks or control characters: it is sent in a header"
        if name.lower() in ("authorization", "proxy-authorization"):
            yield where, "carries a secret: use login with type: header, name and value; " + PLAIN_REFUSED
        if name.lower() in seen:
            yield where, "is given twice: case makes no difference in a header's name"
        seen.add(name.lower())


def _login_body(body: dict[str, Any]) -> Found:
    for where, name, value in _leaves(body, "", ""):
        if isinstance(value, dict):
            yield from ((where, problem.message) for problem in _secret(value, ""))
        elif re.search(r"(password|passwd|pwd)$", name, re.IGNORECASE) and value is not None:
            yield where, PLAIN_REFUSED


def _leaves(value: Any, where: str, name: str) -> Iterator[tuple[str, str, Any]]:
    """Single values with the field they stand in; what names a secret is one."""
    if isinstance(value, dict) and not (where and len(value) == 1 and set(value) <= {"env", "file"}):
        for key, item in value.items():
            yield from _leaves(item, f"{where}.{_key(key)}", str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{where}[{index}]", name)
    else:
        yield where, name, value


def _basic_username(name: str) -> Found:
    if ":" in name:
        yield "", "must not hold a colon: HTTP basic authentication ends the user name there"


def _not_empty(text: str) -> Found:
    if not text.strip():
        yield "", "must not be empty"


def _above_zero(seconds: object) -> Found:
    if flow.Duration.parse(seconds) <= 0:
        yield "", "must be longer than 0s"


def _rare(seconds: object) -> Found:
    if flow.Duration.parse(seconds) < 1:
        yield "", "must be at least 1s"


def _days(days: int) -> Found:
    if days > 36_500:
        yield "", "must be at most 36500 days"


def _hosts(hosts: list[str]) -> Found:
    for index, host in enumerate(hosts):
        if not re.fullmatch(r"([\w.-]+|\[[0-9a-fA-F:.]+\]|[0-9a-fA-F:]*:[0-9a-fA-F:.]*)(:\d{1,5})?", host):
            yield f"[{index}]", "must be a host, or host:port, without http://"


def _next_field(field: str) -> Found:
    if field != "Link":
        yield from _json_path(field)


def _filename_template(text: str) -> Found:
    if text.count("{") != text.count("}"):
        yield "", "has a brace that is not closed or not opened"
        return
    unknown = [name for name in re.findall(r"\{([^{}]*)\}", text) if name not in _TEMPLATE_FIELDS]
    for name in unknown:
        near = _near(name, _TEMPLATE_FIELDS)
        hint = f"did you mean {{{near}}}?" if near else "there are {sku}, {base_code} and {image_order}"
        yield "", f"there is no field {{{_key(name)}}}; {hint}"
    if not unknown:
        try:
            filename_template.parse(text)
        except ValueError as error:
            yield "", str(error)


def _script(source: str) -> Found:
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


def _entry_points(tree: ast.Module) -> Found:
    defined = {name: node for name, node in _top_level(tree.body) if name in ("process", "process_row")}
    if not defined:
        yield "", "must define process(response) or process_row(row)"
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


def _mapping(spec: list[dict[str, Any]]) -> Found:
    for index, entry in enumerate(spec):
        operation = entry.get("operation")
        if "operation" not in entry:
            yield f"[{index}].operation", "required, and missing: " + " | ".join(jolt.OPERATIONS)
        elif not isinstance(operation, str) or operation not in {*jolt.OPERATIONS, *jolt.JAVA_NAMES}:
            yield f"[{index}].operation", _no_choice(operation, list(jolt.OPERATIONS))


_MEANINGS: dict[tuple[str, str], Callable[[Any], Found]] = {
    ("Definition", "timezone"): _timezone,
    ("Definition", "script_timeout"): _above_zero,
    ("Definition", "script"): _script,
    ("Definition", "mapping"): _mapping,
    ("Definition", "filename_template"): _filename_template,
    ("Schedule", "cron"): _cron,
    ("Schedule", "after"): _flow_name,
    ("Omnitron", "domain_url"): _domain_url,
    ("Omnitron", "username"): _not_empty,
    ("TokenLogin", "url"): _http_url,
    ("TokenLogin", "body"): _login_body,
    ("TokenLogin", "token_path"): _json_path,
    ("TokenLogin", "header"): _header_name,
    ("TokenLogin", "template"): _template_value,
    ("BasicLogin", "username"): _basic_username,
    ("HeaderLogin", "name"): _header_name,
    ("OffsetPagination", "total_path"): _json_path,
    ("PagePagination", "total_path"): _json_path,
    ("SeekPagination", "value_path"): _json_path,
    ("NextPagination", "field"): _next_field,
    ("NextPagination", "allow_hosts"): _hosts,
    ("Erp", "endpoint_url"): _http_url,
    ("Erp", "extra_headers"): _headers,
    ("Erp", "date_format"): _date_format,
    ("Erp", "initial_since"): _iso_date,
    ("Erp", "rows_path"): _json_path,
    ("Erp", "timeout"): _above_zero,
    ("FetchMissing", "identifier_path"): _json_path,
    ("FetchMissing", "productization_date_limit_days"): _days,
    ("FetchMissing", "every"): _rare,
    ("Write", "timeout"): _above_zero,
    ("Alarms", "average_flow_time"): _above_zero,
    ("Alarms", "silence"): _above_zero,
    ("Alarms", "webhook_url"): _http_url,
}
_OF_OBJECTS = (_login_body, _headers)


# sense: fields that depend on each other ------------------------------------------------------------------------------


def _sense(document: dict[str, Any]) -> Iterator[Problem]:
    yield from _sources(document)
    yield from _direction(document)
    yield from _identifiers(document)
    yield from _placeholders(document)
    yield from _constants(document)
    pagination = _part(_part(document, "erp"), "pagination")
    if pagination.get("type") == "next" and (pagination.get("field"), pagination.get("kind")) == ("Link", "token"):
        yield Problem("erp.pagination.kind", "must be url with field: Link, the header that holds a URL")


def _part(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A section as far as it is one."""
    value = document.get(name)
    return {key: item for key, item in value.items() if isinstance(key, str)} if isinstance(value, dict) else {}


def _sources(document: dict[str, Any]) -> Iterator[Problem]:
    for name in ("script", "mapping"):
        if document.get(f"{name}_file") is None:
            continue
        if document.get(name) is not None:
            yield Problem(f"{name}_file", f"must not be given together with {name}")
        elif isinstance(document[f"{name}_file"], str):
            yield Problem(f"{name}_file", f"is read in flow files only; here its content must stand in {name}")


def _direction(document: dict[str, Any]) -> Iterator[Problem]:
    schedule, erp = document.get("schedule"), _part(document, "erp")
    if document.get("direction") == "inbound" and erp.get("endpoint_url") is None:
        yield Problem("erp.endpoint_url", "required for an inbound flow, and missing")
    if document.get("direction") == "outbound" and schedule is not None:
        yield Problem("schedule", "is for inbound flows only: an outbound flow runs when the ERP posts")
    if isinstance(schedule, dict) and schedule.get("after") is not None and schedule["after"] == document.get("name"):
        yield Problem("schedule.after", "must be another flow: this one would start itself for ever")


def _identifiers(document: dict[str, Any]) -> Iterator[Problem]:
    if _part(document, "fetch_missing").get("enabled") is not True:
        return
    if document.get("direction") == "outbound":
        yield Problem("fetch_missing.enabled", "is for inbound flows only: it asks the ERP for what is missing")
    elif document.get("direction") == "inbound":
        settings = _settings(document)
        if not any(name in settings and settings[name].get("value") is None for name in _IDENTIFIERS):
            yield Problem(
                "fetch_missing.enabled",
                "needs erp.query_settings.sku (or base_code): {key: the ERP's parameter for the identifiers}",
            )


def _settings(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    named = _part(_part(document, "erp"), "query_settings")
    return {name: setting for name, setting in named.items() if isinstance(setting, dict)}


def _constants(document: dict[str, Any]) -> Iterator[Problem]:
    for name, setting in _settings(document).items():
        value, kind = setting.get("value"), setting.get("type", "string")
        if isinstance(value, (str, bool, int, float)) and not _is_of_type(value, kind):
            yield Problem(_join("erp.query_settings", name) + ".value", f"must be of type {kind}, not {shown(value)}")


def _is_of_type(value: str | float, kind: object) -> bool:
    match kind:
        case "integer":
            number = not isinstance(value, str) and not isinstance(value, bool) and float(value).is_integer()
            return number or (isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value.strip()) is not None)
        case "number":
            return not isinstance(value, bool) and _is_number(value)
        case "boolean":
            return str(value).lower() in ("true", "false", "0", "1")
    return True


def _is_number(value: str | float) -> bool:
    try:
        return math.isfinite(float(value))
    except (ValueError, OverflowError):
        return False


def _placeholders(document: dict[str, Any]) -> Iterator[Problem]:
    path, erp = "erp.endpoint_url", _part(document, "erp")
    url = erp.get("endpoint_url")
    if not isinstance(url, str):
        return
    if re.search(r"[{}]", re.sub(r"\{[^{}]*\}", "", url)):
        yield Problem(path, "has a brace that is not closed or not opened")
    try:
        if "{" in urlsplit(url).netloc:
            yield Problem(path, "a placeholder cannot stand in the host")
    except ValueError:
        return
    for name in dict.fromkeys(re.findall(r"\{([^{}]*)\}", url)):
        if message := _placeholder(name, erp, _settings(document)):
            yield Problem(path, message)


def _placeholder(name: str, erp: Mapping[str, Any], settings: Mapping[str, dict[str, Any]]) -> str | None:
    kind, colon, form = name.partition(":")
    if kind == "now":
        message = next((message for _, message in _date_format(form)), None) if colon and form else None
        return message and f"{{{_key(name)}}}: {message}"
    dated = name == "modified_date" or (name in settings and _is_watermark(name, erp, settings[name]))
    if dated:
        needs = f"{{{_key(name)}}} needs erp.initial_since: without it the first run has no date to ask for"
        return needs if erp.get("initial_since") is None else None
    if name not in settings:
        known = [*settings, "modified_date", "now"]
        near = _near(name, known)
        hint = f"did you mean {{{near}}}?" if near else "it must be a name in erp.query_settings, modified_date or now"
        return f"there is no {{{_key(name)}}}; {hint}"
    if settings[name].get("value") is None and name not in _IDENTIFIERS:
        return f"{{{_key(name)}}} never has a value: give erp.query_settings.{_key(name)} one"
    return None


def _is_watermark(name: str, erp: Mapping[str, Any], setting: Mapping[str, Any]) -> bool:
    if setting.get("value") is not None:
        return False
    key = erp.get("modified_date_key")
    return (
        setting.get("key") == key
        if key is not None
        else name == "modified_date__gt" or setting.get("type") == "datetime"
    )
