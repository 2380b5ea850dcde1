"""Mistakes are told, and docs/mapping.md says how."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

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
