"""The JSON Schema of flow files, made from the types of `flow.py`: what an editor completes and checks."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import inspect

from imageflow.flows.limits import LIMITS
from imageflow.model.field_types import Duration, Rate, bare
from imageflow.model.flow import Definition

_ONE_OF = {"SecretRef": ("env", "file"), "Schedule": ("cron", "every", "after")}
_INBOUND = {
    "if": {"properties": {"direction": {"const": "inbound"}}},
    "then": {"required": ["erp"], "properties": {"erp": {"type": "object", "required": ["endpoint_url"]}}},
}
_CUSTOM: dict[type, dict[str, Any]] = {
    Duration: {
        "anyOf": [
            {"type": "number", "minimum": 0},
            {"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|s|m|h|d))+$"},
        ],
    },
    Rate: {"type": "string", "pattern": r"^\d+(\.\d+)?/(s|m|h)$"},
}


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a flow file. It says what types can say; `flow lint` says the rest."""
    structs: dict[str, Any] = {}
    _schema(inspect.type_info(Definition), structs)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ImageFlow flow file",
        **structs.pop("Definition"),
        **_INBOUND,
        "$defs": dict(sorted(structs.items())),
    }


def _schema(kind: inspect.Type, structs: dict[str, Any]) -> dict[str, Any]:
    """A type's schema, with what its field says of itself."""
    said = kind.extra_json_schema or {} if isinstance(kind, inspect.Metadata) else {}
    return {**_bare(bare(kind), structs), **said}


def _bare(kind: inspect.Type, structs: dict[str, Any]) -> dict[str, Any]:
    match kind:
        case inspect.StructType():
            return _reference(kind, structs)
        case inspect.UnionType(types=types):
            return {"anyOf": [_schema(option, structs) for option in types]}
        case inspect.DictType(key_type=key, value_type=value):
            return {
                "type": "object",
                "propertyNames": _schema(key, structs),
                "additionalProperties": _schema(value, structs),
            }
        case (
            inspect.ListType(item_type=item, min_length=fewest, max_length=most)
            | inspect.VarTupleType(item_type=item, min_length=fewest, max_length=most)
        ):
            return {"type": "array", "items": _schema(item, structs), **_given(minItems=fewest, maxItems=most)}
        case inspect.CustomType(cls=cls):
            return dict(_CUSTOM[cls])
    return _scalar(kind)


def _scalar(kind: inspect.Type) -> dict[str, Any]:  # noqa: PLR0911 - one line per kind
    match kind:
        case inspect.AnyType():
            return {}
        case inspect.NoneType():
            return {"type": "null"}
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.LiteralType(values=values):
            return {"enum": list(values)}
        case inspect.StrType(min_length=shortest, pattern=pattern):
            return {"type": "string", **_given(minLength=shortest, pattern=pattern)}
        case inspect.IntType(ge=least, le=most):
            return {"type": "integer", **_given(minimum=least, maximum=most)}
        case inspect.FloatType(ge=least, le=most):
            return {"type": "number", **_given(minimum=least, maximum=most)}
    raise NotImplementedError(kind)


def _given(**keywords: Any) -> dict[str, Any]:
    return {name: value for name, value in keywords.items() if value is not None}


def _reference(kind: inspect.StructType, structs: dict[str, Any]) -> dict[str, Any]:
    name = kind.cls.__name__
    if name not in structs:
        structs[name] = {}  # its place, should it hold itself
        structs[name] = _struct(kind, structs)
    return {"$ref": f"#/$defs/{name}"}


def _struct(kind: inspect.StructType, structs: dict[str, Any]) -> dict[str, Any]:
    properties = {field.encode_name: _bounded(kind.cls, field, _property(field, structs)) for field in kind.fields}
    required = [field.encode_name for field in kind.fields if field.required]
    if kind.tag_field is not None:
        properties = {kind.tag_field: {"const": kind.tag}, **properties}
        required = [kind.tag_field, *required]
    return {
        "type": "object",
        "description": (kind.cls.__doc__ or "").partition(". ")[0].strip(),
        "properties": properties,
        "required": required,
        "additionalProperties": False,
        **_one_of(kind.cls.__name__),
    }


def _one_of(name: str) -> dict[str, Any]:
    """Of fields that exclude each other exactly one is there and not null."""
    fields = _ONE_OF.get(name, ())
    ways = [{"required": [field], "properties": {field: {"not": {"type": "null"}}}} for field in fields]
    return {"oneOf": ways} if ways else {}


def _bounded(owner: type, field: inspect.Field, described: dict[str, Any]) -> dict[str, Any]:
    """With the largest number that lint takes. Of a duration that is the number of seconds."""
    limit = LIMITS.get((owner, field.name))
    return described if limit is None else {**described, "maximum": limit.most}


def _property(field: inspect.Field, structs: dict[str, Any]) -> dict[str, Any]:
    described = _schema(field.type, structs)
    if field.required:
        return described
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return {**described, "default": _plain(default)}


def _plain(default: Any) -> Any:
    return float(default) if isinstance(default, float) else msgspec.to_builtins(default, enc_hook=float)
