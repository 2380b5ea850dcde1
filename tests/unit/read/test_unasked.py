"""Rows of products that nobody asked for."""

from __future__ import annotations

from typing import Any

import pytest

from imageflow.model.pagination.cursor import Cursor
from imageflow.read.rows import Rows, rows_of
from imageflow.read.unasked import asked, warnings
from tests.unit.read.flows import flow, run

KEYED = {"query_settings": {"sku": {"key": "stok_kodu"}}}
FLOW = flow(**KEYED)
CATALOGUE = [{"sku": f"SKU-{number:03}"} for number in range(1, 61)]


def told(rows: list[Any], *ids: str, cursor: Cursor | None = None, definition: Any = FLOW) -> tuple[str, ...]:
    return warnings(definition, run(ids=ids), cursor or Cursor(), Rows(rows, rows))


def test_an_erp_that_ignores_identifiers():
    """Most rows name none of them: the warning says by what it was asked, for how many, and how many rows came."""
    (text,) = told(CATALOGUE, "SKU-001")
    assert text.startswith(
        "the ERP seems to ignore the parameter 'stok_kodu': asked for 1 product, it gave 60 rows on the first page"
    )
    (text,) = told(CATALOGUE, *(f"SKU-{number}" for number in range(200, 400)))
    assert "asked for 200 products" in text


@pytest.mark.parametrize(
    ("rows", "ids"),
    [
        ([], ("A-1",)),
        ([{"sku": "B-1"}], ("A-1",)),
        ([{"sku": "A-1", "url": f"https://c.example/{n}.jpg"} for n in range(50)], ("A-1",)),
        ([{"product": {"codes": ["a-1"]}}] * 5, ("A-1",)),
        ([{"url": "https://c.example/a_1_front.jpg"}] * 5, ("A-1",)),
        ([{"code": 17}] * 5, ("17",)),
        ([{"sku": "A-1-RED"}, {"sku": "A-1-BLUE"}, {"sku": "A-1-GREEN"}], ("A-1",)),
        ([{"ad": "ÇİZME-1"}] * 3, ("çi̇zme 1",)),
        (["A-1", "B-1"], ("A-1", "B-1")),
        ([{"sku": "A-1"}, {"sku": "B-1"}, {"sku": "C-1"}, {"sku": "A-1"}], ("A-1",)),
    ],
)
def test_rows_that_may_be_what_was_asked_for(rows: list[Any], ids: tuple[str, ...]):
    """The identifier in any field and any writing, several rows of it, a few others beside it: no warning."""
    assert told(rows, *ids) == ()


def test_only_where_it_can_be_told():
    """Not in a run that asks for no identifiers, nor on a later page or batch, nor where rows are the fields of an object."""
    assert told(CATALOGUE) == ()
    assert told(CATALOGUE, "SKU-001", cursor=Cursor(pages=1)) == ()
    assert told(CATALOGUE, "SKU-001", cursor=Cursor(batch=1)) == ()
    assert told(CATALOGUE, "SKU-001", definition=flow()) == ()
    keyed = flow(_script="def process(response):\n    return []\n", **KEYED)
    rows = rows_of(keyed, {"A-1": {"u": 1}, "B-1": {"u": 2}, "C-1": {"u": 3}})
    assert (len(rows.rows), warnings(keyed, run(ids=("A-1", "B-1", "C-1")), Cursor(), rows)) == (3, ())


def test_what_carries_identifiers():
    """A parameter by the ERP's name for it, a placeholder of the URL, or nothing."""
    assert asked(FLOW) == "the parameter 'stok_kodu'"
    placed = flow(endpoint="https://erp.example.com/{base_code}", query_settings={"base_code": {"key": "x"}})
    assert asked(placed) == "{base_code} in erp.endpoint_url"
    assert asked(flow()) is None
