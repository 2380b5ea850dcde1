"""Shape: the fields of a flow file against the msgspec types of `model.flow`. Pure.

Fields, types, bounds and near misses come from the same place as the values themselves. A field whose shape is right is
handed to `meaning`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, get_args

import msgspec
from msgspec import inspect

from imageflow.errors import Problem
from imageflow.flows import meaning, words
from imageflow.model import field_types, flow
from imageflow.secret import SecretRef

MAX_PROBLEMS = 100


def _pattern(kind: Any) -> str:
    return str(get_args(kind)[1].pattern)


_PATTERNS = {
    _pattern(field_types.HttpUrl): "must be an absolute URL that begins with http:// or https://, without spaces",
    _pattern(field_types.UrlPath): "must be a path that begins with /, without spaces",
}


def problems(document: dict[str, Any]) -> Iterator[Problem]:
    """Fields that are unknown, missing, of the wrong type, or whose value means nothing."""
    return _walk(_definition(), document, "")


@functools.cache
def _definition() -> inspect.Type:
    return inspect.type_info(flow.Definition)


def _walk(kind: inspect.Type, value: Any, path: str) -> Iterator[Problem]:
    match field_types.bare(kind):
        case inspect.UnionType() as union:
            yield from _union(union, value, path)
        case inspect.StructType(cls=cls) if cls is SecretRef:
            if message := meaning.secret(value):
                yield Problem(path, message)
        case inspect.StructType() as struct:
            yield from _struct(struct, value, path)
        case inspect.DictType() as mapping:
            yield from _dict(mapping, value, path)
        case inspect.ListType() | inspect.VarTupleType() as items:
            yield from _list(items, value, path)
        case scalar:
            if message := _scalar(scalar, value):
                yield Problem(path, message)


def _struct(kind: inspect.StructType, value: Any, path: str) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield Problem(path, f"must be an object with fields, not {words.kind(value)}")
        return
    fields = {field.encode_name: field for field in kind.fields}
    known = {*fields, kind.tag_field} if kind.tag_field else set(fields)
    unknown = islice((key for key in value if key not in known), MAX_PROBLEMS)
    found = [Problem(words.join(path, key), _unknown(key, known, path)) for key in unknown]
    for name, field in fields.items():
        if name in value:
            found += _field(kind.cls, field, value[name], words.join(path, name))
        elif field.required:
            found.append(Problem(words.join(path, name), "required, and missing"))
    yield from found
    if not found and hasattr(kind.cls, "__post_init__") and (message := _refused(kind.cls, value)):
        field_name, _, rest = message.partition(": ")
        yield Problem(words.join(path, field_name), rest) if field_name in fields else Problem(path, message)


def _field(owner: type, field: inspect.Field, value: Any, path: str) -> list[Problem]:
    found = list(_walk(field.type, value, path))
    return found or [Problem(path + at, text) for at, text in meaning.complaints(owner, field.name, value)]


def _refused(cls: type, value: object) -> str | None:
    """What is wrong with the combination of a struct's fields, each of which is well formed."""
    try:
        msgspec.convert(value, cls, dec_hook=flow.decode_custom)
    except msgspec.ValidationError as error:
        return str(error.__cause__ or error)
    return None


def _unknown(key: object, known: Iterable[str], path: str) -> str:
    near = words.near(key, known)
    if near is None and isinstance(key, str):
        near = next((name for name in sorted(known) if name.endswith(f"_{key}")), None)
    if near is None and isinstance(key, str):
        near = next((place for place in _places().get(key, ()) if place != words.join(path, key)), None)
    return f"unknown field; did you mean {near}?" if near else f"unknown field; there are: {', '.join(sorted(known))}"


@functools.cache
def _places() -> Mapping[str, list[str]]:
    """Where in a flow file a field of that name is: for fields that stand on the wrong level."""
    places: dict[str, list[str]] = {}

    def note(kind: inspect.Type, path: str) -> None:
        for struct in _structs(kind):
            for field in struct.fields:
                here = words.join(path, field.encode_name)
                if struct.cls is not SecretRef and here not in places.setdefault(field.encode_name, []):
                    places[field.encode_name].append(here)
                note(field.type, here)

    note(_definition(), "")
    return places


def _structs(kind: inspect.Type) -> list[inspect.StructType]:
    kind = field_types.bare(kind)
    options = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    return [option for option in options if isinstance(option, inspect.StructType)]


def _dict(kind: inspect.DictType, value: Any, path: str) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield Problem(path, f"must be an object with fields, not {words.kind(value)}")
        return
    for key, item in value.items():
        if message := _scalar(kind.key_type, key):
            yield Problem(words.join(path, key), f"the field's name {message}")
        yield from _walk(kind.value_type, item, words.join(path, key))


