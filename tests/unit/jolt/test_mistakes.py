"""Mistakes are told, and docs/mapping.md says how."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from imageflow.jolt import Chain, JoltError, compile_chain
from imageflow.jolt.explain_text import lines_of
from tests.unit.jolt.mistakes import MISTAKES, Mistake

DOCS = (Path(__file__).parents[3] / "docs" / "mapping.md").read_text()


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.what for mistake in MISTAKES])
def test_what_is_said(mistake: Mistake) -> None:
    """Lint, the page's error and the explanation say what the table says, and at least one of them says something."""
    made = compile_chain(mistake.chain, counting=True)
    said = made.warnings if isinstance(made, Chain) else made
    assert mistake.lint in " ".join(map(str, said))
    if not isinstance(made, Chain):
        assert not mistake.page
        assert not mistake.explain
        return
    assert bool(mistake.lint) == bool(said)
    assert mistake.lint or mistake.page or mistake.explain
    plain = compile_chain(mistake.chain)
    if mistake.page:
        assert isinstance(plain, Chain)
        with pytest.raises(JoltError, match=re.escape(mistake.page)):
            plain.apply(copy.deepcopy(mistake.rows))
    assert mistake.explain in "\n".join(lines_of(made.trace(mistake.rows)))


def test_the_table_is_in_the_docs() -> None:
    """Each mistake is a row of the table, with what is said of it."""
    rows = [
        f"| {mistake.what} | {_code(mistake.lint)} | {_code(mistake.page or mistake.explain)} |" for mistake in MISTAKES
    ]
    assert len(rows) == 20
    assert [row for row in rows if row not in DOCS] == []


def _code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`" if text else ""


RECIPES = re.findall(r"^### \d+\. (.*?)$(.*?)(?=^#)", DOCS, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("title", "text"), RECIPES, ids=[title for title, _ in RECIPES])
def test_recipes(title: str, text: str) -> None:
    """Each recipe of the docs makes of its input what it says, and says nothing that is hardly meant."""
    document, spec, output = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL))
    made = compile_chain(spec)
    assert isinstance(made, Chain), title
    assert not made.warnings
    assert made.apply(document) == output


def test_there_are_ten_recipes() -> None:
    """All of them were found in the docs."""
    assert len(RECIPES) == 10


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("concat(@(1,a),'x')", "plain text; a call begins with =: =concat(@(1,a),'x')"),
        ("=trim(@(1.sku))", "did you mean @(1,sku)?"),
        ("${host}/x", "NiFi's expression language"),
        ("=concat(&1,'x')", "&1 is plain text here"),
        ('=concat("x",@(1,a))', 'the marks of "x" are part of the text'),
        ("=replace(@(1,a),'x')", "replace takes 3 arguments, and here are 2"),
        ("=split(@(1,a),',')", "split takes a text first"),
        ("=elementAt(@(1,a),0)", "elementAt takes a number first"),
        ("=leftPad(5,@(1,a),'0')", "leftPad takes the text, the width"),
        ("=split('.',@(1,a))", "a regular expression for any character"),
        (["=trim", "=join(@(1,a),'|')"], "join takes a text first"),
        ("=split(',',@(1,a))", ""),
        ("=replace(@(1,a),'x','y')", ""),
        ("=substring(@(1,all))", ""),
        ("=elementAt(0,@(1,a))", ""),
        ("concatenated (twice)", ""),
        ("=join(@(1,separator),@(1,a))", ""),
        ("=leftPad(@(1,a),5,'0')", ""),
    ],
)
def test_calls_that_never_do_what_they_seem_to(value: Any, words: str) -> None:
    """A text or a call that is allowed, and has no effect or another one, has a warning; what is right has none."""
    made = compile_chain([{"operation": "modify-overwrite", "spec": {"*": {"a": value}}}])
    assert isinstance(made, Chain)
    said = [str(warning) for warning in made.warnings]
    assert len(said) == (1 if words else 0)
    assert words in "".join(said)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"*": {"@(1.sku)": "x"}}, "[0].spec.*.@(1.sku): @(1.sku) looks for a key 1; did you mean @(1,sku)?"),
        ({"*": {"url": ["a", "@(1.sku).x"]}}, "[0].spec.*.url: @(1.sku) looks"),
        ({"pics": {"[0]": "x"}}, "[0].spec.pics.[0]: an index in brackets matches nothing"),
        ({"pics": {"0": "x[0].@(1,a)"}}, ""),
    ],
)
def test_shifts_that_match_nothing(spec: Any, words: str) -> None:
    """A level with a dot for a comma, and an index in brackets on the left."""
    made = compile_chain([{"operation": "shift", "spec": spec}])
    assert isinstance(made, Chain)
    said = "".join(map(str, made.warnings))
    assert words in said if words else not said


def test_an_object_for_a_chain() -> None:
    """NiFi's processor takes the spec of a single operation: the error says how to write it here."""
    (bare,) = compile_chain({"*": "x"})  # type: ignore[misc]
    (single,) = compile_chain({"operation": "shift", "spec": {}})  # type: ignore[misc]
    assert bare.text.endswith("write [{operation: shift, spec: this}]")
    assert single.text.endswith("write [this]")
