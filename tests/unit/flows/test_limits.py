"""How large the numbers of a flow file may be."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import inspect

from imageflow.flows import limits, schema
from imageflow.flows.check import problems
from imageflow.model import flow, pagination
from imageflow.model.field_types import Duration

OMNITRON = {"domain_url": "https://a.example.com", "username": "u", "password": {"env": "P"}}
SMALL = {"name": "n", "direction": "inbound", "omnitron": OMNITRON, "erp": {"endpoint_url": "https://erp.example.com"}}


def document(path: str, value: Any) -> dict[str, Any]:
    """A small flow with a value at a path."""
    made = msgspec.json.decode(msgspec.json.encode(SMALL))
    at = made
    *outer, last = path.split(".")
    for name in outer:
        at = at.setdefault(name, {})
    at[last] = value
    return made


@pytest.mark.parametrize(
    ("path", "good", "wrong"),
    [
        ("script_timeout", "5m", "3000d"),
        ("erp.timeout", 600, "3000d"),
        ("erp.overlap", "366d", "367d"),
        ("erp.max_answer_bytes", 1 << 28, 10**15),
        ("write.concurrency", 1000, 10**9),
        ("write.max_attempts", 100, 10**15),
        ("write.timeout", "5m", "301s"),
        ("schedule", {"every": "366d"}, {"every": "367d"}),
        ("fetch_missing.batch_size", 1000, 1001),
        ("fetch_missing.every", "366d", "9y"),
        ("alarms.silence", "366d", "3000d"),
        ("erp.pagination", {"type": "page", "max_pages": 10**6}, {"type": "page", "max_pages": 10**6 + 1}),
        ("erp.pagination", {"type": "offset", "limit": 100_000}, {"type": "offset", "limit": 10**12}),
        ("erp.pagination", {"type": "page", "start": 2**31 - 1}, {"type": "page", "start": 2**31}),
    ],
)
def test_upper_bounds(path: str, good: Any, wrong: Any) -> None:
    """The largest value is taken; one above is refused, with the bound and why."""
    assert problems(document(path, good)) == []
    (problem,) = problems(document(path, wrong))
    assert problem.path.startswith(path)
    assert "must be at most" in problem.message or "duration" in problem.message


def test_every_number_has_an_upper_bound() -> None:
    """Whatever is a count or a duration: in its type, or in the table with the reason."""
    kinds = [
        flow.Definition, flow.Schedule, flow.Erp, flow.FetchMissing, flow.Write, flow.Alarms, flow.NoRows, *pagination.TYPES,
    ]  # fmt: skip
    for kind in kinds:
        info = inspect.type_info(kind)
        assert isinstance(info, inspect.StructType)
        for field in info.fields:
            options = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
            for option in options:
                unbounded = isinstance(option, inspect.IntType) and option.le is None
                if unbounded or (isinstance(option, inspect.CustomType) and option.cls is Duration):
                    assert (kind, field.name) in limits.LIMITS, (kind, field.name)
    assert all(limit.why and limit.written for limit in limits.LIMITS.values())


def test_the_schema_says_it() -> None:
    """Editors know the bound before lint does."""
    found = schema.schema()
    assert found["properties"]["script_timeout"]["maximum"] == 300
    assert found["$defs"]["Write"]["properties"]["max_attempts"]["maximum"] == 100
