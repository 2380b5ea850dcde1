from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imageflow.runtime.bounded import Recent


class Hand:
    """A clock that is moved by hand."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_the_entry_unused_for_longest_goes_first() -> None:
    """Reading an entry and putting it again both count as use."""
    recent: Recent[str, int] = Recent(3)
    for number, name in enumerate("abc"):
        recent.put(name, number)
    assert recent.get("a") == 0
    recent.put("b", 7)
    recent.put("d", 4)
    assert "c" not in recent
    assert [recent.get(name) for name in "abd"] == [0, 7, 4]


def test_entries_expire() -> None:
    """An entry is gone once its seconds have passed, counted from when it was put last."""
    now = Hand()
    recent: Recent[str, int] = Recent(3, 10.0, now)
    recent.put("a", 1)
    now.seconds = 5.0
    recent.put("b", 2)
    now.seconds = 9.9
    assert recent.get("a") == 1
    now.seconds = 10.0
    assert recent.get("a") is None
    assert "b" in recent
    recent.put("b", 3)
    now.seconds = 19.9
    assert recent.get("b", 0) == 3
    now.seconds = 20.0
    assert recent.get("b", 0) == 0
    assert not len(recent)


def test_an_entry_may_last_for_a_time_of_its_own() -> None:
    """The seconds given with an entry count instead of the dict's."""
    now = Hand()
    recent: Recent[str, int] = Recent(3, 10.0, now)
    recent.put("a", 1, 2.0)
    now.seconds = 2.0
    assert "a" not in recent


def test_entries_without_seconds_stay() -> None:
    """Without a time, an entry stays until others push it out; `forget` and `clear` remove it."""
    now = Hand()
    recent: Recent[str, int] = Recent(2, now=now)
    recent.put("a", 1)
    recent.put("b", 1)
    now.seconds = 1e9
    assert "a" in recent
    recent.forget("a")
    recent.forget("never there")
    assert "a" not in recent
    recent.clear()
    assert "b" not in recent


@given(st.integers(1, 5), st.lists(st.tuples(st.booleans(), st.integers(0, 9))))
def test_bounded_and_right(limit: int, steps: list[tuple[bool, int]]) -> None:
    """Whatever is put and read, there are never more entries than allowed, and the one put last is there."""
    recent: Recent[int, int] = Recent(limit)
    for put, key in steps:
        if put:
            recent.put(key, -key)
            assert recent.get(key) == -key
        else:
            assert recent.get(key) in (None, -key)
        assert len(recent) <= limit
