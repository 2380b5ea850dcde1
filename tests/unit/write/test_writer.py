"""What the writer itself decides."""

from imageflow.model.row import Row
from imageflow.write.writer import firsts


def test_the_first_row_of_a_product_is_looked_at():
    """A product that comes twice is asked for once, with the set that came first."""
    first, other, again = (Row(number, number, product, ()) for number, product in ((1, "A"), (2, "B"), (3, "A")))
    assert {row.row for row in firsts([first, other, again])} == {1, 2}
