"""The JSON Schema of flow files: what an editor completes, and which files it takes and refuses."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import jsonschema
import msgspec
import pytest

from imageflow.flows.schema import schema
from imageflow.model import answer_format, flow, pagination
from imageflow.model.pagination.next import NextPagination
from imageflow.secret import SecretRef

SCHEMA = schema()
DOCUMENT: dict[str, Any] = {
    "name": "winter",
    "direction": "inbound",
    "omnitron": {"domain_url": "https://brand.example.com", "username": "u", "password": {"env": "PW"}},
    "erp": {"endpoint_url": "https://erp.example.com/"},
}
GONE = object()


def changed(**fields: Any) -> dict[str, Any]:
    """The document with other values, by their place: `erp__timeout`."""
    document = copy.deepcopy(DOCUMENT)
    for place, value in fields.items():
        *way, name = place.split("__")
        parent = document
        for part in way:
            parent = parent.setdefault(part, {})
        if value is GONE:
            del parent[name]
        else:
            parent[name] = value
    return document


def is_taken(document: Any) -> bool:
    return jsonschema.Draft202012Validator(SCHEMA).is_valid(document)


def test_it_is_a_schema() -> None:
    """By its own dialect; JSON can write it."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    json.dumps(SCHEMA, allow_nan=False)


def test_the_schema_closes_every_section() -> None:
    """Editors refuse unknown fields too, and know what is required and what the defaults are."""
    structs = [SCHEMA, *SCHEMA["$defs"].values()]
    assert all(struct["additionalProperties"] is False for struct in structs)
    assert SCHEMA["required"] == ["name", "direction", "omnitron"]
    assert SCHEMA["$defs"]["Omnitron"]["required"] == ["domain_url", "username", "password"]
    assert SCHEMA["$defs"]["Erp"]["properties"]["overlap"]["default"] == 300.0
    assert SCHEMA["$defs"]["Omnitron"]["properties"]["password"]["$ref"] == "#/$defs/SecretRef"


def test_the_schema_has_every_field() -> None:
    """The schema's fields are those of the types, by name and in order; every reference leads somewhere."""
    assert list(SCHEMA["properties"]) == list(flow.Definition.__struct_fields__)
    kinds = {kind.__name__: kind for kind in (SecretRef, *pagination.TYPES, *answer_format.TYPES)}
    for name, struct in SCHEMA["$defs"].items():
        kind = kinds.get(name) or getattr(flow, name)
        assert [field for field in struct["properties"] if field != "type" or name == "QuerySetting"] == list(
            kind.__struct_fields__
        )
    assert set(re.findall(r"#/\$defs/(\w+)", json.dumps(SCHEMA))) == set(SCHEMA["$defs"])


def test_every_example_fits_its_field() -> None:
    """An example that the page and editors show is a value that the field takes."""
    kinds = {kind.__name__: kind for kind in (flow.Definition, SecretRef, *pagination.TYPES, *answer_format.TYPES)}
    examples = [
        (kinds.get(name) or getattr(flow, name), field, example)
        for name, struct in {"Definition": SCHEMA, **SCHEMA["$defs"]}.items()
        for field, described in struct["properties"].items()
        for example in described.get("examples", ())
    ]
    assert (NextPagination, "ignore", ["meta.total"]) in examples
    for kind, field, example in examples:
        of = next(one.type for one in msgspec.structs.fields(kind) if one.encode_name == field)
        msgspec.convert(example, of, dec_hook=flow.decode_custom)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"direction": "outbound", "erp": GONE},
        {"direction": "outbound", "erp": {}},
        {"schedule": {"cron": "* * * * *"}},
        {"schedule": {"every": 900}},
        {"schedule": {"every": "1h30m", "cron": None}},
        {"schedule": {"every": "1.5h"}},
        {"omnitron__password": {"file": "/run/secrets/pw"}},
        {"erp__timeout": 600},
        {"erp__pagination": {"type": "page", "limit": 100_000}},
        {"erp__pagination": {"type": "seek", "param": "after", "value_path": "id"}},
        {"erp__format": "csv"},
        {"erp__format": {"type": "csv", "skip_lines": 1000}},
        {"erp__no_rows__statuses": [404]},
        {"erp__success": {"path": "code", "value": 0}},
        {"write__rate_limit": "5/s"},
        {"write__max_attempts": 100},
        {"mapping": [{"operation": "shift", "spec": {}}]},
    ],
)
def test_files_that_are_taken(fields: dict[str, Any]) -> None:
    """Flows as people write them: times as numbers and as texts, one of what excludes each other, the largest numbers."""
    assert is_taken(changed(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"name": GONE},
        {"nmae": "x"},
        {"name": "Winter!"},
        {"direction": "both"},
        {"erp": GONE},
        {"erp": {}},
        {"erp": None},
        {"enabled": "yes"},
        {"schedule": {}},
        {"schedule": {"cron": "* * * * *", "every": "1h"}},
        {"schedule": {"every": None}},
        {"schedule": {"every": "often"}},
        {"schedule": {"every": "1h "}},
        {"schedule": {"every": -1}},
        {"omnitron__password": "plain"},
        {"omnitron__password": {}},
        {"omnitron__password": {"env": "A", "file": "/b"}},
        {"erp__timeout": 601},
        {"erp__pagination": {"limit": 5}},
        {"erp__pagination": {"type": "pages"}},
        {"erp__pagination": {"type": "page", "limit": 100_001}},
        {"erp__pagination": {"type": "seek"}},
        {"erp__pagination": {"type": "none", "limit": 5}},
        {"erp__format": "xls"},
        {"erp__format": {"type": "csv", "skip_lines": 1001}},
        {"write__rate_limit": "5"},
        {"write__rate_limit": "5/d"},
        {"write__max_attempts": 101},
        {"write__concurrency": 1.5},
        {"mapping": {"operation": "shift"}},
    ],
)
def test_files_that_are_refused(fields: dict[str, Any]) -> None:
    """What is missing, unknown, of another type, too large, or excludes each other."""
    assert not is_taken(changed(**fields))
