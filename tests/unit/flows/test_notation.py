"""The text of flow files. What comes of it in a file is in test_file.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import pytest

from imageflow.errors import FlowFileError, Problem
from imageflow.flows.notation import dump, from_json, from_yaml

FILE = PurePath("flows/mapping.yaml")


def test_yaml_scalars_are_those_of_yaml_1_2() -> None:
    """Company codes, dates, times and words stay what was written; numbers, booleans and null are values."""
    text = (
        "[0012, 2025-12-21, 12:30, yes, NO, 1_000, 0x1F, 12, -3, 0.5, 1e3, true, False, null, ~, '12', .5, +7, =, <<]"
    )
    document = from_yaml(f"a: {text}\nb:\n1: x\n", FILE, "")
    assert document["a"][:7] == ["0012", "2025-12-21", "12:30", "yes", "NO", "1_000", "0x1F"]
    assert document["a"][7:] == [12, -3, 0.5, 1000.0, True, False, None, None, "12", 0.5, 7, "=", "<<"]
    assert (document["b"], document["1"]) == (None, "x")


@pytest.mark.parametrize(
    ("read", "message"),
    [(from_json, "line 2: is not valid JSON"), (from_yaml, "line 2: is not valid YAML")],
)
def test_a_problem_names_the_file_where_a_field_names_it(read: Callable[..., Any], message: str) -> None:
    """The flow file itself need not be named."""
    with pytest.raises(FlowFileError) as found:
        read('{"a":\n]', FILE, "mapping_file")
    (problem,) = found.value.problems
    assert problem.path == "mapping_file"
    assert problem.message.startswith(f"mapping.yaml: {message}")
    with pytest.raises(FlowFileError) as found:
        read('{"a":\n]', FILE, "")
    assert found.value.problems == [Problem("", problem.message.removeprefix("mapping.yaml: "))]


def test_texts_that_look_like_values_are_quoted() -> None:
    """What is written is read as it was; several lines are a block, and breaks that only YAML sees are escaped."""
    document = {"word": "null", "code": "0012", "lines": "a\nb\n", "odd": "a\x85b"}
    text = dump(document)
    assert text == "word: 'null'\ncode: '0012'\nlines: |\n  a\n  b\nodd: \"a\\Nb\"\n"
    assert from_yaml(text, FILE, "") == document
