"""The pagination types: what holds for each that the package finds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import imageflow
from imageflow.flows.file import schema
from imageflow.flows.meaning import complaints
from imageflow.model import pagination
from imageflow.model.pagination.contract import Pagination


def name(kind: type[Pagination]) -> str:
    return str(kind.__struct_config__.tag)


@pytest.mark.parametrize("kind", pagination.TYPES, ids=name)
def test_each_type_is_a_module_of_its_name(kind: type[Pagination]):
    """`type: X` stands in X.py, and test_X.py tests it."""
    assert kind.__module__ == f"imageflow.model.pagination.{name(kind)}"
    test = Path(__file__).with_name(f"test_{name(kind)}.py")
    assert test.is_file(), f"write {test}: CONTRIBUTING.md says what it holds"


@pytest.mark.parametrize("kind", pagination.TYPES, ids=name)
def test_each_meaning_is_of_a_field(kind: type[Pagination]):
    """A check whose field was renamed would never run."""
    assert set(kind.meanings) <= set(kind.__struct_fields__)


@pytest.mark.parametrize("kind", pagination.TYPES, ids=name)
def test_what_all_types_have_is_checked_in_each(kind: type[Pagination]):
    """Also in those that check fields of their own."""
    assert [path for path, _ in complaints(kind, "ignore", ["meta.total", "$.total"])] == ["[1]"]


@pytest.mark.parametrize("page", ["reading.md", "scripts.md"])
def test_the_pages_name_the_types_that_do_not_count(page: str):
    """With these any JSON document may be a page."""
    text = " ".join((Path(imageflow.__path__[0]).parent / "docs" / page).read_text().split())
    named = re.findall(r"pagination that does not count rows \(([^)]*)\)", text)
    names = [f"`{name(kind)}`" for kind in pagination.TYPES if not kind.counts]
    assert named == [", ".join(sorted(names))]


def test_the_schema_offers_every_type():
    """Editors complete the types that the package holds, and no others."""
    options = schema()["$defs"]["Erp"]["properties"]["pagination"]["anyOf"]
    assert [option["$ref"] for option in options] == [f"#/$defs/{kind.__name__}" for kind in pagination.TYPES]
