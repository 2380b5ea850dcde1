"""Meaning: single fields of the right type that still make no sense."""

from __future__ import annotations

from typing import Any

import pytest

from imageflow.flows import meaning
from imageflow.model import answer_format, flow, pagination
from imageflow.model.pagination.seek import SeekPagination


@pytest.mark.parametrize(
    ("owner", "field", "value", "said"),
    [
        (flow.TokenLogin, "template", "Token", "must hold {token}"),
        (flow.TokenLogin, "template", "{token}\n", "must not hold line breaks"),
        (flow.TokenLogin, "header", "Content-Length", "set by ImageFlow itself"),
        (flow.BasicLogin, "username", "a:b", "must not hold a colon"),
        (flow.Omnitron, "username", " ", "must not be empty"),
        (flow.Omnitron, "domain_url", "https://a/?b", "must not have a query"),
        (flow.FetchMissing, "every", "500ms", "at least 1s"),
        (flow.FetchMissing, "productization_date_limit_days", 40_000, "at most 36500 days"),
        (flow.Write, "timeout", 0, "longer than 0s"),
        (flow.Definition, "timezone", "europe/istambul", "did you mean Europe/Istanbul?"),
        (flow.Definition, "script", "x = 1", "must define process(response) or process_row(row)"),
        (flow.Definition, "script", "def proces_row(r): pass", "did you mean process_row, in place of proces_row?"),
        (flow.Definition, "script", "def process(:", "line 1: SyntaxError"),
        (flow.Definition, "script", "\0", "null bytes"),
        (flow.Definition, "script", "async def process(r): pass", "must be a plain function"),
        (flow.Definition, "script", "def process(a, b): pass", "exactly one argument"),
        (flow.Erp, "initial_since", "1800-01-01", "too far away"),
        (SeekPagination, "value_path", "$.id", "must be a dotted path"),
    ],
)
def test_values_without_meaning(owner: type, field: str, value: Any, said: str):
    """Each is said in words that tell how to write it."""
    assert any(said in message for _, message in meaning.complaints(owner, field, value))


@pytest.mark.parametrize(
    ("owner", "field", "value"),
    [
        (flow.Omnitron, "username", {"env": "USER"}),
        (flow.Definition, "script", None),
        (flow.Erp, "rows_path", ""),
        (flow.Write, "max_attempts", 3),
        (flow.Definition, "script", "try:\n    import process_row\nexcept ImportError:\n    def process_row(row): ..."),
        (flow.Definition, "script", "process_row = str"),
    ],
)
def test_values_that_are_right(owner: type, field: str, value: Any):
    """A reference to a secret is no text; null is nothing; fields without a check have none."""
    assert list(meaning.complaints(owner, field, value)) == []


@pytest.mark.parametrize(
    ("arguments", "fits"),
    [
        ("a", True),
        ("a, /", True),
        ("a, b=1", True),
        ("*a", True),
        ("a, *, b=1", True),
        ("a, *, b=None, **c", True),
        ("", False),
        ("a, b", False),
        ("a, /, b", False),
        ("*, a", False),
        ("a, *, b", False),
        ("a, *, b=1, c", False),
        ("*a, b", False),
        ("**a", False),
    ],
)
def test_a_function_takes_one_argument(arguments: str, fits: bool):
    """A function fits if it can be called with one argument by place and nothing else."""
    source = f"def process({arguments}): pass"
    assert (list(meaning.complaints(flow.Definition, "script", source)) == []) is fits


@pytest.mark.parametrize(
    ("value", "plain", "said"),
    [
        ({"env": "A"}, False, None),
        ({"file": "a", "env": None}, False, None),
        ({"env": "A", "file": "b"}, False, "exactly one"),
        ({}, False, "exactly one"),
        ({"env": "1A"}, False, "env must be"),
        ({"file": " "}, False, "file must be"),
        ("hush", False, "plain text is refused"),
        ({"vault": "a"}, False, "plain text is refused"),
        (5, True, "must be a text or a secret"),
    ],
)
def test_references_to_secrets(value: object, plain: bool, said: str | None):
    """One place, named as a variable or a path; what stands there instead is never shown."""
    message = meaning.secret(value, plain=plain)
    assert message is said if said is None else said in str(message)
    assert "hush" not in str(message)


def test_login_bodies_name_where():
    """A plain password is found at any depth; so is a misspelt reference."""
    body = {"auth": [{"password": "x"}], "key": {"env": "1"}, "user": "u", "pwd": None}
    assert [where for where, _ in meaning.complaints(flow.TokenLogin, "body", body)] == [".auth[0].password", ".key"]


def test_every_check_is_of_a_field():
    """A check whose field was renamed would never run."""
    structs = [value for value in vars(flow).values() if isinstance(value, type)] + [
        *pagination.TYPES,
        *answer_format.TYPES,
    ]
    fields = {(struct, name) for struct in structs for name in getattr(struct, "__struct_fields__", ())}
    assert set(meaning._MEANINGS) <= fields
