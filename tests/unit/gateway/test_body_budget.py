"""The bytes of bodies: some for all, a share for each sender."""

import pytest

from imageflow.errors import ThrottledError
from imageflow.gateway.body_budget import BodyBudget


def refused(budget, sender, size):
    """None, or whether the refusal is for the load of all."""
    try:
        budget.take(sender, size)
    except ThrottledError as error:
        return error.overload
    return None


@pytest.mark.parametrize(
    ("taken", "last"),
    [
        ([("a", 40)], None),
        ([("a", 20), ("a", 21)], False),
        ([("a", 40), ("b", 40), ("c", 21)], True),
        ([("a", 40), ("b", 40), ("c", 20)], None),
        ([("a", 0), ("a", 40)], None),
    ],
)
def test_who_is_refused(taken, last):
    """A sender above its share is told so; above the total everybody is."""
    budget = BodyBudget(100, 40)
    assert [refused(budget, sender, size) for sender, size in taken][-1] is last


def test_what_is_given_back_is_free_again():
    """Bytes that were refused count until they are given back; then all is as before."""
    budget = BodyBudget(100, 40)
    assert refused(budget, "a", 41) is False
    assert refused(budget, "a", 0) is False
    budget.give_back("a", 41)
    budget.give_back("nobody", 0)
    assert [refused(budget, sender, 40) for sender in ("a", "b")] == [None, None]
    budget.give_back("a", 10)
    assert refused(budget, "a", 10) is None
    assert refused(budget, "c", 20) is None
