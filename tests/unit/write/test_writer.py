"""What the writer itself decides."""

from typing import Any, cast

from imageflow.clock import SystemClock
from imageflow.model.messages import RowsReady
from imageflow.model.row import Row, Try
from imageflow.write.writer import Writer, firsts
from tests.unit.write.fakes import IMAGES, RecordingStore, definition


def test_the_first_row_of_a_product_is_looked_at():
    """A product that comes twice is asked for once, with the set that came first."""
    first, other, again = (Row(number, number, product, ()) for number, product in ((1, "A"), (2, "B"), (3, "A")))
    assert {row.row for row in firsts([first, other, again])} == {1, 2}


class RewritingStore(RecordingStore):
    """Has one row that is to be written again: that of product A."""

    async def to_write_again(self, domain: str, run_id: str, products: list[str]) -> dict[str, Row]:
        return {"A": Row(6, 6, "A", IMAGES)} if "A" in products else {}


async def test_a_row_that_is_written_again_keeps_its_attempts():
    """The store knows its images, the message its attempts: without them it would never be given up."""
    tries = (Try(1.0, 500, "Omnitron answered 500"),)
    asked = tuple(Row(6, 5, product, (), attempts=3, tries=tries) for product in "AB")
    writer = Writer(cast("Any", RewritingStore()), cast("Any", None), SystemClock(), cast("Any", None))
    found = await writer._to_write_again(definition(), RowsReady("r", "f", 1, asked, rewrite=True))
    assert found.rows == (Row(6, 6, "A", IMAGES, attempts=3, tries=tries),)