def _list(kind: inspect.ListType | inspect.VarTupleType, value: Any, path: str) -> Iterator[Problem]:
    if not isinstance(value, list):
        yield Problem(path, f"must be a list, not {words.kind(value)}")
        return
    if kind.min_length is not None and len(value) < kind.min_length:
        yield Problem(path, f"must be a list of at least {kind.min_length}, not {words.kind(value)}")
    if kind.max_length is not None and len(value) > kind.max_length:
        yield Problem(path, f"must be a list of at most {kind.max_length}, not {words.kind(value)}")
    for index, item in enumerate(value):
        yield from _walk(kind.item_type, item, f"{path}[{index}]")


def _union(kind: inspect.UnionType, value: Any, path: str) -> Iterator[Problem]:
    options = [option for option in kind.types if not isinstance(option, inspect.NoneType)]
    if value is None and len(options) < len(kind.types):
        return
    tagged = {str(option.tag): option for option in _structs(kind) if option.tag_field}
    names = [option for option in options if isinstance(option, inspect.LiteralType)] if tagged else []
    if names and isinstance(value, str):
        yield from _scalars(names, value, path)
    elif tagged:
        yield from _tagged(tagged, value, path)
    elif len(options) == 1:
        yield from _walk(options[0], value, path)
    elif _structs(kind) and _is_reference(options, value):
        if message := meaning.secret(value, plain=True):
            yield Problem(path, message)
    else:
        yield from _scalars([option for option in options if not isinstance(option, inspect.StructType)], value, path)


def _is_reference(options: list[inspect.Type], value: Any) -> bool:
    """Whether a value where a secret may stand is to be read as one: it looks like one, or else only a text may be there."""
    plain = [option for option in options if not isinstance(option, inspect.StructType)]
    if isinstance(value, dict) and value and set(value) <= {"env", "file"}:
        return True
    return len(plain) == 1 and not isinstance(value, str)


def _tagged(options: Mapping[str, inspect.StructType], value: Any, path: str) -> Iterator[Problem]:
    names = " | ".join(options)
    if not isinstance(value, dict):
        yield Problem(path, f"must be an object with type: {names}; not {words.kind(value)}")
    elif "type" not in value:
        yield Problem(words.join(path, "type"), f"required, and missing: {names}")
    elif not isinstance(value["type"], str) or value["type"] not in options:
        yield Problem(words.join(path, "type"), words.no_choice(value["type"], list(options)))
    else:
        yield from _walk(options[value["type"]], value, path)


def _scalars(options: Sequence[inspect.Type], value: Any, path: str) -> Iterator[Problem]:
    messages = [_scalar(option, value) for option in options]
    refusals = [message for message in messages if message is not None]
    if len(refusals) < len(messages):
        return
    if len(refusals) == 1:
        yield Problem(path, refusals[0])
        return
    wanted = [message.removeprefix("must be ").partition(", not ")[0] for message in refusals]
    given = words.shown(value) if isinstance(value, (str, int, float)) else words.kind(value)
    yield Problem(path, f"must be {' or '.join(wanted)}, not {given}")


def _scalar(kind: inspect.Type, value: Any) -> str | None:  # noqa: PLR0911 - one line per kind
    match kind:
        case inspect.AnyType():
            return None
        case inspect.BoolType():
            return None if isinstance(value, bool) else f"must be true or false, not {words.kind(value)}"
        case inspect.StrType():
            return _text(kind, value)
        case inspect.IntType():
            return (
                _number(kind, value, "a whole number")
                if _is_int(value)
                else f"must be a whole number, not {words.kind(value)}"
            )
        case inspect.FloatType():
            numeric = _is_int(value) or isinstance(value, float)
            return _number(kind, value, "a number") if numeric else f"must be a number, not {words.kind(value)}"
        case inspect.LiteralType(values=values):
            return (
                None if isinstance(value, str) and value in values else words.no_choice(value, [str(v) for v in values])
            )
        case inspect.CustomType(cls=cls):
            return _custom(cls, value)
    raise NotImplementedError(kind)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(kind: inspect.StrType, value: Any) -> str | None:
    if not isinstance(value, str):
        quoted = ": put it in quotes" if isinstance(value, (bool, int, float)) else ""
        return f"must be a text, not {words.kind(value)}{quoted}"
    if kind.min_length and not value.strip():
        return "must not be empty"
    if kind.pattern == flow.NAME_PATTERN:
        return meaning.flow_name(value)
    if kind.pattern and not re.fullmatch(kind.pattern, value):
        return _PATTERNS.get(kind.pattern, f"must match {kind.pattern}")
    return None


def _number(kind: inspect.IntType | inspect.FloatType, value: float, what: str) -> str | None:
    if kind.ge is not None and not value >= kind.ge:
        return f"must be {what} of at least {kind.ge:g}"
    if kind.le is not None and not value <= kind.le:
        return f"must be {what} of at most {kind.le:g}"
    return None


def _custom(cls: type, value: object) -> str | None:
    try:
        flow.decode_custom(cls, value if not isinstance(value, str) or len(value) <= words.SHOWN_CHARS else "")
    except OverflowError:
        return "is too large"
    except ValueError as error:
        wanted = str(error).partition(", not ")[0]
        return f"{wanted}, not {words.shown(value) if isinstance(value, (str, int, float)) else words.kind(value)}"
    return None
