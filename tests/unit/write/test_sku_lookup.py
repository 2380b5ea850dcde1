"""Which SKUs a base code stands for."""

import asyncio

import pytest

from imageflow.errors import TransportError
from imageflow.http.omnitron import OmnitronError
from imageflow.write.sku_lookup import REMEMBER_EMPTY_SECONDS, REMEMBER_SECONDS, SkuLookup

from .fakes import ManualClock, definition


class ProductList:
    """Omnitron's product list, two products per page."""

    def __init__(self, **products):
        self.products = products
        self.asked = []
        self.answer = None

    async def get_json(self, flow, path):
        self.asked.append(path)
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer
        start = int(path.partition("offset=")[2] or 0)
        listed = list(self.products.items())
        following = f"{path.partition('&offset')[0]}&offset={start + 2}" if start + 2 < len(listed) else None
        results = [{"sku": sku, "base_code": code} for sku, code in listed[start : start + 2]]
        return {"results": results, "next": following}


@pytest.fixture
def clock():
    return ManualClock()


async def test_all_pages_are_read_and_other_base_codes_left_out(clock):
    """An Omnitron that ignores the filter lists all products: only those of the base code count."""
    products = ProductList(c="B", a="B", x="other", b="B", y="B2")
    assert await SkuLookup(products, clock).skus(definition(), "B") == ("a", "b", "c")
    assert len(products.asked) == 3


async def test_a_list_that_links_to_itself_ends(clock):
    """A page is read once."""
    products = ProductList()
    products.answer = {"results": [{"sku": 7, "base_code": 5}], "next": "/again"}
    assert await SkuLookup(products, clock).skus(definition(), "5") == ("7",)
    assert len(products.asked) == 2


async def test_base_codes_are_quoted(clock):
    """A base code with special characters is one parameter."""
    products = ProductList()
    await SkuLookup(products, clock).skus(definition(), "a&b/c")
    assert "base_code=a%26b%2Fc&" in products.asked[0]


@pytest.mark.parametrize(("code", "seconds"), [("B", REMEMBER_SECONDS), ("none", REMEMBER_EMPTY_SECONDS)])
async def test_answers_are_remembered_for_a_while(clock, code, seconds):
    """A base code without SKUs is asked for again soon: its products may be on their way to Omnitron."""
    products = ProductList(a="B")
    lookup = SkuLookup(products, clock)
    for _ in range(3):
        await lookup.skus(definition(), code)
    clock.time += seconds - 1
    await lookup.skus(definition(), code)
    assert len(products.asked) == 1
    clock.time += 2
    await lookup.skus(definition(), code)
    assert len(products.asked) == 2


async def test_rows_of_one_base_code_share_a_look_up(clock):
    """However many ask at once."""
    products = ProductList(a="B")
    lookup = SkuLookup(products, clock)
    assert await asyncio.gather(*(lookup.skus(definition(), "B") for _ in range(20))) == [("a",)] * 20
    assert len(products.asked) == 1


async def test_errors_are_not_remembered(clock):
    """A failed look-up is raised, and the next row asks again."""
    products = ProductList(a="B")
    lookup = SkuLookup(products, clock)
    products.answer = TransportError("away")
    with pytest.raises(TransportError):
        await lookup.skus(definition(), "B")
    products.answer = None
    assert await lookup.skus(definition(), "B") == ("a",)


@pytest.mark.parametrize("answer", [[], {"results": [{"sku": "a"}]}, {"results": None}, {"detail": "no"}])
async def test_an_answer_without_products(clock, answer):
    """What is not a product list is an error that says so."""
    products = ProductList()
    products.answer = answer
    with pytest.raises(OmnitronError, match="sku and base_code"):
        await SkuLookup(products, clock).skus(definition(), "B")
