"""Shape: fields against their types."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta, inspect

from imageflow.flows import schema, shape, words

OMNITRON = {"domain_url": "https://brand.example.com", "username": "u", "password": {"env": "PW"}}
SMALL = {"name": "small", "direction": "outbound", "omnitron": OMNITRON}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"group": "pge"}, "group: must be auto | page | run, not 'pge'; did you mean page?"),
        ({"group": None}, "group: must be auto | page | run, not null"),
        ({"wriet": {}}, "wriet: unknown field; did you mean write?"),
        ({"write": {"max_attempts": 0}}, "write.max_attempts: must be a whole number of at least 1"),
        ({"write": {"concurrency": 0.5}}, "write.concurrency: must be auto or a whole number, not 0.5"),
        ({"write": {"concurrency": "many"}}, "write.concurrency: must be auto or a whole number"),
        ({"write": []}, "write: must be an object with fields, not a list of 0"),
        ({"rows_path": "x"}, "rows_path: unknown field; did you mean erp.rows_path?"),
        ({"alarms": {"error_rate": "x"}}, "alarms.error_rate: must be a number, not a text"),
        ({"write": {"timeout": 10**400}}, "write.timeout: is too large"),
        ({"omnitron": OMNITRON | {"username": 5}}, "omnitron.username: must be a text or a secret"),
        ({"erp": {"extra_headers": []}}, "erp.extra_headers: must be an object with fields, not a list"),
        ({"erp": {"extra_headers": {"": "x"}}}, "the field's name must not be empty"),
        ({"mapping": {}}, "mapping: must be a list, not an object"),
        (
            {"erp": {"pagination": {"type": "next", "kind": "token", "field": "Link"}}},
            "erp.pagination.kind: must be url",
        ),
    ],
)
def test_problems(fields: dict[str, Any], said: str):
    """Each names the field and what belongs there."""
    assert any(said in str(problem) for problem in shape.problems({**SMALL, **fields}))


class Definition(msgspec.Struct):
    """In place of the flow file's: it has no list yet whose length is bounded."""

    days: Annotated[tuple[str, ...], Meta(min_length=1, max_length=2)] | None = None
    names: Annotated[list[str], Meta(min_length=2)] = []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"days": ["mon"], "names": ["a", "b", "c"]}, []),
        ({"days": None}, []),
        ({"days": []}, ["days: must be a list of at least 1, not a list of 0"]),
        ({"days": ["mon", "tue", "wed"]}, ["days: must be a list of at most 2, not a list of 3"]),
        ({"names": [1]}, ["names: must be a list of at least 2, not a list of 1", "names[0]: must be a text"]),
    ],
)
def test_lengths_of_lists(monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], said: list[str]):
    """Lint and the schema hear what a type says of a list's length."""
    monkeypatch.setattr(shape, "_definition", lambda: inspect.type_info(Definition))
    monkeypatch.setattr(schema, "Definition", Definition)
    found = [str(problem) for problem in shape.problems(fields)]
    assert len(found) == len(said)
    assert all(text.startswith(start) for text, start in zip(found, said, strict=True))
    properties = schema.schema()["properties"]
    assert properties["days"]["anyOf"][0] == {
        "type": "array",
        "items": {"type": "string"},
        "minItems": 1,
        "maxItems": 2,
    }
    assert (properties["names"]["minItems"], "maxItems" in properties["names"]) == (2, False)


def test_a_right_document():
    """Nothing is said of it."""
    assert list(shape.problems(SMALL)) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [("a\nb", "'a\\nb'"), ("ä", "'ä'"), ("x" * 99, "'" + "x" * 59 + "…"), (5, "5"), ("\u202e", "'\\u202e'")],
)
def test_values_in_messages(value: object, text: str):
    """Short and printable."""
    assert words.shown(value) == text


def test_names_in_messages():
    """A field's name as it is written where it can be printed; near misses only of texts."""
    assert words.join("erp", "rows_path") == "erp.rows_path"
    assert words.join("", "a\0") == "'a\\x00'"
    assert words.near("tiemout", ["timeout", "limit"]) == "timeout"
    assert words.near(5, ["timeout"]) is None
    assert words.near("x" * 99, ["timeout"]) is None
